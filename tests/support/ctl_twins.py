"""etcdctl and `etcdpyctl` side by side: each runs the same script on a server of its own.

The two servers are *twins*: they announce the same peer URL, so their ids are the same, and they get the same
commands, so their revisions are; nothing of that has to be masked. Left to mask are the port, spans of time,
ids of leases (drawn by the server) and the program's name in its complaints. A step marked `same` goes to the
first server from both programs, for answers that tell about one server.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .ctl import without_log_lines
from .ctl_forks import Forks
from .programs import clean_environment, wheel_program
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .programs import Kind

FOLLOW_SECONDS_MAX = 20.0
TWIN_FLAGS = (
    "--initial-advertise-peer-urls=http://127.0.0.1:2",
    "--initial-cluster=default=http://127.0.0.1:2",
    "--bcrypt-cost=4",
)
TOOK = re.compile(r"\b[0-9.]+(ns|µs|ms|s)\b")
# Fields of 3.6, which etcdctl 3.5 does not know. A server that has them sends them last.
NEWER = re.compile(r',"storageVersion":.*?"downgradeInfo":\{\}|,"hash_revision":\d+')
LEASE = re.compile(r"\b[0-9a-f]{15,16}\b|\b\d{18,19}\b")


@dataclass(frozen=True)
class Step:
    """A command line, and what of its output cannot be the same."""

    line: str
    stdin: str = ""
    env: tuple[tuple[str, str], ...] = ()
    same: bool = False  # both programs on the first server
    usage: bool = False  # standard output is a help page, in words of our own
    took: bool = False  # spans of time
    leases: bool = False  # ids of leases
    until: str = ""  # runs on; stop it after this line
    end: signal.Signals = signal.SIGINT
    bare: bool = False  # no --endpoints


@dataclass
class Side:
    """One program."""

    name: str
    server: Server
    run: Callable[[list[str], dict[str, str], Path, Path, Path], int]
    program: tuple[str, ...]
    directory: Path
    names: dict[str, str] = field(default_factory=dict)

    def play(self, step: Step, server: Server) -> str:
        """Everything the command printed, masked, and its exit code."""
        stdin, out, err = (self.directory / f"{self.name}-{name}" for name in ("in", "out", "err"))
        stdin.write_text(step.stdin)
        out.write_bytes(b"")
        err.write_bytes(b"")
        line = step.line.format(endpoint=server.endpoint, directory=self.directory / self.name, **self.names)
        arguments = ([] if step.bare else [f"--endpoints={server.endpoint}"]) + shlex.split(line)
        environment = clean_environment(**dict(step.env))
        if step.until:
            code = self._follow(step, arguments, environment, stdin, out, err)
        else:
            code = self.run(arguments, environment, stdin, out, err)
        printed = out.read_bytes().decode("utf-8", "surrogateescape")
        if found := re.match(r"lease ([0-9a-f]+) granted", printed):
            self.names["lease"] = found[1]
        complaint = without_log_lines(err.read_bytes().decode("utf-8", "surrogateescape"))
        if step.usage:
            assert printed or complaint, f"{self.name} {line}: no usage"
            printed = "(usage)\n"
        return self._mask(f"{printed}--- stderr\n{complaint}--- exit {code}\n", step, server)

    def _follow(
        self, step: Step, arguments: list[str], environment: dict[str, str], stdin: Path, out: Path, err: Path
    ) -> int:
        with stdin.open("rb") as source, out.open("wb") as target, err.open("wb") as errors:
            process = subprocess.Popen(
                [*self.program, *arguments],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
            alarm = threading.Timer(FOLLOW_SECONDS_MAX, process.kill)
            alarm.start()
            with process:
                assert process.stdout is not None
                for line in process.stdout:
                    target.write(line)
                    if step.until.encode() in line:
                        break
                process.send_signal(step.end)
                target.write(process.stdout.read())
            alarm.cancel()
        return process.returncode

    def _mask(self, text: str, step: Step, server: Server) -> str:
        text = (
            NEWER.sub("", text)
            .replace(server.endpoint, "(endpoint)")
            .replace(str(self.directory / self.name), "(file)")
        )
        text = text.replace("etcdpyctl", "etcdctl").replace("etcdpyutl", "etcdutl")
        lease = self.names.get("lease")
        if lease:
            text = text.replace(lease.zfill(16), "(lease)").replace(lease, "(lease)")
            text = text.replace(str(int(lease, 16)), "(lease)")
        if step.leases:
            text = LEASE.sub("(id)", text)
        return TOOK.sub("(time)", text) if step.took else text


@dataclass
class Twins:
    """The two programs with their servers."""

    etcdctl: Side
    ours: Side
    threads: ThreadPoolExecutor

    def play(self, step: Step) -> tuple[str, str]:
        """What etcdctl and what ours printed."""
        first = self.etcdctl.server
        if step.same:
            return self.etcdctl.play(step, first), self.ours.play(step, first)
        left = self.threads.submit(self.etcdctl.play, step, first)
        right = self.ours.play(step, self.ours.server)
        return left.result(), right


@contextlib.contextmanager
def twins(kind: Kind, directory: Path) -> Iterator[Twins]:
    """Two fresh servers of one kind, and the programs."""
    etcdctl = wheel_program("etcdctl")
    script = Path(sys.executable).parent / "etcdpyctl"
    ours = (str(script),) if script.exists() else (sys.executable, "-m", "etcdpy.ctl.ctl")

    def run_etcdctl(
        arguments: list[str], environment: dict[str, str], stdin: Path, out: Path, err: Path
    ) -> int:
        with stdin.open("rb") as source, out.open("wb") as target, err.open("wb") as errors:
            done = subprocess.run(
                [etcdctl, *arguments],
                stdin=source,
                stdout=target,
                stderr=errors,
                env=environment,
                timeout=60,
                check=False,
            )
        return done.returncode

    with (
        Server(kind, directory / "left", TWIN_FLAGS) as left,
        Server(kind, directory / "right", TWIN_FLAGS) as right,
        Forks() as forks,
        ThreadPoolExecutor(1) as threads,
    ):
        yield Twins(
            Side("etcdctl", left, run_etcdctl, (etcdctl,), directory),
            Side("etcdpyctl", right, forks.run, ours, directory),
            threads,
        )
