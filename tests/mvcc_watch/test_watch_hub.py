"""The watch hub, one rule at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.mvcc import watch
from etcdpy.mvcc.watch import NO_DELETE, NO_PUT, EmptyWatchRange, WatchHub, WatchState

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., None]

INTERVAL_S = 10.0


@pytest.fixture
def hub(store: Any) -> WatchHub:
    return WatchHub(store, progress_interval_s=INTERVAL_S)


@pytest.fixture
def put(store: Any, hub: WatchHub) -> Write:
    """Write one revision and publish it; keys become puts, `-key` becomes a delete."""

    def write(*keys: bytes) -> None:
        changes = [(key[1:], None) if key[:1] == b"-" else (key, b"value") for key in keys]
        events = store.write(*changes)
        hub.publish(store.revision, events)

    return write


def test_live_events_come_at_once_one_response_for_each_revision(
    hub: WatchHub, put: Write, sink: Any
) -> None:
    hub.watch(b"a", watch_id=1, sink=sink)
    hub.watch(b"a", b"c", watch_id=2, sink=sink)
    put(b"a", b"b", b"c")
    put(b"b")
    assert sink.keys(1) == [(2, [b"a"])]
    assert sink.keys(2) == [(2, [b"a", b"b"]), (3, [b"b"])]


def test_open_ends_and_the_empty_key(hub: WatchHub, put: Write, sink: Any) -> None:
    hub.watch(b"b", b"\0", watch_id=1, sink=sink)
    hub.watch(b"", b"\0", watch_id=2, sink=sink)
    hub.watch(b"", watch_id=3, sink=sink)
    put(b"\0", b"a", b"b", b"\xff\xff")
    assert sink.keys(1) == [(2, [b"b", b"\xff\xff"])]
    assert sink.keys(2) == [(2, [b"\0", b"a", b"b", b"\xff\xff"])]
    assert sink.keys(3) == [(2, [b"\0"])]


@pytest.mark.parametrize("range_end", [b"a", b"b"])
def test_a_range_that_ends_before_it_starts_is_refused(hub: WatchHub, sink: Any, range_end: bytes) -> None:
    with pytest.raises(EmptyWatchRange):
        hub.watch(b"b", range_end, watch_id=1, sink=sink)


def test_equal_watchers_share_the_same_bytes(hub: WatchHub, put: Write, sink: Any) -> None:
    for watch_id in range(5):
        hub.watch(b"a", b"b", watch_id=watch_id, sink=sink)
    put(b"a")
    assert len(sink.batches) == 5
    assert all(batch is sink.batches[0] for batch in sink.batches)
    assert hub.delivered_events == 5


def test_filters_drop_events_and_empty_responses(hub: WatchHub, put: Write, sink: Any) -> None:
    hub.watch(b"a", b"c", watch_id=1, sink=sink, filters=[NO_PUT])
    hub.watch(b"a", b"c", watch_id=2, sink=sink, filters=[NO_DELETE, 77])
    hub.watch(b"a", b"c", watch_id=3, sink=sink, filters=[NO_DELETE, NO_PUT])
    put(b"a", b"b")
    put(b"-a", b"b")
    hub.watch(b"a", b"c", 1, watch_id=4, sink=sink, filters=[NO_PUT])
    hub.catch_up()
    assert sink.keys(1) == [(3, [b"a"])]
    assert sink.keys(2) == [(2, [b"a", b"b"]), (3, [b"b"])]
    assert sink.keys(3) == []
    assert sink.keys(4) == [(3, [b"a"])]


def test_a_delete_shows_key_and_revision_only(hub: WatchHub, put: Write, sink: Any) -> None:
    put(b"a")
    hub.watch(b"a", watch_id=1, sink=sink)
    put(b"-a")
    event = sink.responses[1][0][1].events[0]
    assert (event.type, event.kv.key, event.kv.mod_revision, event.kv.version) == (event.DELETE, b"a", 3, 0)


def test_prev_kv_live_and_past(hub: WatchHub, put: Write, sink: Any) -> None:
    hub.watch(b"a", watch_id=1, sink=sink, prev_kv=True)
    put(b"a")
    put(b"a")
    put(b"-a")
    hub.watch(b"a", start_revision=2, watch_id=2, sink=sink, prev_kv=True)
    hub.catch_up()
    live = [response.events[0] for _, response in sink.responses[1]]
    past = list(sink.responses[2][0][1].events)
    assert live == past
    assert [event.HasField("prev_kv") for event in live] == [False, True, True]
    assert [event.prev_kv.mod_revision for event in live] == [0, 2, 3]


def test_prev_kv_is_absent_when_compacted(store: Any, hub: WatchHub, put: Write, sink: Any) -> None:
    put(b"a")
    put(b"a")
    put(b"a")
    store.compact(3)
    hub.watch(b"a", start_revision=3, watch_id=1, sink=sink, prev_kv=True)
    hub.catch_up()
    events = sink.responses[1][0][1].events
    assert [event.HasField("prev_kv") for event in events] == [False, True]


def test_a_start_in_the_future_is_silent_until_reached(hub: WatchHub, put: Write, sink: Any) -> None:
    watcher = hub.watch(b"a", start_revision=4, watch_id=1, sink=sink)
    assert watcher.state is WatchState.WAITING
    put(b"a")
    put(b"a")
    assert sink.keys(1) == []
    put(b"a")
    assert sink.keys(1) == [(4, [b"a"])]


def test_history_comes_in_one_response_then_live(hub: WatchHub, put: Write, sink: Any) -> None:
    put(b"a")
    put(b"b")
    put(b"a")
    hub.watch(b"a", start_revision=2, watch_id=1, sink=sink)
    put(b"a")
    assert sink.keys(1) == []
    assert hub.has_unsynced
    assert hub.slow_watchers == 1
    assert not hub.catch_up()
    assert not hub.has_unsynced
    put(b"a")
    assert sink.keys(1) == [(5, [b"a", b"a", b"a"]), (6, [b"a"])]


def test_history_is_cut_between_revisions(
    hub: WatchHub, put: Write, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_REVISIONS_MAX", 2)
    for _ in range(5):
        put(b"a", b"b")
    hub.watch(b"a", b"c", 2, watch_id=1, sink=sink)
    assert hub.catch_up()
    assert hub.catch_up()
    assert not hub.catch_up()
    assert sink.keys(1) == [(6, [b"a", b"b"] * 2), (6, [b"a", b"b"] * 2), (6, [b"a", b"b"])]


def test_a_pass_that_ends_early_does_not_touch_those_further_on(
    hub: WatchHub, put: Write, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_REVISIONS_MAX", 1)
    for _ in range(4):
        put(b"a")
    hub.watch(b"a", start_revision=2, watch_id=1, sink=sink)
    hub.watch(b"a", start_revision=4, watch_id=2, sink=sink)
    while hub.catch_up():
        pass
    assert sink.keys(1) == [(5, [b"a"])] * 4
    assert sink.keys(2) == [(5, [b"a"])] * 2


def test_history_is_cut_by_bytes(
    hub: WatchHub, put: Write, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_BYTES_MAX", 1)
    put(b"a")
    put(b"a")
    hub.watch(b"a", start_revision=2, watch_id=1, sink=sink)
    assert hub.catch_up()
    assert not hub.catch_up()
    assert sink.keys(1) == [(3, [b"a"]), (3, [b"a"])]


def test_many_unsynced_watchers_share_one_scan(store: Any, hub: WatchHub, put: Write, sink: Any) -> None:
    for _ in range(10):
        put(b"a")
    for watch_id in range(100):
        hub.watch(b"a", b"b", 2 + watch_id % 10, watch_id=watch_id, sink=sink)
    hub.catch_up()
    assert store.scans == 1
    assert [len(sink.keys(watch_id)[0][1]) for watch_id in range(10)] == list(range(10, 0, -1))
    assert len({id(batch) for batch in sink.batches}) == 10


def test_the_furthest_behind_come_first(hub: WatchHub, put: Write, sink: Any) -> None:
    for _ in range(4):
        put(b"a")
    for watch_id, start in enumerate([5, 3, 2]):
        hub.watch(b"a", start_revision=start, watch_id=watch_id, sink=sink)
    assert hub.catch_up(2)
    assert sink.keys(0) == []
    assert not hub.catch_up(2)
    assert sink.keys(0) == [(5, [b"a"])]


def test_a_victim_goes_on_where_it_stopped(hub: WatchHub, put: Write, sink: Any) -> None:
    sink.room = 1
    watcher = hub.watch(b"a", watch_id=1, sink=sink)
    for _ in range(3):
        put(b"a")
    assert watcher.state is WatchState.VICTIM
    assert hub.slow_watchers == 1
    hub.catch_up()
    assert sink.keys(1) == [(2, [b"a"])]
    sink.room = 5
    hub.resume(sink)
    hub.catch_up()
    put(b"a")
    assert sink.keys(1) == [(2, [b"a"]), (4, [b"a", b"a"]), (5, [b"a"])]


def test_start_before_the_compact_revision_ends_the_watch(
    store: Any, hub: WatchHub, put: Write, sink: Any
) -> None:
    for _ in range(4):
        put(b"a")
    store.compact(3)
    gone = hub.watch(b"a", start_revision=2, watch_id=1, sink=sink)
    hub.watch(b"a", start_revision=3, watch_id=2, sink=sink)
    hub.catch_up()
    assert sink.compactions == [(1, 3)]
    assert gone.state is WatchState.CLOSED
    assert sink.keys(1) == []
    assert sink.keys(2) == [(5, [b"a", b"a", b"a"])]
    hub.cancel(gone)


def test_a_victim_overtaken_by_compaction_ends(store: Any, hub: WatchHub, put: Write, sink: Any) -> None:
    sink.room = 0
    hub.watch(b"a", watch_id=1, sink=sink)
    put(b"a")
    put(b"a")
    store.compact(3)
    sink.room = 9
    hub.resume(sink)
    hub.catch_up()
    assert sink.compactions == [(1, 3)]
    assert sink.keys(1) == []


def test_cancel_in_every_state(hub: WatchHub, put: Write, sink: Any, sink_type: Any) -> None:
    put(b"a")
    blocked = sink_type(room=0)
    watchers = [
        hub.watch(b"a", watch_id=1, sink=sink),
        hub.watch(b"a", start_revision=9, watch_id=2, sink=sink),
        hub.watch(b"a", start_revision=2, watch_id=3, sink=sink),
        hub.watch(b"a", watch_id=4, sink=blocked),
    ]
    put(b"a")
    assert {watcher.state for watcher in watchers} == set(WatchState) - {WatchState.CLOSED}
    for watcher in watchers + watchers:
        hub.cancel(watcher)
    sink.responses.clear()
    hub.resume(blocked)
    hub.catch_up()
    put(b"a")
    assert (hub.synced_watchers, hub.slow_watchers) == (0, 0)
    assert sink.responses == blocked.responses == {}


def test_a_sink_may_cancel_while_it_is_served(store: Any, hub: WatchHub, put: Write, sink_type: Any) -> None:
    class Leaving(sink_type):  # type: ignore[misc]  # the base class comes from a fixture
        def deliver(self, watcher: Any, revision: int, events: Any) -> bool:
            accepted: bool = super().deliver(watcher, revision, events)
            for each in watchers:
                hub.cancel(each)
            return accepted

    for room in (1, 0):
        for start in (0, 2):
            leaving = Leaving(room=room)
            put(b"a")
            watchers = [hub.watch(b"a", start_revision=start, watch_id=i, sink=leaving) for i in range(3)]
            put(b"a")
            hub.catch_up()
            assert sum(map(len, leaving.responses.values())) == room
            assert (hub.synced_watchers, hub.slow_watchers) == (0, 0)


def test_progress_of_a_stream(hub: WatchHub, put: Write, sink: Any) -> None:
    assert hub.progress_revision([]) is None
    put(b"a")
    synced = hub.watch(b"a", watch_id=1, sink=sink)
    behind = hub.watch(b"a", start_revision=2, watch_id=2, sink=sink)
    ahead = hub.watch(b"a", start_revision=4, watch_id=3, sink=sink)
    assert hub.progress_revision([synced]) == 2
    assert hub.progress_revision([synced, behind]) is None
    hub.catch_up()
    assert hub.progress_revision([synced, behind]) == 2
    assert hub.progress_revision([ahead]) is None
    put(b"b")
    put(b"b")
    assert hub.progress_revision([synced, behind, ahead]) == 4


def test_progress_notices_come_to_quiet_watchers(hub: WatchHub, put: Write, sink: Any) -> None:
    hub.watch(b"a", watch_id=1, sink=sink, progress_notify=True)
    hub.watch(b"b", watch_id=2, sink=sink, progress_notify=True)
    hub.watch(b"c", watch_id=3, sink=sink)
    hub.watch(b"a", start_revision=99, watch_id=4, sink=sink, progress_notify=True)
    hub.tick(100.0)
    put(b"a")
    hub.tick(100.0 + INTERVAL_S - 0.1)
    assert sink.progresses == []
    hub.tick(100.0 + INTERVAL_S)
    assert sink.progresses == [(2, 2)]
    hub.tick(100.0 + INTERVAL_S + 1)
    assert sink.progresses == [(2, 2)]
    hub.tick(100.0 + 2 * INTERVAL_S)
    assert sink.progresses == [(2, 2), (1, 2), (2, 2)]


def test_no_progress_notice_after_cancel_or_while_behind(hub: WatchHub, put: Write, sink: Any) -> None:
    put(b"a")
    gone = hub.watch(b"a", watch_id=1, sink=sink, progress_notify=True)
    hub.tick(0.0)
    never = hub.watch(b"a", watch_id=2, sink=sink, progress_notify=True)
    hub.watch(b"a", start_revision=2, watch_id=3, sink=sink, progress_notify=True)
    hub.cancel(gone)
    hub.cancel(never)
    hub.tick(0.0)
    hub.tick(INTERVAL_S)
    assert sink.progresses == []


def test_after_a_snapshot_the_gap_is_read_from_the_new_store(
    store: Any, hub: WatchHub, put: Write, sink: Any, store_type: Any
) -> None:
    put(b"a")
    hub.watch(b"a", watch_id=1, sink=sink)
    hub.watch(b"a", start_revision=4, watch_id=2, sink=sink)
    hub.watch(b"a", start_revision=6, watch_id=3, sink=sink)
    received = store_type()
    for _ in range(4):
        received.write((b"a", b"v"))
    hub.restore(received)
    hub.catch_up()
    hub.publish(6, received.write((b"a", b"v")))
    assert sink.keys(1) == [(5, [b"a"] * 3), (6, [b"a"])]
    assert sink.keys(2) == [(5, [b"a"] * 2), (6, [b"a"])]
    assert sink.keys(3) == [(6, [b"a"])]


def test_a_revision_cannot_be_published_twice(store: Any, hub: WatchHub, put: Write) -> None:
    put(b"a")
    with pytest.raises(AssertionError, match="revision 2 published after 2"):
        hub.publish(2, [])


def test_the_owner_is_told_when_somebody_falls_behind(hub: WatchHub, put: Write, sink: Any) -> None:
    calls: list[int] = []
    hub.on_unsynced = lambda: calls.append(hub.slow_watchers)
    put(b"a")
    hub.watch(b"a", watch_id=1, sink=sink)
    assert calls == []
    hub.watch(b"a", start_revision=2, watch_id=2, sink=sink)
    hub.watch(b"a", start_revision=2, watch_id=3, sink=sink)
    assert calls == [1]
    hub.catch_up()
    sink.room = 0
    put(b"a")
    assert calls == [1]
    hub.resume(sink)
    assert calls == [1, 1]


@pytest.fixture
def collect(store: Any, hub: WatchHub) -> Write:
    """As `put`, without delivering."""

    def write(*keys: bytes, value: bytes = b"value") -> None:
        hub.collect(store.revision + 1, store.write(*((key, value) for key in keys)))

    return write


def test_revisions_of_a_batch_come_in_one_response(hub: WatchHub, collect: Write, sink: Any) -> None:
    hub.watch(b"a", watch_id=1, sink=sink)
    hub.watch(b"a", b"c", watch_id=2, sink=sink)
    collect(b"a", b"b")
    collect(b"x")
    collect(b"b")
    assert (sink.keys(1), sink.keys(2)) == ([], [])
    assert hub.collected_revisions == 2  # nobody hears of x
    hub.flush()
    assert sink.keys(1) == [(2, [b"a"])]
    assert sink.keys(2) == [(4, [b"a", b"b", b"b"])]
    assert (hub.collected_revisions, hub.delivered_events, hub.delivered_responses) == (0, 4, 2)
    hub.flush()
    assert len(sink.batches) == 2


def test_who_comes_within_a_batch_hears_of_what_follows_only(
    hub: WatchHub, collect: Write, sink: Any
) -> None:
    hub.watch(b"a", watch_id=1, sink=sink)
    collect(b"a")
    hub.watch(b"a", watch_id=2, sink=sink)
    assert sink.keys(1) == [(2, [b"a"])]
    hub.watch(b"a", start_revision=4, watch_id=3, sink=sink)  # waits for a revision within the batch
    collect(b"a")
    collect(b"a")
    hub.flush()
    assert [event for _, keys in sink.keys(1) for event in keys] == [b"a"] * 3
    assert [event for _, keys in sink.keys(2) for event in keys] == [b"a"] * 2
    assert sink.keys(3) == [(4, [b"a"])]


def test_who_leaves_within_a_batch_has_heard_of_what_was_before(
    hub: WatchHub, collect: Write, sink: Any
) -> None:
    watcher = hub.watch(b"a", watch_id=1, sink=sink)
    collect(b"a")
    hub.cancel(watcher)
    collect(b"a")
    hub.flush()
    assert sink.keys(1) == [(2, [b"a"])]


def test_progress_is_told_after_what_was_collected(hub: WatchHub, collect: Write, sink: Any) -> None:
    watcher = hub.watch(b"a", watch_id=1, sink=sink)
    collect(b"a")
    assert hub.progress_revision([watcher]) == 2
    assert sink.keys(1) == [(2, [b"a"])]


def test_a_refused_batch_is_read_again_from_its_first_revision(
    hub: WatchHub, collect: Write, sink: Any
) -> None:
    hub.watch(b"a", watch_id=1, sink=sink)
    sink.room = 0
    collect(b"a")
    collect(b"a")
    hub.flush()
    assert hub.slow_watchers == 1
    collect(b"a")
    sink.room = 10
    hub.resume(sink)
    hub.catch_up()
    hub.flush()
    assert sink.keys(1) == [(4, [b"a"] * 3)]


def test_a_response_of_several_revisions_stays_small(hub: WatchHub, collect: Write, sink: Any) -> None:
    """Two large ones stay two, for clients bound the size of a message; one revision is never divided."""
    hub.watch(b"a", b"c", watch_id=1, sink=sink)
    large = bytes(watch.COLLECTED_BYTES_MAX // 2)
    collect(b"a", value=b"small")
    for _ in range(2):
        collect(b"a", value=large)
    collect(b"a", b"b", value=large)
    hub.flush()
    assert [revision for revision, _ in sink.keys(1)] == [3, 4, 5]
    assert [len(keys) for _, keys in sink.keys(1)] == [2, 1, 2]
