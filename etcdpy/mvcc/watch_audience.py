"""Who must hear of a key: watchers grouped so that the work is done for groups, not for watchers.

An `Audience` is the set of watchers that receive identical bytes: same key or range, same wish for previous
values, same filters. A thousand clients that watch one prefix are one audience. Audiences on single keys
hang in a dict, those on ranges in an interval index with one entry for each distinct range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.mvcc.watch_intervals import IntervalIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.mvcc.watch_contract import Watcher


class Audience:
    """Watchers that receive the same events in the same form, in order of arrival."""

    __slots__ = ("filters", "members", "prev_kv")

    def __init__(self, prev_kv: bool, filters: int) -> None:
        self.prev_kv = prev_kv
        self.filters = filters
        self.members: dict[Watcher, None] = {}

    def wants(self, event_type: int) -> bool:
        """Whether events of this type pass the filters."""
        return not self.filters >> event_type & 1


class AudienceIndex:
    """Audiences by the keys they listen to."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, list[Audience]] = {}
        self._by_range: IntervalIndex[list[Audience]] = IntervalIndex()
        self._by_wish: dict[tuple[bytes, bytes, bool, int], Audience] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Audience]:
        return iter(self._by_wish.values())

    def add(self, watcher: Watcher) -> None:
        """Let the watcher hear; it must not be in the index."""
        audience = self._by_wish.get(watcher.wish)
        if audience is None:
            audience = self._by_wish[watcher.wish] = Audience(watcher.prev_kv, watcher.filters)
            self._place(watcher.key, watcher.range_end, audience)
        assert watcher not in audience.members, f"watcher {watcher.watch_id} is in the index already"
        audience.members[watcher] = None
        self._size += 1

    def remove(self, watcher: Watcher) -> None:
        """Take the watcher out; it must be in the index."""
        audience = self._by_wish[watcher.wish]
        del audience.members[watcher]
        self._size -= 1
        if not audience.members:
            del self._by_wish[watcher.wish]
            self._displace(watcher.key, watcher.range_end, audience)

    def hearing(self, key: bytes) -> list[Audience]:
        """The audiences of a key."""
        found = list(self._by_key.get(key, ()))
        for audiences in self._by_range.containing(key):
            found += audiences
        return found

    def watchers(self) -> list[Watcher]:
        """Everybody in the index."""
        return [watcher for audience in self._by_wish.values() for watcher in audience.members]

    def _place(self, key: bytes, range_end: bytes, audience: Audience) -> None:
        if not range_end:
            self._by_key.setdefault(key, []).append(audience)
            return
        audiences = self._by_range.get(key, range_end)
        if audiences is None:
            self._by_range.add(key, range_end, [audience])
        else:
            audiences.append(audience)

    def _displace(self, key: bytes, range_end: bytes, audience: Audience) -> None:
        audiences = self._by_range.get(key, range_end) if range_end else self._by_key[key]
        assert audiences is not None, f"no audience on [{key!r}, {range_end!r})"
        audiences.remove(audience)
        if audiences:
            return
        if range_end:
            self._by_range.remove(key, range_end)
        else:
            del self._by_key[key]
