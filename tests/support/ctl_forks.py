"""Runs `etcdpyctl` some hundred times without some hundred starts of Python.

`Forks` is one process that has imported everything a command needs, and forks for each command: arguments,
environment, standard streams and exit code are those of a process of its own. Run as a script it is that
process: a JSON line on standard input for each command, its exit code as a line on standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MODULES = ("kv", "txn", "lease", "watch", "cluster", "endpoint", "auth", "lock", "mirror", "check")


class Forks:
    """The process that forks; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: Path, out: Path, err: Path
    ) -> int:
        """The exit code of one command; negative for a signal."""
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "streams": [str(stdin), str(out), str(err)],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Run what comes on standard input."""
    import importlib

    from etcdpy.ctl import ctl

    for module in MODULES:
        importlib.import_module(f"etcdpy.ctl.ctl_{module}")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(order["environment"])
            sys.argv = ["etcdpyctl", *order["arguments"]]
            for number, path in enumerate(order["streams"]):
                os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_TRUNC), number)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process ends with it
            ctl.run()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
