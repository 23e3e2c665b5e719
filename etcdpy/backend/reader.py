"""Reading one state of the database: what LMDB held when the read transaction began.

A `Reader` never changes what it sees, whatever is written meanwhile, and may be used from another thread than
the one that opened it as long as one thread at a time does. It pins pages: the file grows while an old reader
lives, so close it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Self

from etcdpy.backend.long_keys import CHUNK, Row, expand, first_row, rows_end, tail_key

if TYPE_CHECKING:
    import lmdb

# A scan fetches rows in pieces that start small, because most scans are, and grow, because the long ones
# should stay in C.
PIECE_ROWS_MIN: Final = 64
PIECE_ROWS_MAX: Final = 4096
# A scan of values reads its last piece twice, so its pieces stay smaller.
VALUES_MAX: Final = 512

# Appended to a key, it makes the next key that there can be.
AFTER: Final = b"\x00"

_row_key = itemgetter(0)


class Reader:
    """A fixed view of all buckets."""

    __slots__ = ("_closed", "_dbs", "_tails", "_txn", "has_long_keys", "read")

    def __init__(
        self, env: "lmdb.Environment", dbs: list[Any], tails: Any, closed: Callable[[], None] | None = None
    ) -> None:
        self._closed = closed
        self._txn = env.begin()
        self._dbs = dbs
        self._tails = tails
        self.read = self._txn.get
        self.has_long_keys: bool = self._txn.stat(tails)["entries"] > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._txn.abort()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    def get(self, bucket: int, key: bytes) -> bytes | None:
        value: bytes | None
        if len(key) <= CHUNK:
            value = self.read(key, None, self._dbs[bucket]) if key else None
        else:
            value = self.read(tail_key(bucket, key), None, self._tails)
        return value

    def get_many(self, bucket: int, keys: list[bytes]) -> list[bytes | None]:
        if not self.has_long_keys:
            read, db = self.read, self._dbs[bucket]
            return [read(key, None, db) if 0 < len(key) <= CHUNK else None for key in keys]
        return [self.get(bucket, key) for key in keys]

    def pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]:
        """The rows of [start, end) in order, in lists of growing size, the first of `first_rows` if given."""
        with self._txn.cursor(self._dbs[bucket]) as cursor:
            low = first_row(start)
            if not (cursor.set_range(low) if low else cursor.first()):
                return
            high = None if end is None else rows_end(end)
            iterator = cursor.iternext()
            size = min(first_rows, PIECE_ROWS_MAX) or PIECE_ROWS_MIN
            more = True
            while more:
                rows: list[Row] = list(islice(iterator, size))
                more = len(rows) == size
                if high is not None and rows and rows[-1][0] >= high:
                    del rows[bisect_left(rows, high, key=_row_key) :]
                    more = False
                if self.has_long_keys:
                    rows = list(expand(self._txn, bucket, self._tails, rows, start, end))
                if rows:
                    yield rows
                size = min(size * 4, PIECE_ROWS_MAX)

    def value_pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[bytes]]:
        """Only the values of [start, end), in lists."""
        if self.has_long_keys:
            for rows in self.pieces(bucket, start, end, first_rows):
                yield [value for _, value in rows]
            return
        with self._txn.cursor(self._dbs[bucket]) as cursor:
            low = first_row(start)
            if not (cursor.set_range(low) if low else cursor.first()):
                return
            high = None if end is None else rows_end(end)
            iterator = cursor.iternext(keys=False)
            size = min(first_rows, VALUES_MAX) or PIECE_ROWS_MIN
            position = start
            while True:
                values: list[bytes] = list(islice(iterator, size))
                last = cursor.key()
                if len(values) < size or (high is not None and last >= high):
                    # The end lies inside this piece: where, only the keys can tell.
                    break
                yield values
                position = last + AFTER
                size = VALUES_MAX
        for rows in self.pieces(bucket, position, end, size):
            yield [value for _, value in rows]

    def items(self, bucket: int, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        for rows in self.pieces(bucket, start, end):
            yield from rows

    def descend(self, bucket: int, start: bytes, end: bytes) -> Iterator[Row]:
        """The rows of [start, end), last one first. For buckets without long keys."""
        assert max(len(start), len(end)) <= CHUNK, f"bounds of {len(start)} and {len(end)} bytes"
        with self._txn.cursor(self._dbs[bucket]) as cursor:
            found = cursor.prev() if cursor.set_range(end) else cursor.last()
            while found and cursor.key() >= start:
                yield cursor.item()
                found = cursor.prev()

    def floor(self, bucket: int, start: bytes, end: bytes) -> Row | None:
        """The last row of [start, end). For buckets without long keys."""
        return next(self.descend(bucket, start, end), None)

    def last(self, bucket: int) -> Row | None:
        """The last row of a bucket without long keys."""
        with self._txn.cursor(self._dbs[bucket]) as cursor:
            return cursor.item() if cursor.last() else None

    def entries(self, bucket: int) -> int:
        return int(self._txn.stat(self._dbs[bucket])["entries"])

    def pages_in_use(self) -> int:
        """Pages reachable from the databases (what is left are free pages, and two pages of meta)."""
        total = 2
        for db in (*self._dbs, self._tails):
            stat = self._txn.stat(db)
            total += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return total
