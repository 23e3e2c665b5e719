"""etcdserverpb.KV: reads, writes and transactions on keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from etcdpy.mvcc import RangeTooLarge
from etcdpy.proto.rpc_pb2 import (
    CompactionRequest,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    TxnRequest,
)
from etcdpy.rpc.encoding import (
    LIST_BYTES_MIN,
    EncodedList,
    encode_list,
    encode_range,
    encode_single,
    single_key,
)
from etcdpy.rpc.errors import FAULTS, Code, RpcError, to_rpc_error
from etcdpy.rpc.guard import check_admin, check_read, check_txn_read
from etcdpy.rpc.router import Kind, Method, OnLearner
from etcdpy.rpc.services.base import Service
from etcdpy.rpc.services.large_answer import ANSWER_BYTES_MAX, ANSWER_KEYS_MAX, LargeAnswer
from etcdpy.rpc.services.range_stream import RangeStream
from etcdpy.server.checks import (
    check_delete,
    check_put,
    check_range,
    check_txn,
    is_txn_read_only,
    is_txn_serializable,
)
from etcdpy.server.errors import NoSpace
from etcdpy.server.plain import COMPARES_MAX, PlainTxn, read_put
from etcdpy.server.plain import read_txn as read_plain_txn
from etcdpy.server.ranges import has_filters, is_key_order, read_range
from etcdpy.server.txn import read_txn

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.mvcc.shared_ranges import Name
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView

# Keys and bytes that an answer may have in memory, by whether the transport can do without.
_MEMORY = ((0, 0), (ANSWER_KEYS_MAX, ANSWER_BYTES_MAX))


class KV(Service):
    """Requests on keys. Only the reads touch the store here; the writes come back from the log as results."""

    def __init__(self, member: MemberView) -> None:
        super().__init__(member)  # written out: see docs/performance.md, "Compiled"

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/etcdserverpb.KV/"
        return [
            Method(service + "Range", Kind.UNARY, self.range, OnLearner.IF_SERIALIZABLE),
            Method(service + "RangeStream", Kind.SERVER_STREAM, self.range_stream),
            Method(service + "Put", Kind.UNARY, self.put),
            Method(service + "DeleteRange", Kind.UNARY, self.delete_range),
            Method(service + "Txn", Kind.UNARY, self.txn),
            Method(service + "Compact", Kind.UNARY, self.compact),
        ]

    def range(self, call: Call, data: bytes) -> None:
        """Read keys."""
        single = single_key(data)
        if single is not None:
            key, is_serializable = single
            if is_serializable:
                self._read_single(call, key)
            else:
                self._member.confirm_read(when_confirmed(call, partial(self._read_single, call, key)))
            return
        request = RangeRequest.FromString(data)
        check_range(request)

        def read() -> None:
            if self._member.state.auth.is_enabled:
                check_read(self._member, call, request.key, request.range_end)
            self._read(call, request)

        if request.serializable:
            read()
        else:
            self._member.confirm_read(when_confirmed(call, read))

    def _read(self, call: Call, request: RangeRequest) -> None:
        """Answer with many keys, or with what is special in another way."""
        store = self._member.state.store
        name = _name_of_list(request)
        found = None if name is None else store.shared.find(name)
        if isinstance(found, EncodedList):
            store.observed.ranges += 1
            call.reply_parts(self.header(store.revision), found.parts, found.size)
            return
        try:
            answer = read_range(store, request, *_MEMORY[call.takes_pieces])
        except RangeTooLarge:
            LargeAnswer(self._member, self.header, call, request).start()
            return
        header, kvs = self.header(answer.revision), answer.kvs
        if sum(map(len, kvs)) < LIST_BYTES_MIN:
            call.reply(encode_range(header, kvs, answer.count, answer.more))
            return
        encoded = encode_list(kvs, answer.count, answer.more)
        if name is not None:
            store.shared.keep(name, encoded, encoded.size)
        call.reply_parts(header, encoded.parts, encoded.size)

    def _read_single(self, call: Call, key: bytes) -> None:
        state = self._member.state
        if state.auth.is_enabled:
            check_read(self._member, call, key)
        store = state.store
        header = self.header(store.revision)
        kv = store.get(key)
        call.reply(header if kv is None else encode_single(header, kv))

    def range_stream(self, call: Call, data: bytes) -> None:
        """Read keys in pieces."""
        request = RangeRequest.FromString(data)
        check_range(request)
        if request.sort_order and not is_key_order(request):
            raise RpcError(Code.UNIMPLEMENTED, "RangeStream does not support custom sort orders")
        if has_filters(request):
            raise RpcError(Code.UNIMPLEMENTED, "RangeStream does not support revision filters")
        request.ClearField("sort_target")  # with order NONE it means nothing here
        stream = RangeStream(self._member, self.header, call, request)
        if request.serializable:
            stream.start()
        else:
            self._member.confirm_read(when_confirmed(call, stream.start))

    def put(self, call: Call, data: bytes) -> None:
        """Write a key."""
        member = self._member
        request = read_put(data) or PutRequest.FromString(data)
        if not member.has_space(request):
            raise NoSpace
        if isinstance(request, PutRequest):
            check_put(request)
        self.propose(call, "put", request, data)

    def delete_range(self, call: Call, data: bytes) -> None:
        """Delete keys."""
        request = DeleteRangeRequest.FromString(data)
        check_delete(request)
        self.propose(call, "delete_range", request, data)

    def txn(self, call: Call, data: bytes) -> None:
        """Compare, then read and write; one that only reads stays out of the log."""
        member = self._member
        plain = read_plain_txn(data) if member.config.max_txn_ops >= COMPARES_MAX else None
        request = plain or TxnRequest.FromString(data)
        if not member.has_space(request):
            raise NoSpace
        if isinstance(request, PlainTxn):
            self.propose(call, "txn", request, data)
            return
        check_txn(request, member.config.max_txn_ops)
        if not is_txn_read_only(request):
            self.propose(call, "txn", request, data)
            return

        def read() -> None:
            if member.state.auth.is_enabled:
                check_txn_read(member, call, request)
            store = member.state.store
            ranges_before = store.observed.ranges
            response = read_txn(store, request)
            store.observed.ended(store.observed.ranges - ranges_before)
            self.respond(call, response, store.revision)

        if is_txn_serializable(request):
            read()
        else:
            member.confirm_read(when_confirmed(call, read))

    def compact(self, call: Call, data: bytes) -> None:
        """Forget history."""
        if self._member.state.auth.is_enabled:
            check_admin(self._member, call)
        self.propose(call, "compaction", CompactionRequest.FromString(data), data)


def _name_of_list(request: RangeRequest) -> Name | None:
    """What tells a list of present keys from others; None for all other requests."""
    if request.revision > 0 or request.count_only or not is_key_order(request) or has_filters(request):
        return None
    return request.key, request.range_end, max(request.limit, 0), request.keys_only


def when_confirmed(call: Call, read: Callable[[], None]) -> Callable[[Exception | None], None]:
    """A `done` for `confirm_read` that reads, or fails the call."""

    def done(error: Exception | None) -> None:
        if error is not None:
            call.fail(to_rpc_error(error))
            return
        try:
            read()
        except FAULTS as fault:
            call.fail(to_rpc_error(fault))

    return done
