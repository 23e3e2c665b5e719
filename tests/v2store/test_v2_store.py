"""The v2 store by itself: its rows, its dump, and what real servers cannot be made to show quickly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from etcdpy.cluster.v2 import ClusterState, MalformedStore, load_store
from etcdpy.v2store import Action, CorruptRows, Event, Store, V2Error, dump, import_dump
from etcdpy.v2store.events import SECOND_NS, MalformedEvent, event_of, format_time, parse_time, seconds_left

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_NS = 1_800_000_000 * SECOND_NS


class Memory:
    """A bucket in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        del self.rows[key]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self.rows.items()))


def open_store(rows: Memory | None = None) -> Store:
    return Store(rows or Memory(), lambda: NOW_NS)


def change(store: Store, chance: random.Random) -> None:
    """A random operation, refused or not."""
    key = "/1/" + "/".join(chance.choice("abc_") for _ in range(chance.randrange(1, 4)))
    expire_ns = chance.choice((0, 0, NOW_NS + chance.randrange(5) * SECOND_NS))
    try:
        match chance.randrange(7):
            case 0 | 1:
                store.set(key, chance.choice("xyz"), is_dir=chance.random() < 0.2, expire_ns=expire_ns)
            case 2:
                store.create(key, "new", unique=True, expire_ns=expire_ns)
            case 3:
                store.compare_and_swap(key, "x", 0, "y", expire_ns=expire_ns)
            case 4:
                store.delete(key, recursive=chance.random() < 0.5)
            case 5:
                store.delete_expired(NOW_NS + SECOND_NS)
            case _:
                store.note(Action.SET, "/0/version", "3.6.0")
    except V2Error:
        pass


def everything(store: Store) -> list[object]:
    """All that a store answers from."""
    return [
        store.index,
        [event.fields() for event in store.history],
        store.get("/1", recursive=True, is_sorted=True).fields(),
        store.has_ttl,
    ]


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_dumps_give_the_same_store(seed: int) -> None:
    chance = random.Random(seed)
    rows = Memory()
    store = open_store(rows)
    for _ in range(chance.randrange(1, 1500)):
        change(store, chance)
    assert everything(open_store(rows)) == everything(store)
    imported = Memory()
    data = dump(ClusterState(), store)
    import_dump(data, imported)
    again = open_store(imported)
    assert everything(again) == everything(store)
    # And they go on in the same way.
    for _ in range(100):
        changes = random.Random(chance.random())
        state = changes.getstate()
        change(store, changes)
        changes.setstate(state)
        change(again, changes)
    assert everything(again) == everything(store)


def test_a_dump_without_history_is_taken() -> None:
    """3.6 writes such ones, with membership alone."""
    rows = Memory()
    import_dump(b'{"Root":{"Path":"/","Children":{"1":{"Path":"/1","Children":{}}}},"CurrentIndex":7}', rows)
    store = open_store(rows)
    assert store.index == 7
    assert store.set("/1/a", "x").index == 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"CurrentIndex":"x"}',
        b'{"CurrentIndex":1,"Root":{"Children":{"1":{"Path":"/1","Children":[]}}}}',
        b'{"CurrentIndex":1,"Root":{"Children":{"1":{"Path":"/1","Children":{"a":{"Path":"/0/a"}}}}}}',
        b'{"CurrentIndex":1,"Root":{"Children":{"1":{"Path":"/1","Children":{"a":{"Path":"a"}}}}}}',
        b'{"CurrentIndex":1,"Root":{"Children":{"1":{"Path":"/1","Children":{"a":{"Path":"/1/a","Value":1}}}}}}',
        b'{"CurrentIndex":1,"WatcherHub":{"EventHistory":{"Queue":{"Events":[7],"Front":0}}}}',
    ],
)
def test_what_is_no_dump_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedStore):
        import_dump(data, Memory())


@pytest.mark.parametrize(
    "rows",
    [
        {b"meta": b"x"},
        {b"meta": b"{}"},
        {b"n" + bytes(7) + b"\x01": b"[1]"},
        {b"n" + bytes(7) + b"\x01": b'["/1/a/b",1,1,0,"x"]'},
        {
            b"n" + bytes(7) + b"\x01": b'["/1/a",1,1,0,"x"]',
            b"n" + bytes(7) + b"\x02": b'["/1/a/b",1,1,0,"x"]',
        },
        {b"e" + bytes(8): b'{"action":"eat","node":{}}'},
    ],
)
def test_rows_that_nobody_has_written_are_refused(rows: dict[bytes, bytes]) -> None:
    memory = Memory()
    memory.rows = rows
    with pytest.raises(CorruptRows):
        open_store(memory)


def test_a_dump_may_be_deeper_than_the_interpreter_goes() -> None:
    store = open_store()
    store.set("/1" + "/d" * 5000, "x")
    data = dump(ClusterState(), store)
    assert data.count(b'"d":') == 5000
    store.delete("/1/d", recursive=True)
    assert load_store(dump(ClusterState(), store)) == ClusterState()


def test_expired_keys_go_in_the_order_of_their_times() -> None:
    store = open_store()
    for name, seconds in (("c", 3), ("a", 1), ("d", 9), ("b", 1)):
        store.set(f"/1/{name}", "x", expire_ns=NOW_NS + seconds * SECOND_NS)
    store.set("/1/a", "kept")
    for _ in range(5000):
        store.update("/1/d", "", expire_ns=NOW_NS + 9 * SECOND_NS, refresh=True)
    gone: list[Event] = store.delete_expired(NOW_NS + 5 * SECOND_NS)
    assert [event.node.key for event in gone] == ["/1/b", "/1/c"]
    assert store.has_ttl
    assert [event.node.key for event in store.delete_expired(NOW_NS + 10 * SECOND_NS)] == ["/1/d"]
    assert not store.has_ttl


def test_a_stream_that_nobody_reads_ends_after_a_hundred_events() -> None:
    store = open_store()
    watcher = store.watch("/1", recursive=True, stream=True)
    for _ in range(101):
        store.set("/1/a", "x")
    assert watcher.is_removed
    assert len(watcher.events) == 100
    assert store.watchers.count == 0


def test_watchers_outlive_a_store_that_is_replaced() -> None:
    store = open_store()
    watcher = store.watch("/1/a", recursive=False, stream=False)
    following = Store(Memory(), lambda: NOW_NS, store.watchers)
    following.set("/1/a", "x")
    assert [event.node.value for event in watcher.events] == ["x"]


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (NOW_NS + 1, "2027-01-15T08:00:00.000000001Z"),
        (NOW_NS + 120_000_000, "2027-01-15T08:00:00.12Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_times(time_ns: int, text: str) -> None:
    assert format_time(time_ns) == text
    assert parse_time(text) == time_ns


def test_seconds_are_rounded_up_as_long_as_there_are_any() -> None:
    assert [seconds_left(left, 0) for left in (1, SECOND_NS, SECOND_NS + 1, 0, -1, -SECOND_NS - 1)] == [
        1, 1, 2, 0, 0, -1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {"action": "get"},
        {"action": "get", "node": {"modifiedIndex": True}},
        {"action": "get", "node": {"value": 7}},
        {"action": "get", "node": {"expiration": "yesterday"}},
    ],
)
def test_what_is_no_event_is_refused(fields: object) -> None:
    with pytest.raises(MalformedEvent):
        event_of(fields)
