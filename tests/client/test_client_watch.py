"""Watches of both sides on real etcd and on us."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import (
    AsyncClient,
    Client,
    Closed,
    CompactedError,
    InvalidArgument,
    NotSent,
    WatchEnded,
    between,
    op,
    prefix,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

SECONDS = 10.0


@pytest.fixture
def plain(either_server: Server) -> Iterator[Client]:
    with Client(either_server.endpoint) as client:
        client.delete(prefix(""))
        yield client


def test_events_in_order(plain: Client) -> None:
    with plain.watch(prefix("w/"), prev_kv=True) as watch:
        plain.put("w/1", "a")
        plain.put("other", "b")
        plain.put("w/1", "c")
        plain.delete("w/1")
        events = [next(watch) for _ in range(3)]
    assert [(one.type, one.key, one.value) for one in events] == [
        ("put", b"w/1", b"a"),
        ("put", b"w/1", b"c"),
        ("delete", b"w/1", b""),
    ]
    assert [one.prev_kv.value if one.prev_kv else None for one in events] == [None, b"a", b"c"]
    assert not watch.is_open
    assert list(watch) == []


def test_from_an_old_revision_and_on(plain: Client) -> None:
    first = plain.put("k", "1").header.revision
    plain.put("k", "2")
    with plain.watch("k", start_revision=first) as watch:
        assert [next(watch).value, next(watch).value] == [b"1", b"2"]
        assert watch.revision == first + 1
        plain.put("k", "3")
        assert next(watch).value == b"3"


def test_a_transaction_is_one_batch(plain: Client) -> None:
    with plain.watch(prefix("")) as watch:
        done = plain.txn((), [op.put("a", "1"), op.put("b", "2"), op.delete("none")])
        batch = watch.next_batch(SECONDS)
        assert batch.revision == done.header.revision
        assert [one.key for one in batch.events] == [b"a", b"b"]


def test_filters(plain: Client) -> None:
    with plain.watch("k", only="put") as puts, plain.watch("k", only="delete") as deletions:
        plain.put("k", "1")
        plain.delete("k")
        plain.put("k", "2")
        assert [next(puts).value for _ in range(2)] == [b"1", b"2"]
        assert next(deletions).type == "delete"


def test_progress(plain: Client) -> None:
    with plain.watch("k") as watch:
        revision = plain.put("other", "1").header.revision
        watch.request_progress()
        batch = watch.next_batch(SECONDS)
        assert (batch.revision, batch.events) == (revision, [])


def test_compacted(plain: Client) -> None:
    first = plain.put("k", "1").header.revision
    last = plain.put("k", "2").header.revision
    plain.compact(last)
    watch = plain.watch("k", start_revision=first)
    with pytest.raises(CompactedError) as caught:
        next(watch)
    assert caught.value.compact_revision == last


def test_no_event_in_time(plain: Client) -> None:
    with plain.watch("k") as watch, pytest.raises(TimeoutError):
        watch.next_batch(0.05)


def test_range_that_is_none(plain: Client) -> None:
    with pytest.raises(WatchEnded), plain.watch(between("b", "a")) as watch:
        watch.next_batch(SECONDS)


def test_many_on_one_stream(plain: Client) -> None:
    watches = [plain.watch(f"k{number}") for number in range(50)]
    plain.txn((), [op.put(f"k{number}", str(number)) for number in range(50)])
    assert [next(watch).value for watch in watches] == [b"%d" % number for number in range(50)]
    for watch in watches:
        watch.close()
    # The stream has gone with its last watch; another one is made for the next.
    with plain.watch("k") as watch:
        plain.put("k", "1")
        assert next(watch).value == b"1"


def test_large_responses_come_whole(plain: Client) -> None:
    first = plain.put("big", bytes(1_000_000)).header.revision
    for _ in range(3):
        plain.put("big", bytes(1_000_000))
    with plain.watch("big", start_revision=first) as watch:
        assert [len(next(watch).value) for _ in range(4)] == [1_000_000] * 4


def test_closing_wakes_who_waits(plain: Client) -> None:
    watch = plain.watch("k")
    threading.Timer(0.05, watch.close).start()
    assert list(watch) == []


def test_closing_the_client_wakes_who_waits(either_server: Server) -> None:
    client = Client(either_server.endpoint)
    watch = client.watch("k")
    threading.Timer(0.05, client.close).start()
    with pytest.raises(Closed):
        next(watch)


def test_nobody_there() -> None:
    with Client("127.0.0.1:1", timeout=0.3) as client, pytest.raises(NotSent):
        client.watch("k")


def test_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client:
            await client.delete(prefix(""))
            async with client.watch(prefix("w/")) as watch, client.watch("other") as other:
                await client.put("w/1", "a")
                await client.put("other", "b")
                assert (await anext(watch)).value == b"a"
                assert (await other.next_batch(SECONDS)).events[0].value == b"b"
                with pytest.raises(TimeoutError):
                    await watch.next_batch(0.05)
                watch.request_progress()
                assert (await watch.next_batch(SECONDS)).events == []
            assert not watch.is_open
            watch = await client.watch("k")
            asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(watch.close()))
            assert [event async for event in watch] == []

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_raw_refusals_still_work_beside_a_watch(plain: Client) -> None:
    with plain.watch("k"), pytest.raises(InvalidArgument):
        plain.put("", "x")
