"""`etcdpyutl import` and `etcdpyutl export`: a stopped member moves between the Go server and this one.

The member stays who it is: its ids, its term and vote, and every entry that it may have promised to others
come along, so it goes back into its cluster as after a restart. The log begins anew at the index of the
database, with a raft snapshot there; a follower that is further behind gets a snapshot, as after any
compaction of a log.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from etcdpy import bolt
from etcdpy.backend import NAMES, Backend, Bucket
from etcdpy.cluster.members import encode_member
from etcdpy.cluster.membership import CLUSTER_VERSION_KEY, DOWNGRADE_KEY, Membership
from etcdpy.cluster.v2 import dump_store
from etcdpy.cluster.version import BadVersion, Version
from etcdpy.ctl.output import Fault, note
from etcdpy.ctl.utl_database import Position, is_lmdb, open_bolt, remove_lock, rows, write_database
from etcdpy.ctl.utl_directory import create_log, finish_log, locked, new_directory, resolve_layout
from etcdpy.ctl.utl_member import StoppedMember, held, read_member, replay
from etcdpy.raft.messages import ConfState, Snapshot
from etcdpy.server.snapshots import CONSISTENT_INDEX, FIRST_WITH_STORAGE_VERSION, TERM, Received, database
from etcdpy.server.v2_state import open_store
from etcdpy.v2store import dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from etcdpy.backend import Reader
    from etcdpy.cluster.v2 import ClusterState
    from etcdpy.ctl.command_line import Options
    from etcdpy.server.bootstrap import Layout

__all__ = ["export_member", "import_member"]


def import_member(arguments: Sequence[str], options: Options) -> None:
    """Make a data directory of etcdpy out of a stopped Go member's."""
    source, target = _read_options("import", arguments, options)
    path = _database_of(source)
    if is_lmdb(path):
        raise Fault(f"{path} is a database of etcdpy already")
    with held(path):
        member = read_member(source)
        with _open_at(source, path, member) as reader:
            position = _position(member, *_stored_position(reader))
            members, v2_rows = _membership(reader, member, position.index)
            with new_directory(target) as staging:
                write_database(reader, staging.backend, position, members, v2_rows=v2_rows)
                _write_log(staging, member, position, members, dump_store(members))
    note("imported member", **_described(member, position, target))


def export_member(arguments: Sequence[str], options: Options) -> None:
    """Make a data directory of the Go server out of a stopped member's of etcdpy."""
    source, target = _read_options("export", arguments, options)
    try:
        newest = Version.parse(options.text("target-version") + ".0")
    except BadVersion as error:
        raise Fault(f"wrong target version; expected 3.5 or the like: {error}") from error
    path = _database_of(source)
    if not is_lmdb(path):
        raise Fault(f"{path} is no database of etcdpy")
    with locked(source):
        member = read_member(source)
        position = _export(source, path, target, member, newest)
    note("exported member", **_described(member, position, target))


def _export(source: Layout, path: Path, target: Layout, member: StoppedMember, newest: Version) -> Position:
    backend = _open_backend(source, path, member)
    try:
        position = _position(member, backend.consistent_index, backend.consistent_term)
        members = _limited(Membership(backend).state(), newest)
        with new_directory(target) as staging, backend.view() as view:
            _write_bolt(staging, view, members)
            _write_log(staging, member, position, members, _v2_dump(backend, members, newest))
    finally:
        backend.abandon()
        remove_lock(backend.path)
    return position


def _read_options(verb: str, arguments: Sequence[str], options: Options) -> tuple[Layout, Layout]:
    if arguments:
        raise Fault(f"{verb} takes no arguments; where to read from is told by --from")
    source = resolve_layout(options.text("from"), options.text("from-wal-dir"))
    return source, resolve_layout(options.text("data-dir"), options.text("wal-dir"))


def _described(member: StoppedMember, position: Position, target: Layout) -> dict[str, object]:
    return {
        "member_id": f"{member.identity.member_id:x}",
        "cluster_id": f"{member.identity.cluster_id:x}",
        "index": position.index,
        "data_dir": target.data_dir,
    }


def _database_of(where: Layout) -> Path:
    if not where.backend.is_file():
        raise Fault(f"open {where.backend}: no such file or directory")
    return where.backend


def _position(member: StoppedMember, index: int, term: int) -> Position:
    if index < member.snapshot_index:
        raise Fault(
            f"the database is at index {index}, before the raft snapshot at {member.snapshot_index}, and the "
            "database that belongs to the snapshot is not there"
        )
    return Position(index, member.term_at(index, term))


