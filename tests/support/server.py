"""One server process on loopback ports and a directory of its own.

Ready means that the server itself said so: a thread reads standard error line by line and sets an
event at the line both etcd and etcdpy write when clients may come. No port is polled, and no wait is
without a bound; when one ends badly, the error carries the tail of the server's log.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from collections import deque
from typing import IO, TYPE_CHECKING

from .programs import Kind, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

READY_LINE = "ready to serve client requests"
READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
LOG_LINES_MAX = 400
START_ATTEMPTS_MAX = 3


class ServerFailed(Exception):
    """The process did not start, or did not stop, within its bound; the text ends with its last log lines."""


class Server:
    """A single-member server. `start`, `stop` (SIGTERM), `kill` (SIGKILL), `restart`; a context manager."""

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        flags: Sequence[str] = (),
        *,
        ready_seconds_max: float = READY_SECONDS_MAX,
    ) -> None:
        self._ready_seconds_max = ready_seconds_max
        self.kind = kind
        self.directory = directory
        self.flags = tuple(flags)
        self.client_port, self.peer_port = free_ports(2)
        self.log_path = directory / "server.log"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()
        self._said_so = False
        self._recent: deque[str] = deque(maxlen=LOG_LINES_MAX)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.kind.name} is not running"
        return self._process.pid

    def start(self) -> Server:
        """Start and wait until clients may come. A lost race for a free port is run again with new ports."""
        self.directory.mkdir(parents=True, exist_ok=True)
        first_start = not self.data_directory.exists()
        for attempt in range(START_ATTEMPTS_MAX):
            try:
                self._start_once()
            except ServerFailed:
                taken = any("address already in use" in line for line in self._recent)
                if not (taken and first_start) or attempt == START_ATTEMPTS_MAX - 1:
                    raise
                self.client_port, self.peer_port = free_ports(2)
            else:
                return self
        raise AssertionError("not reached: the last attempt returns or raises")

    def _start_once(self) -> None:
        assert self._process is None, f"{self.kind.name} runs already as {self.pid}"
        self._ready.clear()
        self._said_so = False
        self._recent.clear()
        self._process = subprocess.Popen(
            [*self.kind.command, *self._arguments(), *self.flags],
            cwd=self.directory,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read_log, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        # A process that gives up closes its log before it is gone.
        if not (self._ready.wait(self._ready_seconds_max) and self._said_so):
            self.kill()
            raise ServerFailed(f"{self.kind.name} did not become ready:\n{self.log_tail()}")

    def _arguments(self) -> list[str]:
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        return [
            "--name=default",
            f"--data-dir={self.data_directory}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _read_log(self, stream: IO[str]) -> None:
        """Runs in the reader thread until the process closes its end. The end also wakes a waiting start."""
        with stream, self.log_path.open("a") as log:
            for line in stream:
                log.write(line)
                self._recent.append(line)
                if READY_LINE in line:
                    self._said_so = True
                    self._ready.set()
        self._ready.set()

    def stop(self) -> int:
        """SIGTERM; returns the exit code (negative signal number when the signal itself ended it)."""
        assert self._process is not None, f"{self.kind.name} is not running"
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.kind.name} ignored SIGTERM:\n{self.log_tail()}") from None
        self._reap()
        return code

    def kill(self) -> None:
        """SIGKILL, which no process survives or notices. Harmless when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)
            self._reap()

    def restart(self) -> Server:
        """Start again on the same directory and ports."""
        if self._process is not None:
            self.stop()
        return self.start()

    def _reap(self) -> None:
        assert self._reader is not None
        self._reader.join(STOP_SECONDS_MAX)
        self._process = None
        self._reader = None

    def log_tail(self, lines: int = 40) -> str:
        return "".join(list(self._recent)[-lines:])

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. All are held open together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def pair(
    reference: Kind, candidate: Kind, directory: Path, flags: Sequence[str] = ()
) -> Iterator[tuple[Server, Server]]:
    """Both kinds, started one after the other and killed together."""
    with (
        Server(reference, directory / reference.name, flags) as first,
        Server(candidate, directory / candidate.name, flags) as second,
    ):
        yield first, second
