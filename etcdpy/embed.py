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
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __debug__:
    raise RuntimeError("etcdpy keeps its invariants as assertions; do not run it with -O")

from etcdpy.cluster.urls import parse_urls
from etcdpy.rpc import serving
from etcdpy.server import bootstrap
from etcdpy.server.config import Config
from etcdpy.server.disk import WalThread
from etcdpy.server.driver import Driver, NoPeers
from etcdpy.server.duties import Duties
from etcdpy.server.front import Front, NoForwarding
from etcdpy.server.log import Logger
from etcdpy.server.member import Member
from etcdpy.server.reconfigure import Alone, Reconfiguration
from etcdpy.server.request_ids import RequestIds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SWITCH_INTERVAL_S = 0.000_5
# Calls make no cycles; collecting after every 700 allocations would only cost.
GC_THRESHOLD = 50_000
# A member that has lost its disk or met a bug ends with this status.
EXIT_FAILURE = 1


class Server:
    """A running member with its ports. Made by `start`.

    Attributes:
        member: the member itself.
        client_urls: where clients reach it, with the ports that were really bound.
        failed: resolves with the error when the member cannot go on.
    """

    def __init__(self, config: Config, log: Logger) -> None:
        self.config = config
        self.log = log
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[Exception] = self._loop.create_future()
        self._lock = bootstrap.lock_data_directory(bootstrap.layout(config))
        try:
            parts = bootstrap.bootstrap(
                config, log, call_soon=self._from_thread, randrange=random.SystemRandom().randrange
            )
        except BaseException:
            os.close(self._lock)
            raise
        self._storage = parts.storage
        self._disk = WalThread(self._from_thread)
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
        self._driver = Driver(self.member, self._disk, NoPeers(), self._loop.call_soon)
        self.member.on_failure = self._fail
        self.member.duties = Duties(self.member, parts.storage, self._disk, self._loop)
        reconfiguration = Reconfiguration(self.member, Alone(), _unix_s)
        self._front = Front(self.member, reconfiguration, NoForwarding())
        self._ticker: asyncio.TimerHandle | None = None
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
        self._listeners = serving.Listeners(self.config, self._front, self.log)
        await self._listeners.bind()
        if any(url.port == 0 for url in self.config.advertise_client_urls):
            self.config.advertise_client_urls = parse_urls(self._listeners.urls)
        self._tick_at(self._loop.time())
        self._driver.wake()
        self._loop.call_soon(self._campaign_alone)
        await _first(published, self.failed)
        await self._listeners.start()
        self.log.info("ready to serve client requests")
        for url in self._listeners.urls:
            self.log.info("serving client traffic insecurely; this is strongly discouraged!", address=url)

    def _campaign_alone(self) -> None:
        if self.member.node.is_alone and not self.member.leader_id:
            self.member.node.campaign()
            self._driver.wake()

    def _tick_at(self, when: float) -> None:
        self._driver.tick()
        following = when + self.config.heartbeat_interval_ms / 1000
        # After a pause of the whole process the missed ticks are not made up for: they would depose a leader.
        following = max(following, self._loop.time())
        self._ticker = self._loop.call_at(following, self._tick_at, following)

    def _from_thread(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop has ended; nobody is left to tell

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    async def stop(self) -> None:
        """End cleanly: refuse new calls, let what is under way finish, make everything durable, let go
        of the directory.
        """
        if self._listeners is not None:
            await self._listeners.stop()
        if self._ticker is not None:
            self._ticker.cancel()
        self.member.stop()
        self._driver.stop()
        await self._loop.run_in_executor(None, self._disk.close)
        self._storage.close()
        self.member.state.backend.close()
        os.close(self._lock)


async def start(config: Config, log: Logger | None = None) -> Server:
    """Run a member in this loop and return once it serves.

    Raises:
        bootstrap.DataDirectoryError: the data directory cannot be used.
        OSError: an address cannot be bound.
    """
    server = Server(config, log or Logger.from_config(config))
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


def run(config: Config, log: Logger) -> int:
    """Run a member until a signal ends it; the command's exit status."""
    # A thread that comes back from the disk waits this long for the loop to let go of the interpreter.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        import uvloop

        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        loop_factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        received = runner.run(_run(config, log))
    if isinstance(received, signal.Signals):
        signal.signal(received, signal.SIG_DFL)
        os.kill(os.getpid(), received)
    return EXIT_FAILURE


async def _run(config: Config, log: Logger) -> signal.Signals | Exception:
    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(which: signal.Signals) -> None:
        if not signalled.done():
            signalled.set_result(which)

    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, on_signal, which)
    try:
        server = await start(config, log)
    except (bootstrap.DataDirectoryError, OSError) as error:
        log.error("failed to start etcd", error=str(error))
        return error
    await _first(signalled, server.failed)
    if signalled.done():
        log.info("received signal; shutting down", signal=signalled.result().name)
    await server.stop()
    log.info("closed etcd server")
    return signalled.result() if signalled.done() else server.failed.result()


def _unix_s() -> int:
    return time.time_ns() // 1_000_000_000


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
