"""Calls that a service makes for its caller to the services beside it.

Lock and Election are written on top of the public calls, as a client would write them: their puts, reads
and watches go through KV, Lease and Watch, and so meet the same checks, quota and permissions, with the
caller's own metadata. Nothing is sent anywhere; an inner call is an object whose answer is a callback. Its
failure becomes the caller's, with code Unknown and the text kept, which is what etcd's clients see.

What waits here waits on a watch. What follows a write or an event begins in a later turn of the loop,
because the member is in the middle of applying when it hears of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.call import Call
from etcdpy.rpc.errors import FAULTS, Code, RpcError, to_rpc_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from etcdpy.rpc.services.kv import KV
    from etcdpy.rpc.services.lease import Lease
    from etcdpy.rpc.services.watch import Watch

    Refuse = Callable[[RpcError], None]

SESSION_TTL_S = 60
COMPACTED = "etcdserver: mvcc: required revision has been compacted"

_M = TypeVar("_M", bound="Message")


class InnerCall(Call):
    """A call whose client is a service. Its answers go to `hear`, its failure to `refuse`."""

    __slots__ = ("_caller", "_closed", "_hear", "_refuse")

    def __init__(self, path: str, caller: Call, hear: Callable[[bytes], None], refuse: Refuse) -> None:
        super().__init__(path, caller.metadata, caller.peer, caller.deadline)
        self._caller = caller
        self._hear = hear
        self._refuse = refuse
        self._closed = False

    def run(self, handler: Callable[[Call, bytes], None], data: bytes) -> None:
        """Hand the call to its method."""
        try:
            handler(self, data)
        except FAULTS as error:
            self.fail(to_rpc_error(error))

    def reply(self, message: bytes) -> None:
        """The answer."""
        if not self._closed:
            self._closed = True
            self._hear(message)

    def send(self, message: bytes) -> None:
        """One answer of many."""
        if not self._closed:
            self._hear(message)

    def finish(self) -> None:
        """The last answer was the last."""
        self._closed = True

    def fail(self, error: RpcError) -> None:
        """No answer."""
        if not self._closed:
            self._closed = True
            self._refuse(RpcError(Code.UNKNOWN, error.message))

    def leave(self) -> None:
        """Want no more answers."""
        if not self._closed:
            self._closed = True
            if self.on_cancel is not None:
                self.on_cancel()

    def pause_reading(self) -> None:
        """There is one request and it has been read."""

    def resume_reading(self) -> None:
        """There is one request and it has been read."""

    @property
    def pending_bytes(self) -> int:
        """What the caller has not taken: an inner stream is as slow as the stream that it feeds."""
        return self._caller.pending_bytes

    @property
    def closed(self) -> bool:
        """Whether the call has ended."""
        return self._closed

    @property
    def certificate_name(self) -> str:
        """The caller's."""
        return self._caller.certificate_name


class Inner:
    """The services that may be called from inside."""

    def __init__(self, kv: KV, lease: Lease, watch: Watch) -> None:
        self._kv = kv
        self._lease = lease
        self._watch = watch

    def txn(
        self,
        caller: Call,
        request: pb.TxnRequest,
        done: Callable[[pb.TxnResponse], None],
        refuse: Refuse | None = None,
    ) -> None:
        """KV.Txn; without `refuse` a failure is the caller's, here and below."""
        call = InnerCall("/etcdserverpb.KV/Txn", caller, _parsed(pb.TxnResponse, done), refuse or caller.fail)
        call.run(self._kv.txn, request.SerializeToString())

    def range(
        self,
        caller: Call,
        request: pb.RangeRequest,
        done: Callable[[pb.RangeResponse], None],
        refuse: Refuse | None = None,
    ) -> None:
        """KV.Range."""
        hear = _parsed(pb.RangeResponse, done)
        call = InnerCall("/etcdserverpb.KV/Range", caller, hear, refuse or caller.fail)
        call.run(self._kv.range, request.SerializeToString())

    def delete(self, caller: Call, key: bytes, done: Callable[[pb.DeleteRangeResponse], None]) -> None:
        """KV.DeleteRange of one key."""
        hear = _parsed(pb.DeleteRangeResponse, done)
        call = InnerCall("/etcdserverpb.KV/DeleteRange", caller, hear, caller.fail)
        call.run(self._kv.delete_range, pb.DeleteRangeRequest(key=key).SerializeToString())

    def with_lease(self, caller: Call, lease_id: int, done: Callable[[int], None]) -> None:
        """Go on with the caller's lease, or with a new one that nobody keeps alive."""
        if lease_id:
            done(lease_id)
            return
        hear = _parsed(pb.LeaseGrantResponse, lambda response: done(response.ID))
        call = InnerCall("/etcdserverpb.Lease/LeaseGrant", caller, hear, caller.fail)
        call.run(self._lease.grant, pb.LeaseGrantRequest(TTL=SESSION_TTL_S).SerializeToString())

    def watch(
        self,
        caller: Call,
        request: pb.WatchCreateRequest,
        hear: Callable[[pb.WatchResponse], None],
        refuse: Refuse,
    ) -> InnerCall:
        """Watch.Watch with one watch on it: `hear` of events, `refuse` when there will be no more."""

        def heard(response: pb.WatchResponse) -> None:
            if response.canceled:
                call.leave()
                reason = COMPACTED if response.compact_revision else response.cancel_reason
                refuse(RpcError(Code.UNKNOWN, reason))
            elif response.events:
                hear(response)

        call = InnerCall("/etcdserverpb.Watch/Watch", caller, _parsed(pb.WatchResponse, heard), refuse)
        call.run(self._watch.watch, b"")
        if call.on_message is not None:
            call.on_message(pb.WatchRequest(create_request=request).SerializeToString())
        return call


