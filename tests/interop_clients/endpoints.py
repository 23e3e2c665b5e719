"""Where a client finds the server, and how: plainly, or with certificates on both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.pki import Authority
from tests.support.programs import Kind, clean_environment
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.pki import Identity

SESSIONS = Path(__file__).parent / "sessions"
SESSION_SECONDS_MAX = 120.0


@dataclass(frozen=True)
class Endpoint:
    """One running server."""

    port: int
    ca: Path | None = None
    client: Identity | None = None
    host: str = "127.0.0.1"

    @property
    def is_secure(self) -> bool:
        return self.ca is not None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.is_secure else 'http'}://{self.address}"

    @property
    def certificate_flags(self) -> list[str]:
        """As etcdctl and curl take them."""
        if self.client is None:
            return []
        return ["--cacert", str(self.ca), "--cert", str(self.client.cert), "--key", str(self.client.key)]

    def as_json(self) -> str:
        """What a session is told."""
        fields: dict[str, object] = {"host": self.host, "port": self.port}
        if self.client is not None:
            fields |= {"ca": str(self.ca), "cert": str(self.client.cert), "key": str(self.client.key)}
        return json.dumps(fields)


@contextmanager
def running(kind: Kind, directory: Path, *, secure: bool, certificates: bool = False) -> Iterator[Endpoint]:
    """A server of its own; one that asks for `certificates` lets nobody in without."""
    server = Server(kind, directory)
    endpoint = Endpoint(server.client_port)
    if secure:
        authority = Authority(directory / "pki")
        shown = authority.server()
        client = authority.client("root") if certificates else None
        endpoint = Endpoint(server.client_port, authority.ca, client)
        server.flags = (
            f"--listen-client-urls={endpoint.url}",
            f"--advertise-client-urls={endpoint.url}",
            f"--cert-file={shown.cert}",
            f"--key-file={shown.key}",
        )
        if certificates:
            server.flags += (f"--trusted-ca-file={authority.ca}", "--client-cert-auth")
    with server:
        yield endpoint


def play(endpoint: Endpoint, command: Sequence[str], **environment: str) -> list[str]:
    """Run a session in a process of its own; the steps that it says it has done.

    Client libraries bring etcd's messages under the same names, so no two of them fit into one process.
    """
    done = subprocess.run(
        [*command, endpoint.as_json()],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS_MAX,
        check=False,
    )
    steps = [line.removeprefix("done: ") for line in done.stdout.splitlines() if line.startswith("done: ")]
    assert done.returncode == 0, f"after {steps[-1:]}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return steps


def play_python(endpoint: Endpoint, name: str) -> list[str]:
    """Run a session written in Python."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))
    return play(endpoint, [sys.executable, "-W", "ignore", str(SESSIONS / name)], PYTHONPATH=path)
