"""The client port: from listen URLs to answered calls."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy.http2 import Limits
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.connection import Connection
from etcdpy.rpc.deadlines import Deadlines
from etcdpy.rpc.debug_endpoints import log_level_route, pprof_routes, vars_route
from etcdpy.rpc.gateway import Gateway
from etcdpy.rpc.health_endpoints import HealthEndpoints
from etcdpy.rpc.http1 import HttpSite
from etcdpy.rpc.http_access import HttpAccess
from etcdpy.rpc.metrics_endpoint import MetricsEndpoint
from etcdpy.rpc.port import Port, PortLimits, Speaks
from etcdpy.rpc.services import Health, make_router
from etcdpy.rpc.telemetry import Telemetry
from etcdpy.rpc.v2 import V2Api
from etcdpy.rpc.version_endpoint import version_route
from etcdpy.server.log import duration_text

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from etcdpy.cluster.urls import Url
    from etcdpy.rpc.http_answers import Handler
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.rpc.router import Router
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

    Factory = Callable[[], asyncio.Protocol]

# A message may be larger than the raft limit by this; what lies between is refused later, with etcd's text.
GRPC_OVERHEAD_BYTES = 512 * 1024
# File descriptors kept back for logs, peers and snapshots, as etcd keeps them.
RESERVED_DESCRIPTORS = 150
BACKLOG = 1024
# The value of `--metrics` that has calls timed.
EXTENSIVE = "extensive"
# The value of `--log-level` that brings the profiles along.
DEBUG = "debug"
TICK_S = 1.0
# The default of --warning-unary-request-duration.
UNARY_WARNING_S = 0.3
STOP_GRACE_S = 1.0


class Listeners:
    """The client listeners of one member.

    `bind` early, so that a taken port is known before anything else happens; `start` when the
    member is ready.

    Attributes:
        urls: where clients connect, with the ports that were really bound.
        http_urls: those of `--listen-client-http-urls`, for HTTP alone.
        metrics_urls: those of `--listen-metrics-urls`; they answer from `start_metrics` on.
        port: the connections there are.
    """

    def __init__(
        self,
        config: Config,
        member: MemberView,
        log: Logger,
        limits: PortLimits | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._router = make_router(
            member, Health(), stops_on_defragment=config.features["StopGRPCServiceOnDefrag"]
        )
        limits = limits or port_limits_of(config)
        if config.metrics == EXTENSIVE:
            self._router.clock = time.perf_counter
        gateway = Gateway(self._router, limits.receive_bytes_max) if config.enable_grpc_gateway else None
        v2 = V2Api(member) if config.enable_v2 else None
        probes, rest = _routes(config, member, self._router, log, telemetry or Telemetry())
        self._http = HttpSite(log, probes | rest, gateway, HttpAccess(config, member), v2)
        self._metrics_http = HttpSite(log, probes)
        self.port, self._metrics_port = (
            Port(self._router, self._deadlines, limits_of(config), limits, site, self._loop)
            for site in (self._http, self._metrics_http)
        )
        self._metrics_servers: list[asyncio.Server] = []
        self._servers: list[asyncio.Server] = []
        self._paths: list[str] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.urls: list[str] = []
        self.http_urls: list[str] = []
        self.metrics_urls: list[str] = []

    @property
    def http_sessions(self) -> int:
        """Connections, and requests of HTTP/2 that are not gRPC, in the hands of aiohttp."""
        return self._http.sessions

    async def bind(self) -> None:
        """Take the ports.

        Raises:
            OSError: an address cannot be bound, or the files for TLS cannot be used.
        """
        config = self._config
        speaks = Speaks.GRPC if config.listen_client_http_urls else Speaks.ALL
        self.urls = await self._bind_all(config.listen_client_urls, speaks, self.port)
        self.http_urls = await self._bind_all(config.listen_client_http_urls, Speaks.HTTP, self.port)
        servers, self._servers = self._servers, []
        self.metrics_urls = await self._bind_all(config.listen_metrics_urls, Speaks.HTTP, self._metrics_port)
        self._metrics_servers, self._servers = self._servers, servers

    async def _bind_all(self, urls: Iterable[Url], speaks: Speaks, port: Port) -> list[str]:
        def plain() -> asyncio.Protocol:
            return Connection(port, speaks)

        secure = self._tls_factory(speaks, port) if any(url.is_secure for url in urls) else plain
        bound = []
        for url in urls:
            bound.append(await self._bind(url, secure if url.is_secure else plain))
            if not url.is_secure and (self._config.cert_file or self._config.client_cert_auth):
                self._log.warn(
                    "scheme is http or unix while TLS files or --client-cert-auth are given; "
                    "they do not protect this URL",
                    client_url=str(url),
                )
        return bound

    async def _bind(self, url: Url, factory: Factory) -> str:
        if url.is_unix:
            _remove(url.address)  # a socket that a killed process left behind
            server = await self._loop.create_unix_server(
                factory, url.address, start_serving=False, backlog=BACKLOG
            )
            self._paths.append(url.address)
            self._servers.append(server)
            return str(url)
        server = await self._loop.create_server(
            factory,
            url.host,
            url.port,
            start_serving=False,
            backlog=BACKLOG,
            reuse_port=self._config.socket_reuse_port or None,
        )
        self._servers.append(server)
        return f"{url.scheme}://{_host_port(url.host, server.sockets[0])}"

    def _tls_factory(self, speaks: Speaks, port: Port) -> Factory:
        # Only now, for `cryptography` takes its time and most test members speak plain HTTP.
        from etcdpy.rpc.tls import ServerTls
        from etcdpy.rpc.tls_transport import TlsDoor

        tls = ServerTls(self._config, self._log, speaks)
        return TlsDoor(port, speaks, tls, self._log).transport

    async def start_metrics(self) -> None:
        """Let probes and scrapers in, who may have to tell that the member does not get ready."""
        for server in self._metrics_servers:
            await server.start_serving()
        self._every(TICK_S, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        self.port.tick(now)
        self._metrics_port.tick(now)

    def _watch_for_slow_calls(self) -> None:
        """Every call is timed for that, so it is done only for those who have asked for it by the flag."""
        threshold_s = self._config.warning_unary_request_duration_s
        if threshold_s == UNARY_WARNING_S and not self._config.is_set("warning-unary-request-duration"):
            return

        def warn(path: str, seconds: float) -> None:
            fields = {"time spent": duration_text(seconds), "response type": path}
            self._log.warn("request stats", **fields)

        # Not the loop's, which may stand still while a long answer is made.
        self._router.clock = time.perf_counter
        self._router.ledger.warn_of_slow_calls(threshold_s, warn)

    async def start(self) -> None:
        """Take calls."""
        self._watch_for_slow_calls()
        for server in self._servers:
            await server.start_serving()
        if not self._timers:
            await self.start_metrics()
        self._every(self._config.election_timeout_ms / 1000, self._router.leader_watch.look)

    def _every(self, interval_s: float, action: Callable[[], None]) -> None:
        place = len(self._timers)

        def run() -> None:
            action()
            self._timers[place] = self._loop.call_later(interval_s, run)

        self._timers.append(self._loop.call_later(interval_s, run))

    async def stop(self) -> None:
        """Take no more calls, give those under way a moment, then end what is left."""
        servers = [*self._servers, *self._metrics_servers]
        for server in servers:
            server.close()
        await asyncio.gather(
            self.port.close(STOP_GRACE_S),
            self._http.stop(STOP_GRACE_S),
            self._metrics_port.close(STOP_GRACE_S),
            self._metrics_http.stop(STOP_GRACE_S),
        )
        for timer in self._timers:
            timer.cancel()
        self._deadlines.close()
        for server in servers:
            await server.wait_closed()
        for path in self._paths:
            _remove(path)


def _routes(
    config: Config, member: MemberView, router: Router, log: Logger, telemetry: Telemetry
) -> tuple[dict[str, Handler], dict[str, Handler]]:
    """Paths for probes and scrapers, and paths that the client port has besides."""
    is_extensive = config.metrics == EXTENSIVE
    health = HealthEndpoints(member)
    metrics = MetricsEndpoint(
        (telemetry.families, lambda: router.ledger.families(extensive=is_extensive), health.families)
    )
    probes = dict([("/metrics", metrics.answer), *health.routes()])
    rest = dict([version_route(member), vars_route(telemetry.raft_status)])
    if config.enable_pprof or config.log_level == DEBUG:
        rest |= dict([*pprof_routes(), log_level_route(log)])
    return probes, rest


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _host_port(host: str, bound: socket.socket) -> str:
    """The host as it was asked for, with the port that was bound."""
    return f"[{host}]:{bound.getsockname()[1]}" if ":" in host else f"{host}:{bound.getsockname()[1]}"


def limits_of(config: Config) -> Limits:
    """The engine's bounds as the flags set them."""
    return Limits(
        streams_max=min(config.max_concurrent_streams, Limits().streams_max),
        writable_bytes=WRITABLE_BYTES,
        ping_interval_seconds=config.grpc_keepalive_min_time_s,
        keepalive_seconds=config.grpc_keepalive_interval_s,
        keepalive_timeout_seconds=config.grpc_keepalive_timeout_s,
    )


def port_limits_of(config: Config) -> PortLimits:
    """The bounds of the port."""
    return PortLimits(
        connections_max=connections_max(),
        receive_bytes_max=config.max_request_bytes + GRPC_OVERHEAD_BYTES,
    )


def raise_descriptor_limit() -> None:
    """Use all the file descriptors that the system grants, as Go programs do: each connection is one. For a
    process that is ours alone.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_max() -> int:
    """How many file descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else (1 << 20) + RESERVED_DESCRIPTORS


def connections_max() -> int:
    """How many connections the file descriptors allow."""
    return max(descriptors_max() - RESERVED_DESCRIPTORS, 1)
