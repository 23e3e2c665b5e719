"""The half of the engine that writes: answers in, bytes out, never more than the peer's windows and our
bounds allow.

Small answers go straight into the list of pieces that the next `data_to_send` joins. What does not fit
(window, frame size, bytes per write, paused transport) waits in its stream's queue as the pieces it came in,
uncopied; `data_to_send` cuts at most `Limits.write_bytes` from the queues, one frame of each stream in turn.
So an answer of 100 MB exists once, and another stream waits for one write at most. An answer of ten
thousand small parts (`send_run`) is not even joined before its turn comes.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

from etcdpy.http2 import frames
from etcdpy.http2.errors import ConnectionFault, ErrorCode
from etcdpy.http2.frames import DATA, FLAG_END_HEADERS, FLAG_END_STREAM, FRAME_HEADER, HEADERS
from etcdpy.http2.headers import HeaderList, PreparedHeaders
from etcdpy.http2.hpack import Encoder
from etcdpy.http2.limits import Limits
from etcdpy.http2.runs import Run
from etcdpy.http2.streams import ResetMemory, State, Stream

_PAUSED = -1
"""As room: not even an answer without a body may be written."""


class SendingHalf(ABC):
    """Stream queues, the peer's windows, and the pieces of the next write."""

    def __init__(self, limits: Limits, on_writable: Callable[[int], object]) -> None:
        self._limits = limits
        self._on_writable = on_writable
        self._streams: dict[int, Stream] = {}
        self._resets = ResetMemory()
        self._encoder = Encoder(table_bytes_max=limits.encoder_table_bytes_max)
        self._out: list[bytes | memoryview] = []
        self._room_full = self._room = limits.write_bytes
        self._control_bytes = 0
        self._ready: deque[int] = deque()
        self._queued = 0
        self._taken = 0
        self._send_window = frames.WINDOW_DEFAULT
        self._peer_window_initial = frames.WINDOW_DEFAULT
        self._peer_frame_bytes_max = frames.FRAME_BYTES_DEFAULT
        # -1 while a table size update must precede the next headers.
        self._fast_bytes_max = -1 if self._encoder.has_pending_update else self._peer_frame_bytes_max
        self._answered = False
        self._doom: ConnectionFault | None = None
        self._paused = False

    # What the layer above asks.

    @property
    def queued_bytes(self) -> int:
        """DATA of all streams that waits for the peer's windows or for the next write."""
        return self._queued

    def pending_bytes(self, stream_id: int) -> int:
        """The same for one stream; 0 for one that is closed."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.queued

    def is_open(self, stream_id: int) -> bool:
        """Whether anything can still be sent on the stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.finished

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` would give something now."""
        if self._paused:
            return False
        return bool(self._out) or bool(self._ready and self._send_window > 0)

    # Answers. Each returns False if the stream is gone, which the layer above was told by `on_reset`.

    def send_response(
        self, stream_id: int, headers: PreparedHeaders, parts: Sequence[bytes], trailers: PreparedHeaders
    ) -> bool:
        """A whole answer: headers, one message in pieces, trailers. The fast path of unary calls."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        length = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        if (
            length > self._room
            or length > self._send_window
            or length > stream.send_window
            or length > self._fast_bytes_max
            or stream.queue is not None
        ):
            self.send_headers(stream_id, headers)
            self.send_data(stream_id, parts)
            return self.send_headers(stream_id, trailers, end_stream=True)
        self._room -= length
        self._send_window -= length
        name = stream_id.to_bytes(4, "big")
        self._out += (
            headers.prefix,
            name,
            headers.block,
            FRAME_HEADER.pack(length >> 16, length & 0xFFFF, DATA, 0, stream_id),
            *parts,
            trailers.end_prefix,
            name,
            trailers.block,
        )
        self._answered = True
        del self._streams[stream_id]
        if not stream.state:  # OPEN
            self._abort_request(stream_id)
        return True

    def send_headers(
        self, stream_id: int, headers: PreparedHeaders | HeaderList, end_stream: bool = False
    ) -> bool:
        """The headers of an answer, or with `end_stream` its trailers (or headers and trailers in one)."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        assert not stream.finished, f"stream {stream_id} was ended before"
        if stream.queued:
            assert end_stream, f"headers after data on stream {stream_id}"
            stream.tail = headers
            stream.finished = True
            return True
        self._write_headers(stream_id, headers, end_stream)
        stream.answered = True
        if end_stream:
            self._end(stream_id, stream)
        return True

    def send_data(self, stream_id: int, data: bytes | Sequence[bytes], end_stream: bool = False) -> bool:
        """A piece of the answer's body, or several that follow each other. The pieces are kept, not
        copied."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        assert not stream.finished, f"stream {stream_id} was ended before"
        parts: Sequence[bytes] = (data,) if isinstance(data, bytes) else data
        length = sum(map(len, parts))
        if stream.queued or (
            length  # if only END_STREAM is left to say, that needs neither room nor window
            and (
                length > self._room
                or length > self._send_window
                or length > stream.send_window
                or length > self._peer_frame_bytes_max
            )
        ):
            self._enqueue(stream_id, stream, parts, length, end_stream)
            return True
        if length or end_stream:
            self._room -= length
            self._control_bytes += frames.HEADER_BYTES
            self._send_window -= length
            stream.send_window -= length
            flags = FLAG_END_STREAM if end_stream else 0
            self._out.append(FRAME_HEADER.pack(length >> 16, length & 0xFFFF, DATA, flags, stream_id))
            self._out += parts
            self._answered = True
            if end_stream:
                self._end(stream_id, stream)
        return True

    def reset_stream(self, stream_id: int, code: int = ErrorCode.CANCEL) -> bool:
        """Give a stream up by our own will; what is queued is dropped. No `on_reset` follows."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return False
        self._forget(stream)
        self._write_control(frames.encode_rst_stream(stream_id, code))
        self._resets.add(stream_id, State.RESET_BY_US)
        return True

    def send_run(self, stream_id: int, head: bytes, parts: Sequence[bytes], size: int) -> bool:
        """A long piece of the body: `head`, then very many parts, which are `size` bytes together and stay as
        they are.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        assert not stream.finished, f"stream {stream_id} was ended before"
        self._enqueue(stream_id, stream, (head, Run(parts, size)), len(head) + size, False)
        return True

    # The transport.

    def pause(self) -> None:
        """The transport is full: nothing more is given out until `resume`."""
        self._paused = True
        self._room_full = self._room = _PAUSED

    def resume(self) -> None:
        """The transport takes bytes again; `data_to_send` should be called."""
        self._paused = False
        self._room_full = self._room = self._limits.write_bytes

    def data_to_send(self) -> bytes:
        """The bytes to write now; call again while `wants_write` and the transport has not paused us."""
        if self._doom is not None:
            self._fail(self._doom)
        if self._paused:
            return b""
        if self._ready:
            self._pump()
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        self._room = self._room_full
        self._control_bytes = 0
        return data

    # The machinery.

    @abstractmethod
    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection: the other half knows how."""

    def _write_control(self, frame: bytes) -> None:
        self._out.append(frame)
        self._control_bytes += len(frame)

    def _write_headers(self, stream_id: int, headers: PreparedHeaders | HeaderList, end_stream: bool) -> None:
        """HEADERS, and CONTINUATION if the block is longer than the peer's frames (section 4.3)."""
        self._answered = True
        if isinstance(headers, PreparedHeaders):
            if self._fast_bytes_max > 0:
                prefix = headers.end_prefix if end_stream else headers.prefix
                self._out += (prefix, stream_id.to_bytes(4, "big"), headers.block)
                self._control_bytes += headers.size
                return
            block = self._encoder.take_pending_update() + headers.block
        else:
            block = self._encoder.encode(headers)
        self._fast_bytes_max = self._peer_frame_bytes_max
        kind = HEADERS
        flags = FLAG_END_STREAM if end_stream else 0
        step = self._peer_frame_bytes_max
        for start in range(0, len(block), step):
            piece = block[start : start + step]
            if start + step >= len(block):
                flags |= FLAG_END_HEADERS
            self._write_control(frames.encode_frame(kind, flags, stream_id, piece))
            kind, flags = frames.CONTINUATION, 0

    def _enqueue(
        self, stream_id: int, stream: Stream, parts: Sequence[bytes | Run], length: int, end_stream: bool
    ) -> None:
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.extend(parts)
        stream.queued += length
        stream.finished = end_stream
        if stream.queued > self._limits.writable_bytes:
            stream.choked = True
        self._queued += length
        if self._queued > self._limits.queued_bytes_max:
            self._doom = ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "more bytes wait than queued_bytes_max")
        self._wake(stream_id, stream)

    def _wake(self, stream_id: int, stream: Stream) -> None:
        """Put a stream into the round if it has bytes and a window."""
        if not stream.waiting and stream.queued and stream.send_window > 0:
            stream.waiting = True
            self._ready.append(stream_id)

    def _pump(self) -> None:
        """One frame of each ready stream in turn, until the write is full or a window is shut."""
        ready = self._ready
        # What fast answers took of this write must not starve the queues.
        self._room = max(self._room, self._limits.write_bytes // 4)
        while ready and self._room > 0 and self._send_window > 0:
            stream_id = ready.popleft()
            stream = self._streams.get(stream_id)
            if stream is None:
                continue
            stream.waiting = False
            if stream.send_window <= 0:
                continue
            self._write_queued_frame(stream_id, stream)
            if stream.queued:
                self._wake(stream_id, stream)
            elif stream.tail is not None:
                self._write_headers(stream_id, stream.tail, True)
                self._end(stream_id, stream)
            elif stream.finished:
                self._end(stream_id, stream)
            if stream.choked and stream.queued <= self._limits.writable_bytes and not stream.finished:
                stream.choked = False
                self._on_writable(stream_id)

    def _write_queued_frame(self, stream_id: int, stream: Stream) -> None:
        """One DATA frame from the queue, as large as everything allows."""
        queue = stream.queue
        assert queue is not None, stream_id
        size = min(stream.queued, stream.send_window, self._send_window, self._peer_frame_bytes_max)
        assert size > 0, (stream.queued, stream.send_window, self._send_window)
        stream.queued -= size
        stream.send_window -= size
        self._send_window -= size
        self._queued -= size
        self._taken += size
        self._room -= size
        last = stream.finished and stream.tail is None and not stream.queued
        flags = FLAG_END_STREAM if last else 0
        out = self._out
        out.append(FRAME_HEADER.pack(size >> 16, size & 0xFFFF, DATA, flags, stream_id))
        self._answered = True
        while size:
            part = queue.popleft()
            if isinstance(part, Run):
                run, part = part, part.take()
                if run.has_more:
                    queue.appendleft(run)
            left = len(part) - size
            if left > 0:
                view = memoryview(part)
                out.append(view[:size])
                queue.appendleft(view[size:])
                return
            out.append(part)
            size = -left

    def _end(self, stream_id: int, stream: Stream) -> None:
        """Our side is complete."""
        stream.finished = True
        del self._streams[stream_id]
        if stream.state == State.OPEN:
            self._abort_request(stream_id)

    def _abort_request(self, stream_id: int) -> None:
        """The answer is complete but the request is not: we want no more of it (section 8.1)."""
        self._write_control(frames.encode_rst_stream(stream_id, ErrorCode.NO_ERROR))
        self._resets.add(stream_id, State.RESET_BY_US)

    def _forget(self, stream: Stream) -> None:
        """Drop what a stream that is gone still has queued."""
        self._queued -= stream.queued
        stream.queued = 0
        stream.queue = None
        stream.finished = True
