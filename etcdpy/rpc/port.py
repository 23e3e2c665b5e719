"""What all connections of a client port share: who may come in, who is there, and what time does to them.

A connection counts from the moment it is accepted, whatever it does then: shake hands for TLS, make up its
mind, or speak. So the bound on connections holds for those too that never say a word.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from etcdpy.rpc.flushing import Flushing

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.http2 import Limits
    from etcdpy.rpc.deadlines import Deadlines
    from etcdpy.rpc.grpc import Routes
    from etcdpy.rpc.router import Router


class Speaks(Enum):
    """What a listener is for."""

    ALL = auto()
    GRPC = auto()  # HTTP has listeners of its own
    HTTP = auto()


class Guest(Protocol):
    """A connection, in whatever state."""

    def tick(self, now: float) -> None:
        """About once a second: end if too slow, too silent, or stuck."""

    def shutdown(self) -> None:
        """Take nothing new, and end when what is under way has ended."""

    def abort(self) -> None:
        """End now."""


@dataclass(slots=True, eq=False)
class Http1Session:
    """One HTTP/1.1 connection, or one HTTP/2 request that looks like one, in the hands of aiohttp."""

    protocol: asyncio.Protocol
    running: int = 0
    """Requests that are being answered."""
    served: int = 0
    """Requests that were answered."""
    on_half_close: Callable[[], object] | None = None
    """To be called when the client will send no more, and so has perhaps gone."""


class Http1Door(Protocol):
    """Where requests that are not gRPC go."""

    def open(self) -> Http1Session:
        """A session; its protocol awaits a transport."""

    def close(self, session: Http1Session) -> None:
        """The session has lost its connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """The bounds of a port that are not HTTP/2's own; those are in `http2.Limits`."""

    connections_max: int
    """More are closed as they come; etcd's bound is the file descriptors left to it."""
    receive_bytes_max: int
    """Length of one gRPC message."""
    buffered_bytes_max: int = 64 * 1024 * 1024
    """Bytes of a connection's requests that wait for their rest, or for a call that does not read. Windows
    are given back as bytes arrive, so only this bounds ten thousand requests that never end.
    """
    handshake_seconds: float = 10.0
    """For the TLS handshake: a client that stops half-way holds a connection and OpenSSL's buffers."""
    http1_request_seconds: float = 60.0
    """From the first byte of an HTTP/1.1 request to its last header (slow loris)."""
    http1_idle_seconds: float = 300.0
    """Between requests on an HTTP/1.1 connection; scrapers come every minute and keep their connection."""
    closing_seconds: float = 5.0
    """For the last bytes (a GOAWAY, mostly) after we have closed; who does not read them loses them."""
    plain_requests_max: int = 100
    """Requests of one HTTP/2 connection that are not gRPC; each costs a task, so more are refused."""


class Port:
    """The shared part of all connections.

    Attributes:
        open: the connections there are.
        flushing: those that are to be written to.
        refused: how many were turned away because there were too many.
    """

    def __init__(
        self,
        router: Router,
        deadlines: Deadlines,
        http2_limits: Limits,
        limits: PortLimits,
        http1: Http1Door,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.router = router
        self.deadlines = deadlines
        self.http2_limits = http2_limits
        self.limits = limits
        self.http1 = http1
        self.routes: Routes = {}
        self.loop = loop
        self.flushing = Flushing(loop)
        self.open: set[Guest] = set()
        self.refused = 0
        self._is_closing = False
        self._empty = asyncio.Event()

    def admit(self, guest: Guest) -> bool:
        """Whether a new connection may stay."""
        if self._is_closing or len(self.open) >= self.limits.connections_max:
            self.refused += 1
            return False
        self.open.add(guest)
        return True

    def leave(self, guest: Guest) -> None:
        """A connection is gone."""
        self.open.discard(guest)
        if self._is_closing and not self.open:
            self._empty.set()

    def replace(self, guest: Guest, successor: Guest) -> None:
        """A connection enters its next state."""
        self.open.remove(guest)
        self.open.add(successor)

    def tick(self, now: float) -> None:
        """About once a second: slow, silent and stuck connections end."""
        for guest in list(self.open):
            guest.tick(now)

    async def close(self, grace_s: float) -> None:
        """Let nobody in, give those who are there a moment, then end them."""
        self._is_closing = True
        for guest in list(self.open):
            guest.shutdown()
        await self._until_empty(grace_s)
        for guest in list(self.open):
            guest.abort()
        # What was aborted is told so by the loop, in its next turns.
        await self._until_empty(grace_s)

    async def _until_empty(self, seconds: float) -> None:
        if self.open:
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                pass
