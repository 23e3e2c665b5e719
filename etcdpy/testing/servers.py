"""Real servers for the tests of others: one member or several, each time new ones on empty directories.

`Servers` is what the fixtures of `etcdpy.testing.pytest_plugin` stand on, and serves without pytest as well.
A new server costs a tenth of a second (`etcdpy.testing.starter`), so nothing is ever emptied: each begins at
revision 1, without leases, users or alarms of the test before. Ports are held from the choice to the end,
also while a server is stopped; directories go away with their servers.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from etcdpy.testing.cluster import Cluster, ClusterMember, MemberFailed, NoLeaderFound
from etcdpy.testing.starter import Starter, can_fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etcdpy.client import AsyncClient, Client

__all__ = ["Cluster", "ClusterMember", "Etcd", "MemberFailed", "NoLeaderFound", "Servers"]

HOST: Final = "127.0.0.1"
# Ten times as quick as etcd's defaults would have tests wait needlessly for leases and elections, and be
# deposed on a busy machine; these are half of them.
TIMES: Final = ("--heartbeat-interval=50", "--election-timeout=500")
# A killed process loses nothing by not waiting for the disk; only a machine that goes down would.
OWN_FLAGS: Final = ("--unsafe-no-fsync", "--socket-reuse-port")


class Etcd:
    """One server.

    Attributes:
        host, port: where clients reach it.
        data_dir: its data directory, which a test may look into while the server is stopped.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._member = cluster.members[0]
        self.host = self._member.host
        self.port = self._member.client_port
        self.data_dir = cluster.directory / self._member.name

    @property
    def endpoint(self) -> str:
        """`host:port`."""
        return self._member.endpoint

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return self._member.url

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send `etcdctl` and `etcdpyctl` here."""
        return self._cluster.environment

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._member.log_tail(lines=0)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._member.is_running

    def client(self, **settings: Any) -> Client:
        """A client of it, to be closed by the caller; `settings` are those of `etcdpy.client.Client`."""
        return self._cluster.client(**settings)

    def async_client(self, **settings: Any) -> AsyncClient:
        """The same for asyncio: `async with etcd.async_client() as client: ...`."""
        return self._cluster.async_client(**settings)

    def start(self) -> None:
        """Start it again, on the same port and data, and wait until it serves. Raises MemberFailed."""
        self._cluster.start_member(self._member)

    def stop(self) -> None:
        """End it as an operator would (SIGTERM). Raises MemberFailed if it does not end."""
        self._cluster.stop_member(self._member)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL): what it acknowledged is there after the next `start`."""
        self._cluster.kill(self._member)

    def restart(self) -> None:
        """`stop` and `start`. Raises MemberFailed."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Have it do nothing (SIGSTOP): connections stay, answers do not come."""
        self._cluster.pause(self._member)

    def resume(self) -> None:
        """Let it go on."""
        self._cluster.resume(self._member)


class Servers:
    """Starts servers. A context manager; leaving it ends whatever is left.

    Args:
        command: another server program, such as Go's `etcd`; by default our own.
    """

    def __init__(self, command: Sequence[str] = ()) -> None:
        self._command = tuple(command)
        self._starter: Starter | None = None

    @contextlib.contextmanager
    def single(self, *flags: str) -> Iterator[Etcd]:
        """A server with these flags besides its own. Raises MemberFailed."""
        with self.cluster(1, *flags) as cluster:
            yield Etcd(cluster)

    @contextlib.contextmanager
    def cluster(self, size: int = 3, *flags: str) -> Iterator[Cluster]:
        """So many members. Raises MemberFailed."""
        with (
            tempfile.TemporaryDirectory(prefix="etcdpy-", ignore_cleanup_errors=True) as directory,
            self._make(Path(directory), size, flags) as cluster,
        ):
            yield cluster

    @contextlib.contextmanager
    def _make(self, directory: Path, size: int, flags: Sequence[str]) -> Iterator[Cluster]:
        if self._command:
            with Cluster(directory, size, flags=(*TIMES, *flags), command=self._command) as cluster:
                yield cluster
            return
        if self._starter is None and can_fork():
            self._starter = Starter()
        if self._starter is not None:
            self._starter.adopt(directory)
        flags = (*TIMES, *OWN_FLAGS, *flags)
        with (
            _held_ports(2 * size) as ports,
            Cluster(directory, size, flags=flags, ports=ports, starter=self._starter) as cluster,
        ):
            yield cluster

    def close(self) -> None:
        """End whatever is left."""
        starter, self._starter = self._starter, None
        if starter is not None:
            starter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _held_ports(count: int) -> Iterator[list[int]]:
    """Free ports that nobody else is given meanwhile, but for listeners with SO_REUSEPORT."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((HOST, 0))
        yield [one.getsockname()[1] for one in sockets]
