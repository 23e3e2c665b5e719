"""Servers for real clients, each started once: plain, with TLS, and with TLS that asks for certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop_clients.endpoints import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop_clients.endpoints import Endpoint
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


@pytest.fixture(params=["plain", "mutual"])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """For clients that have certificates."""
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found


@pytest.fixture(params=["plain", "tls"])
def open_endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """For clients that have none."""
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found
