"""A member with the real store, watch hub and lessor, in whose log everything is applied at once; a store
that is simple enough to trust; and a call whose transport is the test.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdpy.auth import NOBODY, AuthError, AuthInfo, AuthStore, SimpleTokens
from etcdpy.backend import Backend
from etcdpy.lease import LeaseError, LeaseNotFound, Lessor
from etcdpy.mvcc import Compacted, Event, FutureRevision, MvccError, Store
from etcdpy.mvcc.watch import WatchHub
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.rpc.call import Call
from etcdpy.server.errors import NotSupported, ServerError
from etcdpy.server.permits import Permits
from etcdpy.server.plain import PlainPut, PlainTxn
from etcdpy.server.plain_txn import apply_plain_put, apply_plain_txn
from etcdpy.server.request_ids import RequestIds
from etcdpy.server.results import Done, Result
from etcdpy.server.txn import apply_delete_range, apply_put, apply_txn

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.errors import RpcError


@dataclass
class Found:
    kvs: list[bytes]
    count: int
    revision: int


def contains(key: bytes, start: bytes, range_end: bytes) -> bool:
    if not range_end:
        return key == start
    return start <= key and (range_end == b"\0" or key < range_end)


class ModelStore:
    """Every state the store ever had, whole, by revision. Also its own write transaction."""

    def __init__(self) -> None:
        self.states: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.settled = 1
        self.compact_revision = -1

    @property
    def revision(self) -> int:
        return max(self.states)

    def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
        keys_max: int = 0,
        bytes_max: int = 0,
    ) -> Found:
        if revision > self.settled:
            raise FutureRevision
        if 0 < revision < self.compact_revision:
            raise Compacted
        state = self.states[revision if revision > 0 else self.revision]
        kvs = [state[name] for name in sorted(state) if contains(name, key, range_end)]
        count = len(kvs)
        if count_only:
            kvs = []
        if limit:
            kvs = kvs[:limit]
        if keys_only:
            kvs = [without_value(kv) for kv in kvs]
        return Found([kv.SerializeToString() for kv in kvs], count, self.revision)

    def begin(self) -> ModelStore:
        assert self.settled == self.revision
        return self

    def end(self) -> None:
        self.settled = self.revision

    def checked(self) -> None:
        """Nothing is counted here."""

    def current(self, key: bytes) -> KeyValue | None:
        return self.states[self.revision].get(key)

    def get(self, key: bytes) -> bytes | None:
        kv = self.states[self.revision].get(key)
        return None if kv is None else kv.SerializeToString()

    def put(self, key: bytes, value: bytes, lease: int = 0) -> None:
        state, revision = self._next()
        before = state.get(key)
        kv = KeyValue(key=key, value=value, lease=lease, mod_revision=revision)
        kv.create_revision = before.create_revision if before is not None else revision
        kv.version = before.version + 1 if before is not None else 1
        state[key] = kv

    def delete_range(self, key: bytes, range_end: bytes = b"") -> int:
        doomed = [name for name in sorted(self.states[self.revision]) if contains(name, key, range_end)]
        if doomed:
            state, _ = self._next()
            for name in doomed:
                del state[name]
        return len(doomed)

    def _next(self) -> tuple[dict[bytes, KeyValue], int]:
        revision = self.settled + 1
        if revision not in self.states:
            self.states[revision] = dict(self.states[self.settled])
        return self.states[revision], revision

    def compact(self, revision: int) -> None:
        if revision <= self.compact_revision:
            raise Compacted
        if revision > self.revision:
            raise FutureRevision
        self.compact_revision = revision


def without_value(kv: KeyValue) -> KeyValue:
    copy = KeyValue()
    copy.CopyFrom(kv)
    copy.ClearField("value")
    return copy


@dataclass
class FakeState:
    backend: Backend
    store: Store
    hub: WatchHub
    lessor: Lessor
    auth: AuthStore
    permits: Permits


def discard(directory: str, backend: Backend) -> None:
    backend.abandon()
    shutil.rmtree(directory)


@dataclass
class FakeConfig:
    max_request_bytes: int = 1_572_864
    max_txn_ops: int = 128
    client_cert_auth: bool = False


@dataclass
class FakeSnapshot:
    content: bytes
    version: str = "3.6.0"
    position: int = 0
    is_closed: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, size: int) -> bytes:
        blob = self.content[self.position : self.position + size]
        self.position += len(blob)
        return blob

    def close(self) -> None:
        self.is_closed = True


@dataclass(eq=False)
class FakeMember:
    """Applies what is proposed unless told to fail or to hold it back."""

    cluster_id: int = 0xCDF818194E3A8C32
    member_id: int = 0x8E9E05C52164694D
    raft_term: int = 2
    leader_id: int = 0x8E9E05C52164694D
    is_learner: bool = False
    applied_index: int = 0
    is_capable: bool = True
    config: FakeConfig = field(default_factory=FakeConfig)
    space_is_left: bool = True
    # What to answer instead of doing it.
    propose_error: Exception | None = None
    read_error: Exception | None = None
    other_error: Exception | None = None
    # Results and reads held back until the test lets them go.
    is_holding: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)
    proposals: list[tuple[str, bytes]] = field(default_factory=list)
    asked: list[object] = field(default_factory=list)
    snapshot: FakeSnapshot = field(default_factory=lambda: FakeSnapshot(b""))
    members: list[pb.Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        directory = tempfile.mkdtemp(prefix="etcdpy-rpc-")
        backend = Backend.open(Path(directory) / "db")
        weakref.finalize(self, discard, directory, backend)
        store = Store(backend)
        lessor, auth = Lessor(backend, 2), AuthStore(backend, SimpleTokens(300, lambda: 0.0))
        self.state = FakeState(backend, store, WatchHub(store), lessor, auth, Permits(auth, lessor))
        self.state.lessor.promote(0.0, 0.0)
        self.request_ids = RequestIds(self.member_id, 1)

    def release(self) -> None:
        held, self.held = self.held, []
        for action in held:
            action()

    def _when_released(self, action: Callable[[], None]) -> None:
        if self.is_holding:
            self.held.append(action)
        else:
            action()

    def when_applied(self, index: int, done: Callable[[], None]) -> None:
        done()

    def hash_password(self, password: str, done: Callable[[str | None, Exception | None], None]) -> None:
        done("", None)

    def propose(self, kind: str, message: Any, data: bytes, done: Done, info: AuthInfo = NOBODY) -> None:
        self.proposals.append((kind, data))
        self._when_released(lambda: done(self._apply(kind, message)))

    def _apply(self, kind: str, message: Any) -> Result:
        if self.propose_error is not None:
            return Result(error=self.propose_error)
        try:
            response = self._execute(kind, message)
        except (ServerError, MvccError, LeaseError, AuthError) as error:
            return Result(error=error)
        return Result(response, None, self.state.store.revision)

    def _execute(self, kind: str, message: Any) -> Any:
        store, lessor = self.state.store, self.state.lessor
        writes: dict[str, Any] = {"put": apply_put, "delete_range": apply_delete_range, "txn": apply_txn}
        if isinstance(message, PlainPut | PlainTxn):
            writes = {"put": apply_plain_put, "txn": apply_plain_txn}
        if kind in writes:
            txn = store.begin()
            try:
                return writes[kind](txn, lessor, message)
            finally:
                self.publish(txn.end())
        if kind == "compaction":
            store.compact(message.revision)
            return pb.CompactionResponse()
        if kind == "lease_grant":
            lease = lessor.grant(message.ID, message.TTL)
            return pb.LeaseGrantResponse(ID=lease.id, TTL=lease.ttl)
        if kind == "lease_revoke":
            keys = lessor.revoke(message.ID)
            txn = store.begin()
            for key in keys:
                txn.delete_range(key)
            self.publish(txn.end())
            return pb.LeaseRevokeResponse()
        if kind == "alarm":
            return pb.AlarmResponse(alarms=[pb.AlarmMember(memberID=1, alarm=pb.NOSPACE)])
        raise NotSupported(kind)

    def publish(self, events: list[Event]) -> None:
        if events:
            self.state.hub.publish(self.state.store.revision, events)

    def write(self, key: bytes, value: bytes = b"") -> None:
        """A put that comes from elsewhere."""
        txn = self.state.store.begin()
        txn.put(key, value)
        self.publish(txn.end())

    def delete(self, key: bytes) -> None:
        """A delete that comes from elsewhere."""
        txn = self.state.store.begin()
        txn.delete_range(key)
        self.publish(txn.end())

    def confirm_read(self, done: Callable[[Exception | None], None]) -> None:
        self._when_released(lambda: done(self.read_error))

    def has_space(self, request: Any) -> bool:
        return self.space_is_left

    def member_list(self) -> list[pb.Member]:
        return self.members

    def _answer(self, asked: object, response: Any, done: Done) -> None:
        self.asked.append(asked)
        if self.other_error is not None:
            done(Result(error=self.other_error))
        else:
            done(Result(response, None, self.state.store.revision))

    def change_members(self, request: Any, done: Done, token: str = "") -> None:
        responses = {
            "MemberAddRequest": pb.MemberAddResponse(member=pb.Member(ID=7), members=self.members),
            "MemberRemoveRequest": pb.MemberRemoveResponse(members=self.members),
            "MemberUpdateRequest": pb.MemberUpdateResponse(members=self.members),
            "MemberPromoteRequest": pb.MemberPromoteResponse(members=self.members),
        }
        self._answer(request, responses[request.DESCRIPTOR.name], done)

    def move_leader(self, target_id: int, done: Done) -> None:
        self._answer(target_id, None, done)

    def maybe_renew_lease(self, lease_id: int) -> int | None:
        lease = self.state.lessor.lookup(lease_id)
        return None if self.is_holding or self.other_error is not None or lease is None else lease.ttl

    def renew_lease(self, lease_id: int, done: Done) -> None:
        def answer() -> None:
            lease = self.state.lessor.lookup(lease_id)
            if self.other_error is not None or lease is None:
                done(Result(error=self.other_error or LeaseNotFound(lease_id)))
            else:
                done(Result(pb.LeaseKeepAliveResponse(ID=lease_id, TTL=lease.ttl), None, 0))

        self._when_released(answer)

    def lease_time_to_live(self, request: Any, done: Done) -> None:
        response = pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=-1)
        lease = self.state.lessor.lookup(request.ID)
        if lease is not None:
            response.TTL, response.grantedTTL = lease.ttl - 1, lease.ttl
            response.keys.extend(self.state.lessor.keys(request.ID) if request.keys else ())
        self._answer(request, response, done)

    def lease_ids(self) -> list[int]:
        return [lease.id for lease in self.state.lessor.leases()]

    def status(self) -> bytes:
        status = pb.StatusResponse(version="3.6.5", leader=self.leader_id, raftTerm=self.raft_term)
        return status.SerializeToString()

    def hash(self, done: Callable[[int | None, Exception | None], None]) -> None:
        done(self.state.store.hash(), None)

    def hash_kv(self, revision: int, done: Callable[[Any, Exception | None], None]) -> None:
        try:
            found = self.state.store.hash_kv(revision or self.state.store.revision)
        except MvccError as error:
            done(None, error)
        else:
            done(found, None)

    def defragment(self, done: Done) -> None:
        self._answer("defragment", None, done)

    def downgrade(self, request: Any, done: Done) -> None:
        self._answer(request, pb.DowngradeResponse(version="3.6"), done)

    def authenticate(self, request: Any, done: Done) -> None:
        self._answer(request, pb.AuthenticateResponse(token="abc.1"), done)

    def open_snapshot(self, done: Callable[[FakeSnapshot | None, Exception | None], None]) -> None:
        if self.other_error is not None:
            done(None, self.other_error)
        else:
            done(self.snapshot, None)


class RecordingCall(Call):
    """A call whose transport takes what the test lets it take."""

    __slots__ = ("_closed", "error", "is_finished", "is_reading", "queued", "sent", "takes_all")

    def __init__(self, path: str = "/test", metadata: dict[str, str] | None = None) -> None:
        super().__init__(path, metadata or {}, "127.0.0.1:1", None)
        self.sent: list[bytes] = []
        self.queued: list[bytes] = []
        self.takes_all = True
        self.error: RpcError | None = None
        self.is_finished = False
        self.is_reading = True
        self._closed = False

    def reply(self, message: bytes) -> None:
        self.send(message)
        self.finish()

    def send(self, message: bytes) -> None:
        if not self._closed:
            (self.sent if self.takes_all else self.queued).append(message)

    def finish(self) -> None:
        self.is_finished = self.is_finished or not self._closed
        self._closed = True

    def fail(self, error: RpcError) -> None:
        if not self._closed:
            self.error = error
        self._closed = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    @property
    def pending_bytes(self) -> int:
        return sum(map(len, self.queued))

    @property
    def closed(self) -> bool:
        return self._closed

    def take(self) -> None:
        """The transport passes on what it holds."""
        self.sent += self.queued
        self.queued = []
        if self.on_writable is not None and not self._closed:
            self.on_writable()

    def cancel(self) -> None:
        """The client leaves."""
        self._closed = True
        if self.on_cancel is not None:
            self.on_cancel()
