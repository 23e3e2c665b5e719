"""v3lockpb.Lock: who may, and who has to wait.

Whoever wants a lock puts a key below its name, tied to a lease; the oldest key owns it. So locks are given
in the order of asking, and a holder that vanishes loses its key with its lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.lock_pb2 import LockRequest, LockResponse, UnlockRequest, UnlockResponse
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.inner import Queue, created_at, key_of, prefix_of, prefix_range

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.services.inner import Inner

SESSION_EXPIRED = "mutex: session is expired"


class Lock:
    """Locks by name."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/v3lockpb.Lock/"
        return [
            Method(service + "Lock", Kind.UNARY, self.lock),
            Method(service + "Unlock", Kind.UNARY, self.unlock),
        ]

    def lock(self, call: Call, data: bytes) -> None:
        """Answer when the caller holds the lock."""
        request = LockRequest.FromString(data)
        self._inner.with_lease(call, request.lease, _Acquisition(self._inner, call, request).start)

    def unlock(self, call: Call, data: bytes) -> None:
        """Delete the key of a holder, or of one who waits."""

        def deleted(response: pb.DeleteRangeResponse) -> None:
            call.reply(UnlockResponse(header=response.header).SerializeToString())

        self._inner.delete(call, UnlockRequest.FromString(data).key, deleted)


class _Acquisition:
    """One call of Lock on its way.

    A caller that leaves while it waits takes its key with it. One that leaves before we know the key's
    revision leaves it to the lease: with a lease of its own it may have asked again by then, and to the
    new call that key is the lock.
    """

    def __init__(self, inner: Inner, call: Call, request: LockRequest) -> None:
        self._inner = inner
        self._call = call
        self._request = request
        self._key = b""
        self._queue: Queue | None = None

    def start(self, lease_id: int) -> None:
        """Stand in line."""
        name = self._request.name
        self._key = key = key_of(name, lease_id)
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, lease=lease_id))
        get = pb.RequestOp(request_range=pb.RangeRequest(key=key))
        owner = pb.RequestOp(request_range=prefix_range(prefix_of(name), pb.RangeRequest.ASCEND))
        txn = pb.TxnRequest(compare=[created_at(key, 0)], success=[put, owner], failure=[get, owner])
        self._inner.txn(self._call, txn, self._queued)

    def _queued(self, response: pb.TxnResponse) -> None:
        call = self._call
        if call.closed:
            if not self._request.lease:
                self._release()
            return
        mine, owners = response.responses[0], response.responses[1].response_range.kvs
        revision = response.header.revision
        if not response.succeeded:
            revision = mine.response_range.kvs[0].create_revision
        if not owners or owners[0].create_revision == revision:
            self._reply(response.header)
            return
        self._queue = Queue(self._inner, call, prefix_of(self._request.name), revision)
        call.on_cancel = self._leave
        self._queue.wait(self._check, self._give_up)

    def _check(self) -> None:
        """Our turn; but our key may have gone while we waited."""
        request = pb.RangeRequest(key=self._key)
        self._inner.range(self._call, request, self._checked, self._give_up)

    def _checked(self, response: pb.RangeResponse) -> None:
        if response.kvs:
            self._reply(response.header)
        else:
            self._call.fail(RpcError(Code.UNKNOWN, SESSION_EXPIRED))

    def _reply(self, header: pb.ResponseHeader) -> None:
        self._call.reply(LockResponse(header=header, key=self._key).SerializeToString())

    def _give_up(self, error: RpcError) -> None:
        if not self._call.closed:
            self._release()
            self._call.fail(error)

    def _leave(self) -> None:
        if self._queue is not None:
            self._queue.leave()
        self._release()

    def _release(self) -> None:
        self._inner.delete(self._call, self._key, lambda _: None)
