"""Members that start in a tenth of a second: one process imports the server, and forks for each of them.

Most of a member's start is Python importing it. A `Starter` is this process's side of a helper process, which
imports once and then takes orders, a line of JSON each: fork a member, signal one, tell whether one has
ended. Every member is a process of its own, which can be killed like any other. None outlives its starter:
the helper kills them when its standard input ends, however the process that wrote to it has ended, and the
kernel kills them when the helper itself dies.

Linux only (`can_fork`); elsewhere `Cluster` starts its members as programs of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import etcdpy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STOP_SECONDS_MAX: Final = 10.0
WAIT_SECONDS_MAX: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
_EXIT_UNCAUGHT: Final = 1
# The helper's program. The room of the command lies above this one, so it is handed in.
_BOOT: Final = """
import gc, sys
gc.disable()  # until a member begins to run
sys.path.append(sys.argv[1])
from etcdpy import cli
from etcdpy.testing.starter import Helper
Helper(cli.main).run()
"""


class StarterFailed(Exception):
    """The helper process has ended; the text is what it left on standard error."""


def can_fork() -> bool:
    """Whether members can be started this way here."""
    return sys.platform == "linux"


class StartedProcess:
    """A member's process, with as much of `subprocess.Popen` as a `Cluster` needs."""

    def __init__(self, starter: Starter, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._starter = starter

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._starter.ask(do="wait", pid=self.pid, seconds=0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired after so many seconds."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(f"member {self.pid}", timeout)
            # Piece by piece, so that other threads' orders need not wait for this one.
            self.returncode = self._starter.ask(do="wait", pid=self.pid, seconds=min(left, WAIT_SECONDS_MAX))
        return self.returncode

    def send_signal(self, which: signal.Signals) -> None:
        """Nothing happens if it has ended."""
        self._starter.ask(do="signal", pid=self.pid, signal=int(which))

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Starter:
    """Starts members. A context manager; leaving it kills all that are left. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._helper = subprocess.Popen(
            # Not `-m`: the directory that we happen to be in may hold modules of any name.
            [sys.executable, "-P", "-c", _BOOT, str(Path(etcdpy.__file__).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # A terminal's Ctrl-C is for the tests, which still need their members while they clean up.
            process_group=0,
        )

    def launch(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> StartedProcess:
        """Start a member with these flags; standard error is appended to `log`."""
        pid = self.ask(do="launch", arguments=list(arguments), environment=dict(environment), log=str(log))
        return StartedProcess(self, pid)

    def adopt(self, directory: Path) -> None:
        """Remove this directory at the end, if it is still there and whatever the end is."""
        self.ask(do="adopt", directory=str(directory))

    def ask(self, **order: object) -> Any:
        """Give an order and return what comes of it. Raises StarterFailed."""
        with self._lock:
            helper = self._helper
            assert helper.stdin is not None and helper.stdout is not None, "opened with pipes"  # noqa: PT018
            try:
                helper.stdin.write(json.dumps(order).encode() + b"\n")
                helper.stdin.flush()
                answer = helper.stdout.readline()
            except (OSError, ValueError) as error:
                raise StarterFailed(f"no members can be started: {error}") from error
            if not answer:
                self._errors.seek(0)
                raise StarterFailed(self._errors.read().decode(errors="replace"))
        return json.loads(answer)

    def close(self) -> None:
        """End the helper and with it all members that are left."""
        assert self._helper.stdin is not None, "opened with pipes"
        with contextlib.suppress(OSError):
            self._helper.stdin.close()
        try:
            self._helper.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._helper.kill()
            self._helper.wait(STOP_SECONDS_MAX)
        assert self._helper.stdout is not None, "opened with pipes"
        self._helper.stdout.close()
        self._errors.close()

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Helper:
    """The helper process: takes orders until there are no more. It has one thread, so that it may fork.

    Args:
        program: what a member does with its arguments, for the rest of its life; gives its exit code.
    """

    def __init__(self, program: Callable[[list[str]], int]) -> None:
        self._program = program
        self._running: set[int] = set()
        self._codes: dict[int, int] = {}
        self._directories: list[str] = []
        self._orders = {
            "launch": self._launch,
            "signal": self._signal,
            "wait": self._wait,
            "adopt": self._adopt,
        }

    def run(self) -> None:
        """Import what every member needs, and serve."""
        import uvloop  # noqa: F401

        import etcdpy.embed  # noqa: F401

        gc.freeze()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            self._serve()
        finally:
            self._end()

    def _serve(self) -> None:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            answer = self._orders[order["do"]](order)
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()

    def _end(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def _adopt(self, order: dict[str, Any]) -> None:
        self._directories = [one for one in self._directories if Path(one).exists()]
        self._directories.append(order["directory"])

    def _launch(self, order: dict[str, Any]) -> int:
        pid = os.fork()
        if not pid:
            self._be_member(order)
        self._running.add(pid)
        return pid

    def _be_member(self, order: dict[str, Any]) -> NoReturn:
        """The rest of a forked process's life."""
        code = _EXIT_UNCAUGHT
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            nothing = os.open(os.devnull, os.O_RDWR)
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for source, target in ((nothing, 0), (nothing, 1), (log, 2)):
                os.dup2(source, target)
            os.environ.clear()
            os.environ.update(order["environment"])
            sys.argv = ["etcdpy"]
            code = self._program(order["arguments"])
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            # Whatever has happened: the way back leads into the helper's own loop.
            sys.stderr.flush()
            os._exit(code)

    def _signal(self, order: dict[str, Any]) -> None:
        self._reap()
        if order["pid"] in self._running:
            os.kill(order["pid"], order["signal"])

    def _wait(self, order: dict[str, Any]) -> int | None:
        deadline = time.monotonic() + order["seconds"]
        while True:
            self._reap()
            left = deadline - time.monotonic()
            if order["pid"] not in self._running or left <= 0:
                return self._codes.get(order["pid"])
            signal.sigtimedwait({signal.SIGCHLD}, left)

    def _reap(self) -> None:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._running.remove(pid)
                self._codes[pid] = os.waitstatus_to_exitcode(status)
