"""Writes that LMDB does not have yet.

A batch holds, for each bucket, a dict from key to value, with `None` where the key was deleted. Puts and gets
touch only the dict. Scans need order, and pay for it when they come. A dict keeps the order in which keys
first came, so the keys that no scan has seen yet are the last ones of the dict. They go into one of two
sorted lists: behind the end of the long one if they can, as in the KEY bucket, which receives its keys in
ascending order; else into a short one, where inserting is cheap, and which is merged into the long one when
it is no longer short.
"""

from bisect import bisect_left, insort
from itertools import islice
from typing import Final

from etcdpy.backend.buckets import CONSISTENT_INDEX, TERM, Bucket

# Up to this many new keys it is cheaper to insert one by one than to sort the list again.
INSERT_KEYS_MAX: Final = 32
# The short list is merged into the long one beyond this.
RECENT_KEYS_MAX: Final = 2048


class Overlay:
    """The changed keys of one bucket."""

    __slots__ = ("_ordered", "_recent", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self._ordered: list[bytes] = []
        self._recent: list[bytes] = []

    def keys(self, start: bytes = b"", end: bytes | None = None) -> list[bytes]:
        """The changed keys in [start, end), deleted ones too, in order."""
        if not self.values:
            return []
        if len(self.values) > len(self._ordered) + len(self._recent):
            self._take_in()
        ordered = _between(self._ordered, start, end)
        recent = _between(self._recent, start, end) if self._recent else self._recent
        if not recent:
            return ordered
        # Two sorted runs: the sort finds and merges them in one pass.
        return sorted(ordered + recent) if ordered else recent

    def _take_in(self) -> None:
        """Put the keys that came since the last scan into their order."""
        ordered, recent = self._ordered, self._recent
        missing = len(self.values) - len(ordered) - len(recent)
        fresh = list(islice(reversed(self.values), missing))
        fresh.sort()
        if not ordered or fresh[0] > ordered[-1]:
            ordered.extend(fresh)
        elif missing <= INSERT_KEYS_MAX:
            for key in fresh:
                insort(recent, key)
        else:
            recent.extend(fresh)
            recent.sort()
        if len(recent) > RECENT_KEYS_MAX:
            ordered.extend(recent)
            ordered.sort()
            recent.clear()
        assert len(ordered) + len(recent) == len(self.values), (len(ordered), len(recent), len(self.values))


def _between(keys: list[bytes], start: bytes, end: bytes | None) -> list[bytes]:
    low = bisect_left(keys, start) if start else 0
    high = len(keys) if end is None else bisect_left(keys, end, low)
    return keys[low:high]


class Batch:
    """What one LMDB transaction is going to write."""

    __slots__ = ("consistent_index", "consistent_term", "overlays", "values")

    def __init__(self) -> None:
        self.overlays = [Overlay() for _ in Bucket]
        # The same dicts again, for the look-ups that cannot afford one more attribute.
        self.values = [overlay.values for overlay in self.overlays]
        self.consistent_index = 0
        self.consistent_term = 0

    @property
    def operations(self) -> int:
        return sum(map(len, self.values))

    def seal(self, index: int, term: int) -> None:
        """Close the batch with the raft position it brings the database to."""
        self.consistent_index = index
        self.consistent_term = term
        meta = self.values[Bucket.META]
        if index:
            meta[CONSISTENT_INDEX] = index.to_bytes(8, "big")
            meta[TERM] = term.to_bytes(8, "big")
