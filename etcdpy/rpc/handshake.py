"""The first moments of a TLS connection: the handshake, and whether its certificate is welcome.

The loop does TLS; we keep the count and the clock. The connection is known to the port from the accept on, a
handshake that stalls is cut off, and only a client that has passed is given a `Connection`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from etcdpy.rpc.connection import Connection
from etcdpy.rpc.tls import ClientRejected

if TYPE_CHECKING:
    from etcdpy.rpc.port import Port
    from etcdpy.rpc.tls import ServerTls
    from etcdpy.server.log import Logger

# Rejections logged in a second. Strangers cause them, so their number must not decide the size of the log.
REJECTIONS_LOGGED_PER_S = 10


class TlsDoor:
    """Makes a handshake for each connection of the secure listeners."""

    def __init__(self, port: Port, tls: ServerTls, log: Logger) -> None:
        self.port = port
        self.tls = tls
        self._log = log
        self._second = 0
        self._logged = 0

    def handshake(self) -> Handshake:
        """A protocol for a new connection; what `create_server` wants."""
        return Handshake(self)

    def reject(self, peer: object, reason: str) -> None:
        """Say why a client was not let in."""
        second = int(self.port.loop.time())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        if self._logged <= REJECTIONS_LOGGED_PER_S:
            remote = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
            self._log.warn("rejected connection on client endpoint", remote_addr=remote, error=reason)


class Handshake(asyncio.Protocol):
    """One handshake under way."""

    __slots__ = ("_door", "_early", "_is_lost", "_task", "_transport")

    def __init__(self, door: TlsDoor) -> None:
        self._door = door
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        # What arrived right behind the handshake, before we heard that it is done.
        self._early: list[bytes] = []
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports derive from nothing
        if not self._door.port.admit(self):
            self._transport.abort()
            return
        # Not a byte may be read before the loop's TLS is in place.
        self._transport.pause_reading()
        self._task = self._door.port.loop.create_task(self._shake())

    async def _shake(self) -> None:
        door, loop = self._door, self._door.port.loop
        peer = self._transport.get_extra_info("peername")
        try:
            secure = await loop.start_tls(
                self._transport,
                self,
                door.tls.context(),
                server_side=True,
                ssl_handshake_timeout=door.port.limits.handshake_seconds,
                ssl_shutdown_timeout=door.port.limits.closing_seconds,
            )
        except (OSError, ssl.SSLError) as error:
            door.reject(peer, str(error))
            self._end()
            return
        if secure is None or self._is_lost:
            self._end()
            return
        self._transport = secure
        try:
            name = door.tls.admit(secure.get_extra_info("ssl_object"))
        except ClientRejected as error:
            door.reject(peer, str(error))
            self._end()
            return
        self._hand_on(secure, name)

    def _hand_on(self, secure: asyncio.Transport, certificate_name: str) -> None:
        connection = Connection(self._door.port, is_secure=True, certificate_name=certificate_name)
        self._door.port.replace(self, connection)
        secure.set_protocol(connection)
        connection.take_over(secure)
        for data in self._early:
            connection.data_received(data)

    def _end(self) -> None:
        self._door.port.leave(self)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The client was quick."""
        self._early.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._is_lost = True
        self._door.port.leave(self)

    def tick(self, now: float) -> None:
        """The loop watches the clock."""

    def shutdown(self) -> None:
        """Nothing is under way yet that could be waited for."""
        self.abort()

    def abort(self) -> None:
        """End now."""
        if self._task is not None:
            self._task.cancel()
        self._end()
