"""A real server around the engine for real clients: asyncio in a thread, a path or two, and a record of what
was read.

`/bytes/N` answers with N octets; everything else is answered as a gRPC call with one empty message, once the
request is complete. It is the smallest shell that keeps the rules of the package's docstring.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from etcdpy.http2 import Engine, Limits, RequestHeaders, prepare_headers

if TYPE_CHECKING:
    from collections.abc import Coroutine

GRPC = prepare_headers([(":status", "200"), ("content-type", "application/grpc")])
GRPC_OK = prepare_headers([("grpc-status", "0")])
PLAIN = prepare_headers([(":status", "200"), ("content-type", "application/octet-stream")])
PIECE = bytes(range(256)) * 1024


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.engine = Engine(self, server.limits, now=self.loop.time())
        self.record = bytearray()
        self.requests = 0
        self.body_bytes = 0
        server.connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.server.recording:
            self.record += data
        self.engine.receive_data(data, self.loop.time())
        self.flush()

    def pause_writing(self) -> None:
        self.engine.pause()

    def resume_writing(self) -> None:
        self.engine.resume()
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.engine.connection_lost()

    def flush(self) -> None:
        data = self.engine.data_to_send()
        if data:
            self.transport.write(data)
        if self.engine.closed or self.engine.drained:
            self.transport.close()
        elif self.engine.wants_write:
            self.loop.call_soon(self.flush)

    # The handler.

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        self.requests += 1
        headers.memo = headers.path
        if headers.path.startswith("/bytes/"):
            count = int(headers.path.removeprefix("/bytes/"))
            self.engine.send_headers(stream_id, PLAIN)
            parts = [PIECE] * (count // len(PIECE)) + [PIECE[: count % len(PIECE)]]
            self.engine.send_data(stream_id, parts, end_stream=True)
        elif end_stream:
            self.on_data(stream_id, b"", True)

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        self.on_headers(stream_id, headers, False)
        self.on_data(stream_id, data, True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.body_bytes += len(data)
        if end_stream:
            self.engine.send_response(stream_id, GRPC, [b"\0\0\0\0\0"], GRPC_OK)

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        self.on_data(stream_id, b"", True)

    def on_reset(self, stream_id: int, code: int) -> None:
        self.server.resets.append(code)

    def on_writable(self, stream_id: int) -> None:
        pass


class Server:
    """A listening engine: `with Server() as server: ... server.port`."""

    def __init__(self, limits: Limits | None = None, *, recording: bool = False) -> None:
        self.limits = limits
        self.recording = recording
        self.connections: list[Connection] = []
        self.resets: list[int] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def run(self, work: Coroutine[object, object, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def __enter__(self) -> Server:
        self._thread.start()
        self.run(self._listen())
        return self

    async def _listen(self) -> None:
        self._listener = await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.transport.abort()
        await asyncio.sleep(0)

    def __exit__(self, *_: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def faults(self) -> list[str]:
        """Why connections were closed by us; empty if all went well."""
        return [str(one.engine.fault) for one in self.connections if one.engine.fault is not None]

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.connections)
