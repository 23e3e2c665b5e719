"""Three members as plain processes, by one command: `python -m etcdpy.testing.cluster`.

For people without Docker, and for tests that want real processes. A `Cluster` is a directory and a range of
ports; `start` launches all members at once (a founder waits for the others before it serves), `kill` and
`start_member` do to one of them what a machine's fate would. The command runs one in the foreground, prints
where clients reach it and shows what its members log. `etcdpy.testing.fixtures` makes fixtures of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

    from etcdpy.client import AsyncClient, Client
    from etcdpy.testing.starter import StartedProcess, Starter

READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
LEADER_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.01
# Members are on this machine, whatever proxy the environment names.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MemberFailed(Exception):
    """A member did not start, or ended; the text ends with its last log lines."""


class NoLeaderFound(Exception):
    """The cluster has not elected a leader in time."""


@dataclass
class ClusterMember:
    """One member: its name, its ports, and its process while there is one."""

    name: str
    directory: Path
    client_port: int
    peer_port: int
    process: subprocess.Popen[bytes] | StartedProcess | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    place: tuple[str, ...] = ()
    """What stands before its command, if it is to run in a network namespace."""
    peer_scheme: str = "http"

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"{self.host}:{self.client_port}"

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"http://{self.endpoint}"

    @property
    def peer_url(self) -> str:
        """Where the other members reach it."""
        return f"{self.peer_scheme}://{self.host}:{self.peer_port}"

    @property
    def log_path(self) -> Path:
        """What it logs."""
        return self.directory / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """Its last words."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


