"""etcdserverpb.Maintenance: status, alarms, hashes, snapshots and the care of one member."""

from __future__ import annotations

from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from etcdpy.proto.rpc_pb2 import (
    AlarmRequest,
    AlarmType,
    DowngradeRequest,
    HashKVRequest,
    HashKVResponse,
    HashResponse,
    MoveLeaderRequest,
    SnapshotResponse,
)
from etcdpy.rpc.errors import Code, RpcError, to_rpc_error
from etcdpy.rpc.guard import check_admin, user_info
from etcdpy.rpc.router import Kind, Method, OnLearner
from etcdpy.rpc.services.base import Service
from etcdpy.server.errors import Stopped, UnknownMethod

if TYPE_CHECKING:
    from etcdpy.mvcc import HashKV
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView, SnapshotSource
    from etcdpy.rpc.services.health import Health
    from etcdpy.server.results import Result

UNKNOWN_ALARM = "etcdserver: unknown alarm type"
SNAPSHOT_CHUNK_BYTES = 32 * 1024
# Above this the client is slower than the disk, and reading waits for it.
SNAPSHOT_PENDING_BYTES_MAX = 1024 * 1024


class Maintenance(Service):
    """Requests about the member itself."""

    def __init__(self, member: MemberView, health: Health | None = None) -> None:
        super().__init__(member)
        # Told of defragmentations, if anybody is to be.
        self._health = health

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/etcdserverpb.Maintenance/"
        return [
            Method(service + "Alarm", Kind.UNARY, self.alarm),
            Method(service + "Status", Kind.UNARY, self.status, OnLearner.ALWAYS),
            Method(service + "Defragment", Kind.UNARY, self.defragment),
            Method(service + "Hash", Kind.UNARY, self.hash),
            Method(service + "HashKV", Kind.UNARY, self.hash_kv),
            Method(service + "Snapshot", Kind.SERVER_STREAM, self.snapshot, OnLearner.ALWAYS),
            Method(service + "MoveLeader", Kind.UNARY, self.move_leader),
            Method(service + "Downgrade", Kind.UNARY, self.downgrade),
        ]

    def alarm(self, call: Call, data: bytes) -> None:
        """List, raise or clear alarms."""
        request = AlarmRequest.FromString(data)
        if request.action == AlarmRequest.GET:
            self._check_user(call)
        else:
            self._check_admin(call)
        if not AlarmRequest.GET <= request.action <= AlarmRequest.DEACTIVATE:
            raise UnknownMethod
        if request.action == AlarmRequest.ACTIVATE and request.alarm not in AlarmType.values():
            raise RpcError(Code.INVALID_ARGUMENT, UNKNOWN_ALARM)  # members of etcd would not survive it
        self.propose(call, "alarm", request, data)

    def status(self, call: Call, data: bytes) -> None:
        """How this member sees itself."""
        self._check_user(call)
        member = self._member
        call.reply(self.header(member.state.store.revision) + member.status())

    def defragment(self, call: Call, data: bytes) -> None:
        """Shrink the backend."""
        self._check_admin(call)
        answer = self.answer_without_header(call)
        health = self._health
        if health is None:
            self._member.defragment(answer)
            return

        def ended(result: Result) -> None:
            health.set_serving(True)
            answer(result)

        health.set_serving(False)
        self._member.defragment(ended)

    def hash(self, call: Call, data: bytes) -> None:
        """Hash of the whole backend."""
        self._check_admin(call)
        store, started = self._member.state.store, perf_counter()

        def done(digest: int | None, error: Exception | None) -> None:
            store.observed.hashes_s.observe(perf_counter() - started)
            if digest is None:
                call.fail(to_rpc_error(error or Stopped()))
            else:
                self.respond(call, HashResponse(hash=digest), store.revision)

        self._member.hash(done)

    def hash_kv(self, call: Call, data: bytes) -> None:
        """Hash of the keys up to a revision."""
        self._check_admin(call)
        store, started = self._member.state.store, perf_counter()

        def done(found: HashKV | None, error: Exception | None) -> None:
            store.observed.revision_hashes_s.observe(perf_counter() - started)
            if found is None:
                call.fail(to_rpc_error(error or Stopped()))
                return
            digest, compact_revision, hash_revision = found
            response = HashKVResponse(
                hash=digest, compact_revision=compact_revision, hash_revision=hash_revision
            )
            self.respond(call, response, store.revision)

        self._member.hash_kv(HashKVRequest.FromString(data).revision, done)

    def snapshot(self, call: Call, data: bytes) -> None:
        """The backend as a file."""
        self._check_admin(call)

        def opened(source: SnapshotSource | None, error: Exception | None) -> None:
            if source is None:
                call.fail(to_rpc_error(error or Stopped()))
            elif call.closed:
                source.close()
            else:
                _SnapshotStream(call, source).start()

        self._member.open_snapshot(opened)

    def move_leader(self, call: Call, data: bytes) -> None:
        """Hand leadership to another member."""
        self._check_admin(call)
        target = MoveLeaderRequest.FromString(data).targetID
        self._member.move_leader(target, self.answer_without_header(call))

    def downgrade(self, call: Call, data: bytes) -> None:
        """Prepare the cluster for an older release."""
        self._check_admin(call)
        request = DowngradeRequest.FromString(data)
        if not DowngradeRequest.VALIDATE <= request.action <= DowngradeRequest.CANCEL:
            raise UnknownMethod
        self._member.downgrade(request, self.answer(call))

    def _check_user(self, call: Call) -> None:
        if self._member.state.auth.is_enabled:
            user_info(self._member, call)

    def _check_admin(self, call: Call) -> None:
        if self._member.state.auth.is_enabled:
            check_admin(self._member, call)


class _SnapshotStream:
    """One snapshot on its way: blobs, then the SHA-256 of all of them, read as fast as the client takes
    them.
    """

    def __init__(self, call: Call, source: SnapshotSource) -> None:
        self._call = call
        self._source = source
        self._remaining = source.size_bytes
        self._digest = sha256()

    def start(self) -> None:
        self._call.on_cancel = self._source.close
        self._call.on_writable = self._pump
        self._pump()

    def _pump(self) -> None:
        call = self._call
        while not call.closed and call.pending_bytes < SNAPSHOT_PENDING_BYTES_MAX:
            if self._remaining <= 0:
                self._send(self._digest.digest())
                self._source.close()
                call.finish()
                return
            blob = self._source.read(min(SNAPSHOT_CHUNK_BYTES, self._remaining))
            assert blob, f"snapshot ended {self._remaining} bytes early"
            self._digest.update(blob)
            self._remaining -= len(blob)
            self._send(blob)

    def _send(self, blob: bytes) -> None:
        response = SnapshotResponse(remaining_bytes=self._remaining, blob=blob, version=self._source.version)
        self._call.send(response.SerializeToString())
