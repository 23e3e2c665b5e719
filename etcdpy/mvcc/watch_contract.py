"""What the watch hub shares with its neighbours: the watcher, the sink it feeds, the store it reads."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from etcdpy.mvcc.errors import MvccError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from etcdpy.mvcc.event import Event
    from etcdpy.mvcc.watch_events import EncodedEvents


class EmptyWatchRange(MvccError):
    """The range of a watch ends at or before its start."""


class WatchableStore(Protocol):
    """What the hub needs of the store."""

    @property
    def revision(self) -> int:
        """The newest revision."""

    @property
    def compact_revision(self) -> int:
        """History before this revision is gone; -1 while all of it is there."""

    def previous(self, event: Event, /) -> bytes | None:
        """The key-value that the event replaced, unless there was none or it is compacted."""

    def events_between(
        self, start_revision: int, end_revision: int, /
    ) -> Iterable[tuple[int, Sequence[Event]]]:
        """Each revision from start to end, both included, with its changes in order."""


class WatchSink(Protocol):
    """The receiver of one or more watchers, usually a client's stream. Must be hashable by identity.

    It may cancel and resume watchers from inside these calls.
    """

    def deliver(self, watcher: Watcher, revision: int, events: EncodedEvents) -> bool:
        """Take one response, or refuse it whole with False and call `WatchHub.resume` when there is room
        again.

        `revision` is the store's revision for the header. The events of one revision are never divided.
        """

    def compacted(self, watcher: Watcher, compact_revision: int) -> None:
        """The history that the watcher needs is gone, and the watcher with it. Cannot be refused."""

    def progress(self, watcher: Watcher, revision: int) -> None:
        """The watcher has heard everything up to `revision` and nothing for a while. Cannot be refused."""


class WatchState(Enum):
    """How a watcher gets its next event."""

    SYNCED = auto()
    WAITING = auto()
    UNSYNCED = auto()
    VICTIM = auto()
    CLOSED = auto()


class Watcher:
    """One watch of one receiver. Made by `WatchHub.watch`; others may read it."""

    __slots__ = (
        "filters",
        "fragment",
        "key",
        "next_revision",
        "prev_kv",
        "quiet",
        "range_end",
        "sink",
        "start_revision",
        "state",
        "watch_id",
        "wish",
    )

    def __init__(
        self,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        *,
        watch_id: int,
        sink: WatchSink,
        prev_kv: bool,
        filters: int,
        fragment: bool,
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.start_revision = start_revision
        self.watch_id = watch_id
        self.sink = sink
        self.prev_kv = prev_kv
        self.filters = filters
        self.fragment = fragment
        self.wish = (key, range_end, prev_kv, filters)
        self.state = WatchState.CLOSED
        # The first revision not yet delivered. Kept up to date only while unsynced, victim or waiting: for
        # a synced watcher it is the hub's next one by definition.
        self.next_revision = start_revision
        # No response since the last progress tick.
        self.quiet = True

    def __repr__(self) -> str:
        return f"Watcher(id={self.watch_id}, [{self.key!r}, {self.range_end!r}), {self.state.name})"
