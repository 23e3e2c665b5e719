"""gRPC on streams of the HTTP/2 engine: messages out of DATA, calls out of headers, status into
trailers.

A call owns no task and no queue of its own. A unary request that is complete is handed to its
method at once, and its answer is three frames whose headers and trailers are constant bytes. What
calls share (the route, the metadata, the timeout) is kept with the header block that it came from,
because clients repeat the same block for every call.

Facts follow the gRPC-over-HTTP/2 specification; texts of refusals are grpc-go's.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from etcdpy.http2 import ErrorCode, PreparedHeaders, prepare_headers
from etcdpy.rpc.call import Call
from etcdpy.rpc.call_counts import UNCOUNTED, CallCounts
from etcdpy.rpc.errors import CALLER_DEADLINE, Code, RpcError, message_too_large
from etcdpy.rpc.plain_requests import PlainRequest
from etcdpy.rpc.router import Kind, Method, Router

if TYPE_CHECKING:
    from asyncio import Transport

    from etcdpy.http2 import Engine, RequestHeaders
    from etcdpy.rpc.port import Http1Session, Port

    Routes = dict[tuple[str, str, tuple[tuple[str, str], ...]], "Route"]

PREFIX_BYTES = 5
TIMEOUT = "grpc-timeout"
# Messages that a stream sends in one turn of the loop share a frame; a full one is sent at once.
BATCH_BYTES = 16 * 1024
# Longer messages in trailers are cut: some clients limit their header lists to 8 KiB.
STATUS_MESSAGE_BYTES_MAX = 4096
_PREPARED_FAILURES_MAX = 512
_PREPARED_TEXT_MAX = 256
# Header blocks remembered by a port, without their timeouts. Strangers may send any number of different ones.
_ROUTES_MAX = 1024
_ROUTE_BYTES_MAX = 2048

_RESPONSE: Final = prepare_headers([(":status", "200"), ("content-type", "application/grpc")])
_OK: Final = prepare_headers([("grpc-status", "0"), ("grpc-message", "")])

_TOO_MUCH_BUFFERED: Final = RpcError(
    Code.RESOURCE_EXHAUSTED, "grpc: too many bytes of unfinished requests on one connection"
)

# The client's half-close: it may arrive while a call is paused, and is told once.
_NOT_YET, _ARRIVED, _TOLD = range(3)

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_TIMEOUT_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}
_ENCODINGS = frozenset({"", "identity", "gzip"})


@dataclass(frozen=True, slots=True)
class Route:
    """What a header block says about its call."""

    method: Method | None
    metadata: Mapping[str, str]
    timeout_s: float | None
    counts: CallCounts
    encoding: str = ""
    refusal: PreparedHeaders | None = None
    is_plain: bool = False


class GrpcLayer:
    """The calls of one connection: `http2.Handler`, and what the calls need of the connection."""

    __slots__ = (
        "_deadlines",
        "_peer",
        "_plain",
        "_port",
        "_router",
        "_routes",
        "batched",
        "buffered_bytes",
        "buffered_bytes_max",
        "calls",
        "certificate_name",
        "engine",
        "now",
        "receive_bytes_max",
        "serves_plain",
        "transport",
        "wrote",
    )

    def __init__(self, port: Port, peer: str, wrote: Callable[[], None]) -> None:
        self._port = port
        self._router = port.router
        self._routes = port.routes
        self._deadlines = port.deadlines
        self.now = port.loop.time
        self._peer = peer
        self.receive_bytes_max = port.limits.receive_bytes_max
        self.buffered_bytes = 0
        self.buffered_bytes_max = port.limits.buffered_bytes_max
        self.wrote = wrote
        self.engine: Engine
        self.calls: dict[int, EngineCall] = {}
        self.batched: list[EngineCall] = []
        self._plain: dict[int, PlainRequest] = {}
        # A TLS connection also serves HTTP, and is told what the handshake has found out.
        self.serves_plain = False
        self.certificate_name = ""
        self.transport: Transport | None = None

    def timed(self, call: EngineCall) -> None:
        """A call has ended of which the router has noted when it began."""
        clock = self._router.clock
        if clock is not None:
            call.counts.ended(clock() - call.started_at)

    def flush_batches(self) -> None:
        """Hand over what the streams have sent in this turn."""
        batched, self.batched = self.batched, []
        for call in batched:
            call.flush_batch()

    # What the engine tells.

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        """A call begins."""
        route, timeout_s = self._timed_route(headers)
        if route.refusal is not None:
            if route.is_plain and self.serves_plain:
                self._open_plain(stream_id, headers, end_stream)
            else:
                self.engine.send_headers(stream_id, route.refusal, end_stream=True)
            return
        call = EngineCall(self, stream_id, headers.path, route, self._peer)
        if route.method is None:
            call.fail(self._router.unknown(headers.path))
            return
        self.calls[stream_id] = call
        if timeout_s is not None:
            if not timeout_s:
                call.fail(CALLER_DEADLINE)
                return
            call.deadline = self.now() + timeout_s
            self._deadlines.add(call)
        if route.method.kind is Kind.BIDI_STREAM:
            self._router.start(route.method, call)
        if end_stream:
            call.half_close()

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        """A call with all of its request: most of them, so nothing here is done in two steps that can be done
        in one. What is special in any way goes through `on_headers` and `on_data`.
        """
        route, timeout_s = self._timed_route(headers)
        method, size = route.method, len(data) - PREFIX_BYTES
        if (
            method is None
            or method.kind is Kind.BIDI_STREAM
            or timeout_s == 0.0
            or not 0 <= size <= self.receive_bytes_max
            or data[0]
            or int.from_bytes(data[1:PREFIX_BYTES], "big") != size
        ):
            self.on_headers(stream_id, headers, False)
            self.on_data(stream_id, data, True)
            return
        call = EngineCall(self, stream_id, headers.path, route, self._peer, is_whole=True)
        self.calls[stream_id] = call
        if timeout_s is not None:
            call.deadline = self.now() + timeout_s
            self._deadlines.add(call)
        self._router.start(method, call, data[PREFIX_BYTES:])

    def _timed_route(self, headers: RequestHeaders) -> tuple[Route, float | None]:
        """The route of a call and its timeout, which is all that tells it from many calls before it."""
        base, varied = headers.base, headers.varied
        if base is not None and varied is not None and varied[0] == TIMEOUT and isinstance(base.memo, Route):
            timeout_s = parse_timeout(varied[1])
            if timeout_s is not None:
                return base.memo, timeout_s
        route = self._route_of(headers)
        return route, route.timeout_s

    def _route_of(self, headers: RequestHeaders) -> Route:
        route = headers.memo
        if isinstance(route, Route):
            return route
        route = _route(headers, self._router, self._routes)
        base = headers.base
        if base is None:
            headers.memo = route
        elif headers.varied is not None and headers.varied[0] == TIMEOUT and not isinstance(base.memo, Route):
            # The next requests differ by their timeout alone: `_timed_route` finds here what they share.
            base.memo = _route(base, self._router, self._routes)
        return route

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Bytes of a request."""
        call = self.calls.get(stream_id)
        if call is None:
            if stream_id in self._plain:
                self._plain[stream_id].feed(data, end_stream)
            return
        if not call.buffer and len(data) >= PREFIX_BYTES and not data[0]:
            size = int.from_bytes(data[1:5], "big")
            if len(data) == size + PREFIX_BYTES and size <= self.receive_bytes_max and not call.paused:
                call.take(data[PREFIX_BYTES:])
                if end_stream:
                    call.half_close()
                return
        call.feed(data)
        if end_stream:
            call.half_close()

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        """The client has said everything; its trailers mean nothing in gRPC."""
        call = self.calls.get(stream_id)
        if call is not None:
            call.half_close()
        elif stream_id in self._plain:
            self._plain[stream_id].feed(b"", True)

    def on_reset(self, stream_id: int, code: int) -> None:
        """The client has left."""
        call = self.calls.get(stream_id)
        if call is not None:
            call.leave()
        elif stream_id in self._plain:
            self._plain[stream_id].leave()

    def on_writable(self, stream_id: int) -> None:
        """The client takes more again."""
        call = self.calls.get(stream_id)
        if call is not None:
            if call.on_writable is not None:
                call.on_writable()
        elif stream_id in self._plain:
            self._plain[stream_id].woken()

    def _open_plain(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        if len(self._plain) >= self._port.limits.plain_requests_max:
            self.engine.reset_stream(stream_id, ErrorCode.REFUSED_STREAM)
            return
        request = self._plain[stream_id] = PlainRequest(self, stream_id, self._port.http1.open())
        request.begin(headers, end_stream)

    # What the connection asks.

    def end_streams(self, error: RpcError) -> None:
        """End the calls that would never end by themselves, because the server stops."""
        for call in list(self.calls.values()):
            if call.route.method is not None and call.route.method.kind is Kind.BIDI_STREAM:
                call.abort(error)

    # What calls ask.

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's next turn."""
        self._port.loop.call_soon(callback)

    def forget_plain(self, stream_id: int, session: Http1Session) -> None:
        """A request that was no call has ended."""
        self._plain.pop(stream_id, None)
        self._port.http1.close(session)

    def start(self, call: EngineCall, data: bytes) -> None:
        """The request of a call that takes one is complete."""
        method = call.route.method
        assert method is not None, call.path
        self._router.start(method, call, data)

    def forget(self, call: EngineCall) -> None:
        """The call has ended."""
        self.calls.pop(call.stream_id, None)
        if call.deadline is not None:
            self._deadlines.discard(call)


class EngineCall(Call):
    """A call on a stream of the engine."""

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_closed",
        "_half_closed",
        "_layer",
        "_sent_headers",
        "_started",
        "buffer",
        "paused",
        "route",
        "stream_id",
    )

    def __init__(
        self,
        layer: GrpcLayer,
        stream_id: int,
        path: str,
        route: Route,
        peer: str,
        *,
        is_whole: bool = False,
    ) -> None:
        """With `is_whole` the request is complete, and the layer hands it over by itself."""
        self.path = path
        self.metadata = route.metadata
        self.peer = peer
        self.deadline = None
        self.on_message = None
        self.on_half_close = None
        self.on_cancel = None
        self.on_writable = None
        self.counts = route.counts
        self.started_at = 0.0
        self.route = route
        self.stream_id = stream_id
        # What has arrived and was not handed over: half a message, or all that came while paused. The
        # stream's window bounds it, for it is kept as it came: what a client compressed stays compressed.
        self.buffer: bytearray | None = None
        self.paused = False
        self._layer = layer
        self._batch: list[bytes] | None = None
        self._batch_bytes = 0
        self._closed = False
        self._half_closed = _TOLD if is_whole else _NOT_YET
        self._sent_headers = False
        self._started = is_whole

    # The request.

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        if self.buffer is None:
            self.buffer = bytearray()
        self.buffer += data
        self._layer.buffered_bytes += len(data)
        if self._layer.buffered_bytes > self._layer.buffered_bytes_max:
            self.abort(_TOO_MUCH_BUFFERED)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Cut messages out of what has arrived."""
        size_max = self._layer.receive_bytes_max
        while not self.paused and not self._closed:
            buffer = self.buffer
            if buffer is None or len(buffer) < PREFIX_BYTES:
                return
            size = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
            end = PREFIX_BYTES + size
            if size > size_max:
                self.abort(message_too_large(size, size_max))
                return
            if len(buffer) < end:
                return
            flag, message = buffer[0], bytes(memoryview(buffer)[PREFIX_BYTES:end])
            # Before the message is handed over, for its service may pause and resume at once.
            del buffer[:end]
            self._layer.buffered_bytes -= end
            if flag:
                try:
                    message = self._decompress(flag, message, size_max)
                except RpcError as error:
                    self.abort(error)
                    return
            self.take(message)

    def _decompress(self, flag: int, message: bytes, size_max: int) -> bytes:
        if flag != 1:
            raise RpcError(Code.INTERNAL, f"grpc: received unexpected payload format {flag}")
        if self.route.encoding != "gzip":
            raise RpcError(Code.INTERNAL, "grpc: compressed flag set with identity or empty encoding")
        inflater = zlib.decompressobj(wbits=31)
        try:
            plain = inflater.decompress(message, size_max + 1)
        except zlib.error as error:
            raise RpcError(
                Code.INTERNAL, f"grpc: failed to decompress the received message: {error}"
            ) from None
        if len(plain) > size_max:
            text = f"grpc: received message after decompression larger than max {size_max}"
            raise RpcError(Code.RESOURCE_EXHAUSTED, text)
        if not inflater.eof:
            raise RpcError(Code.INTERNAL, "grpc: failed to decompress the received message: unexpected EOF")
        return plain

    def take(self, message: bytes) -> None:
        """One message of the request."""
        method = self.route.method
        assert method is not None, self.path
        if method.kind is not Kind.BIDI_STREAM:
            if self._started:
                return  # a second message where one is due: grpc-go never looks at it
            self._started = True
            self._layer.start(self, message)
        elif self.on_message is not None:
            self.counts.received += 1
            self.counts.received_bytes += len(message)
            self.on_message(message)

    def half_close(self) -> None:
        """The client has said everything."""
        if self._half_closed or self._closed:
            return
        self._half_closed = _ARRIVED
        if not self.paused:
            self._end_request()

    def _end_request(self) -> None:
        self._half_closed = _TOLD
        method = self.route.method
        assert method is not None, self.path
        if self.buffer:
            code = Code.INTERNAL if method.kind is Kind.BIDI_STREAM else Code.UNKNOWN
            self.abort(RpcError(code, "unexpected EOF"))
        elif method.kind is not Kind.BIDI_STREAM:
            if not self._started:
                self.abort(RpcError(Code.INTERNAL, "grpc: the request message is missing"))
        elif self.on_half_close is not None:
            self.on_half_close()

    def leave(self) -> None:
        """The client has gone away."""
        if not self._closed:
            on_cancel = self.on_cancel
            self._count_failure(None)
            self._end()
            if on_cancel is not None:
                on_cancel()

    def expire(self) -> None:
        """The deadline has passed."""
        self.abort(CALLER_DEADLINE)

    def pause_reading(self) -> None:
        """Keep messages back, and soon the client too."""
        if not self.paused:
            self.paused = True
            self._layer.engine.hold(self.stream_id)

    def resume_reading(self) -> None:
        """Hand over what was kept, then go on."""
        if not self.paused:
            return
        self.paused = False
        self._hand_over()
        if self.paused or self._closed:
            return
        self._layer.engine.release(self.stream_id)
        self._layer.wrote()
        if self._half_closed == _ARRIVED:
            self._end_request()

    # The answer.

    def reply(self, message: bytes) -> None:
        """Send the only message and end."""
        if self._closed:
            return
        layer, counts, size = self._layer, self.counts, len(message)
        counts.replied += 1
        counts.reply_bytes += size
        prefix = b"\0" + size.to_bytes(4, "big")
        layer.engine.send_response(self.stream_id, _RESPONSE, (prefix, message), _OK)
        self._end()
        layer.wrote()

    def reply_parts(self, head: bytes, parts: Sequence[bytes], size: int) -> None:
        """Send the only message, without joining it first, and end."""
        if self._closed:
            return
        layer, counts, engine = self._layer, self.counts, self._layer.engine
        length = len(head) + size
        counts.replied += 1
        counts.reply_bytes += length
        engine.send_headers(self.stream_id, _RESPONSE)
        engine.send_run(self.stream_id, b"\0" + length.to_bytes(4, "big") + head, parts, size)
        engine.send_headers(self.stream_id, _OK, end_stream=True)
        self._end()
        layer.wrote()

    @property
    def takes_pieces(self) -> bool:
        """The engine sends what it has."""
        return True

    def open_reply(self, size: int) -> None:
        """Send headers and the length of the only message."""
        self._sent_headers = True
        self._layer.engine.send_headers(self.stream_id, _RESPONSE)
        self.counts.reply_bytes += size
        self.send_piece([b"\0" + size.to_bytes(4, "big")])

    def send_piece(self, parts: Sequence[bytes]) -> None:
        """Queue some more of it."""
        if not self._closed:
            self._layer.engine.send_data(self.stream_id, parts)
            self._layer.wrote()

    def send(self, message: bytes) -> None:
        """Queue one message."""
        if self._closed:
            return
        batch = self._batch
        if batch is None:
            batch = self._begin_batch()
        size = len(message)
        batch += (b"\0" + size.to_bytes(4, "big"), message)
        self._batch_bytes += size + PREFIX_BYTES
        if self._batch_bytes >= BATCH_BYTES:
            self.flush_batch()

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Queue one message given in pieces, which are passed on as they are."""
        if self._closed:
            return
        batch = self._batch
        if batch is None:
            batch = self._begin_batch()
        size = sum(map(len, parts))
        self.counts.extra_pieces += len(parts) - 1
        batch += (b"\0" + size.to_bytes(4, "big"), *parts)
        self._batch_bytes += size + PREFIX_BYTES
        if self._batch_bytes >= BATCH_BYTES:
            self.flush_batch()

    def _begin_batch(self) -> list[bytes]:
        batch = self._batch = []
        self._layer.batched.append(self)
        self._layer.wrote()
        return batch

    def flush_batch(self) -> None:
        """Give the messages of this turn to the engine, small ones together in one frame."""
        batch, self._batch = self._batch, None
        size, self._batch_bytes = self._batch_bytes, 0
        if batch is None:
            return
        self.counts.batch_pieces += len(batch)
        self.counts.batch_bytes += size
        engine = self._layer.engine
        if not self._sent_headers:
            self._sent_headers = True
            engine.send_headers(self.stream_id, _RESPONSE)
        # The engine counts, queues and cuts by the piece; large messages are not copied for that.
        engine.send_data(self.stream_id, b"".join(batch) if size <= 2 * BATCH_BYTES else batch)

    def finish(self) -> None:
        """End with OK after everything sent."""
        if self._closed:
            return
        self.flush_batch()
        self.counts.replied += 1
        if not self._sent_headers:
            self._layer.engine.send_headers(self.stream_id, _RESPONSE)
        self._layer.engine.send_headers(self.stream_id, _OK, end_stream=True)
        self._end()
        self._layer.wrote()

    def fail(self, error: RpcError) -> None:
        """End with a status after everything sent; trailers only when nothing was."""
        if self._closed:
            return
        self.flush_batch()
        self._count_failure(error.code)
        trailers = _failure(error.code, error.message, self._sent_headers)
        self._layer.engine.send_headers(self.stream_id, trailers, end_stream=True)
        self._end()
        self._layer.wrote()

    def _count_failure(self, code: Code | None) -> None:
        """Of calls that have started; no code if the client has gone away."""
        method = self.route.method
        if method is not None and (self._started or method.kind is Kind.BIDI_STREAM):
            self.counts.failed[method.code_if_left if code is None else code] += 1

    def _end(self) -> None:
        if self.started_at:
            self._layer.timed(self)
        self._closed = True
        # Service and call let go of each other. Short streams by the thousand would otherwise be left to the
        # garbage collector, for which everybody waits.
        self.on_message = self.on_half_close = self.on_cancel = self.on_writable = None
        self._batch = None
        self._batch_bytes = 0
        if self.buffer is not None:
            self._layer.buffered_bytes -= len(self.buffer)
            self.buffer = None
        self._layer.forget(self)

    @property
    def pending_bytes(self) -> int:
        """Bytes of this turn, and in the engine's queue for this stream."""
        return self._batch_bytes + self._layer.engine.pending_bytes(self.stream_id)

    @property
    def closed(self) -> bool:
        """Whether the call has ended."""
        return self._closed

    @property
    def certificate_name(self) -> str:
        """Common name of the client's certificate."""
        return self._layer.certificate_name


