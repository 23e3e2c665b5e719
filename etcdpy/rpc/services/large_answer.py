"""KV.Range with an answer too large for memory: as many bytes as were announced, one piece at a time.

The message is one, as for every Range; only nobody ever holds it whole. Everything up to the revision is
flushed, and a view of the database is read twice (see `LargeRange`), in steps between which the loop is free.
Once the answer has begun there is no way to refuse it: if it cannot be finished, the stream is reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etcdpy.mvcc.large_range import LargeRange
from etcdpy.mvcc.ranges import bound
from etcdpy.rpc.encoding import encode_kvs, encode_varint, range_tail
from etcdpy.rpc.errors import FAULTS, Code, RpcError, to_rpc_error
from etcdpy.rpc.services.inner import later
from etcdpy.server.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etcdpy.backend import Reader
    from etcdpy.proto.rpc_pb2 import RangeRequest
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView

# Answers up to here are made in memory, where they are quickest.
ANSWER_BYTES_MAX: Final = 16 << 20
ANSWER_KEYS_MAX: Final = 1 << 16
# A message of gRPC has 32 bits for its length.
MESSAGE_BYTES_MAX: Final = (1 << 32) - 1
# Above this the client is slower than we are, and the next piece waits for it.
PENDING_BYTES_MAX: Final = 1 << 20


class LargeAnswer:
    """One call of Range on its way."""

    def __init__(
        self, member: MemberView, header: Callable[[int], bytes], call: Call, request: RangeRequest
    ) -> None:
        self._member = member
        self._header = header
        self._call = call
        self._request = request
        self._backend = member.state.backend
        self._store_revision = member.state.store.revision
        self._view: Reader | None = None
        self._size = 0
        self._is_scheduled = False

    def start(self) -> None:
        """Answer sooner or later."""
        store, request = self._member.state.store, self._request
        revision = request.revision if request.revision > 0 else self._store_revision
        store.check_revision(revision)
        self._call.on_cancel = self._close
        self._backend.flush(lambda: self._flushed(revision))

    def _flushed(self, revision: int) -> None:
        if self._call.closed or self._is_replaced():
            self._fail(Stopped())
            return
        request = self._request
        self._view = self._backend.view()
        self._range = LargeRange(
            self._view,
            request.key,
            bound(request.key, request.range_end),
            revision,
            limit=max(request.limit, 0),
            keys_only=request.keys_only,
        )
        self._sizes = self._range.sizes()
        self._step(self._measure)

    def _is_replaced(self) -> bool:
        """Whether a snapshot has taken the place of the backend, and closed the view."""
        return self._member.state.backend is not self._backend

    def _step(self, work: Callable[[], None]) -> None:
        def step() -> None:
            self._is_scheduled = False
            if self._call.closed:
                self._close()
            elif self._is_replaced():
                self._fail(Stopped())
            else:
                try:
                    work()
                except FAULTS as error:
                    self._fail(error)

        if not self._is_scheduled:
            self._is_scheduled = True
            later(step)

    def _measure(self) -> None:
        sizes = next(self._sizes, None)
        if sizes is not None:
            self._size += sum(sizes) + sum(1 + len(encode_varint(size)) for size in sizes)
            self._step(self._measure)
            return
        head = self._header(self._store_revision)
        self._tail = range_tail(self._range.count, self._range.has_more)
        size = len(head) + self._size + len(self._tail)
        if size > MESSAGE_BYTES_MAX:
            text = f"trying to send message larger than max ({size} vs. {MESSAGE_BYTES_MAX})"
            raise RpcError(Code.RESOURCE_EXHAUSTED, text)
        self._call.open_reply(size)
        self._call.send_piece([head])
        self._pieces: Iterator[list[bytes]] = self._range.kvs()
        self._call.on_writable = lambda: self._step(self._send)
        self._step(self._send)

    def _send(self) -> None:
        kvs = next(self._pieces, None)
        if kvs is None:
            self._call.send_piece([self._tail])
            self._call.finish()
            self._close()
            return
        self._call.send_piece(encode_kvs(kvs))
        if self._call.pending_bytes < PENDING_BYTES_MAX:
            self._step(self._send)

    def _fail(self, error: Exception) -> None:
        self._close()
        self._call.fail(to_rpc_error(error))

    def _close(self) -> None:
        view, self._view = self._view, None
        if view is not None and not self._is_replaced():
            view.close()
