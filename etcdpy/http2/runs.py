"""Bodies of very many small parts, joined a piece at a time.

A list of ten thousand keys is there in memory, key by key. To join all of it would take as much memory again,
fresh from the system and cold; joined piece by piece while it is written, it stays in the processor's cache
and is gone when the next piece comes. What waits is counted by its size all the same.
"""

from collections.abc import Sequence
from typing import Final

# Some frames, so that few are cut out of two pieces; little beside a processor's cache.
PIECE_BYTES: Final = 64 * 1024


class Run:
    """What is left of a body's parts."""

    __slots__ = ("_count", "_parts", "_position")

    def __init__(self, parts: Sequence[bytes], size: int) -> None:
        """The parts are `size` bytes together."""
        assert parts, "a run of nothing"
        self._parts = parts
        self._position = 0
        # Parts of a piece. They may differ in size, so this is right for most pieces only.
        self._count = max(1, len(parts) * PIECE_BYTES // max(1, size))

    @property
    def has_more(self) -> bool:
        """Whether `take` gives another piece."""
        return self._position < len(self._parts)

    def take(self) -> bytes:
        """The next piece."""
        start = self._position
        self._position = start + self._count
        return self._parts[start] if self._count == 1 else b"".join(self._parts[start : self._position])
