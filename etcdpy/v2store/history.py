"""The last thousand events, in which a watcher that comes late finds what it has missed.

Each index of the store has exactly one event, so the place of an index in the history can be computed.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from etcdpy.v2store.errors import Code, V2Error
from etcdpy.v2store.events import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from etcdpy.v2store.events import Event

CAPACITY = 1000


class History:
    """Events in the order of their indexes."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: deque[Event] = deque(events, maxlen=CAPACITY)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def start_index(self) -> int:
        """Index of the oldest event, 0 without any."""
        return self._events[0].index if self._events else 0

    @property
    def last_index(self) -> int:
        """Index of the newest event, 0 without any."""
        return self._events[-1].index if self._events else 0

    def add(self, event: Event) -> Event | None:
        """Append; gives the event that has fallen out, if one has."""
        fallen = self._events[0] if len(self._events) == CAPACITY else None
        self._events.append(event)
        return fallen

    def scan(self, key: str, recursive: bool, index: int) -> Event | None:
        """The first event since `index` that a watcher of `key` must hear of.

        Raises:
            V2Error: the history begins later.
        """
        if index < self.start_index:
            cause = f"the requested history has been cleared [{self.start_index}/{index}]"
            raise V2Error(Code.EVENT_INDEX_CLEARED, cause)
        if index > self.last_index:
            return None
        below = key if key.endswith("/") else key + "/"
        for event in islice(self._events, index - self.start_index, None):
            if not event.is_refresh and _concerns(event, key, below if recursive else None):
                return event
        return None


def _concerns(event: Event, key: str, below: str | None) -> bool:
    if event.node.key == key or (below is not None and event.node.key.startswith(below)):
        return True
    gone = event.action in (Action.DELETE, Action.EXPIRE)
    prev_node = event.prev_node
    # Whoever watches a key hears of it when a directory above goes; to etcd `/ab` is below `/a` here.
    return gone and prev_node is not None and prev_node.is_dir and key.startswith(prev_node.key)
