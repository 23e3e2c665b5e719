"""What systemd is told when a member has started, by real etcd and by us."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import clean_environment
from tests.support.server import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Kind

SECONDS_MAX = 30.0


@pytest.fixture(params=["reference", "candidate"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.getfixturevalue(request.param)
    return found


@contextlib.contextmanager
def running(kind: Kind, directory: Path, notify_socket: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    command = [
        *kind.command,
        f"--data-dir={directory / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]
    environment = clean_environment(NOTIFY_SOCKET=notify_socket)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, client
        finally:
            process.send_signal(signal.SIGKILL)


def line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    return next(line for line in process.stderr if text in line)


@pytest.mark.cluster
@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_ready_is_told_once_clients_are_served(kind: Kind, tmp_path: Path, is_abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        name = f"etcdpy-test-{tmp_path}" if is_abstract else str(tmp_path / "notices")
        notices.bind(f"\0{name}" if is_abstract else name)
        notices.settimeout(SECONDS_MAX)
        with running(kind, tmp_path, f"@{name}" if is_abstract else name) as (process, url):
            assert notices.recv(100) == b"READY=1"
            with urllib.request.urlopen(f"{url}/health", timeout=SECONDS_MAX) as response:
                assert response.status == 200
            assert line_with(process, "successfully notified init daemon")


@pytest.mark.cluster
def test_nobody_to_tell_is_no_reason_to_end(kind: Kind, tmp_path: Path) -> None:
    with running(kind, tmp_path, str(tmp_path / "none")) as (process, url):
        assert '"level":"error"' in line_with(process, "failed to notify systemd for readiness")
        with urllib.request.urlopen(f"{url}/health", timeout=SECONDS_MAX) as response:
            assert response.status == 200
