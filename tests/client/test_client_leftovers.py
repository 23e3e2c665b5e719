"""What a client leaves behind when its streams are interrupted: no thread, no task."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import AsyncClient, Client
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.programs import Kind

SECONDS = 30.0
INTERRUPTIONS = 2


@pytest.fixture
def server(candidate: Kind, tmp_path: Path) -> Iterator[Server]:
    with Server(candidate, tmp_path) as server:
        yield server


def eventually(is_true: Callable[[], bool]) -> bool:
    ticker = threading.Event()
    return any(is_true() or ticker.wait(0.01) for _ in range(int(SECONDS / 0.01)))


def test_no_thread(server: Server) -> None:
    before = threading.active_count()
    with Client(server.endpoint) as client, client.watch("k") as watch, client.lease(60):
        for number in range(1 + INTERRUPTIONS):
            client.put("k", str(number))
            assert watch.next_batch(SECONDS).events[-1].value == b"%d" % number
            if number < INTERRUPTIONS:
                server.restart()
    assert eventually(lambda: threading.active_count() <= before)


def test_no_task(server: Server) -> None:
    complaints: list[str] = []

    async def scenario() -> None:
        # Asyncio complains when a task is forgotten before it has ended.
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context["message"])
        )
        async with AsyncClient(server.endpoint) as client, client.watch("k") as watch, client.lease(60):
            for number in range(1 + INTERRUPTIONS):
                await client.put("k", str(number))
                assert (await watch.next_batch(SECONDS)).events[-1].value == b"%d" % number
                if number < INTERRUPTIONS:
                    await asyncio.to_thread(server.restart)
        async with asyncio.timeout(SECONDS):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
    gc.collect()
    assert complaints == []
