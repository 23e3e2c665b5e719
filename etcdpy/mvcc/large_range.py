"""A range too large to be held in memory, read twice over a fixed view: once to measure, once to give out.

The length of an answer stands in front of it, so it has to be known before the first key-value leaves. Going
over the rows a second time costs less than keeping them: a gigabyte of answer then needs no more memory than
one piece of it. Both passes come in short steps, so that other requests get their turn, and the second one is
as slow as the client likes; the view keeps the pages that it needs from being used again meanwhile.
"""

from collections.abc import Iterator
from typing import Final

from etcdpy.backend import Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_index import TOMBSTONE_BYTES, Row, Rows, encode_without_value
from etcdpy.mvcc.links import entry_at
from etcdpy.mvcc.revision import REVISION_BYTES, main_of

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# Rows in a step: under a millisecond unless values are large.
STEP_ROWS: Final = 256


class LargeRange:
    """The live keys of [key, end) at one revision, at most `limit` (0: all) of them given out.

    Args:
        view: holds everything up to `revision`.
        end: None for all keys from `key` on.
        keys_only: leave out the values.
    """

    def __init__(
        self, view: Rows, key: bytes, end: bytes | None, revision: int, *, limit: int, keys_only: bool
    ) -> None:
        self._view = view
        self._key = key
        self._end = end
        self._revision = revision
        self._limit = limit
        self._keys_only = keys_only
        self.count = 0
        """Live keys of the whole range, once it has been measured."""

    @property
    def has_more(self) -> bool:
        """Whether the limit leaves keys out."""
        return 0 < self._limit < self.count

    def sizes(self) -> Iterator[list[int]]:
        """The sizes of the key-values to give out, piece by piece; all pieces make `count`."""
        for rows in self._live():
            given = self._within_limit(rows)
            self.count += len(rows)
            yield list(map(len, self._read(given)))

    def kvs(self) -> Iterator[list[bytes]]:
        """The serialized key-values to give out, piece by piece."""
        given = 0
        for rows in self._live():
            if self._limit:
                rows = rows[: self._limit - given]
            given += len(rows)
            yield self._read(rows)
            if given == self._limit:
                return

    def _within_limit(self, rows: list[Row]) -> list[Row]:
        return rows[: max(self._limit - self.count, 0)] if self._limit else rows

    def _live(self) -> Iterator[list[Row]]:
        for rows in self._view.pieces(_INDEX, self._key, self._end):
            for start in range(0, len(rows), STEP_ROWS):
                live = []
                for key, newest in rows[start : start + STEP_ROWS]:
                    entry = entry_at(self._view, newest, self._revision)
                    if entry is not None and len(entry) != TOMBSTONE_BYTES:
                        live.append((key, entry))
                yield live

    def _read(self, rows: list[Row]) -> list[bytes]:
        if self._keys_only:
            return [encode_without_value(key, entry) for key, entry in rows]
        found = self._view.get_many(_KEY, [entry[:REVISION_BYTES] for _, entry in rows])
        kvs = [data for data in found if data is not None]
        if len(kvs) != len(rows):
            raise CorruptStore(f"no record at revision {main_of(rows[found.index(None)][1])}")
        return kvs
