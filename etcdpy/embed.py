"""Where the rooms are joined: from a configuration to a running member.

`run` is the command's whole life; `start` gives a `Server` inside a loop that is already there;
`member` is the context manager for tests: free ports, a temporary directory, gone at the end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if not __debug__:
    raise RuntimeError("etcdpy keeps its invariants as assertions; do not run it with -O")

from etcdpy.auth import AuthError
from etcdpy.backend import BackendError
from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.cluster.membership import CorruptMembership
from etcdpy.cluster.urls import parse_urls
from etcdpy.metrics.process import process_families
from etcdpy.mvcc import MvccError
from etcdpy.peer.joining import find_cluster
from etcdpy.peer.member_host import MemberHost
from etcdpy.peer.port import PeerPort
from etcdpy.rpc import serving
from etcdpy.rpc.telemetry import Telemetry
from etcdpy.server import bootstrap
from etcdpy.server.config import Config
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.corruption import CorruptionMonitor, DataInconsistent, check_before_start
from etcdpy.server.disk import WalThread
from etcdpy.server.driver import Driver
from etcdpy.server.duties import Duties
from etcdpy.server.first_root import FirstRoot
from etcdpy.server.front import Front
from etcdpy.server.hashing import Hashing
from etcdpy.server.kernel_sync import open_kernel_sync
from etcdpy.server.log import Logger
from etcdpy.server.logins import Logins
from etcdpy.server.member import Member, PermanentlyRemoved
from etcdpy.server.member_metrics import member_families
from etcdpy.server.raft_status import raft_status
from etcdpy.server.reconfigure import Reconfiguration
from etcdpy.server.request_ids import RequestIds
from etcdpy.server.snapshots import Received, SnapshotMaker
from etcdpy.server.statistics import Statistics
from etcdpy.v2store import CorruptRows
from etcdpy.wal import WalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from concurrent.futures import Executor

    from etcdpy.cluster.bootstrap import Cluster
    from etcdpy.metrics import Family
    from etcdpy.peer.srv import SrvResolver
    from etcdpy.peer.tls import PeerTls
    from etcdpy.raft.messages import Snapshot
    from etcdpy.server.state import State

SWITCH_INTERVAL_S = 0.000_5
# Calls make no cycles; collecting after every 700 allocations would only cost.
GC_THRESHOLD = 50_000
# Passwords cost processor time; more threads than this would take it from everybody else.
LOGIN_THREADS = 2
# A member that has lost its disk or met a bug ends with this status.
EXIT_FAILURE = 1
EXIT_REMOVED = 0


class StartRefused(Exception):
    """A member that would not do what it was asked for does not start."""


# What keeps a member from starting, told in one line; anything else is a bug and shows its traceback.
StartError = (
    bootstrap.DataDirectoryError,
    BootstrapError,
    ConfigError,
    WalError,
    BackendError,
    CorruptMembership,
    CorruptRows,
    AuthError,
    DataInconsistent,
    StartRefused,
    OSError,
)

T = TypeVar("T")


class Mailbox:
    """Calls back on the loop thread, from any thread, until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closed = False

    def __call__(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, callback)
        except RuntimeError:
            pass  # the loop has ended; nobody is left to tell

    def _deliver(self, callback: Callable[[], None]) -> None:
        if not self._closed:
            callback()

    def close(self) -> None:
        """Deliver no more: who the calls are for is gone."""
        self._closed = True


