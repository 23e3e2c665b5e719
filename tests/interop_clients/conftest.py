"""Servers for real clients, each started once: plain, TLS, TLS that asks for certificates, and a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop_clients.endpoints import Endpoint, running
from tests.support.quorum import MixedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind


@pytest.fixture(scope="session")
def plain_endpoint(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(candidate, tmp_path_factory.mktemp("plain"), secure=False) as server:
        yield server


@pytest.fixture(scope="session")
def tls_endpoint(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(candidate, tmp_path_factory.mktemp("tls"), secure=True) as server:
        yield server


@pytest.fixture(scope="session")
def mutual_endpoint(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(candidate, tmp_path_factory.mktemp("mutual"), secure=True, certificates=True) as server:
        yield server


@pytest.fixture(scope="session")
def three_endpoint(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One of three members that does not lead, so that every write is forwarded."""
    with MixedCluster(tmp_path_factory.mktemp("three"), [candidate] * 3) as cluster:
        leader = cluster.leader()
        follower = next(member for member in cluster.members if member is not leader)
        yield Endpoint(follower.client_port)


@pytest.fixture(params=["plain", "mutual", "three"])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """For clients that have certificates."""
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found


@pytest.fixture(params=["plain", "tls"])
def open_endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """For clients that have none."""
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found
