"""v3electionpb.Election: who leads, and what the leader proclaims.

An election is a lock with a value: candidates put their keys below its name, the oldest leads, and its value
is the proclamation. A leader is known by its key and the revision that created it, so that one who has lost
the key, and perhaps got it anew, cannot act for its former self.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.election_pb2 import (
    CampaignRequest,
    CampaignResponse,
    LeaderKey,
    LeaderRequest,
    LeaderResponse,
    ProclaimRequest,
    ProclaimResponse,
    ResignRequest,
    ResignResponse,
)
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.inner import (
    Queue,
    created_at,
    end_of,
    key_of,
    later,
    prefix_of,
    prefix_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.call import Call
    from etcdpy.rpc.services.inner import Inner, InnerCall

MISSING_LEADER = '"leader" field must be provided'
NO_LEADER = "election: no leader"
NOT_LEADER = "election: not leader"
CLOSED_EARLY = "election: observe closed early"


class Election:
    """Elections by name."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/v3electionpb.Election/"
        return [
            Method(service + "Campaign", Kind.UNARY, self.campaign),
            Method(service + "Proclaim", Kind.UNARY, self.proclaim),
            Method(service + "Leader", Kind.UNARY, self.leader),
            Method(service + "Observe", Kind.SERVER_STREAM, self.observe),
            Method(service + "Resign", Kind.UNARY, self.resign),
        ]

    def campaign(self, call: Call, data: bytes) -> None:
        """Answer when the caller leads."""
        request = CampaignRequest.FromString(data)
        self._inner.with_lease(call, request.lease, _Candidacy(self._inner, call, request).start)

    def proclaim(self, call: Call, data: bytes) -> None:
        """Change what the leader has to say."""
        request = ProclaimRequest.FromString(data)
        _check_leader(request)

        def proclaimed(header: pb.ResponseHeader) -> None:
            call.reply(ProclaimResponse(header=header).SerializeToString())

        def write(lease_id: int) -> None:
            request.leader.lease = lease_id
            _proclaim(self._inner, call, request.leader, request.value, proclaimed, call.fail)

        self._inner.with_lease(call, request.leader.lease, write)

    def resign(self, call: Call, data: bytes) -> None:
        """Give up leadership, or a place in the queue."""
        request = ResignRequest.FromString(data)
        _check_leader(request)

        def resigned(response: pb.TxnResponse) -> None:
            call.reply(ResignResponse(header=response.header).SerializeToString())

        self._inner.txn(call, _resignation(request.leader), resigned)

    def leader(self, call: Call, data: bytes) -> None:
        """The present leader."""

        def found(response: pb.RangeResponse) -> None:
            if response.kvs:
                answer = LeaderResponse(header=response.header, kv=response.kvs[0])
                call.reply(answer.SerializeToString())
            else:
                call.fail(RpcError(Code.UNKNOWN, NO_LEADER))

        prefix = prefix_of(LeaderRequest.FromString(data).name)
        self._inner.range(call, prefix_range(prefix, pb.RangeRequest.ASCEND), found)

    def observe(self, call: Call, data: bytes) -> None:
        """All leaders and proclamations from now on."""
        prefix = prefix_of(LeaderRequest.FromString(data).name)
        _Observation(self._inner, call, prefix).start()


def _check_leader(request: ProclaimRequest | ResignRequest) -> None:
    if not request.HasField("leader"):
        raise RpcError(Code.UNKNOWN, MISSING_LEADER)


def _proclaim(
    inner: Inner,
    call: Call,
    leader: LeaderKey,
    value: bytes,
    done: Callable[[pb.ResponseHeader], None],
    refuse: Callable[[RpcError], None],
) -> None:
    def written(response: pb.TxnResponse) -> None:
        if response.succeeded:
            done(response.header)
        else:
            refuse(RpcError(Code.UNKNOWN, NOT_LEADER))

    put = pb.RequestOp(request_put=pb.PutRequest(key=leader.key, value=value, lease=leader.lease))
    txn = pb.TxnRequest(compare=[created_at(leader.key, leader.rev)], success=[put])
    inner.txn(call, txn, written, refuse)


def _resignation(leader: LeaderKey) -> pb.TxnRequest:
    delete = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=leader.key))
    return pb.TxnRequest(compare=[created_at(leader.key, leader.rev)], success=[delete])