class Queue:
    """A wait until every key of a prefix that is older than ours is gone.

    Who waits watches the youngest of the older keys and nothing else, so each departure wakes one waiter.
    """

    def __init__(self, inner: Inner, caller: Call, prefix: bytes, revision: int) -> None:
        """`revision` is that of our own key's creation."""
        self._inner = inner
        self._caller = caller
        self._request = prefix_range(prefix, pb.RangeRequest.DESCEND)
        self._request.max_create_revision = revision - 1
        self._watch: InnerCall | None = None
        self._done: Callable[[], None]
        self._refuse: Refuse

    def wait(self, done: Callable[[], None], refuse: Refuse) -> None:
        """`done` when it is our turn."""
        self._done = done
        self._refuse = refuse
        later(self._look)

    def leave(self) -> None:
        """Wait no longer."""
        if self._watch is not None:
            self._watch.leave()

    def _look(self) -> None:
        if not self._caller.closed:
            self._inner.range(self._caller, self._request, self._found, self._refuse)

    def _found(self, response: pb.RangeResponse) -> None:
        if self._caller.closed:
            return
        if not response.kvs:
            self._done()
            return
        request = pb.WatchCreateRequest(
            key=response.kvs[0].key,
            start_revision=response.header.revision + 1,
            filters=[pb.WatchCreateRequest.NOPUT],
        )
        self._watch = self._inner.watch(self._caller, request, self._hear, self._refuse)

    def _hear(self, response: pb.WatchResponse) -> None:
        assert response.events[0].type == kv_pb2.Event.DELETE, response.events[0].type
        if self._watch is not None:
            self._watch.leave()
            self._watch = None
        later(self._look)


def later(action: Callable[[], None]) -> None:
    """In a later turn of the loop."""
    asyncio.get_running_loop().call_soon(action)


def prefix_of(name: bytes) -> bytes:
    """Where the keys of a lock or an election are."""
    return name + b"/"


def key_of(name: bytes, lease_id: int) -> bytes:
    """The key by which the holder of a lease stands in line."""
    return b"%b/%b" % (name, f"{lease_id:x}".encode())


def prefix_range(prefix: bytes, order: pb.RangeRequest.SortOrder) -> pb.RangeRequest:
    """Read the one key of a prefix that was created first, or last."""
    return pb.RangeRequest(
        key=prefix,
        range_end=end_of(prefix),
        sort_order=order,
        sort_target=pb.RangeRequest.CREATE,
        limit=1,
    )


def end_of(prefix: bytes) -> bytes:
    """The first key after all keys of a prefix; the slash at its end makes this simple."""
    assert prefix.endswith(b"/"), prefix
    return prefix[:-1] + b"0"


def created_at(key: bytes, revision: int) -> pb.Compare:
    """That a key was created at a revision, 0 for not at all."""
    return pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=revision)


def _parsed(response_type: type[_M], done: Callable[[_M], None]) -> Callable[[bytes], None]:
    return lambda data: done(response_type.FromString(data))