class ThreadWorker:
    """`server.snapshots.Worker` on the loop's own threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Executor | None = None) -> None:
        self._loop = loop
        self._pool = pool

    def run(self, job: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        def finished(future: asyncio.Future[T]) -> None:
            error = future.exception()
            if error is None:
                done(future.result(), None)
            else:
                done(None, error if isinstance(error, Exception) else RuntimeError(repr(error)))

        self._loop.run_in_executor(self._pool, job).add_done_callback(finished)


class Server:
    """A running member with its ports. Made by `start`.

    Attributes:
        member: the member itself.
        client_urls: where clients reach it, with the ports that were really bound.
        failed: resolves with the error when the member cannot go on.
        peers: its peer port.
    """

    def __init__(
        self, config: Config, log: Logger, cluster: Cluster | None, tls: PeerTls | None = None
    ) -> None:
        self.config = config
        self.log = log
        self._loop = asyncio.get_running_loop()
        self._others = () if cluster is None else cluster.others
        self._has_history = cluster is None
        self.failed: asyncio.Future[Exception] = self._loop.create_future()
        self._backend_mail = Mailbox(self._loop)
        parts = bootstrap.bootstrap(
            config, log, cluster, call_soon=self._backend_mail, randrange=random.SystemRandom().randrange
        )
        self._storage = parts.storage
        self._disk = WalThread(
            Mailbox(self._loop),
            kernel=None
            if config.unsafe_no_fsync
            else open_kernel_sync(self._loop.add_reader, self._loop.remove_reader),
        )
        wall_ms = time.time_ns() // 1_000_000
        self.member = Member(
            config,
            parts.identity,
            parts.node,
            parts.state,
            parts.storage,
            RequestIds(parts.identity.member_id, wall_ms),
            time.monotonic,
            log,
        )
        where = bootstrap.layout(config)
        self._received = Received(where.snap_dir)
        self._logins_pool = ThreadPoolExecutor(LOGIN_THREADS, "login")
        self._maker = SnapshotMaker(self.member, where.snap_dir, ThreadWorker(self._loop))
        self._hashing = hashing = Hashing(self.member, self._loop.call_later)
        host = MemberHost(self.member, hashing, self._maker, self._received)
        self.peers = PeerPort(host, self.member, log, tls)
        host.statistics = (
            Statistics(self.member, self.peers.transport, time.time_ns) if config.enable_v2 else None
        )
        transport = host.statistics or self.peers.transport
        self._driver = Driver(self.member, self._disk, transport, self._loop.call_soon)
        self.member.on_failure = self._fail
        self.member.install = self._install
        self.member.on_state_replaced = self._state_replaced
        duties = Duties(self.member, parts.storage, self._disk, self._loop, self.peers.calls)
        duties.corruption = CorruptionMonitor(self.member, self.peers.calls, hashing)
        self.member.duties = duties
        reconfiguration = Reconfiguration(self.member, self.peers.transport, _unix_s)
        logins = Logins(self.member, ThreadWorker(self._loop, self._logins_pool))
        self.front = host.front = Front(
            self.member, reconfiguration, self.peers.calls, self._maker, hashing, logins
        )
        self.front.statistics = host.statistics
        self.lock = -1
        self.root_password = ""
        self._ticker: asyncio.TimerHandle | None = None
        self._advancer: asyncio.Task[None] | None = None
        self._listeners: serving.Listeners | None = None

    @property
    def client_urls(self) -> list[str]:
        """URLs of the client listeners."""
        return [] if self._listeners is None else self._listeners.urls

    async def serve(self) -> None:
        """Turn the crank, wait until the cluster has a leader that knows us, then open the client port."""
        published = self._loop.create_future()
        duties = self.member.duties
        assert duties is not None
        duties.on_published = lambda: None if published.done() else published.set_result(None)
        telemetry = Telemetry(self._families, lambda: raft_status(self.member.node))
        self._listeners = serving.Listeners(self.config, self.front, self.log, telemetry=telemetry)
        self._driver.on_turn_end = self._listeners.port.flushing.run
        await self._listeners.bind()
        await self.peers.bind(self.config.listen_peer_urls)
        if any(url.port == 0 for url in self.config.advertise_client_urls):
            self.config.advertise_client_urls = parse_urls(self._listeners.urls)
        await self._maybe_defragment()
        if self._has_history and self.config.features["InitialCorruptCheck"]:
            await self._check_data()
        await self.peers.start(self._others)
        if self.member.state.membership.is_removed(self.member.member_id):
            self._fail(PermanentlyRemoved())
        self._tick_at(self._loop.time())
        self._driver.wake()
        self._loop.call_soon(self._hasten_election)
        await self._listeners.start_metrics()
        for url in self._listeners.metrics_urls:
            self.log.info("serving metrics", address=url)
        await _first(published, self.failed)
        if self.failed.done():
            return
        if self.root_password and not self.config.is_joining:
            await self._make_root()
        await self._listeners.start()
        self.log.info("ready to serve client requests")
        for url in self._listeners.urls:
            is_secure = url.startswith(("https:", "unixs:"))
            manner = "securely" if is_secure else "insecurely; this is strongly discouraged!"
            self.log.info(f"serving client traffic {manner}", address=url)

    async def _maybe_defragment(self) -> None:
        """Give back at the start what is free in the backend, if it is as much as was said."""
        threshold_mb = self.config.bootstrap_defrag_threshold_megabytes
        backend = self.member.state.backend
        free_mb = (backend.size_bytes - backend.size_in_use_bytes) / 2**20
        if not threshold_mb:
            return
        if free_mb < threshold_mb:
            self.log.info("skipping defragmentation", free_mb=round(free_mb), threshold_mb=threshold_mb)
            return
        self.log.info("defragmenting", free_mb=round(free_mb), threshold_mb=threshold_mb)
        ended: asyncio.Future[Exception | None] = self._loop.create_future()
        backend.defragment(ended.set_result)
        error = await ended
        if error is not None:
            raise error

    async def _make_root(self) -> None:
        made: asyncio.Future[Exception | None] = self._loop.create_future()
        FirstRoot(self.member, self.front, self.root_password).make(made.set_result)
        await _first(made, self.failed)
        error = made.result() if made.done() else None
        if error is not None:
            raise StartRefused(
                f"failed to make the first user: {str(error) or type(error).__name__}"
            ) from error

    def _families(self) -> Iterator[Family]:
        """The metrics of everything but the client port."""
        yield from member_families(self.member, self._storage, _unix_s())
        yield from self.peers.transport.observed.families()
        yield from process_families()

    async def _check_data(self) -> None:
        checked: asyncio.Future[Exception | None] = self._loop.create_future()
        self.log.info("starting initial corruption check")
        check_before_start(self.member, self.peers.calls, self._hashing, checked.set_result)
        error = await checked
        if error is not None:
            raise error
        self.log.info("initial corruption checking passed; no corruption")

    def _hasten_election(self) -> None:
        """A member that has just started need not wait a whole election timeout for a leader to show up."""
        if self.member.leader_id:
            return
        if self.member.node.is_alone:
            self.member.node.campaign()
            self._driver.wake()
        elif self.config.initial_election_tick_advance:
            self._advancer = self._loop.create_task(self._advance_ticks())

    async def _advance_ticks(self) -> None:
        if await self.peers.first_peers():
            for _ in range(self.config.election_ticks - 2):
                self.member.node.tick()
            self._driver.wake()

    def _tick_at(self, when: float) -> None:
        self._driver.tick()
        following = when + self.config.heartbeat_interval_ms / 1000
        # After a pause of the whole process the missed ticks are not made up for: they would depose a leader.
        following = max(following, self._loop.time())
        self._ticker = self._loop.call_at(following, self._tick_at, following)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    # Snapshots.

    def _install(self, snapshot: Snapshot) -> State:
        """Exchange the backend, and everything that stands on it, for what was received."""
        old = self.member.state
        self._backend_mail.close()
        self._maker.retire(old.backend)
        try:
            self._received.install(snapshot.index, bootstrap.layout(self.config).backend)
            self._backend_mail = Mailbox(self._loop)
            backend = bootstrap.open_backend(self.config, self._backend_mail, old.backend.observed)
            state = bootstrap.build_state(self.config, backend, old)
        except (OSError, BackendError, MvccError, CorruptMembership, CorruptRows, AuthError) as error:
            self.member.fail("failed to install a snapshot", error)
            raise
        assert backend.consistent_index == snapshot.index, f"{backend.consistent_index} in {snapshot.index}"
        self._received.clean_up_to(snapshot.index)
        self.log.info(
            "applied snapshot", **{"snapshot-index": snapshot.index, "revision": state.store.revision}
        )
        return state

    def _state_replaced(self) -> None:
        assert self.member.duties is not None, "a member without duties"
        self.member.duties.state_replaced()
        self.peers.replace_membership()

    # The end.

    async def _hand_over(self) -> None:
        """A leader that goes names its successor, so that nobody has to wait for an election timeout."""
        member = self.member
        is_lost = self.failed.done() and not isinstance(self.failed.result(), PermanentlyRemoved)
        if not member.is_leader or is_lost:
            return
        others = [voter for voter in member.node.conf_state.voters if voter != member.member_id]
        target = self.peers.transport.longest_connected(others)
        if target is None:
            return
        self.log.info("leadership transfer starting", **{"transferee-member-id": f"{target:x}"})
        handed_over: asyncio.Future[Exception | None] = self._loop.create_future()
        member.transfer_leadership(target, handed_over.set_result)
        error = await handed_over
        if error is not None:
            self.log.warn("leadership transfer failed", error=str(error))

    async def stop(self) -> None:
        """End cleanly: refuse new calls, let what is under way finish, make everything durable, let go
        of the directory.
        """
        if self._listeners is not None:
            await self._listeners.stop()
        if self._ticker is not None:
            await self._hand_over()
            self._ticker.cancel()
        if self._advancer is not None:
            self._advancer.cancel()
        self.member.stop()
        self._driver.stop()
        await self.peers.stop()
        self._logins_pool.shutdown(wait=False, cancel_futures=True)
        self._disk.close_kernel()
        await self._loop.run_in_executor(None, self._disk.close)
        self._storage.close()
        self.member.state.backend.close()
        os.close(self.lock)


async def start(
    config: Config,
    log: Logger | None = None,
    srv: SrvResolver | None = None,
    *,
    root_password: str = "",
) -> Server:
    """Run a member in this loop and return once it serves, or has failed (`Server.failed`).

    Args:
        root_password: a new cluster begins with auth on and this password of root.
        srv: what to ask about `--discovery-srv` instead of the machine's DNS servers.

    Raises:
        bootstrap.DataDirectoryError: the data directory cannot be used.
        BootstrapError, ConfigError: there is no data, and the settings tell of no cluster that can be founded
            or joined.
        OSError: an address cannot be bound.
    """
    log = log or Logger.from_config(config)
    lock = bootstrap.lock_data_directory(bootstrap.layout(config))
    try:
        tls = _peer_tls(config, log)
        cluster = None if bootstrap.has_data(config) else await find_cluster(config, log, tls, srv)
        server = Server(config, log, cluster, tls)
    except BaseException:
        os.close(lock)
        raise
    server.lock = lock
    server.root_password = root_password
    try:
        await server.serve()
    except BaseException:
        await server.stop()
        raise
    return server


@asynccontextmanager
async def member(config: Config | None = None) -> AsyncIterator[Server]:
    """A member for a test: free ports on 127.0.0.1, a directory that goes away with it."""
    with tempfile.TemporaryDirectory(prefix="etcdpy-") as directory:
        server = await start(config or Config.for_test(Path(directory)), Logger.silent())
        try:
            yield server
        finally:
            await server.stop()


def run(config: Config, log: Logger, root_password: str = "") -> int:
    """Run a member until a signal ends it; the command's exit status."""
    serving.raise_descriptor_limit()
    if serving.descriptors_max() <= serving.RESERVED_DESCRIPTORS:
        limits = {"limit": serving.descriptors_max(), "recommended-limit": serving.RESERVED_DESCRIPTORS}
        log.fatal("file descriptor limit of etcd process is too low; please set higher", **limits)
    # A thread that comes back from the disk waits this long for the loop to let go of the interpreter.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()
    try:
        import uvloop

        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        loop_factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        received = runner.run(_run(config, log, root_password))
    if isinstance(received, signal.Signals):
        signal.signal(received, signal.SIG_DFL)
        os.kill(os.getpid(), received)
    return EXIT_REMOVED if isinstance(received, PermanentlyRemoved) else EXIT_FAILURE


