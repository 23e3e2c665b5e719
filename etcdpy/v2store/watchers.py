"""Who waits for changes, by the key that is waited for.

An event is told on the way from the root to its key: to all who watch the key itself, and to those who watch
a directory above and said `recursive`. A key with a component that begins with `_` is told to nobody above
that component. When a directory goes, everybody who watches something in it is told of that.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.v2store.events import Event

# Events that wait for a slow reader of a stream; one more, and the watch ends.
PENDING_EVENTS_MAX = 100


def _nobody() -> None:
    """Nobody has asked to be woken yet."""


class Watcher:
    """One wait. `on_news` is called when there is an event, or when there will be none any more.

    Attributes:
        start_index: index of the store when the watch began.
        is_removed: whether nothing will come after what is in `events`.
    """

    def __init__(
        self,
        watchers: Watchers,
        key: str,
        *,
        recursive: bool,
        stream: bool,
        since_index: int,
        start_index: int,
    ) -> None:
        self._watchers = watchers
        self.key = key
        self.recursive = recursive
        self.stream = stream
        self.since_index = since_index
        self.start_index = start_index
        self.is_removed = False
        self.events: deque[Event] = deque()
        self.on_news: Callable[[], None] = _nobody

    def offer(self, event: Event) -> None:
        """Take an event, or end for having too many."""
        if len(self.events) < PENDING_EVENTS_MAX:
            self.events.append(event)
            if not self.stream:
                self.remove()
        else:
            self.remove()
        self.on_news()

    def remove(self) -> None:
        """Wait no more."""
        self._watchers.remove(self)
        self.is_removed = True


class Watchers:
    """All watchers of a store; they stay when a snapshot replaces the rest of it."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Watcher]] = {}
        self.count = 0

    def add(self, watcher: Watcher) -> None:
        """Let it wait."""
        self._by_key.setdefault(watcher.key, []).append(watcher)
        self.count += 1

    def remove(self, watcher: Watcher) -> None:
        """Forget it, if it is known."""
        waiting = self._by_key.get(watcher.key, [])
        if watcher in waiting:
            waiting.remove(watcher)
            self.count -= 1
            if not waiting:
                del self._by_key[watcher.key]

    def notify(self, event: Event) -> None:
        """Tell an event to those who watch its key or a directory above it."""
        if not self._by_key:
            return
        path = ""
        self.notify_at(event, "/")
        for name in event.node.key.split("/")[1:]:
            path = f"{path}/{name}"
            self.notify_at(event, path)

    def notify_at(self, event: Event, path: str, *, is_gone: bool = False) -> None:
        """Tell it to those who watch `path`; `is_gone` if the event has taken the key there away."""
        is_own = event.node.key == path
        if not is_own and is_hidden_below(path, event.node.key):
            return
        for watcher in list(self._by_key.get(path, ())):
            if (watcher.recursive or is_own or is_gone) and event.index >= watcher.since_index:
                watcher.offer(event)


def is_hidden_below(path: str, key: str) -> bool:
    """Whether a component of `key` behind `path` begins with `_`."""
    return len(path) <= len(key) and "/_" in "/" + key[len(path) :].lstrip("/")
