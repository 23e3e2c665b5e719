"""Keys of any length in a database whose keys end at 511 bytes, in their true order.

A key of up to `CHUNK` bytes is stored as it is. A longer one is cut into chunks of `CHUNK` bytes and becomes
a path in a tree:

- the bucket's own database holds, for its first chunk, a *mark*: the chunk plus one zero byte. A mark is
  `CHUNK` + 1 bytes long, so it can be no key of its own, and it sorts right behind the key that equals the
  chunk and before every other short key that follows: exactly where the longer keys belong;
- every further chunk lies in one extra database, `tails`, under a 16-byte digest of the bucket and all the
  chunks before it. There again a full chunk that goes on is a mark, and the last chunk carries the value.

One key is found by one digest and one look-up; a scan meets the marks in order and walks down. No mark
outlives the last key below it. Nothing has to be balanced, renumbered or held in memory, and a bucket without
long keys pays nothing. (Turned down: a list of tails under one shared prefix, because ten thousand keys with
one prefix would rewrite megabytes at each put; ranks between neighbours, because they run out of room where
keys arrive in order; a sorted list in memory, because a member has to start without reading its keys.)
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import lmdb

CHUNK: Final = 480
DIGEST_BYTES: Final = 16
MARK: Final = b"\x00"
_AFTER_MARK: Final = b"\x00\x00"

Row = tuple[bytes, bytes]


def _root(bucket: int) -> "blake2b":
    return blake2b(bytes((bucket,)), digest_size=DIGEST_BYTES)


def tail_key(bucket: int, key: bytes) -> bytes:
    """Where the value of a long key lies in `tails`."""
    assert len(key) > CHUNK, f"{len(key)} bytes fit into one chunk of {CHUNK}"
    cut = (len(key) - 1) // CHUNK * CHUNK
    digest = _root(bucket)
    digest.update(key[:cut])
    return digest.digest() + key[cut:]


def _marks(bucket: int, key: bytes) -> list[bytes]:
    """The marks on the way to a long key, outermost first: one in the bucket, the others in `tails`."""
    digest = _root(bucket)
    marks = []
    container = b""
    for cut in range(0, len(key) - CHUNK, CHUNK):
        chunk = key[cut : cut + CHUNK]
        marks.append(container + chunk + MARK)
        digest.update(chunk)
        container = digest.digest()
    return marks


def rows_of(bucket: int, key: bytes) -> Iterator[tuple[bool, bytes]]:
    """The rows that a long key may have written or removed, and whether each is in `tails`."""
    yield True, tail_key(bucket, key)
    for number, mark in enumerate(_marks(bucket, key)):
        yield number > 0, mark


def put_long(txn: "lmdb.Transaction", bucket: int, home: Any, tails: Any, key: bytes, value: bytes) -> None:
    if txn.replace(tail_key(bucket, key), value, tails) is not None:
        return
    marks = _marks(bucket, key)
    for mark in reversed(marks[1:]):
        # A mark that is already there means that the whole way up is there too.
        if not txn.put(mark, b"", overwrite=False, db=tails):
            return
    txn.put(marks[0], b"", db=home)


def delete_long(txn: "lmdb.Transaction", bucket: int, home: Any, tails: Any, key: bytes) -> None:
    record = tail_key(bucket, key)
    if not txn.delete(record, db=tails):
        return
    with txn.cursor(tails) as cursor:
        for mark in reversed(_marks(bucket, key)):
            if (
                cursor.set_range(record[:DIGEST_BYTES])
                and cursor.key()[:DIGEST_BYTES] == record[:DIGEST_BYTES]
            ):
                return
            record = mark
            in_bucket = len(mark) == CHUNK + 1
            deleted = txn.delete(mark, db=home if in_bucket else tails)
            assert deleted, f"no mark of {len(mark)} bytes on the way to a key of {len(key)} bytes"


def first_row(start: bytes) -> bytes:
    """The first row of a container that may belong to keys >= `start` (relative to the container)."""
    return start if len(start) <= CHUNK else start[:CHUNK] + MARK


def rows_end(end: bytes) -> bytes:
    """The first row of a container that cannot belong to keys < `end` (relative to the container)."""
    return end if len(end) <= CHUNK else end[:CHUNK] + _AFTER_MARK


def expand(
    txn: "lmdb.Transaction", bucket: int, tails: Any, rows: list[Row], start: bytes, end: bytes | None
) -> Iterator[Row]:
    """The rows of a bucket with each mark replaced by the long keys below it that lie in [start, end)."""
    for key, value in rows:
        if len(key) <= CHUNK:
            yield key, value
        else:
            yield from _below(txn, bucket, tails, key[:CHUNK], start, end)


class _Level:
    """One container that a walk is in: the rows left, and the chunk and digest that lead here."""

    __slots__ = ("bound_above", "bound_below", "chunk", "digest", "rows")

    def __init__(self, chunk: bytes, digest: "blake2b", bound_below: bool, bound_above: bool) -> None:
        self.chunk = chunk
        self.digest = digest
        # Whether `start` and `end` run through this container, or lie before and behind all of it.
        self.bound_below = bound_below
        self.bound_above = bound_above
        self.rows: Iterator[Row] = iter(())


def _below(
    txn: "lmdb.Transaction", bucket: int, tails: Any, chunk: bytes, start: bytes, end: bytes | None
) -> Iterator[Row]:
    # A stack of our own: a key of 1.5 MB is three thousand levels deep, more than the interpreter allows.
    level = _enter(txn, tails, None, _root(bucket), chunk, 0, start, end)
    stack = [level]
    while stack:
        row = next(stack[-1].rows, None)
        if row is None:
            stack.pop()
        elif len(row[0]) <= CHUNK:
            yield b"".join([level.chunk for level in stack]) + row[0], row[1]
        else:
            offset = len(stack) * CHUNK
            stack.append(_enter(txn, tails, stack[-1], stack[-1].digest, row[0][:CHUNK], offset, start, end))


def _enter(
    txn: "lmdb.Transaction",
    tails: Any,
    outer: _Level | None,
    digest: "blake2b",
    chunk: bytes,
    offset: int,
    start: bytes,
    end: bytes | None,
) -> _Level:
    """Open the container behind `chunk`, which itself begins at `offset` of the key."""
    digest = digest.copy()
    digest.update(chunk)
    inner = offset + CHUNK
    below = (outer is None or outer.bound_below) and len(start) > inner and start[offset:inner] == chunk
    above = (
        (outer is None or outer.bound_above)
        and end is not None
        and len(end) > inner
        and end[offset:inner] == chunk
    )
    level = _Level(chunk, digest, below, above)
    low = first_row(start[inner : inner + CHUNK + 1]) if below else b""
    high = rows_end(end[inner : inner + CHUNK + 1]) if above and end is not None else None
    level.rows = _container_rows(txn, tails, digest.digest(), low, high)
    return level


def _container_rows(txn: Any, tails: Any, container: bytes, low: bytes, high: bytes | None) -> Iterator[Row]:
    # Taken in pieces: most containers hold one key, and some hold a hundred thousand.
    position = container + low
    while True:
        with txn.cursor(tails) as cursor:
            rows: list[Row] = list(islice(cursor.iternext(), 256)) if cursor.set_range(position) else []
        for key, value in rows:
            chunk = key[DIGEST_BYTES:]
            if key[:DIGEST_BYTES] != container or (high is not None and chunk >= high):
                return
            yield chunk, value
        if len(rows) < 256:
            return
        position = rows[-1][0] + b"\x00"
