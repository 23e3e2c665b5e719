"""Both servers for the tests of services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rpc.harness import ENGINE, GRPCIO, Chosen
from tests.rpc.listening import LOOPS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[ENGINE, GRPCIO])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server under the services."""
    Chosen.transport = request.param
    yield request.param
    Chosen.transport = ENGINE


@pytest.fixture(params=LOOPS)
def loop_name(request: pytest.FixtureRequest) -> str:
    """The event loop under the port."""
    name: str = request.param
    return name
