"""From a bbolt database to one of ours, with the position and the membership that the new member has.

Keys, leases, alarms, users and roles are taken over as they are. The members are not: a restored member
founds a new cluster, and the Go server of 3.5 keeps part of what it knows about members outside its
database.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdpy import bolt
from etcdpy.backend import ETCD_BUCKETS, NAMES, Backend, BackendError, Bucket
from etcdpy.cluster.membership import Membership
from etcdpy.ctl.output import Fault
from etcdpy.mvcc.compaction import SCHEDULED
from etcdpy.mvcc.imports import import_records
from etcdpy.mvcc.revision import encode_revision, main_of
from etcdpy.server.snapshots import CONF_STATE, LOCK_SUFFIX, encode_conf_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from etcdpy.cluster.v2 import ClusterState

__all__ = ["Position", "is_lmdb", "open_bolt", "remove_lock", "rows", "write_database"]

BATCH_OPERATIONS_MAX = 1 << 30  # flushed by hand
LMDB_MAGIC = (0xBEEFC0DE).to_bytes(4, "little")
LMDB_MAGIC_AT = 16
REVISION_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Position:
    """The raft entry that a database is at."""

    index: int
    term: int


def open_bolt(path: Path) -> bolt.Reader:
    """Open a bbolt file; what is none is called what etcdutl calls it."""
    if is_lmdb(path):
        raise Fault(f"invalid database: {path} is a database of etcdpy")
    try:
        return bolt.Reader.open(path)
    except bolt.CorruptFile as error:
        raise Fault("invalid database") from error


def is_lmdb(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(LMDB_MAGIC_AT + len(LMDB_MAGIC))
    return head[LMDB_MAGIC_AT:] == LMDB_MAGIC


def rows(reader: bolt.Reader, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]:
    """All rows of a bucket, none if an old file does not have it."""
    with suppress(bolt.NoSuchBucket):
        return reader.items(NAMES[bucket])
    return iter(())


def write_database(
    reader: bolt.Reader,
    target: Path,
    position: Position,
    members: ClusterState,
    *,
    bump: int = 0,
    v2_rows: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Write the database of a member at `position`.

    Args:
        bump: how far the revision is raised; what lies before the new one counts as compacted.
        v2_rows: of the v2 store, which no bbolt file has.
    """
    backend = Backend.open(target, batch_operations_max=BATCH_OPERATIONS_MAX, sync=False)
    try:
        leases = _copy_buckets(backend, reader)
        membership = Membership(backend)
        membership.replace(members)
        for key, value in v2_rows:
            backend.put(Bucket.V2, key, value)
        backend.put(Bucket.META, CONF_STATE, encode_conf_state(membership.conf_state()))
        backend.flush_sync()
        records = _Records(rows(reader, Bucket.KEY), bump)
        import_records(backend, records, leases)
        if bump:
            backend.put(Bucket.META, SCHEDULED, encode_revision(records.latest))
        backend.set_consistent(position.index, position.term)
        backend.flush_sync()
        backend.sync()
    except BackendError as error:
        # LMDB calls a disk that takes only a part of a write an input/output error.
        raise Fault(f"cannot write {target} ({error}): is there room on the disk?") from error
    finally:
        backend.abandon()
    remove_lock(target)


def remove_lock(path: Path) -> None:
    """LMDB's lock table belongs to the processes that have the file open."""
    path.with_name(path.name + LOCK_SUFFIX).unlink(missing_ok=True)


def _copy_buckets(backend: Backend, reader: bolt.Reader) -> set[int]:
    """All but keys and members; the ids of the leases."""
    leases = set()
    for bucket in ETCD_BUCKETS:
        if bucket in (Bucket.KEY, Bucket.MEMBERS, Bucket.MEMBERS_REMOVED):
            continue
        for key, value in rows(reader, bucket):
            backend.put(bucket, key, value)
            if bucket is Bucket.LEASE:
                leases.add(int.from_bytes(key, "big", signed=True))
    return leases


class _Records:
    """The records of a KEY bucket, and behind them the empty one that raises the revision."""

    def __init__(self, stored: Iterator[tuple[bytes, bytes]], bump: int) -> None:
        self.latest = 0
        self._stored = stored
        self._bump = bump

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        revision = b""
        for revision, data in self._stored:
            yield revision, data
        self.latest = main_of(revision) + self._bump
        if self._bump:
            if self.latest > REVISION_MAX:
                raise Fault(f"revision {self.latest - self._bump} cannot be raised by {self._bump}")
            yield encode_revision(self.latest), b""
