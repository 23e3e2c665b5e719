"""A backend in memory: the public calls of `etcdpy.backend.Backend`, with a crash that keeps only flushes.

`Database` is the platter. A `MemoryBackend` opens it like LMDB, works on its own copy, and writes batches
back, each together with the consistent index: wholly, or not at all.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from etcdpy.backend import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Row = tuple[bytes, bytes]
    Change = tuple[int, bytes, bytes | None]

# Buckets in which a removal is the effect of an entry; elsewhere compaction removes when it finds the time.
_REMOVALS_COUNT = frozenset(
    {
        Bucket.LEASE,
        Bucket.ALARM,
        Bucket.CLUSTER,
        Bucket.MEMBERS,
        Bucket.MEMBERS_REMOVED,
        Bucket.ATTACHMENTS,
    }
)
_KEY, _META = Bucket.KEY.value, Bucket.META.value


class Database:
    """What survives: every bucket, the raft position it belongs to, and the digest of how it came about."""

    def __init__(self) -> None:
        self.buckets: list[dict[bytes, bytes]] = [{} for _ in Bucket]
        self.index = 0
        self.term = 0
        self.digest = 0

    def copy(self) -> Database:
        """A snapshot of it."""
        other = Database()
        other.buckets = [dict(bucket) for bucket in self.buckets]
        other.index, other.term, other.digest = self.index, self.term, self.digest
        return other

    def apply(self, changes: list[Change]) -> None:
        """Write one batch."""
        for bucket, key, value in changes:
            if value is None:
                self.buckets[bucket].pop(key, None)
            else:
                self.buckets[bucket][key] = value


class RecordWatcher(Protocol):
    """Sees every record of the KEY bucket as it is written."""

    def __call__(self, key: bytes, value: bytes, /) -> None: ...


class MemoryBackend:
    """Buckets over a `Database`.

    Args:
        database: what an earlier life has flushed.
        submit: runs the commit of a batch later, unless the power fails before.
        on_record: told of every record of the KEY bucket.
        batch_interval_s: pause between flushes.
    """

    size_bytes = 0
    size_in_use_bytes = 0
    is_overloaded = False
    failure = None
    pending_operations = 0
    # Never past the open batch: all reads are of everything.
    open_batch = flushed_batches = 0

    def __init__(
        self,
        database: Database,
        submit: Callable[[Callable[[], None]], None],
        on_record: RecordWatcher,
        batch_interval_s: float = 0.1,
    ) -> None:
        self._database = database
        self._submit = submit
        self._on_record = on_record
        self._interval_s = batch_interval_s
        self._buckets: list[dict[bytes, bytes]] = [dict(bucket) for bucket in database.buckets]
        self._ordered: list[list[bytes] | None] = [None for _ in Bucket]
        self._changes: list[Change] = []
        self._frozen: tuple[list[Change], int, int, int] | None = None
        self._waiting: list[Callable[[], None]] = []
        self._flushed_at = 0.0
        self._flushed_index = database.index
        self.consistent_index = database.index
        self.consistent_term = database.term
        self.digest = database.digest

    # Reads and writes.

    def get(self, bucket: int, key: bytes) -> bytes | None:
        return self._buckets[bucket].get(key)

    def get_many(self, bucket: int, keys: list[bytes]) -> list[bytes | None]:
        return list(map(self._buckets[bucket].get, keys))

    def put(self, bucket: int, key: bytes, value: bytes) -> None:
        assert key, "a key has at least one byte"
        if bucket == _KEY:
            self._on_record(key, value)
        if bucket != _META:
            self.digest = crc32(value, crc32(key, self.digest ^ bucket))
        values = self._buckets[bucket]
        if key not in values:
            self._ordered[bucket] = None
        values[key] = value
        self._changes.append((bucket, key, value))

    def delete(self, bucket: int, key: bytes) -> None:
        if bucket in _REMOVALS_COUNT:
            self.digest = crc32(key, self.digest ^ bucket ^ 0x8000)
        if self._buckets[bucket].pop(key, None) is not None:
            self._ordered[bucket] = None
        self._changes.append((bucket, key, None))

    def items(self, bucket: int, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        for rows in self.pieces(bucket, start, end):
            yield from rows

    def pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]:
        values = self._buckets[bucket]
        keys = self._keys(bucket, start, end)
        size = first_rows or 64
        for low in range(0, len(keys), size):
            yield [(key, values[key]) for key in keys[low : low + size]]

    def stored_pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]:
        return self.pieces(bucket, start, end, first_rows)

    def value_pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[bytes]]:
        for rows in self.pieces(bucket, start, end, first_rows):
            yield [value for _, value in rows]

    def floor(self, bucket: int, start: bytes, end: bytes) -> Row | None:
        keys = self._keys(bucket, start, end)
        return (keys[-1], self._buckets[bucket][keys[-1]]) if keys else None

    def last(self, bucket: int) -> Row | None:
        keys = self._keys(bucket, b"", None)
        return (keys[-1], self._buckets[bucket][keys[-1]]) if keys else None

    def _keys(self, bucket: int, start: bytes, end: bytes | None) -> list[bytes]:
        ordered = self._ordered[bucket]
        if ordered is None:
            ordered = self._ordered[bucket] = sorted(self._buckets[bucket])
        low = bisect_left(ordered, start) if start else 0
        return ordered[low : None if end is None else bisect_left(ordered, end, low)]

    # Batches.

    def set_consistent(self, index: int, term: int) -> None:
        self.consistent_index = index
        self.consistent_term = term

    @property
    def is_flushing(self) -> bool:
        return self._frozen is not None

    def should_flush(self, now: float) -> bool:
        if self._frozen is not None or now - self._flushed_at < self._interval_s:
            return False
        self._flushed_at = now
        return bool(self._changes) or self.consistent_index != self._flushed_index

    def flush(self, done: Callable[[], None] | None = None) -> None:
        if self._frozen is not None:
            self._waiting.append(done or _nothing)
            return
        self._freeze()
        self._submit(lambda: self._committed(done or _nothing))

    def flush_sync(self) -> None:
        self.commit_frozen()
        self._freeze()
        self.commit_frozen()

    def commit_frozen(self) -> None:
        """The batch under way reaches the platter."""
        if self._frozen is not None:
            changes, index, term, digest = self._frozen
            self._frozen = None
            database = self._database
            database.apply(changes)
            database.index, database.term, database.digest = index, term, digest
            self._flushed_index = index

    def contents(self) -> Database:
        """A copy of everything as it is now, flushed or not: what a snapshot carries."""
        copy = Database()
        copy.buckets = [dict(bucket) for bucket in self._buckets]
        copy.index, copy.term, copy.digest = self.consistent_index, self.consistent_term, self.digest
        return copy

    def _freeze(self) -> None:
        assert self._frozen is None, "one batch is written at a time"
        self._frozen = (self._changes, self.consistent_index, self.consistent_term, self.digest)
        self._changes = []

    def _committed(self, done: Callable[[], None]) -> None:
        self.commit_frozen()
        done()
        if self._waiting and self._frozen is None:
            waiting, self._waiting = self._waiting, []
            self.flush(lambda: _call_all(waiting))


def _nothing() -> None:
    """Nobody waits."""


def _call_all(answers: list[Callable[[], None]]) -> None:
    for answer in answers:
        answer()