_failures: dict[tuple[int, str, bool], PreparedHeaders] = {}


def _failure(code: int, message: str, after_headers: bool) -> PreparedHeaders:
    """Trailers with a status; the few texts that recur are encoded once."""
    key = (code, message, after_headers)
    prepared = _failures.get(key)
    if prepared is None:
        fields = [("grpc-status", str(int(code))), ("grpc-message", percent_encode(message))]
        if not after_headers:
            fields = [(":status", "200"), ("content-type", "application/grpc"), *fields]
        prepared = prepare_headers(fields)
        if len(message) <= _PREPARED_TEXT_MAX:
            if len(_failures) >= _PREPARED_FAILURES_MAX:
                _failures.clear()
            _failures[key] = prepared
    return prepared


def percent_encode(message: str) -> str:
    """A status message as its header value: printable ASCII stays, other bytes of its UTF-8 become %XX.

    So do spaces at the ends, which no header value may have. The value is cut at
    `STATUS_MESSAGE_BYTES_MAX`, between characters.
    """
    message = message[:STATUS_MESSAGE_BYTES_MAX]
    text = _percent_encode(message)
    while len(text) > STATUS_MESSAGE_BYTES_MAX:
        # A character takes 12 letters at most (four bytes of UTF-8), so this never cuts too much.
        message = message[: -((len(text) - STATUS_MESSAGE_BYTES_MAX + 11) // 12)]
        text = _percent_encode(message)
    return text


def _percent_encode(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    text = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in encoded)
    inner = text.strip(" ")
    if inner == text:
        return text
    start = len(text) - len(text.lstrip(" "))
    return "%20" * start + inner + "%20" * (len(text) - start - len(inner))


@lru_cache(4096)
def parse_timeout(text: str) -> float | None:
    """Seconds of a `grpc-timeout`, None when it is malformed."""
    match = _TIMEOUT.fullmatch(text)
    return None if match is None else int(match[1]) * _TIMEOUT_UNITS[match[2]]


def _route(headers: RequestHeaders, router: Router, routes: Routes) -> Route:
    """Read a header block. Clients put the time that is left into it, so that each block differs from
    the last by that alone.
    """
    fields = headers.fields
    text = None
    for position, (name, value) in enumerate(fields):
        if name == TIMEOUT:
            text = value
            fields = fields[:position] + fields[position + 1 :]
            break
    key = (headers.method, headers.path, fields)
    route = routes.get(key)
    if route is None:
        route = _read_route(headers, fields, router)
        if len(headers.path) + sum(map(_field_size, fields)) <= _ROUTE_BYTES_MAX:
            if len(routes) >= _ROUTES_MAX:
                routes.clear()  # a stranger may have filled it with blocks that never come again
            routes[key] = route
    if text is None or route.refusal is not None:
        return route
    timeout_s = parse_timeout(text)
    if timeout_s is None:
        return _refusal(route.metadata, 400, Code.INTERNAL, f'malformed grpc-timeout: "{text}"')
    return Route(route.method, route.metadata, timeout_s, route.counts, route.encoding)


def _field_size(field: tuple[str, str]) -> int:
    return len(field[0]) + len(field[1])


def _read_route(headers: RequestHeaders, fields: tuple[tuple[str, str], ...], router: Router) -> Route:
    metadata: dict[str, str] = {}
    for name, value in fields:
        if name not in metadata and not name.endswith("-bin"):
            metadata[name] = value if value.isascii() else _utf8(value)
    content_type = metadata.get("content-type", "")
    if not is_grpc(content_type):
        text = f'invalid gRPC request content-type "{content_type}"'
        # Over TLS, whatever does not even resemble gRPC is for the HTTP handlers.
        is_plain = "application/grpc" not in content_type
        return _refusal(metadata, 415, Code.INVALID_ARGUMENT, text, is_plain=is_plain)
    if headers.method != "POST":
        text = f'Received a HEADERS frame with :method "{headers.method}" which should be POST'
        return _refusal(metadata, 405, Code.INTERNAL, text)
    encoding = metadata.get("grpc-encoding", "")
    if encoding not in _ENCODINGS:
        text = f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"'
        return _refusal(metadata, 200, Code.UNIMPLEMENTED, text)
    method = router.method(headers.path)
    counts = router.ledger.counts(method, metadata.get("client-api-version"))
    return Route(method, metadata, None, counts, encoding)


def is_grpc(content_type: str) -> bool:
    """Whether a content type is `application/grpc`, with or without a subtype."""
    lower = content_type.lower()
    return lower == "application/grpc" or lower.startswith(("application/grpc+", "application/grpc;"))


def _utf8(value: str) -> str:
    """A header value is latin-1 to HTTP, but UTF-8 to the clients of etcd; other bytes become lone
    surrogates.
    """
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def _refusal(
    metadata: Mapping[str, str], status: int, code: Code, text: str, *, is_plain: bool = False
) -> Route:
    """A call that is none: answered in HTTP's terms and in gRPC's, as grpc-go does."""
    fields = [
        (":status", str(status)),
        ("content-type", "application/grpc"),
        ("grpc-status", str(int(code))),
        ("grpc-message", percent_encode(text)),
    ]
    return Route(None, metadata, None, UNCOUNTED, refusal=prepare_headers(fields), is_plain=is_plain)


__all__ = ["EngineCall", "ErrorCode", "GrpcLayer", "parse_timeout", "percent_encode"]
