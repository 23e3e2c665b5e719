"""The watch hub: who wants to hear of which keys, and how far each of them has heard.

Every watcher is in one of five states. *Synced*: it has everything up to the hub's revision and hears of
each new one as it is published. *Waiting*: synced, but its start revision lies ahead and it is silent until
then. *Unsynced*: it still has history to read; `catch_up` reads the store once for many of them. *Victim*:
its receiver refused a response; it holds nothing but the revision where it stopped, and `resume` makes it
unsynced. *Closed*: cancelled, or overtaken by compaction. A watcher leaves the live path at one revision
and re-enters it at another with the history between read from the store, so nothing is lost or repeated,
and a slow reader costs no memory here.

The hub runs on the loop thread and has no clock and no socket: the receiver is a `WatchSink`, time comes
with `tick`, and whoever owns the loop calls `catch_up` while `has_unsynced`. `watch` never calls
the sink for the new watcher, so the receiver can announce it before its first event.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from typing import TYPE_CHECKING, TypeVar

from etcdpy.mvcc.watch_audience import Audience, AudienceIndex
from etcdpy.mvcc.watch_contract import EmptyWatchRange, WatchableStore, Watcher, WatchSink, WatchState
from etcdpy.mvcc.watch_events import EncodedEvents, EventEncoder
from etcdpy.mvcc.watch_intervals import OPEN_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from etcdpy.mvcc.event import Event

__all__ = [
    "WatchHub",
    "Watcher",
    "WatchState",
    "WatchSink",
    "WatchableStore",
    "EmptyWatchRange",
    "NO_PUT",
    "NO_DELETE",
]

# One pass of catching up: revisions read, bytes of key-values read, watchers served. Together they bound
# the time that a pass keeps the loop and the memory it holds.
CATCH_UP_REVISIONS_MAX = 1000
CATCH_UP_BYTES_MAX = 8 * 1024 * 1024
CATCH_UP_WATCHERS_MAX = 512
PROGRESS_INTERVAL_S = 600.0
# Events of several revisions go into one response up to here; clients have bounds for a message.
COLLECTED_BYTES_MAX = 64 * 1024

K = TypeVar("K")

NO_PUT = 0
NO_DELETE = 1


class _Heard:
    """What one audience heard during a pass: parallel lists of revisions and encoded events."""

    __slots__ = ("fields", "revisions")

    def __init__(self) -> None:
        self.revisions: list[int] = []
        self.fields: list[bytes] = []


class _Collected:
    """What one audience is to hear at the end of a batch: the events of some revisions, encoded."""

    __slots__ = ("fields", "first_revision", "revision", "size")

    def __init__(self, revision: int, fields: list[bytes], size: int) -> None:
        self.first_revision = self.revision = revision
        self.fields = fields
        self.size = size


class WatchHub:
    """All watchers of one member."""

    def __init__(self, store: WatchableStore, *, progress_interval_s: float = PROGRESS_INTERVAL_S) -> None:
        self._store = store
        self._revision = store.revision
        self._progress_interval_s = progress_interval_s
        self._synced = AudienceIndex()
        # Published and not delivered; empty whenever watchers come, go or are looked at.
        self._collected: dict[Audience, _Collected] = {}
        self.collected_revisions = 0
        """Of how many revisions `flush` has something to deliver."""
        self._waiting: dict[int, dict[Watcher, None]] = {}
        self._unsynced: dict[Watcher, None] = {}
        self._victims: dict[WatchSink, dict[Watcher, None]] = {}
        self._notify_new: dict[Watcher, None] = {}
        # When each watcher is due for a progress response. All wait equally long, so insertion order is due
        # order.
        self._notify_at: dict[Watcher, float] = {}
        self.delivered_events = 0
        self.delivered_responses = 0
        # Streams that are open, with or without watchers; whoever opens and closes them counts them here.
        self.streams = 0
        # Called when the first watcher falls behind, so that the owner can plan a `catch_up` before its
        # next tick.
        self.on_unsynced: Callable[[], None] = _nothing

    # Looking.

    @property
    def revision(self) -> int:
        """The last published revision."""
        return self._revision

    @property
    def has_unsynced(self) -> bool:
        """Whether `catch_up` has work."""
        return bool(self._unsynced)

    @property
    def synced_watchers(self) -> int:
        """Watchers that have heard everything, including those whose start lies ahead."""
        return len(self._synced) + sum(map(len, self._waiting.values()))

    @property
    def slow_watchers(self) -> int:
        """Watchers that are behind: unsynced and victims."""
        return len(self._unsynced) + sum(map(len, self._victims.values()))

    def progress_revision(self, watchers: Iterable[Watcher]) -> int | None:
        """The revision that all these watchers have reached; None if one is behind or there is none."""
        self.flush()
        some = False
        for watcher in watchers:
            if not self._is_current(watcher):
                return None
            some = True
        return self._revision if some else None

    # Watchers come and go.

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        start_revision: int = 0,
        *,
        watch_id: int,
        sink: WatchSink,
        prev_kv: bool = False,
        filters: Iterable[int] = (),
        fragment: bool = False,
        progress_notify: bool = False,
    ) -> Watcher:
        """Start to watch; revision 0 means from the next one, an empty key means `\\0`, the least key."""
        assert start_revision >= 0, f"start revision {start_revision} must be refused before it comes here"
        key = key or b"\0"
        if range_end and range_end != OPEN_END and range_end <= key:
            raise EmptyWatchRange(f"[{key!r}, {range_end!r}) is empty")
        mask = 0
        for event_filter in filters:
            if event_filter in (NO_PUT, NO_DELETE):
                mask |= 1 << event_filter  # The filters are numbered as the event types they drop.
        watcher = Watcher(
            key,
            range_end,
            start_revision,
            watch_id=watch_id,
            sink=sink,
            prev_kv=prev_kv,
            filters=mask,
            fragment=fragment,
        )
        self._admit(watcher)
        if progress_notify:
            self._notify_new[watcher] = None
        return watcher

    def cancel(self, watcher: Watcher) -> None:
        """Forget the watcher; one that is closed already stays so."""
        self.flush()
        self._withdraw(watcher)
        self._notify_new.pop(watcher, None)
        self._notify_at.pop(watcher, None)

    # Events.

    def publish(self, revision: int, events: Sequence[Event]) -> None:
        """Deliver the changes of one revision at once."""
        self.collect(revision, events)
        self.flush()

    def collect(self, revision: int, events: Sequence[Event]) -> None:
        """The changes of one revision, to be delivered by `flush` together with those of the next ones, for a
        client that reads one response of five events has half the work of one that reads five. Every revision
        of the store must come here, in order.
        """
        assert revision == self._revision + 1, f"revision {revision} published after {self._revision}"
        self._revision = revision
        for watcher in self._waiting.pop(revision, ()):
            self._join_synced(watcher)
        if len(self._synced) == 0:
            return
        encoder = EventEncoder(self._previous)
        hearers = self._hearers(events)
        if hearers:
            self.collected_revisions += 1
        for audience, positions in hearers.items():
            prev_kv = audience.prev_kv
            fields = [encoder.encode(position, events[position], prev_kv) for position in positions]
            self._add_collected(audience, revision, fields)

    def _add_collected(self, audience: Audience, revision: int, fields: list[bytes]) -> None:
        size = sum(map(len, fields))
        collected = self._collected.get(audience)
        if collected is not None and collected.size + size > COLLECTED_BYTES_MAX:
            del self._collected[audience]
            self._fan_out(audience, collected)
            collected = None
        if collected is None:
            self._collected[audience] = _Collected(revision, fields, size)
        else:
            collected.revision = revision
            collected.fields += fields
            collected.size += size

    def flush(self) -> None:
        """Deliver what was collected."""
        self.collected_revisions = 0
        while self._collected:
            # A sink may come back here, so each is taken out before it is told.
            audience = next(iter(self._collected))
            self._fan_out(audience, self._collected.pop(audience))

    def catch_up(self, limit_watchers: int = CATCH_UP_WATCHERS_MAX) -> bool:
        """Bring some unsynced watchers forward by one shared scan; True while there are more to bring
        forward.

        Those furthest behind come first, so that they meet the others and share their scans from then on.
        """
        chosen: Iterable[Watcher] = tuple(self._unsynced)
        if len(self._unsynced) > limit_watchers:
            chosen = heapq.nsmallest(limit_watchers, self._unsynced, key=_next_revision)
        compact_revision = self._store.compact_revision
        readable = AudienceIndex()
        for watcher in chosen:
            if watcher.state is not WatchState.UNSYNCED:
                continue  # Cancelled by a sink that was just called.
            if watcher.next_revision >= compact_revision:
                readable.add(watcher)
            else:
                self.cancel(watcher)
                watcher.sink.compacted(watcher, compact_revision)
        if len(readable):
            heard, last = self._scan(readable)
            for audience in readable:
                self._bring_forward(audience, heard.get(audience, _Heard()), last)
        return bool(self._unsynced)

    def resume(self, sink: WatchSink) -> None:
        """The sink has room again: its victims go on from where they stopped."""
        for watcher in self._victims.pop(sink, ()):
            self._join_unsynced(watcher)

    def restore(self, store: WatchableStore) -> None:
        """Go on with another store, received as a snapshot; what was missed in between is read there."""
        assert store.revision >= self._revision, f"snapshot at {store.revision}, hub is at {self._revision}"
        self.flush()
        behind = self._synced.watchers()
        for watcher in behind:
            watcher.next_revision = self._revision + 1
        for revision in [revision for revision in self._waiting if revision <= store.revision]:
            behind += self._waiting.pop(revision)
        self._synced = AudienceIndex()
        self._store = store
        self._revision = store.revision
        for watcher in behind:
            self._join_unsynced(watcher)

    def tick(self, now: float) -> None:
        """Send a progress response to those who asked for it and heard nothing for a whole interval."""
        self.flush()
        due_at = self._notify_at
        for watcher in self._notify_new:
            due_at[watcher] = now + self._progress_interval_s
        self._notify_new.clear()
        due = []
        for watcher, at in due_at.items():
            if at > now:
                break
            due.append(watcher)
        for watcher in due:
            if due_at.pop(watcher, None) is None:
                continue  # Cancelled by a sink that was just called.
            due_at[watcher] = now + self._progress_interval_s
            if watcher.quiet and self._is_current(watcher):
                watcher.sink.progress(watcher, self._revision)
            watcher.quiet = True

    # Live delivery.

    def _hearers(self, events: Sequence[Event]) -> dict[Audience, list[int]]:
        """Each audience with the positions of the events it wants."""
        found: dict[Audience, list[int]] = {}
        for position, event in enumerate(events):
            for audience in self._synced.hearing(event.key):
                if audience.wants(event.type):
                    found.setdefault(audience, []).append(position)
        return found

    def _fan_out(self, audience: Audience, collected: _Collected) -> None:
        accepted = 0
        synced = WatchState.SYNCED
        revision, events = collected.revision, EncodedEvents(collected.fields)
        for watcher in tuple(audience.members):
            if watcher.state is not synced:
                continue  # Cancelled by a sink that was just called.
            if watcher.sink.deliver(watcher, revision, events):
                watcher.quiet = False
                accepted += 1
            elif watcher.state is synced:
                self._synced.remove(watcher)
                watcher.next_revision = collected.first_revision
                self._join_victims(watcher)
        self.delivered_events += len(events) * accepted
        self.delivered_responses += accepted

    def _previous(self, event: Event) -> bytes | None:
        return self._store.previous(event)

    # Catching up.

    def _scan(self, readers: AudienceIndex) -> tuple[dict[Audience, _Heard], int]:
        """Read history from the earliest wanted revision: what was heard, and the last revision covered."""
        encoder = EventEncoder(self._previous)
        heard: dict[Audience, _Heard] = {}
        position = size = 0
        first = min(map(_next_revision, readers.watchers()))
        for revisions, (revision, events) in enumerate(self._store.events_between(first, self._revision)):
            if revisions == CATCH_UP_REVISIONS_MAX or size >= CATCH_UP_BYTES_MAX:
                return heard, revision - 1
            for event in events:
                position += 1
                size += len(event.kv)
                for audience in readers.hearing(event.key):
                    if audience.wants(event.type):
                        record = heard.setdefault(audience, _Heard())
                        record.revisions.append(revision)
                        record.fields.append(encoder.encode(position, event, audience.prev_kv))
        return heard, self._revision

    def _bring_forward(self, audience: Audience, heard: _Heard, last: int) -> None:
        """Deliver to each watcher what it has not had yet; equal needs share the same bytes."""
        batches: dict[int, EncodedEvents] = {}
        for watcher in tuple(audience.members):
            if watcher.state is not WatchState.UNSYNCED or watcher.next_revision > last + 1:
                continue
            start = bisect_left(heard.revisions, watcher.next_revision)
            if start < len(heard.fields):
                batch = batches.get(start)
                if batch is None:
                    batch = batches[start] = EncodedEvents(heard.fields[start:])
                if not self._deliver_past(watcher, batch):
                    continue
            watcher.next_revision = last + 1
            if last == self._revision:
                del self._unsynced[watcher]
                self._join_synced(watcher)

    def _deliver_past(self, watcher: Watcher, events: EncodedEvents) -> bool:
        """Whether the watcher took the events and is still there."""
        accepted = watcher.sink.deliver(watcher, self._revision, events)
        if accepted:
            watcher.quiet = False
            self.delivered_events += len(events)
        if watcher.state is not WatchState.UNSYNCED:
            return False
        if not accepted:
            del self._unsynced[watcher]
            self._join_victims(watcher)
        return accepted

    # Moving between states.

    def _is_current(self, watcher: Watcher) -> bool:
        return watcher.state is WatchState.SYNCED and watcher.start_revision <= self._revision

    def _admit(self, watcher: Watcher) -> None:
        start = watcher.start_revision
        if start == 0 or start == self._revision + 1:
            self._join_synced(watcher)
        elif start <= self._revision:
            self._join_unsynced(watcher)
        else:
            watcher.state = WatchState.WAITING
            self._waiting.setdefault(start, {})[watcher] = None

    def _join_synced(self, watcher: Watcher) -> None:
        self.flush()  # It is to hear of what comes from now on.
        watcher.state = WatchState.SYNCED
        self._synced.add(watcher)

    def _join_unsynced(self, watcher: Watcher) -> None:
        watcher.state = WatchState.UNSYNCED
        self._unsynced[watcher] = None
        if len(self._unsynced) == 1:
            self.on_unsynced()

    def _join_victims(self, watcher: Watcher) -> None:
        watcher.state = WatchState.VICTIM
        self._victims.setdefault(watcher.sink, {})[watcher] = None

    def _withdraw(self, watcher: Watcher) -> None:
        """Take the watcher out of where its state has it."""
        match watcher.state:
            case WatchState.SYNCED:
                self._synced.remove(watcher)
            case WatchState.WAITING:
                _discard(self._waiting, watcher.start_revision, watcher)
            case WatchState.UNSYNCED:
                del self._unsynced[watcher]
            case WatchState.VICTIM:
                _discard(self._victims, watcher.sink, watcher)
            case WatchState.CLOSED:
                pass
        watcher.state = WatchState.CLOSED


def _nothing() -> None:
    """Nobody needs to be told."""


def _next_revision(watcher: Watcher) -> int:
    return watcher.next_revision


def _discard(groups: dict[K, dict[Watcher, None]], name: K, watcher: Watcher) -> None:
    group = groups[name]
    del group[watcher]
    if not group:
        del groups[name]
