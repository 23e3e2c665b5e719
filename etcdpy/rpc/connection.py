"""One connection of the client port: bytes between a socket and whatever the first bytes say it
speaks.

HTTP/2 begins with a fixed preface; everything else is HTTP/1.1 and goes to aiohttp. After that this
class only carries bytes: into the engine, and out of it in one write for each turn of the loop,
however many calls were answered in it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from etcdpy.http2 import PREFACE, Engine
from etcdpy.rpc.grpc import GrpcLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.http2 import Limits
    from etcdpy.rpc.deadlines import Deadlines
    from etcdpy.rpc.grpc import Routes
    from etcdpy.rpc.router import Router

# What the transport may hold before it asks us to wait: two writes of the engine.
WRITE_BUFFER_BYTES = 512 * 1024


class Port:
    """What all connections of a client port share.

    Attributes:
        open: the connections there are.
        connections_max: more are closed as they come; etcd's bound is the file descriptors left to it.
    """

    def __init__(
        self,
        router: Router,
        deadlines: Deadlines,
        limits: Limits,
        receive_bytes_max: int,
        connections_max: int,
        http1: Callable[[], asyncio.Protocol],
    ) -> None:
        self.router = router
        self.deadlines = deadlines
        self.limits = limits
        self.receive_bytes_max = receive_bytes_max
        self.connections_max = connections_max
        self.http1 = http1
        self.open: set[Connection] = set()
        self.routes: Routes = {}
        self.loop = asyncio.get_running_loop()
        self.closing = False

    def connection(self) -> Connection:
        """A protocol for a new connection; what `create_server` wants."""
        return Connection(self)

    def tick(self, now: float) -> None:
        """About once a second: slow, silent and stuck connections end."""
        for connection in list(self.open):
            connection.tick(now)


class Connection(asyncio.Protocol):
    """A connection, first undecided, then HTTP/2 or handed over to HTTP/1.1."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._loop = port.loop
        self._transport: asyncio.Transport
        self._opened_at = port.loop.time()
        self._first = b""
        self._engine: Engine | None = None
        self._layer: GrpcLayer | None = None
        self._reading = False
        self._flush_scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write"), transport
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports derive from nothing
        port = self._port
        if port.closing or len(port.open) >= port.connections_max:
            self._transport.abort()
            return
        port.open.add(self)
        if transport.get_extra_info("sslcontext") is not None:
            tls = transport.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                self._speak_http2(b"")

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        engine = self._engine
        if engine is None:
            self._decide(data)
            return
        self._reading = True
        engine.receive_data(data, self._loop.time())
        self._reading = False
        self._flush()

    def _decide(self, data: bytes) -> None:
        first = self._first = self._first + data
        if PREFACE.startswith(first[: len(PREFACE)]):
            if len(first) >= len(PREFACE):
                self._first = b""
                self._speak_http2(first)
            return
        self._port.open.discard(self)
        protocol = self._port.http1()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(first)

    def _speak_http2(self, first: bytes) -> None:
        port = self._port
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        layer = GrpcLayer(
            port.router,
            port.routes,
            port.deadlines,
            port.receive_bytes_max,
            _peer_name(self._transport),
            self._loop.time,
            self._wrote,
        )
        self._layer = layer
        self._engine = layer.engine = Engine(layer, port.limits, now=self._loop.time())
        if first:
            self.data_received(first)
        else:
            self._flush()

    def _wrote(self) -> None:
        """A call was answered: flush when this turn of the loop has heard everything."""
        if not self._reading and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        engine = self._engine
        if engine is None or self._transport.is_closing():
            return
        # Telling streams that they are writable may queue more; that belongs to a later turn.
        self._reading = True
        data = engine.data_to_send()
        self._reading = False
        if data:
            self._transport.write(data)
        if engine.closed or (engine.drained and not engine.wants_write):
            self._transport.close()
        elif engine.wants_write:
            self._wrote()

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._engine is not None:
            self._engine.pause()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._engine is not None:
            self._engine.resume()
            self._flush()

    def eof_received(self) -> bool:
        """The client will send no more; a gRPC client that half-closes its socket has left."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and with it every call on it."""
        self._port.open.discard(self)
        if self._engine is not None:
            self._reading = True
            self._engine.connection_lost()
            self._engine = None

    def tick(self, now: float) -> None:
        """Let the engine see the time."""
        if self._engine is not None:
            self._reading = True
            self._engine.tick(now)
            self._reading = False
            self._flush()
        elif now - self._opened_at >= self._port.limits.preface_seconds:
            self._transport.abort()

    def shutdown(self) -> None:
        """Take no new calls; the connection ends when those under way have."""
        if self._engine is None:
            self._transport.close()
            return
        self._engine.shutdown(self._loop.time())
        self._flush()

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    @property
    def open_calls(self) -> int:
        """Calls under way."""
        return 0 if self._layer is None else len(self._layer.calls)


def _peer_name(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) >= 2 else str(name or "unix")
