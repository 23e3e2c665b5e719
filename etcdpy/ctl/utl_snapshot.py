"""`etcdpyutl snapshot status` and `etcdpyutl snapshot restore`.

A restore founds a new cluster that begins with old data: new ids from the flags, the log that such founders
write (one change for each member, already committed), a raft snapshot behind these, and the database at
that index.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy import bolt
from etcdpy.cluster.bootstrap import check_advertised, first_changes, found_cluster
from etcdpy.cluster.urls import parse_initial_cluster, parse_urls
from etcdpy.cluster.v2 import ClusterState, dump_store
from etcdpy.ctl.output import (
    EXIT_BAD_ARGUMENTS,
    Fault,
    Report,
    Value,
    check_format,
    human_bytes,
    note,
    show,
)
from etcdpy.ctl.utl_database import Position, open_bolt, write_database
from etcdpy.ctl.utl_directory import create_log, finish_log, new_directory, resolve_layout
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.messages import ConfState, Entry, EntryType, HardState, Snapshot
from etcdpy.server.bootstrap import BOOTSTRAP_TERM
from etcdpy.server.member import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.cluster.bootstrap import Cluster
    from etcdpy.ctl.command_line import Options
    from etcdpy.server.bootstrap import Layout

__all__ = ["restore", "status"]


def status(arguments: Sequence[str], options: Options) -> None:
    """Check a snapshot, or the database of a stopped Go member, and sum it up."""
    if len(arguments) != 1:
        raise Fault("snapshot status requires exactly one argument", EXIT_BAD_ARGUMENTS)
    check_format(options.text("write-out"))
    path = Path(arguments[0])
    try:
        path.stat()
    except OSError as error:
        raise Fault(f"stat {path}: {(error.strerror or '').lower()}") from error
    with open_bolt(path) as reader:
        try:
            found = bolt.read_status(reader)
        except bolt.CorruptFile as error:
            raise Fault(f"snapshot file integrity check failed. 1 errors found.\n{error}") from error
    shown = f"{found.hash:x}"
    report = Report(
        (
            Value("hash", shown, "Hash", "hash", found.hash),
            Value("revision", str(found.revision), "Revision", "revision", found.revision),
            Value("total keys", str(found.total_keys), "Keys", "totalKey", found.total_keys),
            Value("total size", human_bytes(found.total_size), "Size", "totalSize", found.total_size),
        )
    )
    show(report, options.text("write-out"))


@dataclass(frozen=True, slots=True)
class Restore:
    """What is to be restored, checked as far as flags can be."""

    file: Path
    where: Layout
    cluster: Cluster
    skips_digest: bool
    bump: int


def restore(arguments: Sequence[str], options: Options) -> None:
    """Make a data directory of a new member out of a snapshot."""
    if len(arguments) != 1:
        raise Fault("snapshot restore requires exactly one argument", EXIT_BAD_ARGUMENTS)
    wanted = _read_options(Path(arguments[0]), options)
    where = wanted.where
    paths = {
        "path": wanted.file,
        "wal_dir": where.wal_dir,
        "data_dir": where.data_dir,
        "snap_dir": where.snap_dir,
    }
    with new_directory(where) as staging:
        note("restoring snapshot", **paths)
        _restore(wanted, staging)
    note("restored snapshot", **paths)


def _read_options(file: Path, options: Options) -> Restore:
    bump = options.number("bump-revision")
    if options.is_set("mark-compacted") != (bump > 0):
        raise Fault(
            "--mark-compacted required if --bump-revision > 0"
            if bump
            else "--mark-compacted is only allowed with --bump-revision > 0"
        )
    advertised = parse_urls(options.text("initial-advertise-peer-urls").split(","))
    urls_by_name = parse_initial_cluster(options.text("initial-cluster"))
    name = options.text("name")
    cluster = found_cluster(urls_by_name, options.text("initial-cluster-token"), name)
    check_advertised(advertised, urls_by_name, name, _resolve)
    where = resolve_layout(options.text("data-dir"), options.text("wal-dir"))
    return Restore(file, where, cluster, options.is_set("skip-hash-check"), bump)


def _resolve(url: str) -> str:
    # Loads an HTTP client, which no other command needs: half a second.
    from etcdpy.peer.joining import resolve

    return resolve(url)


def _restore(wanted: Restore, staging: Layout) -> None:
    if not wanted.skips_digest:
        _check_digest(wanted.file)
    cluster = wanted.cluster
    members = {member.id: member for member in cluster.members}
    head = Snapshot(
        len(members), BOOTSTRAP_TERM, ConfState(voters=sorted(members)), dump_store(ClusterState(members))
    )
    with open_bolt(wanted.file) as reader:
        reader.check()
        position = Position(head.index, head.term)
        write_database(reader, staging.backend, position, ClusterState(members), bump=wanted.bump)
    log = create_log(staging, Identity(cluster.local.id, cluster.id))
    state = HardState(BOOTSTRAP_TERM, cluster.members[0].id, head.index)
    log.append(_first_entries(cluster), raft_codec.encode_hard_state(state), sync=True)
    finish_log(staging, log, head, [], state)


def _check_digest(file: Path) -> None:
    file.open("rb").close()  # a directory has a size, too
    try:
        bolt.check_digest(file)
    except bolt.CorruptFile as error:
        raise Fault(str(error)) from error


def _first_entries(cluster: Cluster) -> list[tuple[int, bytes]]:
    entries = []
    for index, change in enumerate(first_changes(cluster.members), start=1):
        data = raft_codec.encode_conf_change(change)
        entry = Entry(BOOTSTRAP_TERM, index, EntryType.CONF_CHANGE, data)
        entries.append((index, raft_codec.encode_entry(entry)))
    return entries
