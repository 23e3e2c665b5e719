"""PostgreSQL nodes under Patroni, which keeps its leader lock and its configuration in etcd.

PostgreSQL refuses to run as root; where the tests do, each node runs in a user namespace of its own, in which
it is an ordinary user and still owns the files of the test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from etcdpy.testing.cluster import free_ports

from .programs import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

SECONDS_MAX = 90.0
LOOK_SECONDS = 0.2
PASSWORD = "secret"  # of databases that live for one test

# Patroni's smallest: loop_wait + 2 * retry_timeout may not be more than ttl, and ttl not less than 20.
DCS = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "maximum_lag_on_failover": 1048576}


def postgresql_directory() -> Path | None:
    """Where the newest PostgreSQL's programs are; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PatroniNode:
    """One PostgreSQL with its Patroni; a context manager."""

    def __init__(self, name: str, directory: Path, endpoints: Sequence[str], programs: Path) -> None:
        self.name = name
        self.directory = directory
        self.rest_port, self.sql_port = free_ports(2)
        self._endpoints = list(endpoints)
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "patroni.yml"
        path.write_text(yaml.safe_dump(self._configuration()))
        prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.getuid() == 0 else []
        environment = {**clean_environment(), "PATH": f"{self._programs}:{os.environ['PATH']}"}
        with (self.directory / "patroni.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "patroni", str(path)],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """The machine is gone: Patroni and its PostgreSQL at once, by SIGKILL."""
        assert self._process is not None, f"{self.name} is not running"
        self._process.kill()
        self._process.wait()
        self._process = None
        self._kill_postgresql(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._kill_postgresql(signal.SIGQUIT)

    def _kill_postgresql(self, number: signal.Signals) -> None:
        try:
            pid = int((self.directory / "data" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, number)
        except (FileNotFoundError, ProcessLookupError):
            return
        until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), f"the end of PostgreSQL {pid}")

    def role(self) -> str:
        """`primary`, `replica`, or what else Patroni says of itself; empty while it does not answer."""
        state = self.ask("patroni")
        return str(state.get("role", "")) if state.get("state") in ("running", "streaming") else ""

    def cluster(self) -> dict[str, Any]:
        """Patroni's view of all nodes, which it reads from etcd."""
        return self.ask("cluster")

    def ask(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/{path}", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error)) if path == "patroni" else {}
        except (OSError, ValueError):
            return {}

    def post(self, path: str, body: dict[str, Any]) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rest_port}/{path}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def sql(self, statement: str) -> str:
        """What psql prints, rows only.

        Raises:
            subprocess.CalledProcessError: the statement failed, or nobody listens.
        """
        done = subprocess.run(
            [
                str(self._programs / "psql"),
                f"host=127.0.0.1 port={self.sql_port} user=postgres password={PASSWORD} dbname=postgres",
                "-AtqXc",
                statement,
            ],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    def _configuration(self) -> dict[str, Any]:
        users = {
            "superuser": {"username": "postgres", "password": PASSWORD},
            "replication": {"username": "replicator", "password": PASSWORD},
        }
        return {
            "scope": "demo",
            "name": self.name,
            "restapi": _listen(self.rest_port),
            "etcd3": {"hosts": self._endpoints},
            "bootstrap": {"dcs": DCS, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}]},
            "postgresql": {
                **_listen(self.sql_port),
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(self._programs),
                "pgpass": str(self.directory / "pgpass"),
                "authentication": users,
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 md5", REPLICATION],
                "parameters": {
                    "unix_socket_directories": str(self.directory),
                    "shared_buffers": "16MB",
                    "fsync": "off",
                },
            },
        }

    def __enter__(self) -> PatroniNode:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


REPLICATION = "host replication replicator 127.0.0.1/32 md5"


def _listen(port: int) -> dict[str, str]:
    return {"listen": f"127.0.0.1:{port}", "connect_address": f"127.0.0.1:{port}"}


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition: Callable[[], bool], what: str, seconds_max: float = SECONDS_MAX) -> None:
    """Look until it holds; other programs tell nobody when it does.

    Raises:
        AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds_max:.0f} s"
        time.sleep(LOOK_SECONDS)
