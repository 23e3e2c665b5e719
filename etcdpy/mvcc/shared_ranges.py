"""Answers to lists that are asked for again, for as long as no key of theirs changes.

After a restart, or whenever something they share moves, all clients of a kind ask for the same list at once.
An answer that has been given twice is kept here, and those who come next get the same bytes: nothing is read,
and a hundred answers that wait for slow clients are one in memory. A write drops what it touches, so what is
found here is what a read would give.

What an answer is, is its keeper's business; here it has a size.
"""

from typing import Final

# What may be kept beyond what readers need anyway: two answers of the largest kind that is made in memory.
SHARED_BYTES_MAX: Final = 32 << 20
# Every write looks at each of them.
SHARED_MAX: Final = 8
# Requests of which one answer has been given. Strangers may ask for any number of different ones.
ASKED_MAX: Final = 256
NAME_BYTES_MAX: Final = 1024

_TO_THE_END: Final = b"\x00"

# Key and range_end as in the request, and whatever else tells two requests apart.
Name = tuple[bytes, bytes, int, bool]


class SharedRanges:
    """The kept answers of one store, the one longest unused first."""

    __slots__ = ("_asked", "_bytes", "_kept", "is_used")

    def __init__(self) -> None:
        self._kept: dict[Name, tuple[object, int]] = {}
        self._asked: set[Name] = set()
        self._bytes = 0
        self.is_used = False
        """Whether anything is kept, and so has to be told of writes."""

    def find(self, name: Name) -> object | None:
        """What `keep` was given for this request, if nothing in its range has been written since."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return None
        self._kept[name] = kept
        return kept[0]

    def keep(self, name: Name, answer: object, size: int) -> None:
        """Here is an answer at the current revision; from the second time on it is kept."""
        if size > SHARED_BYTES_MAX // 2 or len(name[0]) + len(name[1]) > NAME_BYTES_MAX:
            return
        if name not in self._asked:
            if len(self._asked) >= ASKED_MAX:
                self._asked.clear()
            self._asked.add(name)
            return
        self._drop(name)
        self._kept[name] = (answer, size)
        self._bytes += size
        self.is_used = True
        while self._bytes > SHARED_BYTES_MAX or len(self._kept) > SHARED_MAX:
            self._drop(next(iter(self._kept)))

    def changed(self, key: bytes) -> None:
        """A key has been written or deleted."""
        touched = [name for name in self._kept if _holds(name, key)]
        for name in touched:
            self._drop(name)

    def _drop(self, name: Name) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= kept[1]
            self.is_used = bool(self._kept)
        assert self._bytes >= 0, f"{self._bytes} bytes in {len(self._kept)} answers"


def _holds(name: Name, key: bytes) -> bool:
    start, end = name[0], name[1]
    return start <= key and (key < end or end == _TO_THE_END or (not end and key == start))
