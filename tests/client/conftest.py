"""Clients of both sides, on real etcd and on us."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.client import AsyncClient, Client, prefix
from tests.client.sides import Awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

    Connect = Callable[..., Client]


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


@pytest.fixture(params=["plain", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of either side, with the arguments of `Client`, that are called and closed at the end."""
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def make(*args: Any, **kwargs: Any) -> Client:
            if request.param == "plain":
                return stack.enter_context(Client(*args, **kwargs))
            other = AsyncClient(*args, **kwargs)
            stack.callback(lambda: runner.run(other.close()))
            return Awaited(other, runner)  # type: ignore[return-value]

        yield make
