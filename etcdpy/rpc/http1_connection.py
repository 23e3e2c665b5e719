"""An HTTP/1.1 connection of the client port: aiohttp's protocol, with the bounds it lacks.

aiohttp reads requests and writes answers. What it does not mind is a client that takes for ever to send a
request, or that stays without ever sending one; and when a client closes its half after the last request,
it forgets that the answer is still due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.rpc.port import Port


class Http1Connection(asyncio.Protocol):
    """Passes on what the loop tells, and watches the clock."""

    __slots__ = (
        "_half_closed",
        "_heard_at",
        "_idle_since",
        "_port",
        "_served",
        "_served_before",
        "_session",
        "_transport",
    )

    def __init__(self, port: Port, transport: asyncio.Transport) -> None:
        self._port = port
        self._transport = transport
        self._session = port.http1.open()
        self._idle_since = port.loop.time()
        self._heard_at: float | None = None
        self._served = 0
        # Requests served when the client was last heard; none as long as it was not.
        self._served_before: int | None = None
        self._half_closed = False
        self._session.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._heard_at is None and not self._session.running:
            self._heard_at = self._port.loop.time()
        self._served_before = self._session.served
        self._session.protocol.data_received(data)

    def eof_received(self) -> bool:
        """The client will send no more, or has left; who still waits for an answer gets it, except over
        TLS, where the farewell is for both directions.
        """
        session = self._session
        session.protocol.eof_received()
        self._half_closed = True
        if session.on_half_close is not None:
            session.on_half_close()
        is_due = session.running > 0 or session.served == self._served_before
        return is_due and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """The socket is full."""
        self._session.protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._session.protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._port.leave(self)
        self._session.protocol.connection_lost(error)
        self._port.http1.close(self._session)

    def tick(self, now: float) -> None:
        """End what dawdles."""
        session, limits = self._session, self._port.limits
        if session.running or session.served != self._served:
            self._served = session.served
            self._idle_since = now
            self._heard_at = None
        elif self._half_closed:
            self._transport.close()
        elif now - self._idle_since >= limits.http1_idle_seconds or (
            self._heard_at is not None and now - self._heard_at >= limits.http1_request_seconds
        ):
            self._transport.abort()

    def shutdown(self) -> None:
        """aiohttp ends its connections itself, each when its request has been answered."""

    def abort(self) -> None:
        """End now."""
        self._transport.abort()