def _write_log(
    staging: Layout, member: StoppedMember, position: Position, members: ClusterState, data: bytes
) -> None:
    hard_state = member.state_at(position.index)
    voters = sorted(one.id for one in members.members.values() if not one.is_learner)
    learners = sorted(one.id for one in members.members.values() if one.is_learner)
    head = Snapshot(position.index, position.term, ConfState(voters=voters, learners=learners), data)
    log = create_log(staging, member.identity)
    finish_log(staging, log, head, member.after(position.index), hard_state)


# From Go.


def _open_at(source: Layout, path: Path, member: StoppedMember) -> bolt.Reader:
    """The database; where a snapshot was received that waits to become it, that one."""
    reader = open_bolt(path)
    received = Received(source.snap_dir).path(member.snapshot_index)
    if _stored_position(reader)[0] < member.snapshot_index and received.is_file():
        reader.close()
        reader = open_bolt(received)
    return reader


def _stored_position(reader: bolt.Reader) -> tuple[int, int]:
    meta = dict(rows(reader, Bucket.META))
    index, term = (int.from_bytes(meta.get(name, b""), "big") for name in (CONSISTENT_INDEX, TERM))
    return index, term


def _membership(
    reader: bolt.Reader, member: StoppedMember, index: int
) -> tuple[ClusterState, Iterable[tuple[bytes, bytes]]]:
    """The members, and the rows of the v2 store, which 3.6 has no more. Members of 3.6 trust their database.
    Those before trust raft snapshot and log, and what 3.5.1 stores of itself in the database lacks its client
    URLs.
    """
    stored = dict(rows(reader, Bucket.CLUSTER)).get(CLUSTER_VERSION_KEY)
    if stored is not None and Version.parse(stored.decode()) >= FIRST_WITH_STORAGE_VERSION:
        return Membership(_Rows(reader)).state(), ()
    return replay(member, index)


class _Rows:
    """The buckets of a bbolt file, which are not written to."""

    def __init__(self, reader: bolt.Reader) -> None:
        self._reader = reader

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        return dict(self.items(bucket)).get(key)

    def items(self, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]:
        return rows(self._reader, bucket)

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        raise AssertionError("a file that is read is not written to")

    def delete(self, bucket: Bucket, key: bytes) -> None:
        raise AssertionError("a file that is read is not written to")


# To Go.


def _open_backend(source: Layout, path: Path, member: StoppedMember) -> Backend:
    backend = Backend.open(path)
    received = Received(source.snap_dir).path(member.snapshot_index)
    if backend.consistent_index < member.snapshot_index and received.is_file():
        backend.abandon()
        backend = Backend.open(received)
    return backend


def _v2_dump(backend: Backend, members: ClusterState, newest: Version) -> bytes:
    """The v2 store; a server that has none refuses to start on one with keys in it."""
    store = open_store(backend)
    if newest >= FIRST_WITH_STORAGE_VERSION and any(one.children for one in store.directories):
        raise Fault("the v2 store has keys, on which no server from 3.6 on starts; delete them first")
    return dump(members, store)


def _limited(members: ClusterState, newest: Version) -> ClusterState:
    """A server refuses a cluster version above its own."""
    version = members.version
    return members if version is None or version <= newest else replace(members, version=newest)


def _write_bolt(staging: Layout, view: Reader, members: ClusterState) -> None:
    ids = sorted(members.members)
    conf_state = ConfState(
        voters=[one for one in ids if not members.members[one].is_learner],
        learners=[one for one in ids if members.members[one].is_learner],
    )
    version = members.version
    is_new = version is not None and version >= FIRST_WITH_STORAGE_VERSION
    buckets = database(view, conf_state, str(version) if is_new else "")
    cluster = dict(view.items(Bucket.CLUSTER))
    if version is not None:
        cluster[CLUSTER_VERSION_KEY] = str(version).encode()
    if not is_new:
        cluster.pop(DOWNGRADE_KEY, None)
    named = {f"{one:x}".encode(): encode_member(members.members[one]) for one in ids}
    buckets[NAMES[Bucket.CLUSTER]] = lambda: sorted(cluster.items())
    buckets[NAMES[Bucket.MEMBERS]] = lambda: sorted(named.items())
    descriptor = os.open(staging.backend, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w+b") as file:
        bolt.write_file(file, buckets)
        file.flush()
        os.fsync(descriptor)
