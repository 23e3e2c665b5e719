"""The half of the engine that reads: bytes in, callbacks out, every rule of RFC 9113 for a server checked on
the way.

`receive_data` makes one pass over what arrived, with a frame table indexed by type. What is legal at a moment
is a matter of which table is in place: before the peer's SETTINGS only SETTINGS is, inside a header block
only CONTINUATION is, after the end nothing is. So the common path pays nothing for these rules. An unfinished
frame is kept (at most one frame), nothing else is.

Faults of the peer never leave as exceptions: a `StreamFault` becomes RST_STREAM and `on_reset`, a
`ConnectionFault` becomes GOAWAY, `on_reset` for every open stream, and `closed`.
"""

from collections.abc import Callable
from math import inf
from typing import Final, NoReturn, Protocol

from etcdpy.http2 import frames
from etcdpy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from etcdpy.http2.frames import DATA, HEADERS, RST_STREAM, STREAM_ID_MAX, WINDOW_MAX, WINDOW_UPDATE
from etcdpy.http2.headers import Field, RequestHeaders, build_request, build_trailers
from etcdpy.http2.hpack import Decoder
from etcdpy.http2.keepalive import Keepalive, PingPolice
from etcdpy.http2.limits import Bucket, Limits
from etcdpy.http2.recall import RequestMemory
from etcdpy.http2.sending import SendingHalf
from etcdpy.http2.streams import State, Stream, Verdict, judge

_OPEN: Final = State.OPEN
_HALF_CLOSED_REMOTE: Final = State.HALF_CLOSED_REMOTE
_SHUTDOWN_PING = b"\0drain\0\0"
_KEEPALIVE_PING = b"\0alive\0\0"
_SKIPPED_RANGES = 64
"""Ranges of stream ids the peer jumped over that we can tell from ids it used: beyond that the error code is
less exact."""

_FrameMethod = Callable[[int, int, bytes, int, int], None]


