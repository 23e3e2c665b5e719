"""Sets of keys made of ranges: what a user may read, and what a user may write.

All ranges of all roles of a user are joined, so that a request for [a, c) is allowed by [a, b) and [b, c)
together, as in etcd. A range is written as everywhere in the protocol: an empty `range_end` is one key, a
zero byte means up to the end of all keys.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TO_THE_END = b"\0"

# An end is a pair, so that the end of all keys is greater than every key.
_End = tuple[int, bytes]
_LAST: _End = (1, b"")


def _end_of(key: bytes, range_end: bytes) -> _End:
    if not range_end:
        return (0, key + b"\0")
    return _LAST if range_end == TO_THE_END else (0, range_end)


def is_valid_range(key: bytes, range_end: bytes) -> bool:
    """Whether a permission may be given on this range: it has a key and is not empty."""
    return bool(key) and (not range_end or range_end == TO_THE_END or key < range_end)


class KeyRanges:
    """The union of ranges, kept as disjoint intervals in order so that a look-up is one bisection."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        self._starts: list[bytes] = []
        self._ends: list[_End] = []
        for start, end in sorted((key, _end_of(key, range_end)) for key, range_end in ranges):
            if end <= (0, start):
                continue  # an inverted range, which old releases let in, holds nothing
            if self._ends and (0, start) <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def covers(self, key: bytes, range_end: bytes) -> bool:
        """Whether every key of the range is in the set. One that holds none must begin in it, as in etcd."""
        place = bisect_right(self._starts, key) - 1
        if place < 0:
            return False
        end = _end_of(key, range_end)
        return (0, key) < self._ends[place] if end <= (0, key) else end <= self._ends[place]
