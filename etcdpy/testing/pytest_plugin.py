"""pytest fixtures that are there wherever etcdpy is installed: `etcd`, `etcd_client`, `etcd_cluster`.

pytest loads this module in every run of everybody who has the package, so it imports nothing but pytest; the
rest comes when a test asks for a fixture. See `docs/testing-with-etcdpy.md`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.client import Client
    from etcdpy.testing.cluster import Cluster
    from etcdpy.testing.servers import Etcd, Servers

MARKER = "etcd"
CLUSTER_SIZE = 3
LOG_LINES_SHOWN = 20
_clusters = pytest.StashKey["list[Cluster]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("etcdpy", "a real etcd for tests")
    group.addoption(
        "--etcd-command",
        metavar="COMMAND",
        default="",
        help="the server that the fixtures start, such as Go's etcd (default: etcdpy)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*flags, size={CLUSTER_SIZE}): flags of the servers that the test's fixtures start, "
        "and the number of members of etcd_cluster",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Show what the servers of a failed test logged last."""
    if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return
    for cluster in item.stash.get(_clusters, []):
        for member in cluster.members:
            title = f"log of etcd {member.name}" if len(cluster.members) > 1 else "log of etcd"
            item.add_report_section(call.when, title, member.log_tail(LOG_LINES_SHOWN))


@pytest.fixture(scope="session")
def etcd_servers(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Starts servers for fixtures of your own: `with etcd_servers.single() as etcd`, `.cluster(5)`."""
    from etcdpy.testing.servers import Servers

    with Servers(shlex.split(pytestconfig.getoption("--etcd-command"))) as servers:
        yield servers


@pytest.fixture
def etcd(request: pytest.FixtureRequest, etcd_servers: Servers) -> Iterator[Etcd]:
    """A server of this test alone, empty, on a free port: `etcd.endpoint`, `.url`, `.restart()` and more."""
    flags, _ = _marked(request)
    with etcd_servers.single(*flags) as etcd:
        _show_if_failed(request, etcd._cluster)
        yield etcd


@pytest.fixture
def etcd_client(etcd: Etcd) -> Iterator[Client]:
    """An `etcdpy.client.Client` of the test's `etcd`."""
    with etcd.client() as client:
        yield client


@pytest.fixture
def etcd_cluster(request: pytest.FixtureRequest, etcd_servers: Servers) -> Iterator[Cluster]:
    """Three members of this test alone: `.leader()`, `.kill(member)`, `.start_member(member)` and more.

    `@pytest.mark.etcd(size=5)` asks for another number.
    """
    flags, size = _marked(request)
    with etcd_servers.cluster(size, *flags) as cluster:
        _show_if_failed(request, cluster)
        yield cluster


def _marked(request: pytest.FixtureRequest) -> tuple[list[str], int]:
    """Flags of all markers that apply, the nearest last so that it decides; and the nearest size."""
    marks = list(request.node.iter_markers(MARKER))
    flags = [flag for mark in reversed(marks) for flag in mark.args]
    return flags, next((mark.kwargs["size"] for mark in marks if "size" in mark.kwargs), CLUSTER_SIZE)


def _show_if_failed(request: pytest.FixtureRequest, cluster: Cluster) -> None:
    request.node.stash.setdefault(_clusters, []).append(cluster)
