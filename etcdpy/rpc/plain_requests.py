"""HTTP/2 requests that are not gRPC, for aiohttp, which speaks HTTP/1.1 only.

Browsers and curl choose HTTP/2 when TLS offers it, and then ask for /health like anybody else. Each such
request is given to aiohttp as an HTTP/1.1 connection of its own with one request on it; what aiohttp writes
is read back and sent as the answer on the stream. Names, values and paths were checked by the engine, so
nothing in them can end a line. Both directions are slowed down as a socket would slow them down.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from etcdpy.http2 import ErrorCode
from etcdpy.rpc.call import WRITABLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.http2 import RequestHeaders
    from etcdpy.rpc.grpc import GrpcLayer
    from etcdpy.rpc.port import Http1Session

# Fields that speak of a connection (RFC 9113, section 8.2.2), and those that are said otherwise here.
_NOT_IN_REQUEST = frozenset({"host", "te", "content-length"})
_NOT_IN_RESPONSE = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_HEAD_BYTES_MAX = 64 * 1024


class PlainRequest(asyncio.Transport):
    """A stream of the engine as aiohttp sees it: the transport of a connection."""

    def __init__(self, layer: GrpcLayer, stream_id: int, session: Http1Session) -> None:
        super().__init__()
        self._layer = layer
        self._stream_id = stream_id
        self._session = session
        self._protocol: Any = session.protocol
        self._chunked = False
        self._closing = False
        self._has_left = False
        self._is_choked = False
        self._answer = ResponseReader()

    def begin(self, headers: RequestHeaders, end_stream: bool) -> None:
        """Tell aiohttp of the request."""
        self._protocol.connection_made(self)
        self._chunked = not end_stream and headers.content_length is None
        self._protocol.data_received(request_head(headers, has_body=not end_stream))

    def feed(self, data: bytes, end_stream: bool) -> None:
        """The next piece of the request's body."""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = chunk + b"0\r\n\r\n" if end_stream else chunk
        if data:
            self._protocol.data_received(data)

    def leave(self) -> None:
        """The stream is gone."""
        if self._has_left:
            return
        self._closing = self._has_left = True
        self._protocol.connection_lost(None)
        self._layer.forget_plain(self._stream_id, self._session)

    def woken(self) -> None:
        """The client takes more again."""
        if self._is_choked and not self._closing:
            self._is_choked = False
            self._protocol.resume_writing()

    # The transport of aiohttp.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Bytes of the answer."""
        if self._closing:
            return
        engine, stream_id = self._layer.engine, self._stream_id
        head, pieces = self._answer.feed(bytes(data))
        if head is not None:
            engine.send_headers(stream_id, head)
        if pieces:
            engine.send_data(stream_id, pieces)
        self._layer.wrote()
        if not self._is_choked and engine.pending_bytes(stream_id) > WRITABLE_BYTES:
            self._is_choked = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """The same in pieces."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """aiohttp has said everything, or given up."""
        if self._closing:
            return
        engine = self._layer.engine
        if self._answer.is_complete:
            engine.send_data(self._stream_id, b"", end_stream=True)
        else:
            engine.reset_stream(self._stream_id, ErrorCode.INTERNAL_ERROR)
        self._layer.wrote()
        self._closing = True
        self._layer.call_soon(self.leave)

    def abort(self) -> None:
        """The same without patience."""
        if not self._closing:
            self._layer.engine.reset_stream(self._stream_id, ErrorCode.INTERNAL_ERROR)
            self.close()

    def is_closing(self) -> bool:
        """Whether the stream has ended, or soon will."""
        return self._closing

    def pause_reading(self) -> None:
        """aiohttp has enough of the body."""
        self._layer.engine.hold(self._stream_id)

    def resume_reading(self) -> None:
        """aiohttp takes more."""
        self._layer.engine.release(self._stream_id)
        self._layer.wrote()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the real connection; the socket is not aiohttp's to tune."""
        transport = self._layer.transport
        return default if transport is None or name == "socket" else transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the client."""
        return self._layer.engine.pending_bytes(self._stream_id)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """There is but one, for one request."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """aiohttp's."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol


def request_head(headers: RequestHeaders, *, has_body: bool) -> bytes:
    """The request line and header fields as HTTP/1.1 writes them."""
    host = headers.authority or headers.get("host") or ""
    lines = [f"{headers.method} {headers.path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.fields if name not in _NOT_IN_REQUEST]
    if headers.content_length is not None:
        lines.append(f"Content-Length: {headers.content_length}")
    elif has_body:
        lines.append("Transfer-Encoding: chunked")
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


class ResponseReader:
    """Reads one HTTP/1.1 response that aiohttp writes."""

    def __init__(self) -> None:
        self._head = b""
        self._has_head = False
        self._is_chunked = False
        self._chunk_left = 0
        self._line = b""
        self.is_complete = False
        """Whether the response may end here."""

    def feed(self, data: bytes) -> tuple[list[tuple[str, str]] | None, list[bytes]]:
        """The header list once it is complete, and pieces of the body."""
        head = None
        if not self._has_head:
            self._head += data
            text, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                assert len(self._head) <= _HEAD_BYTES_MAX, len(self._head)
                return None, []
            head = self._read_head(text)
            self._head = b""
            if head is None:
                return self.feed(data) if data else (None, [])
        if self._is_chunked:
            return head, self._cut_chunks(data)
        return head, [data] if data else []

    def _read_head(self, text: bytes) -> list[tuple[str, str]] | None:
        status_line, *lines = text.decode("latin-1").split("\r\n")
        status = status_line.split(" ")[1]
        if status == "100":
            return None  # the client's body comes without being asked for
        self._has_head = True
        fields = [line.split(": ", 1) for line in lines]
        pairs = [(name.lower(), value) for name, value in fields]
        self._is_chunked = ("transfer-encoding", "chunked") in pairs
        self.is_complete = not self._is_chunked
        kept = [(name, value) for name, value in pairs if name not in _NOT_IN_RESPONSE]
        return [(":status", status), *kept]

    def _cut_chunks(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            if self._chunk_left > 2:
                piece = data[: self._chunk_left - 2]
                pieces.append(piece)
                data = data[len(piece) :]
                self._chunk_left -= len(piece)
            elif self._chunk_left:  # the line end behind a chunk
                skipped = min(self._chunk_left, len(data))
                data = data[skipped:]
                self._chunk_left -= skipped
            else:
                line, found, rest = (self._line + data).partition(b"\r\n")
                self._line = b"" if found else line
                data = rest
                if found and line:
                    size = int(line, 16)
                    self.is_complete = size == 0
                    self._chunk_left = size + 2 if size else 0
        return pieces