class Cluster:
    """Members on this machine. A context manager; leaving it kills them.

    Args:
        directory: for data and logs of all members.
        size: how many.
        flags: more flags for every member.
        command: the server program.
        base_port: the first of its ports; 0 for any free ones.
        ports: exactly these, two for each member.
        starter: forks the members, instead of `command`.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        flags: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "etcdpy"),
        base_port: int = 0,
        ports: Sequence[int] = (),
        starter: Starter | None = None,
    ) -> None:
        self.directory = directory
        self.flags = tuple(flags)
        self.command = tuple(command)
        self._starter = starter
        if not ports:
            ports = free_ports(2 * size) if not base_port else range(base_port, base_port + 2 * size)
        self.members = [
            ClusterMember(f"m{number + 1}", directory, ports[2 * number], ports[2 * number + 1])
            for number in range(size)
        ]

    @property
    def endpoints(self) -> list[str]:
        """Where clients reach the members."""
        return [member.endpoint for member in self.members]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send `etcdctl` and `etcdpyctl` here."""
        return {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ",".join(self.endpoints)}

    def client(self, **settings: Any) -> Client:
        """A client of all members; `settings` are those of `etcdpy.client.Client`."""
        from etcdpy.client import Client

        return Client(self.endpoints, **settings)

    def async_client(self, **settings: Any) -> AsyncClient:
        """The same for asyncio."""
        from etcdpy.client import AsyncClient

        return AsyncClient(self.endpoints, **settings)

    def start(self) -> Cluster:
        """Start everybody and wait until all serve clients."""
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for member in self.members:
                self.launch(member)
            for member in self.members:
                self.wait_ready(member)
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self, member: ClusterMember) -> None:
        """Start one member's process, without waiting for it."""
        assert not member.is_running, f"{member.name} runs already"
        if self._starter is not None:
            arguments = [*self._arguments(member), *self.flags]
            member.process = self._starter.launch(arguments, _environment(), member.log_path)
            return
        with member.log_path.open("ab") as log:
            member.process = subprocess.Popen(
                [*member.place, *self.command, *self._arguments(member), *self.flags],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def start_member(self, member: ClusterMember) -> None:
        """Start one member and wait until it serves clients."""
        self.launch(member)
        self.wait_ready(member)

    def wait_ready(self, member: ClusterMember) -> None:
        """Wait until a member serves clients.

        Raises:
            MemberFailed: it does not, or has ended.
        """
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if not member.is_running:
                raise MemberFailed(f"{member.name} has ended:\n{member.log_tail()}")
            try:
                with _HTTP.open(f"{member.url}/health?serializable=true", timeout=1) as response:
                    response.read()
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(LOOK_SECONDS)
        raise MemberFailed(f"{member.name} does not serve:\n{member.log_tail()}")

    def kill(self, member: ClusterMember) -> None:
        """SIGKILL, which no process survives or notices."""
        self._signal(member, signal.SIGKILL)

    def stop_member(self, member: ClusterMember) -> int:
        """SIGTERM; the exit code, negative for a signal."""
        return self._signal(member, signal.SIGTERM)

    def pause(self, member: ClusterMember) -> None:
        """SIGSTOP: the member is there but does nothing."""
        if member.process is not None:
            member.process.send_signal(signal.SIGSTOP)

    def resume(self, member: ClusterMember) -> None:
        """SIGCONT."""
        if member.process is not None:
            member.process.send_signal(signal.SIGCONT)

    def leader(self) -> ClusterMember:
        """The member that leads, once there is one.

        Raises:
            NoLeaderFound: there is none, for longer than an election takes.
        """
        deadline = time.monotonic() + LEADER_SECONDS_MAX
        while time.monotonic() < deadline:
            # One that was deposed and does not know it yet has a lower term.
            terms = {_term_led(member): member for member in self.members if member.is_running}
            if newest := max(terms, default=0):
                return terms[newest]
            time.sleep(LOOK_SECONDS)
        raise NoLeaderFound("\n".join(f"{one.name}:\n{one.log_tail(5)}" for one in self.members))

    def followers(self) -> list[ClusterMember]:
        """The members that run and do not lead. Raises NoLeaderFound."""
        leader = self.leader()
        return [member for member in self.members if member.is_running and member is not leader]

    def _signal(self, member: ClusterMember, which: signal.Signals) -> int:
        process, member.process = member.process, None
        if process is None:
            return 0
        process.send_signal(which)
        try:
            return process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS_MAX)
            raise MemberFailed(f"{member.name} ignored {which.name}:\n{member.log_tail()}") from None

    def stop(self) -> None:
        """Kill everybody who is still there."""
        for member in self.members:
            self.kill(member)

    def _arguments(self, member: ClusterMember) -> list[str]:
        initial_cluster = ",".join(f"{one.name}={one.peer_url}" for one in self.members)
        return [
            f"--name={member.name}",
            f"--data-dir={self.directory / member.name}",
            f"--listen-client-urls={member.url}",
            f"--advertise-client-urls={member.url}",
            f"--listen-peer-urls={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster={initial_cluster}",
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _term_led(member: ClusterMember) -> int:
    """The term of which it says that it leads; 0 if it does not lead or does not answer."""
    request = urllib.request.Request(f"{member.url}/v3/maintenance/status", data=b"{}", method="POST")
    try:
        with _HTTP.open(request, timeout=1) as response:
            status = json.load(response)
    except (urllib.error.URLError, OSError):
        return 0
    header = status["header"]
    return int(header["raft_term"]) if status.get("leader", "0") == header["member_id"] else 0


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. All are held open together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _environment() -> dict[str, str]:
    """Ours without what a member would read as flags, or tell our own init daemon by."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ETCD_") and name != "NOTIFY_SOCKET"
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cluster until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m etcdpy.testing.cluster", description=__doc__)
    parser.add_argument("--size", type=int, default=3, help="members (3)")
    parser.add_argument("--directory", type=Path, help="data and logs; kept (default: temporary, removed)")
    parser.add_argument(
        "--base-port", type=int, default=0, help="first of the ports (default: any free ones)"
    )
    parser.add_argument("flags", nargs="*", help="more flags for every member, behind --")
    options = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        directory = options.directory or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="etcdpy-cluster-"))
        )
        cluster = Cluster(directory, options.size, flags=options.flags, base_port=options.base_port)
        stack.callback(cluster.stop)
        try:
            cluster.start()
        except MemberFailed as error:
            sys.stderr.write(f"{error}\n")
            return 1
        sys.stdout.write(f"endpoints: {','.join(cluster.endpoints)}\nlogs: {directory}/*.log\n")
        sys.stdout.flush()
        return _stay(cluster)


def _stay(cluster: Cluster) -> int:
    """Until a signal comes, or a member goes that nobody told to go."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            time.sleep(LOOK_SECONDS)
            for member in cluster.members:
                if not member.is_running:
                    sys.stderr.write(f"{member.name} has ended:\n{member.log_tail()}\n")
                    return 1
    except KeyboardInterrupt:
        for member in cluster.members:
            cluster.stop_member(member)
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