async def _run(config: Config, log: Logger, root_password: str) -> signal.Signals | Exception:
    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(which: signal.Signals) -> None:
        if not signalled.done():
            signalled.set_result(which)

    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, on_signal, which)
    # A founder waits here for the others; it must be possible to tell it to go.
    starting = loop.create_task(start(config, log, root_password=root_password))
    await _first(signalled, starting)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return signalled.result()
    try:
        server = starting.result()
    except StartError as error:
        log.error("failed to start etcd", error=str(error))
        return error
    if not server.failed.done():
        _notify_init(log)
    await _first(signalled, server.failed)
    if server.failed.done():
        log.warn("server error", error=str(server.failed.result()))
    if signalled.done():
        log.info("received signal; shutting down", signal=signalled.result().name)
    await server.stop()
    log.info("closed etcd server")
    return signalled.result() if signalled.done() else server.failed.result()


def _notify_init(log: Logger) -> None:
    """Tell systemd, if it waits for that: units of `Type=notify`, as Debian's is, have started only then."""
    log.info("notifying init daemon")
    path = os.environ.get("NOTIFY_SOCKET", "")
    try:
        if path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
                # An @ stands for the zero byte of a name outside the file system.
                notices.connect("\0" + path[1:] if path.startswith("@") else path)
                notices.send(b"READY=1")
    except OSError as error:
        log.error("failed to notify systemd for readiness", error=str(error))
    else:
        log.info("successfully notified init daemon")


def _peer_tls(config: Config, log: Logger) -> PeerTls | None:
    """The TLS between members that the flags ask for, none if they do not speak of it."""
    wanted = (config.peer_cert_file, config.peer_auto_tls, config.peer_trusted_ca_file, config.discovery_srv)
    if not any(wanted):
        return None
    # Only now, for `cryptography` takes its time and most test members speak plain HTTP.
    from etcdpy.peer.tls import PeerTls

    return PeerTls(config, log)


def _unix_s() -> int:
    return time.time_ns() // 1_000_000_000


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
