"""The hub over the real store: who comes late reads from the database what the others heard live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc import Store, WatchHub
from etcdpy.mvcc.revision import encode_revision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.proto.kv_pb2 import Event

KEYS = [b"\0", b"a", b"ab", b"b" * 130, b"c" * 600, b"\xff"]
# One revision: puts of some keys, and ranges to delete.
puts = st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=3), max_size=3)
deletes = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([b"", b"\0", b"b"])), max_size=1)
revisions = st.lists(st.tuples(puts, deletes, st.booleans()), min_size=1, max_size=12)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend.open(tmp_path / "db")
    yield backend
    backend.close()


def write(store: Store, hub: WatchHub, puts: dict[bytes, bytes], deletes: list[tuple[bytes, bytes]]) -> None:
    txn = store.begin()
    for key, range_end in deletes:
        txn.delete_range(key, range_end)
    for key, value in puts.items():
        txn.put(key, value)
    events = txn.end()
    if events:
        hub.publish(store.revision, events)


def heard(sink: Any, watch_id: int) -> list[Event]:
    return [event for _, response in sink.responses.get(watch_id, []) for event in response.events]


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=revisions, cut=st.integers(0, 12))
def test_history_says_what_was_said_live(
    tmp_path_factory: pytest.TempPathFactory,
    sink_type: Any,
    history: list[tuple[dict[bytes, bytes], list[tuple[bytes, bytes]], bool]],
    cut: int,
) -> None:
    backend = Backend.open(tmp_path_factory.mktemp("watch") / "db")
    store = Store(backend)
    hub = WatchHub(store)
    sink = sink_type()
    hub.watch(b"\0", b"\0", watch_id=0, sink=sink, prev_kv=True)
    for puts, deletes, is_flushed in history:
        write(store, hub, puts, deletes)
        if is_flushed:
            backend.flush_sync()
    start = min(2 + cut, store.revision + 1)
    hub.watch(b"\0", b"\0", start, watch_id=1, sink=sink, prev_kv=True)
    while hub.catch_up():
        pass
    assert heard(sink, 1) == [event for event in heard(sink, 0) if event.kv.mod_revision >= start]
    backend.close()


def test_after_a_compaction(backend: Backend, sink: Any) -> None:
    store = Store(backend)
    hub = WatchHub(store)
    hub.watch(b"a", b"z", watch_id=0, sink=sink, prev_kv=True)
    for value in (b"1", b"2", b"3"):
        write(store, hub, {b"a": value, b"b": value}, [])
    write(store, hub, {}, [(b"a", b"")])
    write(store, hub, {b"a": b"4"}, [])
    store.compact(4)
    while store.compact_step(10):
        pass
    hub.watch(b"a", b"z", 3, watch_id=1, sink=sink)
    hub.watch(b"a", b"z", 4, watch_id=2, sink=sink, prev_kv=True)
    hub.catch_up()
    assert sink.compactions == [(1, 4)]
    expected = heard(sink, 0)[4:]
    for event in expected:
        if event.kv.mod_revision == 4:
            event.ClearField("prev_kv")
    assert heard(sink, 2) == expected


def test_nothing_is_heard_of_the_record_that_raises_the_revision(backend: Backend, sink: Any) -> None:
    backend.put(Bucket.KEY, encode_revision(2), b"")
    store = Store(backend)
    hub = WatchHub(store)
    hub.watch(b"\0", b"\0", 1, watch_id=0, sink=sink)
    write(store, hub, {b"a": b"1"}, [])
    hub.catch_up()
    assert [(event.kv.key, event.kv.mod_revision) for event in heard(sink, 0)] == [(b"a", 3)]
