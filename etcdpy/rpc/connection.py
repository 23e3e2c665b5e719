"""One connection of the client port: bytes between a socket and whatever the first bytes say it
speaks.

HTTP/2 begins with a fixed preface; everything else is HTTP/1.1 and goes to aiohttp. After that this
class only carries bytes: into the engine, and out of it in one write for each turn of the loop,
however many calls were answered in it. On a TLS connection the handshake (`etcdpy.rpc.tls_transport`) comes
first, and what it learned of the client comes along.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from etcdpy.http2 import PREFACE, Engine
from etcdpy.rpc.errors import to_rpc_error
from etcdpy.rpc.grpc import GrpcLayer
from etcdpy.rpc.http1_connection import Http1Connection
from etcdpy.rpc.port import Speaks
from etcdpy.server.errors import Stopped

if TYPE_CHECKING:
    from etcdpy.rpc.port import Port

# What the transport may hold before it asks us to wait: two writes of the engine.
WRITE_BUFFER_BYTES = 512 * 1024


class Connection(asyncio.Protocol):
    """A connection, first undecided, then HTTP/2 or handed on to HTTP/1.1."""

    __slots__ = (
        "_certificate_name",
        "_closed_at",
        "_engine",
        "_first",
        "_flush_scheduled",
        "_is_secure",
        "_layer",
        "_loop",
        "_opened_at",
        "_port",
        "_reading",
        "_speaks",
        "_transport",
    )

    def __init__(
        self, port: Port, speaks: Speaks, *, is_secure: bool = False, certificate_name: str = ""
    ) -> None:
        self._port = port
        self._speaks = speaks
        self._loop = port.loop
        self._is_secure = is_secure
        self._certificate_name = certificate_name
        self._transport: asyncio.Transport
        self._opened_at = port.loop.time()
        self._first = b""
        self._engine: Engine | None = None
        self._layer: GrpcLayer | None = None
        self._reading = False
        self._flush_scheduled = False
        self._closed_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        if self._port.admit(self):
            self.take_over(transport)
        else:
            transport.abort()  # type: ignore[attr-defined]  # uvloop's transports derive from nothing

    def take_over(self, transport: asyncio.BaseTransport) -> None:
        """Begin on a transport whose guest the port knows already."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports derive from nothing
        if self._is_secure and transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
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
        layer = self._layer
        if layer is not None and layer.calls:
            # Calls are under way, many of which the coming turn will answer. Clients send a PING with almost
            # every batch of requests; its answer goes out with theirs and saves a system call.
            if engine.wants_write or layer.batched:
                self._wrote()
        else:
            self._flush()

    def _decide(self, data: bytes) -> None:
        first = self._first = self._first + data
        if self._speaks is Speaks.HTTP or not PREFACE.startswith(first[: len(PREFACE)]):
            if self._speaks is Speaks.GRPC:
                self._transport.abort()
                return
            successor = Http1Connection(self._port, self._transport)
            self._port.replace(self, successor)
            self._transport.set_protocol(successor)
            successor.data_received(first)
        elif len(first) >= len(PREFACE):
            self._first = b""
            self._speak_http2(first)

    def _speak_http2(self, first: bytes) -> None:
        port = self._port
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        layer = self._layer = GrpcLayer(port, _peer_name(self._transport), self._wrote)
        if self._is_secure:
            layer.serves_plain = self._speaks is Speaks.ALL
            layer.certificate_name = self._certificate_name
            layer.transport = self._transport
        self._engine = layer.engine = Engine(layer, port.http2_limits, now=self._loop.time())
        if first:
            self.data_received(first)
        else:
            self._flush()

    def _wrote(self) -> None:
        """A call was answered: flush when this turn of the loop has heard everything."""
        if not self._reading and not self._flush_scheduled:
            self._flush_scheduled = True
            self._port.flushing.add(self)

    def flush(self) -> None:
        """Write what there is; for `Flushing`."""
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        engine, layer = self._engine, self._layer
        if engine is None or layer is None or self._transport.is_closing():
            return
        if layer.batched:
            layer.flush_batches()
        # Telling streams that they are writable may queue more; that belongs to a later turn.
        self._reading = True
        data = engine.data_to_send()
        self._reading = False
        if data:
            self._transport.write(data)
        if engine.closed or (engine.drained and not engine.wants_write):
            self._close()
        elif engine.wants_write or layer.batched:
            self._wrote()

    def _close(self) -> None:
        self._closed_at = self._loop.time()
        self._transport.close()

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
        self._port.leave(self)
        if self._engine is not None:
            self._reading = True
            self._engine.connection_lost()
            self._engine = None

    def tick(self, now: float) -> None:
        """Let the engine see the time, and do not wait for ever for anything."""
        if self._closed_at is not None:
            if now - self._closed_at >= self._port.limits.closing_seconds:
                self._transport.abort()
        elif self._engine is not None:
            self._reading = True
            self._engine.tick(now)
            self._reading = False
            self._flush()
        elif now - self._opened_at >= self._port.http2_limits.preface_seconds:
            self._transport.abort()

    def shutdown(self) -> None:
        """Take no new calls, end those that would never end; the connection goes when the others have."""
        if self._engine is None or self._layer is None:
            self._transport.abort()
            return
        self._engine.shutdown(self._loop.time())
        self._layer.end_streams(to_rpc_error(Stopped()))
        self._flush()

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    @property
    def open_calls(self) -> int:
        """Calls under way."""
        return 0 if self._layer is None else len(self._layer.calls)

    @property
    def open_streams(self) -> int:
        """Streams that are not answered to the end."""
        return 0 if self._engine is None else self._engine.open_streams

    @property
    def queued_bytes(self) -> int:
        """Bytes of answers that the client has not taken."""
        return 0 if self._engine is None else self._engine.queued_bytes


def _peer_name(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple) or len(name) < 2:
        return str(name or "unix")
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
