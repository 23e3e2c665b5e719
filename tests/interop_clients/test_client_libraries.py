"""Client libraries that other people wrote, on their HTTP: grpcio, aetcd, etcetra, etcd3gw, etcd3."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop_clients.endpoints import SESSIONS, play, play_python

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop_clients.endpoints import Endpoint

NPM_PACKAGE = "etcd3@1.1.2"
NPM_SECONDS_MAX = 180.0


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: see tests/interop*/requirements.txt")


def test_grpcio(endpoint: Endpoint) -> None:
    assert play_python(endpoint, "grpcio_session.py") == [
        "keys_and_values",
        "errors",
        "metadata",
        "deadlines",
        "compression",
        "large_messages",
        "watching",
        "leases",
        "many_at_once",
        "other channel options",
    ]


def test_aetcd(endpoint: Endpoint) -> None:
    needs("aetcd")
    assert play_python(endpoint, "aetcd_session.py") == [
        "keys_and_values",
        "transactions",
        "watching",
        "leases_and_locks",
        "maintenance",
    ]


def test_etcetra(endpoint: Endpoint) -> None:
    needs("etcetra")
    assert play_python(endpoint, "etcetra_session.py") == [
        "keys_and_values",
        "transactions",
        "watching",
        "leases",
    ]


def test_etcd3gw(endpoint: Endpoint) -> None:
    needs("etcd3gw")
    assert play_python(endpoint, "etcd3gw_session.py") == [
        "keys_and_values",
        "transactions",
        "watching",
        "leases_and_locks",
        "the_cluster",
    ]


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which Node finds etcd3."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node's client needs node and npm, and they are not on this machine")
    directory = tmp_path_factory.mktemp("node")
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    installed = subprocess.run(
        [npm, "install", "--prefix", str(directory), *flags, NPM_PACKAGE],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=NPM_SECONDS_MAX,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr[-4000:]
    return directory / "node_modules"


def test_etcd3_of_npm(endpoint: Endpoint, node_modules: Path) -> None:
    command = ["node", str(SESSIONS / "etcd3_session.js")]
    assert play(endpoint, command, NODE_PATH=str(node_modules)) == [
        "keysAndValues",
        "transactions",
        "watching",
        "leasesAndLocks",
        "elections",
        "errors",
        "maintenance",
    ]
