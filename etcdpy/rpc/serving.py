"""The client port: from listen URLs to answered calls."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

from etcdpy.http2 import Limits
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.connection import Port
from etcdpy.rpc.deadlines import Deadlines
from etcdpy.rpc.http1 import HttpEndpoints
from etcdpy.rpc.services import Health, make_router

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.member_view import MemberView
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

# A message may be larger than the raft limit by this; what lies between is refused later, with etcd's text.
GRPC_OVERHEAD_BYTES = 512 * 1024
# File descriptors kept back for logs, peers and snapshots, as etcd keeps them.
RESERVED_DESCRIPTORS = 150
BACKLOG = 1024
TICK_S = 1.0
STOP_GRACE_S = 1.0


class Listeners:
    """The client listeners of one member.

    `bind` early, so that a taken port is known before anything else happens; `start` when the
    member is ready.

    Attributes:
        urls: where clients connect, with the ports that were really bound.
    """

    def __init__(self, config: Config, member: MemberView, log: Logger) -> None:
        self._config = config
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._http = HttpEndpoints(member)
        self._router = make_router(member, Health())
        self._port = Port(
            self._router,
            self._deadlines,
            limits_of(config),
            config.max_request_bytes + GRPC_OVERHEAD_BYTES,
            connections_max(),
            self._http.protocol,
        )
        self._servers: list[asyncio.Server] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.urls: list[str] = []

    async def bind(self) -> None:
        """Take the ports.

        Raises:
            OSError: an address cannot be bound.
        """
        for url in self._config.listen_client_urls:
            if url.is_unix:
                server = await self._loop.create_unix_server(
                    self._port.connection, url.address, start_serving=False
                )
                self.urls.append(str(url))
            else:
                server = await self._loop.create_server(
                    self._port.connection, url.host, url.port, start_serving=False, backlog=BACKLOG
                )
                port = server.sockets[0].getsockname()[1]
                self.urls.append(f"{url.scheme}://{url.host}:{port}")
            self._servers.append(server)

    async def start(self) -> None:
        """Take calls."""
        for server in self._servers:
            await server.start_serving()
        self._every(TICK_S, lambda: self._port.tick(self._loop.time()))
        self._every(self._config.election_timeout_ms / 1000, self._router.leader_watch.look)

    def _every(self, interval_s: float, action: Callable[[], None]) -> None:
        place = len(self._timers)

        def run() -> None:
            action()
            self._timers[place] = self._loop.call_later(interval_s, run)

        self._timers.append(self._loop.call_later(interval_s, run))

    async def stop(self) -> None:
        """Take no more calls, give those under way a moment, then end what is left."""
        self._port.closing = True
        for server in self._servers:
            server.close()
        for connection in list(self._port.open):
            connection.shutdown()
        deadline = self._loop.time() + STOP_GRACE_S
        while self._port.open and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._port.open):
            connection.abort()
        await self._http.stop()
        for timer in self._timers:
            timer.cancel()
        self._deadlines.close()
        for server in self._servers:
            await server.wait_closed()


def limits_of(config: Config) -> Limits:
    """The engine's bounds as the flags set them."""
    return Limits(
        streams_max=min(config.max_concurrent_streams, Limits().streams_max),
        writable_bytes=WRITABLE_BYTES,
        ping_interval_seconds=config.grpc_keepalive_min_time_s,
        keepalive_seconds=config.grpc_keepalive_interval_s,
        keepalive_timeout_seconds=config.grpc_keepalive_timeout_s,
    )


def connections_max() -> int:
    """How many connections the file descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - RESERVED_DESCRIPTORS, 1) if soft != resource.RLIM_INFINITY else 1 << 20