class Handler(Protocol):
    """What the layer above hears. It may call any sending method of the engine from within; it must not
    raise."""

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        """A new request; with `end_stream` it has no body."""

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        """A new request and all of its body: `on_headers` and the last `on_data` in one."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """The next piece of the body, maybe empty if it is the last."""

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        """The request ends with these fields."""

    def on_reset(self, stream_id: int, code: int) -> None:
        """The stream is gone without our will: reset by the peer, or for its fault, or the whole connection
        is over."""

    def on_writable(self, stream_id: int) -> None:
        """A stream that was choked (`Limits.writable_bytes`) takes more again."""


class Engine(SendingHalf):
    """One connection of a server; `now` is monotonic seconds, and never runs backwards."""

    def __init__(self, handler: Handler, limits: Limits | None = None, *, now: float) -> None:
        limits = Limits() if limits is None else limits
        super().__init__(limits, handler.on_writable)
        self._handler = handler
        self._deliver_headers = handler.on_headers
        self._deliver_data = handler.on_data
        self._deliver_request = handler.on_request
        self._now = self._received_at = now
        self._started_at = now
        self.closed = False
        """The connection is over: write what `data_to_send` still gives, then close the transport."""
        self.fault: ConnectionFault | None = None
        """Why it is over, if it is not by our own will."""
        self._rest = b""
        self._next_frame = 0
        """While parsing: where the frame after the present one begins."""
        self._preface_left = frames.PREFACE
        self._build_tables()
        # Requests.
        self._decoder = Decoder(
            table_bytes=limits.header_table_bytes,
            list_bytes_max=limits.header_list_bytes_max,
            fields_max=limits.header_fields_max,
        )
        self._memory = RequestMemory(self._decoder, limits.header_list_bytes_max, limits.header_fields_max)
        self._recall = self._memory.find
        self._last_stream_id = 0
        self._skipped: list[range] = []
        self._streams_max = limits.streams_max
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._block_stream_id = 0
        self._block_flags = 0
        self._block_deadline = inf
        # Receive windows.
        self._received = 0
        self._connection_step = limits.connection_window_bytes // 4
        self._stream_step = max(1, limits.stream_window_bytes // 4)
        # Until our SETTINGS are acknowledged the peer may use the default window; being lenient for ever
        # costs nothing.
        self._stream_window = max(limits.stream_window_bytes, frames.WINDOW_DEFAULT)
        # Floods and time.
        self._peer_resets = Bucket(limits.peer_resets_burst, limits.peer_resets_per_second, now)
        self._our_resets = Bucket(limits.our_resets_burst, limits.our_resets_per_second, now)
        self._settings = Bucket(limits.settings_burst, limits.settings_per_second, now)
        self._empty_frames = Bucket(limits.empty_frames_burst, limits.empty_frames_per_second, now)
        self._ping_police = PingPolice(limits, now)
        self._keepalive = Keepalive(limits)
        self._settings_deadline = now + limits.settings_ack_seconds
        self._shutdown_deadline = inf
        self._draining = False
        self._stalled_since = now
        self._stalled_mark = 0
        self._greet()

    def _build_tables(self) -> None:
        """The frame methods by type for each phase of the connection."""
        self._usual_table: tuple[_FrameMethod, ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_stray_continuation,
            self._on_unknown,
        )
        first: list[_FrameMethod] = [self._on_not_settings] * len(self._usual_table)
        first[frames.SETTINGS] = self._on_first_settings
        block: list[_FrameMethod] = [self._on_broken_block] * len(self._usual_table)
        block[frames.CONTINUATION] = self._on_continuation
        self._block_table: tuple[_FrameMethod, ...] = tuple(block)
        self._table: tuple[_FrameMethod, ...] = tuple(first)

    def _greet(self) -> None:
        limits = self._limits
        values = {
            frames.SETTING_MAX_CONCURRENT_STREAMS: limits.streams_max,
            frames.SETTING_INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.SETTING_MAX_FRAME_SIZE: limits.frame_bytes_max,
            frames.SETTING_MAX_HEADER_LIST_SIZE: limits.header_list_bytes_max,
        }
        if limits.header_table_bytes != 4096:
            values[frames.SETTING_HEADER_TABLE_SIZE] = limits.header_table_bytes
        self._write_control(frames.encode_settings(values))
        extra = limits.connection_window_bytes - frames.WINDOW_DEFAULT
        if extra:
            self._write_control(frames.encode_window_update(0, extra))

    # What the layer above asks.

    @property
    def open_streams(self) -> int:
        """Requests that are not answered to the end."""
        return len(self._streams)

    @property
    def drained(self) -> bool:
        """After `shutdown`: nothing is left to do or to write, the transport may be closed."""
        return self._draining and not self._streams and not self._out

    def hold(self, stream_id: int) -> None:
        """Take at most one more window of this stream's body until `release`."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.held = True

    def release(self, stream_id: int) -> None:
        """Undo `hold`."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.held:
            stream.held = False
            if stream.received >= self._stream_step and stream.state == _OPEN:
                self._return_stream_window(stream_id, stream)

    def shutdown(self, now: float) -> None:
        """Begin a graceful end (section 6.8): no new streams, running ones go on; then see `drained`."""
        if self.closed or self._draining or self._shutdown_deadline != inf:
            return
        self._write_control(frames.encode_goaway(STREAM_ID_MAX, ErrorCode.NO_ERROR))
        self._write_control(frames.encode_ping(_SHUTDOWN_PING, ack=False))
        self._shutdown_deadline = now + self._limits.shutdown_seconds

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End the connection at once."""
        if not self.closed:
            self._end_connection(code, reason)

    def connection_lost(self) -> None:
        """The transport is gone: every open stream hears `on_reset`."""
        self.close(ErrorCode.CANCEL, "connection lost")
        self._out.clear()

    def receive_data(self, data: bytes, now: float) -> None:
        """Everything the transport read, in any cut; call `data_to_send` afterwards."""
        if self.closed:
            return
        self._now = self._received_at = now
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            if self._preface_left:
                data = self._take_preface(data)
            end = self._parse(data)
            self._rest = data[end:]
            if self._control_bytes > self._limits.control_bytes_max and self._paused:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers are not read")
        except ConnectionFault as fault:
            self._fail(fault)

    def tick(self, now: float) -> None:
        """Let time pass; about once a second is enough. Call `data_to_send` afterwards."""
        if self.closed:
            return
        self._now = now
        try:
            self._check_deadlines(now)
            self._check_stall(now)
        except ConnectionFault as fault:
            self._fail(fault)

    # Time.

    def _check_deadlines(self, now: float) -> None:
        limits = self._limits
        if self._table is not self._usual_table:
            if now >= self._block_deadline:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block was not finished in time")
            if self._block_deadline == inf and now - self._started_at >= limits.preface_seconds:
                raise ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "no preface in time")
        if now >= self._settings_deadline:
            raise ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "our SETTINGS were not acknowledged in time")
        if now >= self._shutdown_deadline:
            self._drain()
        if self._keepalive.is_dead(now, self._received_at):
            raise ConnectionFault(ErrorCode.NO_ERROR, "keepalive PING was not answered in time")
        if self._keepalive.should_ping(now, self._received_at):
            self._write_control(frames.encode_ping(_KEEPALIVE_PING, ack=False))

    def _check_stall(self, now: float) -> None:
        """Cut off a peer that lets much wait and takes little (zero windows, or a socket it does not
        read)."""
        limits = self._limits
        took = self._taken - self._stalled_mark
        if self._queued < limits.stall_bytes_min or took >= limits.stall_progress_bytes:
            self._stalled_since = now
            self._stalled_mark = self._taken
        elif now - self._stalled_since >= limits.stall_seconds:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"{self._queued} bytes wait, {took} were taken"
            )

    def _drain(self) -> None:
        """The second GOAWAY: from here on new streams are not served."""
        self._shutdown_deadline = inf
        self._draining = True
        self._streams_max = 0
        self._write_control(frames.encode_goaway(self._last_stream_id, ErrorCode.NO_ERROR))

    # Ends.

    def _fail(self, fault: ConnectionFault) -> None:
        if not self.closed:
            self.fault = fault
            self._end_connection(fault.code, fault.reason)

    def _end_connection(self, code: ErrorCode, reason: str) -> None:
        self.closed = True
        self._doom = None
        self._rest = b""
        self._table = (self._ignore_frame,) * len(self._usual_table)
        self._write_control(frames.encode_goaway(self._last_stream_id, code, reason.encode()[:128]))
        self.resume()  # the GOAWAY may be tried even on a full transport
        stream_ids = list(self._streams)
        for stream in self._streams.values():
            self._forget(stream)
        self._streams.clear()
        self._ready.clear()
        for stream_id in stream_ids:
            self._handler.on_reset(stream_id, code)

    def _fail_stream(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        """A stream error of the peer's making. Too many of them are an attack: each lets a running request go
        on unseen by the peer's own stream count."""
        if not self._our_resets.take(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many stream errors, last: {reason}")
        self._write_control(frames.encode_rst_stream(stream_id, code))
        self._drop_stream(stream_id, State.RESET_BY_US, code)

    def _drop_stream(self, stream_id: int, state: State, code: int) -> None:
        self._resets.add(stream_id, state)
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._forget(stream)
            self._handler.on_reset(stream_id, code)

    def _count_empty_frame(self) -> None:
        if not self._empty_frames.take(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    # Bytes to frames.

    def _take_preface(self, data: bytes) -> bytes:
        """Section 3.4: compare what is there, keep what is left to come."""
        expected = self._preface_left
        count = min(len(data), len(expected))
        if data[:count] != expected[:count]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 preface")
        self._preface_left = expected[count:]
        return data[count:]

    def _parse(self, data: bytes) -> int:
        """Handle every whole frame; where the first unfinished one begins."""
        unpack = frames.FRAME_HEADER.unpack_from
        frame_bytes_max = self._limits.frame_bytes_max
        size = len(data)
        position = 0
        while size - position >= 9:
            high, low, kind, flags, stream_id = unpack(data, position)
            length = high << 16 | low
            if length > frame_bytes_max:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
            start = position + 9
            end = start + length
            if end > size:
                break
            known = kind if kind < 10 else 10  # noqa: FURB136 (min costs 60 ns)
            self._next_frame = end
            self._table[known](flags, stream_id & STREAM_ID_MAX, data, start, end)
            position = self._next_frame
        return position

    def _ignore_frame(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """After the end of the connection."""

    def _on_not_settings(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> NoReturn:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the preface must end with SETTINGS")

    def _on_first_settings(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        if flags & frames.FLAG_ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the preface must end with SETTINGS")
        self._table = self._usual_table
        self._on_settings(flags, stream_id, data, start, end)

    def _state_of(self, stream_id: int) -> State:
        """The state of a stream that is not in our table."""
        if stream_id > self._last_stream_id or not stream_id & 1:
            return State.IDLE
        return self._resets.state_of(stream_id)

    def _judge(self, kind: int, stream_id: int, stream: Stream | None) -> bool:
        """Whether a frame that is not on the common path may be accepted; otherwise do what the state table
        says."""
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frame type {kind} on stream 0")
        verdict = judge(kind, self._state_of(stream_id) if stream is None else stream.state)
        if verdict is Verdict.ACCEPT:
            return True
        if verdict is Verdict.STREAM_ERROR_CLOSED:
            self._fail_stream(stream_id, ErrorCode.STREAM_CLOSED, f"frame type {kind} after the end")
        elif verdict is Verdict.CONNECTION_ERROR_CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"frame type {kind} on closed stream {stream_id}")
        elif verdict is Verdict.CONNECTION_ERROR_PROTOCOL:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frame type {kind} on idle stream {stream_id}")
        return False

    def _strip(self, flags: int, data: bytes, start: int, end: int) -> tuple[int, int]:
        """The payload without padding and priority fields (sections 6.1 and 6.2)."""
        padding = 0
        if flags & frames.FLAG_PADDED:
            if start == end:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "no room for the padding length")
            padding = data[start]
            start += 1
        if flags & frames.FLAG_PRIORITY:
            start += 5
            if start > end:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "no room for the priority fields")
        if padding > end - start:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
        return start, end - padding

    # DATA (section 6.1) and the windows we give (section 6.9).

    def _on_data(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        length = end - start
        self._received += length
        if self._received >= self._connection_step:
            self._return_connection_window()
        if flags & frames.FLAG_PADDED:
            start, end = self._strip(flags & frames.FLAG_PADDED, data, start, end)
        stream = self._streams.get(stream_id)
        if stream is None or stream.state:  # not OPEN
            self._judge(DATA, stream_id, stream)
            return
        ended = flags & 1
        stream.received += length
        if stream.received >= self._stream_step and not self._check_stream_window(stream_id, stream, ended):
            return
        if stream.content_left is not None and not self._count_content(stream_id, stream, end - start, ended):
            return
        if ended:
            stream.state = _HALF_CLOSED_REMOTE
            self._deliver_data(stream_id, data[start:end], True)
        elif start == end:
            self._count_empty_frame()
        else:
            self._deliver_data(stream_id, data[start:end], False)

    def _return_connection_window(self) -> None:
        if self._received > self._limits.connection_window_bytes:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self._write_control(frames.encode_window_update(0, self._received))
        self._received = 0

    def _check_stream_window(self, stream_id: int, stream: Stream, ended: int) -> bool:
        """Give the window back unless the stream is held or at its end; False if the peer overran it."""
        if stream.received > self._stream_window:
            self._fail_stream(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
            return False
        if not stream.held and not ended:
            self._return_stream_window(stream_id, stream)
        return True

    def _return_stream_window(self, stream_id: int, stream: Stream) -> None:
        self._write_control(frames.encode_window_update(stream_id, stream.received))
        stream.received = 0

    def _count_content(self, stream_id: int, stream: Stream, length: int, ended: int) -> bool:
        """`content-length` must be the length of the content (section 8.1.1)."""
        assert stream.content_left is not None, stream_id
        stream.content_left -= length
        if stream.content_left < 0 or (ended and stream.content_left):
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length is not the length")
            return False
        return True

    # HEADERS and CONTINUATION (sections 4.3, 6.2, 6.10).

    def _on_headers(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        if flags & (frames.FLAG_PADDED | frames.FLAG_PRIORITY):
            start, end = self._strip(flags, data, start, end)
        if flags & frames.FLAG_END_HEADERS:
            if flags & 1 or not self._take_whole_request(stream_id, data, start, end):
                self._take_block(stream_id, flags & 1, data[start:end])
            return
        self._block_stream_id = stream_id
        self._block_flags = flags
        self._block = [data[start:end]]
        self._block_bytes = end - start
        self._block_deadline = self._now + self._limits.header_block_seconds
        self._table = self._block_table

    def _on_continuation(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        if stream_id != self._block_stream_id:
            self._on_broken_block(flags, stream_id, data, start, end)
        self._block.append(data[start:end])
        self._block_bytes += end - start
        limits = self._limits
        if (
            self._block_bytes > limits.header_block_bytes_max
            or len(self._block) > limits.continuation_frames_max + 1
        ):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too long")
        if flags & frames.FLAG_END_HEADERS:
            block = b"".join(self._block)
            self._block = []
            self._block_deadline = inf
            self._table = self._usual_table
            self._take_block(stream_id, self._block_flags & 1, block)

    def _on_broken_block(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> NoReturn:
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR,
            f"only CONTINUATION for stream {self._block_stream_id} may follow its HEADERS",
        )

    def _on_stray_continuation(
        self, flags: int, stream_id: int, data: bytes, start: int, end: int
    ) -> NoReturn:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")

    def _take_whole_request(self, stream_id: int, data: bytes, start: int, end: int) -> bool:
        """The common request: a block that needs no decoding, then at once one frame with the whole body. If
        it is that, both frames are done with, as `_take_block` and `_on_data` would have done one by one.
        False, and nothing done, if it is anything else.
        """
        body = self._next_frame + 9
        if (
            body > len(data)
            or stream_id - self._last_stream_id != 2
            or len(self._streams) >= self._streams_max
        ):
            return False
        high, length, kind, flags, follower = frames.FRAME_HEADER.unpack_from(data, body - 9)
        body_end = body + length
        if kind != DATA or flags != frames.FLAG_END_STREAM or follower != stream_id or body_end > len(data):
            return False
        limits = self._limits
        if (
            high
            or length > limits.frame_bytes_max
            or self._received + length > limits.connection_window_bytes
        ):
            return False
        headers = self._recall(data[start:end])
        if headers is None:
            return False
        self._last_stream_id = stream_id
        if headers.content_length is not None or self._queued > limits.queued_bytes_refuse:
            self._open_stream(stream_id, 0, headers)
            return True
        self._next_frame = body_end
        self._received += length
        if self._received >= self._connection_step:
            self._return_connection_window()
        self._streams[stream_id] = Stream(_HALF_CLOSED_REMOTE, self._peer_window_initial, None)
        self._deliver_request(stream_id, headers, data[body:body_end])
        return True

    def _take_block(self, stream_id: int, ended: int, block: bytes) -> None:
        """A whole header block. It is always decoded, whatever becomes of the stream: the table must stay in
        step."""
        if stream_id <= self._last_stream_id or not stream_id & 1:
            self._take_later_block(stream_id, ended, self._decoder.decode(block))
            return
        if stream_id - self._last_stream_id > 2:
            self._note_skipped(stream_id)
        self._last_stream_id = stream_id
        headers = self._recall(block)
        if headers is None:
            headers = self._decode_request(stream_id, block)
            if headers is None:
                return
        self._open_stream(stream_id, ended, headers)

    def _open_stream(self, stream_id: int, ended: int, headers: RequestHeaders) -> None:
        left = headers.content_length
        if len(self._streams) >= self._streams_max or self._queued > self._limits.queued_bytes_refuse:
            self._refuse(stream_id)
        elif ended:
            if left:
                self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length without content")
                return
            self._streams[stream_id] = Stream(_HALF_CLOSED_REMOTE, self._peer_window_initial, left)
            self._deliver_headers(stream_id, headers, True)
        else:
            self._streams[stream_id] = Stream(_OPEN, self._peer_window_initial, left)
            self._deliver_headers(stream_id, headers, False)

    def _decode_request(self, stream_id: int, block: bytes) -> RequestHeaders | None:
        """The slow way to a request; None if it was malformed, which is answered here."""
        fields = self._decoder.decode(block)
        if fields is None:
            self._fail_stream(stream_id, ErrorCode.ENHANCE_YOUR_CALM, "header list too large")
            return None
        try:
            headers = build_request(fields)
        except StreamFault as fault:
            self._fail_stream(stream_id, fault.code, fault.reason)
            return None
        self._memory.keep(block, fields, headers)
        return headers

    def _take_later_block(self, stream_id: int, ended: int, fields: list[Field] | None) -> None:
        """HEADERS for a stream id we know already: trailers, or a mistake."""
        if not stream_id & 1 or any(stream_id in skipped for skipped in self._skipped):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} cannot be opened")
        stream = self._streams.get(stream_id)
        if not self._judge(HEADERS, stream_id, stream):
            return
        assert stream is not None, stream_id
        if fields is None:
            self._fail_stream(stream_id, ErrorCode.ENHANCE_YOUR_CALM, "trailers too large")
            return
        try:
            trailers = build_trailers(fields)
        except StreamFault as fault:
            self._fail_stream(stream_id, fault.code, fault.reason)
            return
        if not ended:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR, "trailers must end the stream")
        elif stream.content_left is None or self._count_content(stream_id, stream, 0, 1):
            stream.state = _HALF_CLOSED_REMOTE
            self._handler.on_trailers(stream_id, trailers)

    def _note_skipped(self, stream_id: int) -> None:
        """Ids jumped over can never be used (section 5.1.1)."""
        if len(self._skipped) < _SKIPPED_RANGES:
            self._skipped.append(range(self._last_stream_id + 1, stream_id))

    def _refuse(self, stream_id: int) -> None:
        """One stream more than we take; the peer may try it elsewhere, for nothing of it was done (section
        8.7)."""
        if self._draining:
            # It knows from our GOAWAY.
            self._resets.add(stream_id, State.RESET_BY_US)
            self._count_empty_frame()
        else:
            self._fail_stream(stream_id, ErrorCode.REFUSED_STREAM, "too many requests at once")

    # The rest.

    def _on_priority(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.3: checked, counted, and otherwise ignored as RFC 9113 recommends."""
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._count_empty_frame()
        if end - start != 5:
            if stream_id not in self._streams:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
            self._fail_stream(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")

    def _on_rst_stream(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.4."""
        if end - start != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        stream = self._streams.get(stream_id)
        if stream is None:
            self._judge(RST_STREAM, stream_id, None)
            return
        # Who was answered and took all of it has got past no limit. It is how clients leave a stream that
        # the server would keep open: those of etcd do so after every single renewal of a lease.
        if (stream.queued or not stream.answered) and not self._peer_resets.take(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many requests were given up")
        self._drop_stream(stream_id, State.RESET_BY_PEER, int.from_bytes(data[start:end], "big"))

    def _on_settings(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.5."""
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.FLAG_ACK:
            if start != end:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            if self._settings_deadline != inf:
                self._settings_deadline = inf
                self._decoder.settings_acknowledged()
            else:
                self._count_empty_frame()
            return
        if (end - start) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if not self._settings.take(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many SETTINGS")
        window = self._peer_window_initial
        for name, value in frames.SETTING.iter_unpack(data[start:end]):
            if name == frames.SETTING_INITIAL_WINDOW_SIZE:
                if value > WINDOW_MAX:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"initial window of {value}")
                window = value
            else:
                self._apply_setting(name, value)
        if window != self._peer_window_initial:
            self._shift_windows(window - self._peer_window_initial)
            self._peer_window_initial = window
        self._fast_bytes_max = -1 if self._encoder.has_pending_update else self._peer_frame_bytes_max
        self._write_control(frames.SETTINGS_ACK)

    def _apply_setting(self, name: int, value: int) -> None:
        """What section 6.5.2 defines; unknown settings are ignored."""
        if name == frames.SETTING_HEADER_TABLE_SIZE:
            self._encoder.limit_table(value)
        elif name == frames.SETTING_MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_DEFAULT <= value <= frames.FRAME_BYTES_LARGEST:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"maximum frame size of {value}")
            # A frame cannot be interrupted: one of the size of a write would let other streams wait.
            self._peer_frame_bytes_max = min(
                value, max(self._limits.write_bytes // 4, frames.FRAME_BYTES_DEFAULT)
            )
        elif name == frames.SETTING_ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")

    def _shift_windows(self, difference: int) -> None:
        """A new initial window moves that of every open stream, even below zero (section 6.9.2)."""
        for stream_id, stream in self._streams.items():
            stream.send_window += difference
            if stream.send_window > WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"window of stream {stream_id} overflows")
            self._wake(stream_id, stream)

    def _on_push_promise(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> NoReturn:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients cannot push")

    def _on_ping(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.7; answered before it is judged."""
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if end - start != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        payload = data[start:end]
        if flags & frames.FLAG_ACK:
            if payload == _SHUTDOWN_PING and self._shutdown_deadline != inf:
                self._drain()
            elif payload != _KEEPALIVE_PING:
                self._count_empty_frame()
            return
        self._write_control(frames.encode_ping(payload, ack=True))
        answered, self._answered = self._answered, False
        if not self._ping_police.allows(self._now, answered=answered, busy=bool(self._streams)):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")

    def _on_goaway(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.8: the client wants no streams of ours, which it never gets; it will close when it is
        done."""
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if end - start < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._count_empty_frame()

    def _on_window_update(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.9."""
        if end - start != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        increment = int.from_bytes(data[start:end], "big") & WINDOW_MAX
        if stream_id == 0:
            self._send_window += increment
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if self._send_window > WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._judge(WINDOW_UPDATE, stream_id, None)
            return
        stream.send_window += increment
        if not increment:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        elif stream.send_window > WINDOW_MAX:
            self._fail_stream(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
        elif stream.queued:
            self._wake(stream_id, stream)

    def _on_unknown(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 4.1: unknown types are ignored, and counted."""
        self._count_empty_frame()
