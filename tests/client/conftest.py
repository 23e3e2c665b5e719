"""Clients of both sides, on real etcd and on us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import AsyncClient, Client, prefix
from tests.client.sides import Awaited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server


@pytest.fixture(params=["plain", "asyncio"])
def client(request: pytest.FixtureRequest, either_server: Server) -> Iterator[Client]:
    """A client of either side that is called, on a server of either kind, whose keys are gone before."""
    with Client(either_server.endpoint) as plain:
        plain.delete(prefix(""))
        if request.param == "plain":
            yield plain
            return
    with asyncio.Runner() as runner:
        other = AsyncClient(either_server.endpoint)
        yield Awaited(other, runner)  # type: ignore[misc]
        runner.run(other.close())
