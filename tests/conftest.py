"""Fixtures and options shared by the tests that start real server processes.

Helpers live in `tests/support` and are imported as `tests.support.*`. The directory above `tests` goes to
the *end* of the path for that: an installed etcdpy, when there is one, must win over the working tree.

Where its hot rooms are compiled, the servers that tests start run compiled, and the tests themselves run the
sources, which they may patch; with `ETCDPY_PURE=0` in the environment they run compiled as well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.append(ROOT)

import etcdpy  # noqa: E402
from etcdpy.flavour import PURE, is_compiled, prefer_sources  # noqa: E402

if PURE not in os.environ:
    prefer_sources(etcdpy.__path__[0])

from tests.support.client import Client  # noqa: E402 - needs the path above
from tests.support.programs import Kind, candidate_kind, reference_kind  # noqa: E402
from tests.support.server import Server, pair  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("etcdpy", "tests against real etcd")
    group.addoption("--candidate", default="etcdpy", help="server under test: etcdpy, etcd, or a path")
    group.addoption("--seed", type=int, default=1, help="seed of the differential and the crash test")
    group.addoption("--steps", type=int, default=2_500, help="calls in the differential sequence")
    group.addoption("--rounds", type=int, default=0, help="rounds of the crash test (0: what the test says)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run only when asked for by `-m`, not in a plain `pytest`; those that patch code only where
    it is not compiled.
    """
    if not config.getoption("markexpr"):
        deselect(config, items, "slow")
    if is_compiled():
        deselect(config, items, "patches")


def deselect(config: pytest.Config, items: list[pytest.Item], marker: str) -> None:
    marked = [item for item in items if item.get_closest_marker(marker)]
    if marked:
        items[:] = [item for item in items if not item.get_closest_marker(marker)]
        config.hook.pytest_deselected(items=marked)


@pytest.fixture(scope="session")
def reference() -> Kind:
    return reference_kind()


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Kind:
    return candidate_kind(str(request.config.getoption("--candidate")))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="module", params=["reference", "candidate"])
def either_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for a module's tests, which all run twice: on real etcd, and on the candidate."""
    kind: Kind = request.getfixturevalue(request.param)
    with Server(kind, tmp_path_factory.mktemp(kind.name)) as server:
        yield server


@pytest.fixture
def either_client(either_server: Server) -> Iterator[Client]:
    with Client(either_server.endpoint) as client:
        yield client


@pytest.fixture(scope="module")
def both_servers(
    reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    with pair(reference, candidate, tmp_path_factory.mktemp("both")) as servers:
        yield servers
