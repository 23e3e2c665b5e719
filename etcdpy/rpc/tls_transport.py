"""TLS between a socket and a connection: the protocol of the one and the transport of the other.

The loops have TLS of their own, but it begins before we hear of a connection, so that nobody counts or times
those who never finish their handshake, and the two loops differ in it. Here a connection is known to the port
from the accept on, and OpenSSL works on two buffers in memory: what arrives goes into one, what it has to say
comes out of the other. Only a client that has passed the handshake gets a `Connection`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from etcdpy.rpc.connection import Connection
from etcdpy.rpc.tls import ClientRejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.rpc.port import Port, Speaks
    from etcdpy.rpc.tls import ServerTls
    from etcdpy.server.log import Logger

# Rejections logged in a second. Strangers cause them, so their number must not decide the size of the log.
REJECTIONS_LOGGED_PER_S = 10
RECORD_BYTES = 16 * 1024


class TlsDoor:
    """Where clients of the secure listeners come in."""

    def __init__(self, port: Port, speaks: Speaks, tls: ServerTls, log: Logger) -> None:
        self.port = port
        self.speaks = speaks
        self.tls = tls
        self._log = log
        self._second = 0
        self._logged = 0

    def transport(self) -> TlsTransport:
        """A protocol for a new connection; what `create_server` wants."""
        return TlsTransport(self)

    def reject(self, peer: object, reason: str) -> None:
        """Say why a client was not let in."""
        second = int(self.port.loop.time())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        if self._logged <= REJECTIONS_LOGGED_PER_S:
            remote = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
            self._log.warn("rejected connection on client endpoint", remote_addr=remote, error=reason)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One TLS connection. Until the handshake is done it stands in the port for itself, then for its
    `Connection`.
    """

    __slots__ = (
        "_closed_at",
        "_door",
        "_incoming",
        "_is_reading",
        "_opened_at",
        "_outgoing",
        "_protocol",
        "_raw",
        "_tls",
    )

    def __init__(self, door: TlsDoor) -> None:
        super().__init__()
        self._door = door
        self._raw: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = door.tls.context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._protocol: Any = None  # none during the handshake
        self._is_reading = True
        self._opened_at = door.port.loop.time()
        self._closed_at: float | None = None

    # The socket's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self._raw = transport  # type: ignore[assignment]  # uvloop's transports derive from nothing
        if not self._door.port.admit(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closed_at is not None:
            return
        self._incoming.write(data)
        if self._protocol is None:
            self._shake_hands()
        else:
            self._read()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            self._send()  # the alert
            self._reject(str(error))
            return
        self._send()
        try:
            name = self._door.tls.admit(self._tls)
        except ClientRejected as error:
            self._reject(str(error))
            return
        door = self._door
        connection = Connection(door.port, door.speaks, is_secure=True, certificate_name=name)
        self._door.port.replace(self, connection)
        self._protocol = connection
        connection.take_over(self)
        self._read()

    def _reject(self, reason: str) -> None:
        self._door.reject(self._raw.get_extra_info("peername"), reason)
        self._closed_at = self._door.port.loop.time()
        self._raw.close()

    def _read(self) -> None:
        """Hand on all that can be decrypted, at once."""
        tls, incoming = self._tls, self._incoming
        pieces = []
        ended = False
        try:
            while self._is_reading and (incoming.pending or tls.pending()):
                piece = tls.read(RECORD_BYTES)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError:
            # Nothing sensible can follow a record that is damaged; what came before it was in order.
            self._raw.abort()
            self._closed_at = self._door.port.loop.time()
        if pieces:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._outgoing.pending:
            self._send()
        if ended and self._closed_at is None:
            self._protocol.eof_received()
            self.close()

    def _send(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def eof_received(self) -> bool:
        """The socket is closed on the other side, with or without TLS's own farewell."""
        if self._protocol is not None and self._closed_at is None:
            self._protocol.eof_received()
        return False

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._protocol is not None:
            self._protocol.connection_lost(error)
        else:
            if self._closed_at is None:
                self._door.reject(self._raw.get_extra_info("peername"), str(error or "EOF"))
            self._door.port.leave(self)
        self._closed_at = self._opened_at

    # The port's side, during the handshake.

    def tick(self, now: float) -> None:
        """Do not wait for ever."""
        limits = self._door.port.limits
        if self._closed_at is None and now - self._opened_at >= limits.handshake_seconds:
            self._reject("TLS handshake was not finished in time")
            self._raw.abort()
        elif self._closed_at is not None and now - self._closed_at >= limits.closing_seconds:
            self._raw.abort()

    def shutdown(self) -> None:
        """Nothing is under way yet that could be waited for."""
        self.abort()

    # The connection's side.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt and send."""
        if self._closed_at is None and data:
            written = self._tls.write(data)
            assert written == len(data), (written, len(data))
            self._send()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """The same in pieces."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Send what is there and TLS's farewell, then close. The client's farewell is not waited for."""
        if self._closed_at is not None:
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the farewell is written before OpenSSL asks for the other one
        self._send()
        self._closed_at = self._door.port.loop.time()
        self._raw.close()

    def abort(self) -> None:
        """End now."""
        if self._closed_at is None:
            self._closed_at = self._door.port.loop.time()
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._closed_at is not None or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Take nothing more from the client."""
        self._is_reading = False
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on, first with what has been read already."""
        self._is_reading = True
        if not self._raw.is_closing():
            self._raw.resume_reading()
            self._door.port.loop.call_soon(self.data_received, b"")

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who hears from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who hears."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Those of the socket."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the socket."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What TLS knows, and what the socket does."""
        match name:
            case "ssl_object":
                return self._tls
            case "sslcontext":
                return self._tls.context
            case "peercert":
                return self._tls.getpeercert()
            case _:
                return self._raw.get_extra_info(name, default)