class _Candidacy:
    """One call of Campaign on its way. As with locks, a caller that leaves while it waits takes its key
    with it.
    """

    def __init__(self, inner: Inner, call: Call, request: CampaignRequest) -> None:
        self._inner = inner
        self._call = call
        self._request = request
        self._leader = LeaderKey(name=request.name)
        self._header = pb.ResponseHeader()
        self._queue: Queue | None = None

    def start(self, lease_id: int) -> None:
        """Stand in line."""
        key = key_of(self._request.name, lease_id)
        self._leader.key, self._leader.lease = key, lease_id
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=self._request.value, lease=lease_id))
        get = pb.RequestOp(request_range=pb.RangeRequest(key=key))
        txn = pb.TxnRequest(compare=[created_at(key, 0)], success=[put], failure=[get])
        self._inner.txn(self._call, txn, self._queued)

    def _queued(self, response: pb.TxnResponse) -> None:
        call = self._call
        self._header = response.header
        self._leader.rev = response.header.revision
        present = None if response.succeeded else response.responses[0].response_range.kvs[0]
        if present is not None:
            self._leader.rev = present.create_revision
        if call.closed:
            if not self._request.lease:
                self._resign()
            return
        call.on_cancel = self._leave
        if present is not None and present.value != self._request.value:
            value = self._request.value
            _proclaim(self._inner, call, self._leader, value, lambda _: self._wait(), self._resign_and_fail)
        else:
            self._wait()

    def _wait(self) -> None:
        if self._call.closed:
            return
        prefix = prefix_of(self._request.name)
        self._queue = Queue(self._inner, self._call, prefix, self._leader.rev)
        self._queue.wait(self._elected, self._call.fail)

    def _elected(self) -> None:
        answer = CampaignResponse(header=self._header, leader=self._leader)
        self._call.reply(answer.SerializeToString())

    def _resign_and_fail(self, error: RpcError) -> None:
        if not self._call.closed:
            self._resign()
            self._call.fail(error)

    def _leave(self) -> None:
        if self._queue is not None:
            self._queue.leave()
        self._resign()

    def _resign(self) -> None:
        self._inner.txn(self._call, _resignation(self._leader), lambda _: None)


class _Observation:
    """One call of Observe: look for the leader, or wait for one; tell of it; follow it until it is gone; look
    again.

    Each watch begins right after the revision of what was told last, so a leader is told in every one of its
    words, though a leader whose whole time falls between two looks is not seen. A slow client slows the
    watch down.
    """

    def __init__(self, inner: Inner, call: Call, prefix: bytes) -> None:
        self._inner = inner
        self._call = call
        self._prefix = prefix
        self._watch: InnerCall | None = None

    def start(self) -> None:
        self._call.on_cancel = self._unwatch
        self._call.on_writable = self._go_on
        self._look()

    def _look(self) -> None:
        if not self._call.closed:
            request = prefix_range(self._prefix, pb.RangeRequest.ASCEND)
            self._inner.range(self._call, request, self._found, self._lose)

    def _found(self, response: pb.RangeResponse) -> None:
        if self._call.closed:
            return
        if response.kvs:
            self._tell(response.header, response.kvs[0])
            self._follow(response.kvs[0].key, response.header.revision)
            return
        request = pb.WatchCreateRequest(
            key=self._prefix,
            range_end=end_of(self._prefix),
            start_revision=response.header.revision + 1,
            filters=[pb.WatchCreateRequest.NODELETE],
        )
        self._watch = self._inner.watch(self._call, request, self._hear_first, self._lose)

    def _hear_first(self, response: pb.WatchResponse) -> None:
        self._unwatch()
        kv = response.events[0].kv
        response.header.revision = kv.mod_revision
        self._tell(response.header, kv)
        later(lambda: self._follow(kv.key, kv.mod_revision))

    def _follow(self, key: bytes, revision: int) -> None:
        if not self._call.closed:
            request = pb.WatchCreateRequest(key=key, start_revision=revision + 1)
            self._watch = self._inner.watch(self._call, request, self._hear, self._lose)

    def _hear(self, response: pb.WatchResponse) -> None:
        for event in response.events:
            if event.type == kv_pb2.Event.DELETE:
                self._unwatch()
                later(self._look)
                return
            response.header.revision = event.kv.mod_revision
            self._tell(response.header, event.kv)

    def _tell(self, header: pb.ResponseHeader, kv: kv_pb2.KeyValue) -> None:
        self._call.send(LeaderResponse(header=header, kv=kv).SerializeToString())

    def _go_on(self) -> None:
        watch = self._watch
        if watch is not None and watch.on_writable is not None:
            watch.on_writable()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.leave()
            self._watch = None

    def _lose(self, error: RpcError) -> None:
        self._unwatch()
        self._call.fail(RpcError(Code.UNKNOWN, CLOSED_EARLY))
