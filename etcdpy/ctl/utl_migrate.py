"""`etcdpyutl migrate`: the schema of a stopped member's database, up or down to another version.

The schemas of 3.5 and 3.6 differ in one row, `meta/storageVersion`, which says that and is missing before
3.6. On the way down the log decides: entries behind the last raft snapshot that only the newer version knows
would be applied by a server that cannot. `--force` leaves the log out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.backend import Backend, Bucket
from etcdpy.cluster.version import BadVersion, Version
from etcdpy.ctl.output import Fault, note
from etcdpy.ctl.utl_database import is_lmdb, remove_lock
from etcdpy.ctl.utl_directory import locked, resolve_layout
from etcdpy.ctl.utl_member import read_member
from etcdpy.proto.membership_pb2 import ClusterVersionSetRequest
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.raft.messages import EntryType
from etcdpy.server.member import decode_entry
from etcdpy.server.snapshots import FIRST_WITH_STORAGE_VERSION, STORAGE_VERSION, TERM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.utl_member import StoppedMember

__all__ = ["migrate"]

OLDEST = Version(3, 5)


def migrate(arguments: Sequence[str], options: Options) -> None:
    """Bring a data directory to the schema of another version."""
    target = _target(options.text("target-version"))
    where = resolve_layout(options.text("data-dir"), "")
    if not where.backend.is_file():
        raise Fault(f"open {where.backend}: no such file or directory")
    if not is_lmdb(where.backend):
        raise Fault(f"{where.backend} is no database of etcdpy; etcdutl migrates those of the Go server")
    with locked(where):
        member = read_member(where)
        backend = Backend.open(where.backend)
        try:
            _migrate(backend, member, target, forced=options.is_set("force"))
        finally:
            backend.abandon()
            remove_lock(where.backend)


def _target(text: str) -> Version:
    if len(text.split(".")) != 2:
        raise Fault(f'wrong target version format, expected "X.Y", got "{text}"')
    try:
        version = Version.parse(text + ".0")
    except BadVersion as error:
        raise Fault(f"failed to parse target version: {error}") from error
    if version < OLDEST:
        raise Fault(f'target version "{text}" not supported. Minimal "{OLDEST.major}.{OLDEST.minor}"')
    ours = Version.parse(ETCD_VERSION)
    if (version.major, version.minor) > (ours.major, ours.minor):
        raise Fault(f'target version "{text}" not supported. Maximal "{ours.major}.{ours.minor}"')
    return version


def _migrate(backend: Backend, member: StoppedMember, target: Version, *, forced: bool) -> None:
    current = _schema(backend)
    if current == target:
        note("storage version up-to-date", storage_version=str(current))
        return
    newest = _newest_in_log(member)
    if newest > target and not forced:
        raise Fault(
            f"cannot downgrade storage, WAL contains newer entries (of version {newest}); let the running "
            "cluster do the downgrade, or use --force"
        )
    if target < FIRST_WITH_STORAGE_VERSION:
        backend.delete(Bucket.META, STORAGE_VERSION)
    else:
        backend.put(Bucket.META, STORAGE_VERSION, str(target).encode())
    backend.flush_sync()
    note("updated storage version", new_storage_version=str(target))


def _schema(backend: Backend) -> Version:
    stored = backend.get(Bucket.META, STORAGE_VERSION)
    if stored is not None:
        return Version.parse(stored.decode())
    if not backend.get(Bucket.META, TERM):
        raise Fault("cannot detect storage schema version: missing term information")
    return OLDEST


def _newest_in_log(member: StoppedMember) -> Version:
    """The version that a server must have for what lies behind the last raft snapshot."""
    newest = OLDEST
    for entry in member.entries:
        if EntryType(entry.Type) is not EntryType.NORMAL or not entry.Data:
            continue
        decoded = decode_entry(entry.Data)
        if decoded is not None and isinstance(decoded[1], ClusterVersionSetRequest):
            newest = max(newest, Version.parse(decoded[1].ver))
    return newest
