"""Reading the data directory of a stopped member, Go's or ours, without changing it.

Both keep the same log and the same raft snapshots; only the database differs. What a member is made of
beyond its database is collected here: its ids, its hard state, and the entries behind the index that the
database is at. The new directory gets a log that begins there.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy import wal
from etcdpy.backend import Bucket
from etcdpy.cluster.members import MalformedMember
from etcdpy.cluster.membership import Membership, MembershipError
from etcdpy.cluster.v2 import load_store
from etcdpy.cluster.version import BadVersion
from etcdpy.ctl.output import Fault
from etcdpy.proto.etcdserver_pb2 import Metadata, Request
from etcdpy.proto.membership_pb2 import ClusterMemberAttrSetRequest, ClusterVersionSetRequest
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.messages import EntryType, HardState
from etcdpy.server.member import Identity, decode_entry
from etcdpy.server.v2_state import V2Bucket, note_attributes, note_change, note_version, open_store
from etcdpy.v2store import StoreFault, V2Error, apply_request, import_dump
from etcdpy.wal.recovery import Recovery, SegmentScan
from etcdpy.wal.segment import list_segments, select_segments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.cluster.v2 import ClusterState
    from etcdpy.proto.raft_pb2 import Entry as WireEntry
    from etcdpy.proto.raft_pb2 import Snapshot as WireSnapshot
    from etcdpy.server.bootstrap import Layout
    from etcdpy.v2store import Store

__all__ = ["StoppedMember", "held", "read_member", "replay"]


@dataclass(slots=True)
class StoppedMember:
    """What the log of a stopped member says."""

    identity: Identity
    snapshot: WireSnapshot | None
    hard_state: HardState
    entries: list[WireEntry]

    @property
    def snapshot_index(self) -> int:
        return 0 if self.snapshot is None else self.snapshot.metadata.index

    def term_at(self, index: int, stored: int) -> int:
        """The term of an entry that the database is at; `stored` is what the database says of it."""
        if self.snapshot is not None and index == self.snapshot_index:
            return int(self.snapshot.metadata.term)
        for entry in self.entries:
            if entry.Index == index:
                return int(entry.Term)
        return stored

    def after(self, index: int) -> list[tuple[int, bytes]]:
        """The entries behind an index, encoded."""
        return [(entry.Index, entry.SerializeToString()) for entry in self.entries if entry.Index > index]

    def state_at(self, index: int) -> HardState:
        """The hard state of a member whose database is at `index`: what was applied was committed, even where
        the log had no occasion to say so.
        """
        last = self.entries[-1].Index if self.entries else self.snapshot_index
        if index > last:
            raise Fault(
                f"the database is at index {index} but the log ends at {last}: the log has lost entries"
            )
        state = self.hard_state
        return HardState(state.term, state.vote, max(state.commit, index))


def read_member(where: Layout) -> StoppedMember:
    """Read a member's newest raft snapshot and the log behind it.

    Raises:
        Fault: there is no member here.
        wal.WalError: the log is damaged.
    """
    if not wal.exists(where.wal_dir):
        raise Fault(f'no member has been started on "{where.data_dir}": {where.wal_dir} holds no log')
    snapshot = _newest_snapshot(where)
    recovered = _read_log(where, snapshot)
    metadata = Metadata.FromString(recovered.metadata)
    state = recovered.hard_state
    return StoppedMember(
        Identity(metadata.NodeID, metadata.ClusterID),
        snapshot,
        HardState() if state is None else HardState(state.term, state.vote, state.commit),
        recovered.entries,
    )


def _newest_snapshot(where: Layout) -> WireSnapshot | None:
    """The newest whole one that the log names. Damaged ones are passed over, and stay as they are."""
    named = {(mark.term, mark.index) for mark in wal.snapshot_marks(where.wal_dir)}
    for path in sorted(where.snap_dir.glob("*-*.snap"), reverse=True):
        try:
            snapshot = wal.decode_snapshot(path, path.read_bytes())
        except wal.CorruptSnapshot:
            continue
        if (snapshot.metadata.term, snapshot.metadata.index) in named:
            return snapshot
    return None


def _read_log(where: Layout, snapshot: WireSnapshot | None) -> wal.Recovered:
    """As `wal.Log.open` reads it, but a torn end is only left out, not repaired."""
    mark = wal.SnapshotMark()
    if snapshot is not None:
        metadata = snapshot.metadata
        mark = wal.SnapshotMark(metadata.index, metadata.term, metadata.conf_state.SerializeToString())
    files = wal.RealFiles()
    names = select_segments(where.wal_dir, list_segments(files, where.wal_dir), mark.index)
    recovery = Recovery(mark)
    crc: int | None = None
    for name in names:
        path = where.wal_dir / str(name)
        scan = SegmentScan(path, files.read(path), crc, newest=name == names[-1])
        recovery.read_segment(scan)
        crc = scan.crc
    return recovery.finish(where.wal_dir)


def replay(member: StoppedMember, index: int) -> tuple[ClusterState, Iterator[tuple[bytes, bytes]]]:
    """The membership and the rows of the v2 store at an index, as a Go member of 3.5 comes to them: from its
    raft snapshot and the entries behind that.
    """
    memory = _Memory()
    membership = Membership(memory)
    if member.snapshot is not None:
        membership.replace(load_store(member.snapshot.data))
        import_dump(member.snapshot.data, V2Bucket(memory))
    store = open_store(memory)
    for entry in member.entries:
        if entry.Index > index:
            break
        try:
            _replay(membership, store, entry)
        except (MembershipError, MalformedMember, BadVersion, DecodeError, V2Error, StoreFault):
            continue  # refused or passed over when it was applied, too
    return membership.state(), memory.items(Bucket.V2)


def _replay(membership: Membership, store: Store, entry: WireEntry) -> None:
    if EntryType(entry.Type) is EntryType.CONF_CHANGE:
        change = raft_codec.decode_conf_change(entry.Data)
        membership.apply(change)
        note_change(store, change)
    elif EntryType(entry.Type) is EntryType.NORMAL and entry.Data:
        _, request, _ = decode_entry(entry.Data) or ("", None, None)
        if isinstance(request, ClusterMemberAttrSetRequest):
            attributes = request.member_attributes
            if membership.publish_attributes(request.member_ID, attributes.name, attributes.client_urls):
                note_attributes(store, request.member_ID)
        elif isinstance(request, ClusterVersionSetRequest):
            membership.set_cluster_version(request.ver)
            note_version(store)
        elif isinstance(request, Request):
            apply_request(store, request)


class _Memory:
    """Buckets that nobody keeps."""

    def __init__(self) -> None:
        self._values: dict[tuple[int, bytes], bytes] = {}

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        self._values[bucket, key] = value

    def delete(self, bucket: Bucket, key: bytes) -> None:
        self._values.pop((bucket, key), None)

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        return self._values.get((bucket, key))

    def items(self, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for (other, key), value in sorted(self._values.items()) if other == bucket])


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Take the lock that a running Go member has on its database, so that none starts meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Fault(f"{path} is in use: stop the member first") from None
        yield
    finally:
        os.close(descriptor)
