"""Writes that LMDB does not have yet.

A batch holds, for each bucket, a dict from key to value, with `None` where the key was deleted. Puts and gets
touch only the dict. Scans need order, and pay for it when they come: `_ordered` is a sorted list of the first
n keys of the dict. A dict keeps the order in which keys first came, so the keys that are missing from the
list are the last ones of the dict, and are merged in when a scan asks. The KEY bucket receives its keys in
ascending order, so there the merge is a plain extension.
"""

from bisect import bisect_left, insort
from itertools import islice
from typing import Final

from etcdpy.backend.buckets import CONSISTENT_INDEX, TERM, Bucket

# Up to this many new keys it is cheaper to insert one by one than to sort the list again.
INSERT_KEYS_MAX: Final = 32


class Overlay:
    """The changed keys of one bucket."""

    __slots__ = ("_ordered", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self._ordered: list[bytes] = []

    def keys(self, start: bytes = b"", end: bytes | None = None) -> list[bytes]:
        """The changed keys in [start, end), deleted ones too, in order."""
        if not self.values:
            return []
        ordered = self.ordered()
        low = bisect_left(ordered, start) if start else 0
        high = len(ordered) if end is None else bisect_left(ordered, end, low)
        return ordered[low:high]

    def ordered(self) -> list[bytes]:
        """All changed keys in order. The list is ours: look, don't touch."""
        ordered = self._ordered
        missing = len(self.values) - len(ordered)
        if missing:
            fresh = list(islice(reversed(self.values), missing))
            fresh.sort()
            if not ordered or fresh[0] > ordered[-1]:
                ordered.extend(fresh)
            elif missing <= INSERT_KEYS_MAX:
                for key in fresh:
                    insort(ordered, key)
            else:
                # Two sorted runs: the sort finds and merges them in one pass.
                ordered.extend(fresh)
                ordered.sort()
            assert len(ordered) == len(self.values), f"{len(ordered)} keys in order of {len(self.values)}"
        return ordered


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
