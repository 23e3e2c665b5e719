"""How many live keys a range holds, without walking through it.

Every answer to a range carries the number of keys in the whole range, also when it is limited to a few of
them. One thread does everything here, so a walk through a million keys for a page of five hundred would hold
up everybody else.

The key space is cut into segments, and for each the number of its live keys is kept: in memory in two lists,
in the bucket COUNTS under the key at which the segment starts. A put that makes a key and a delete change one
number. Counting a range adds up the segments inside it and walks only the two at its ends. A segment that has
grown too big is cut in the middle, one that has become empty joins the one before it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_index import TOMBSTONE_BYTES

_INDEX: Final = Bucket.INDEX.value
_COUNTS: Final = Bucket.COUNTS.value

# A walk through one segment takes a quarter of a millisecond, and ten million keys make ten thousand
# segments.
SEGMENT_KEYS_MAX: Final = 2048

# In front of the start of a segment in the bucket, because the first segment starts at the empty key.
_PREFIX: Final = b"\x00"
_COUNT_BYTES: Final = 8


class KeyCounts:
    """The number of live keys by segment of the key space."""

    def __init__(self, backend: Backend, segment_keys_max: int = SEGMENT_KEYS_MAX) -> None:
        self._backend = backend
        self._segment_keys_max = segment_keys_max
        self._starts: list[bytes] = []
        self._counts: list[int] = []
        for row, data in backend.items(_COUNTS):
            if len(data) != _COUNT_BYTES:
                raise CorruptStore(f"a count of {len(data)} bytes")
            self._starts.append(row[len(_PREFIX) :])
            self._counts.append(int.from_bytes(data, "big"))
        if not self._starts:
            self._build()

    @property
    def total(self) -> int:
        return sum(self._counts)

    @property
    def segments(self) -> int:
        return len(self._starts)

    def add(self, key: bytes) -> None:
        """A key has come to life; the index knows it already."""
        segment = bisect_right(self._starts, key) - 1
        self._counts[segment] += 1
        self._store(segment)
        if self._counts[segment] > self._segment_keys_max:
            self._split(segment)

    def remove(self, key: bytes) -> None:
        """A key has been deleted."""
        segment = bisect_right(self._starts, key) - 1
        self._counts[segment] -= 1
        assert self._counts[segment] >= 0, (
            f"segment {segment} of {self.segments} has {self._counts[segment]} keys"
        )
        if self._counts[segment] == 0 and segment > 0:
            self._backend.delete(_COUNTS, _PREFIX + self._starts[segment])
            del self._starts[segment], self._counts[segment]
        else:
            self._store(segment)

    def count(self, start: bytes, end: bytes | None) -> int:
        """Live keys in [start, end)."""
        if end is not None and end <= start:
            return 0
        first = bisect_right(self._starts, start) - 1
        last = self.segments - 1 if end is None else bisect_left(self._starts, end) - 1
        if first == last:
            return self._count_part(first, start, end)
        inside = sum(self._counts[first + 1 : last])
        return self._count_part(first, start, None) + inside + self._count_part(last, self._starts[last], end)

    def _count_part(self, segment: int, start: bytes, end: bytes | None) -> int:
        """Live keys of one segment in [start, end)."""
        segment_end = self._end(segment)
        if start == self._starts[segment] and (end is None or end == segment_end):
            return self._counts[segment]
        pieces = self._backend.value_pieces(_INDEX, start, segment_end if end is None else end)
        return sum(map(count_live, pieces))

    def _end(self, segment: int) -> bytes | None:
        return self._starts[segment + 1] if segment + 1 < self.segments else None

    def _store(self, segment: int) -> None:
        count = self._counts[segment].to_bytes(_COUNT_BYTES, "big")
        self._backend.put(_COUNTS, _PREFIX + self._starts[segment], count)

    def _split(self, segment: int) -> None:
        keys = self._live_keys(self._starts[segment], self._end(segment))
        assert len(keys) == self._counts[segment], f"{len(keys)} live keys, counted {self._counts[segment]}"
        middle = len(keys) // 2
        self._starts.insert(segment + 1, keys[middle])
        self._counts[segment : segment + 1] = [middle, len(keys) - middle]
        self._store(segment)
        self._store(segment + 1)

    def _live_keys(self, start: bytes, end: bytes | None) -> list[bytes]:
        return [
            key for key, entry in self._backend.items(_INDEX, start, end) if len(entry) != TOMBSTONE_BYTES
        ]

    def _build(self) -> None:
        """Count a store whose index came without counts: it is new, or it has just been imported."""
        self._starts, self._counts = [b""], [0]
        for rows in self._backend.pieces(_INDEX, b"", None):
            for key, entry in rows:
                if len(entry) == TOMBSTONE_BYTES:
                    continue
                if self._counts[-1] >= self._segment_keys_max // 2:
                    self._starts.append(key)
                    self._counts.append(0)
                self._counts[-1] += 1
        if self.total:
            for segment in range(self.segments):
                self._store(segment)


def count_live(entries: Iterable[bytes]) -> int:
    return sum(len(entry) != TOMBSTONE_BYTES for entry in entries)
