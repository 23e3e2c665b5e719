"""Random lives of watchers against a model that knows by heart what each of them must have heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from etcdpy.mvcc import watch
from etcdpy.mvcc.watch import Watcher, WatchHub, WatchState
from etcdpy.proto.kv_pb2 import Event, KeyValue

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

KEYS = [b"\0", b"a", b"aa", b"ab", b"b", b"\xff", b"\xff\xff"]
keys = st.sampled_from(KEYS)
range_ends = st.sampled_from([b"", b"", b"\0", b"\0", b"ab", b"b", b"c", b"\xff", b"\xff\0"])


class WatchMachine(RuleBasedStateMachine):
    """Writes, watches, slow sinks and compactions in any order."""

    make_store: Callable[[], Any]
    make_sink: Callable[[], Any]
    watchers = Bundle("watchers")

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        self.hub = WatchHub(self.store)
        self.sinks = [self.make_sink() for _ in range(2)]
        self.all: list[Watcher] = []
        self.first: dict[Watcher, int] = {}
        self.cancelled: set[Watcher] = set()
        self.written: list[tuple[int, Any]] = []  # Every event there ever was, with its revision.

    @rule(
        changes=st.dictionaries(keys, st.none() | st.binary(min_size=1, max_size=2), min_size=1, max_size=3)
    )
    def write(self, changes: dict[bytes, bytes | None]) -> None:
        events = self.store.write(*changes.items())
        if events:
            self.written += [(self.store.revision, event) for event in events]
            self.hub.collect(self.store.revision, events)

    @rule()
    def flush(self) -> None:
        self.hub.flush()

    @rule(
        target=watchers,
        key=keys,
        range_end=range_ends,
        offset=st.none() | st.integers(-6, 3),
        sink=st.integers(0, 1),
        prev_kv=st.booleans(),
        filters=st.lists(st.integers(0, 2), max_size=1),
    )
    def watch(
        self, key: bytes, range_end: bytes, offset: int | None, sink: int, prev_kv: bool, filters: list[int]
    ) -> Watcher | None:
        start = 0 if offset is None else max(1, self.store.revision + offset)
        if range_end not in (b"", b"\0") and range_end <= key:
            return None
        watcher = self.hub.watch(
            key,
            range_end,
            start,
            watch_id=len(self.all),
            sink=self.sinks[sink],
            prev_kv=prev_kv,
            filters=filters,
        )
        self.all.append(watcher)
        self.first[watcher] = start or self.store.revision + 1
        return watcher

    @rule(watcher=watchers)
    def cancel(self, watcher: Watcher | None) -> None:
        if watcher is not None:
            self.hub.cancel(watcher)
            self.cancelled.add(watcher)

    @rule(sink=st.integers(0, 1), room=st.integers(0, 5))
    def set_room(self, sink: int, room: int) -> None:
        self.sinks[sink].room = room

    @rule(sink=st.integers(0, 1))
    def resume(self, sink: int) -> None:
        self.sinks[sink].room = 20
        self.hub.resume(self.sinks[sink])

    @rule(limit=st.integers(1, 4))
    def catch_up(self, limit: int) -> None:
        self.hub.catch_up(limit)

    @rule(back=st.integers(0, 8))
    def compact(self, back: int) -> None:
        revision = self.store.revision - back
        if revision > max(0, self.store.compact_revision):
            self.store.compact(revision)

    @invariant()
    def everybody_heard_exactly_what_is_due(self) -> None:
        for watcher in self.all:
            if watcher not in self.cancelled:
                self.check(watcher)

    def teardown(self) -> None:
        for sink in self.sinks:
            sink.room = 1_000_000
            self.hub.resume(sink)
        while self.hub.catch_up(3):
            pass
        self.hub.flush()
        self.everybody_heard_exactly_what_is_due()
        behind = {WatchState.UNSYNCED, WatchState.VICTIM}
        assert not [watcher for watcher in self.all if watcher.state in behind]
        assert self.hub.slow_watchers == 0

    def check(self, watcher: Watcher) -> None:
        compacted_ids = [watch_id for watch_id, _ in watcher.sink.compactions]  # type: ignore[attr-defined]  # our sink
        assert compacted_ids.count(watcher.watch_id) == (watcher.state is WatchState.CLOSED)
        due_to = watcher.next_revision
        if watcher.state in (WatchState.SYNCED, WatchState.WAITING):
            due_to = self.store.revision + 1
        elif watcher.state is WatchState.CLOSED:
            assert due_to < self.store.compact_revision
        due = self.due(watcher, due_to)
        heard = self.heard(watcher)
        if self.hub.collected_revisions and watcher.state is WatchState.SYNCED:
            due = due[: len(heard)]  # the rest is still to be delivered
        assert [(revision, event.kv.key, event.type) for revision, event in heard] == [
            (revision, event.key, event.type) for revision, event in due
        ]
        for (_, event), (_, original) in zip(heard, due, strict=True):
            self.check_values(watcher, event, original)

    def due(self, watcher: Watcher, before: int) -> list[tuple[int, Any]]:
        end = watcher.range_end
        return [
            (revision, event)
            for revision, event in self.written
            if self.first[watcher] <= revision < before
            and (event.key == watcher.key if not end else event.key >= watcher.key)
            and (end in (b"", b"\0") or event.key < end)
            and not watcher.filters & (1 << event.type)
        ]

    def heard(self, watcher: Watcher) -> list[tuple[int, Event]]:
        heard: list[tuple[int, Event]] = []
        last = 0
        for header, response in watcher.sink.responses.get(watcher.watch_id, []):  # type: ignore[attr-defined]  # our sink
            revisions = [event.kv.mod_revision for event in response.events]
            assert last < revisions[0], "a revision is split over two responses"
            assert revisions == sorted(revisions)
            assert revisions[-1] <= header <= self.store.revision
            last = revisions[-1]
            heard += zip(revisions, response.events, strict=True)
        return heard

    def check_values(self, watcher: Watcher, event: Event, original: Any) -> None:
        if original.type == Event.PUT:
            assert event.kv == KeyValue.FromString(original.kv)
        else:
            assert event.kv == KeyValue(key=original.key, mod_revision=original.mod_revision)
        before = self.store.at(original.key, original.mod_revision - 1)
        if event.HasField("prev_kv"):
            assert watcher.prev_kv
            assert event.prev_kv == KeyValue.FromString(before)
        elif watcher.prev_kv and before is not None:
            # Only a compaction excuses a missing value.
            assert original.mod_revision - 1 < self.store.compact_revision


def test_watchers_against_the_model(store_type: Any, sink_type: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_REVISIONS_MAX", 3)
    machine = type(
        "Machine",
        (WatchMachine,),
        {"make_store": staticmethod(store_type), "make_sink": staticmethod(sink_type)},
    )
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it untyped
        machine,
        settings=settings(
            derandomize=True,
            deadline=None,
            max_examples=150,
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
