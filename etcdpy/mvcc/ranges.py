"""Reading ranges of keys, now or at an older revision.

The rows of INDEX are the keys in order. At the current revision an entry that is no tombstone *is* the
answer; at an older one the entry is taken as it is when it is old enough, and the links are followed when
it is not. Stored values are then fetched by their revision and never unpacked.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore, RangeTooLarge
from etcdpy.mvcc.key_counts import KeyCounts
from etcdpy.mvcc.key_index import (
    TOMBSTONE_BYTES,
    KeyMeta,
    Row,
    encode_without_value,
)
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.links import entry_at
from etcdpy.mvcc.revision import REVISION_BYTES, encode_main, main_of

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# etcd's range_end for "all keys from `key` on".
TO_THE_END: Final = b"\x00"

# Values that were read lately stay at hand: looking one up in the database costs half a microsecond, here a
# tenth of that.
CACHE_BYTES: Final = 64 << 20
# What an entry costs beside its value: two objects and a slot.
CACHE_ENTRY_BYTES: Final = 200


# So many values are read before their size is looked at.
BOUNDED_ENTRIES: Final = 64

# Looking at what one later record changed costs as much as walking past some keys.
CHANGE_COST: Final = 4


@dataclass(slots=True, init=False)
class RangeResult:
    """Serialized `mvccpb.KeyValue`s, the number of keys in the whole range, the current revision."""

    kvs: list[bytes]
    count: int
    revision: int
    # One for each of `kvs`, when asked for.
    metas: list[KeyMeta]

    def __init__(
        self, kvs: list[bytes], count: int, revision: int, metas: list[KeyMeta] | None = None
    ) -> None:
        self.kvs = kvs
        self.count = count
        self.revision = revision
        self.metas = [] if metas is None else metas


class Values:
    """Stored values by revision, through a cache. A record never changes, so nothing in it gets old."""

    def __init__(self, backend: Backend, cache_bytes: int = CACHE_BYTES) -> None:
        self._backend = backend
        self._cache: dict[bytes, bytes] = {}
        self._bytes = 0
        self._bytes_max = cache_bytes

    def read(self, entry: bytes) -> bytes:
        """The KeyValue behind a live index entry."""
        revision = entry[:REVISION_BYTES]
        data = self._cache.get(revision)
        if data is None:
            data = self._backend.get(_KEY, revision)
            if data is None:
                raise CorruptStore(f"no record at revision {main_of(revision)}")
            self._keep(revision, data)
        return data

    def read_many(self, entries: list[bytes], bytes_max: int = 0, *, kept: bool = True) -> list[bytes]:
        """The KeyValues behind live index entries, in their order."""
        if bytes_max and len(entries) > BOUNDED_ENTRIES:
            return self._read_bounded(entries, bytes_max)
        revisions = [entry[:REVISION_BYTES] for entry in entries]
        found = list(map(self._cache.get, revisions))
        if None not in found:
            return cast("list[bytes]", found)
        missing = [revision for revision, data in zip(revisions, found, strict=True) if data is None]
        read = self._read_missing(missing, kept=kept)
        if len(missing) == len(found):
            return read
        fresh = iter(read)
        return [next(fresh) if data is None else data for data in found]

    def _read_bounded(self, entries: list[bytes], bytes_max: int) -> list[bytes]:
        kvs: list[bytes] = []
        size = 0
        for start in range(0, len(entries), BOUNDED_ENTRIES):
            some = self.read_many(entries[start : start + BOUNDED_ENTRIES])
            size += sum(map(len, some))
            if size > bytes_max:
                raise RangeTooLarge
            kvs += some
        return kvs

    def _read_missing(self, revisions: list[bytes], *, kept: bool) -> list[bytes]:
        found = self._backend.get_many(_KEY, revisions)
        if None in found:
            raise CorruptStore(f"no record at revision {main_of(revisions[found.index(None)])}")
        read = cast("list[bytes]", found)
        # Not if this one answer would push out all the others.
        if kept and sum(map(len, read)) <= self._bytes_max // 2:
            for revision, data in zip(revisions, read, strict=True):
                self._keep(revision, data)
        return read

    def _keep(self, revision: bytes, data: bytes) -> None:
        self._cache[revision] = data
        self._bytes += len(data) + CACHE_ENTRY_BYTES
        if self._bytes > self._bytes_max:
            self._evict()

    def _evict(self) -> None:
        """Let the older half go, in the order of arrival."""
        for revision in list(islice(self._cache, len(self._cache) // 2 + 1)):
            self._bytes -= len(self._cache.pop(revision)) + CACHE_ENTRY_BYTES
        assert self._bytes >= 0, f"{self._bytes} bytes in a cache of {len(self._cache)} values"


class Ranges:
    """Which keys are alive in a range, and their index entries."""

    def __init__(self, backend: Backend, counts: KeyCounts) -> None:
        self._backend = backend
        self._counts = counts

    def one(self, key: bytes, revision: int) -> list[Row]:
        """The key itself if it was alive at `revision` (0: now)."""
        entry = self._backend.get(_INDEX, key)
        if entry is not None and revision:
            entry = entry_at(self._backend, entry, revision)
        return [] if entry is None or len(entry) == TOMBSTONE_BYTES else [(key, entry)]

    def entries(
        self, key: bytes, end: bytes | None, limit: int, keys_max: int = 0
    ) -> tuple[list[bytes], int]:
        """The entries of the first `limit` (0: all) keys of [key, end), and the number of all.

        More than `keys_max` (0: any number) are RangeTooLarge, here and in `rows` and `rows_at`.
        """
        live: list[bytes] = []
        for entries in self._backend.value_pieces(_INDEX, key, end, limit):
            if min(map(len, entries)) == TOMBSTONE_BYTES:
                entries = [entry for entry in entries if len(entry) != TOMBSTONE_BYTES]
            live += entries
            _check_number(len(live), keys_max)
            if limit and len(live) >= limit:
                return live[:limit], self._counts.count(key, end)
        return live, len(live)

    def rows(self, key: bytes, end: bytes | None, limit: int, keys_max: int = 0) -> tuple[list[Row], int]:
        """As `entries`, with the keys."""
        live: list[Row] = []
        for rows in self._backend.pieces(_INDEX, key, end, limit):
            live += [row for row in rows if len(row[1]) != TOMBSTONE_BYTES]
            _check_number(len(live), keys_max)
            if limit and len(live) >= limit:
                return live[:limit], self._counts.count(key, end)
        return live, len(live)

    def rows_at(
        self,
        key: bytes,
        end: bytes | None,
        limit: int,
        revision: int,
        keys_max: int = 0,
        counted: bool = True,
    ) -> tuple[list[Row], int]:
        """As `rows`, at an older revision."""
        live: list[Row] = []
        for rows in self._backend.pieces(_INDEX, key, end, limit):
            live += self._alive_at(rows, revision)
            _check_number(len(live), keys_max)
            if limit and len(live) >= limit:
                return live[:limit], self.count_at(key, end, revision) if counted else 0
        return live, len(live)

    def count(self, key: bytes, end: bytes | None) -> int:
        return self._counts.count(key, end)

    def count_at(self, key: bytes, end: bytes | None, revision: int) -> int:
        """The keys of [key, end) that were alive at an older revision."""
        now = self._counts.count(key, end)
        changed = self._changed_after(revision, now // CHANGE_COST)
        if changed is None:
            pieces = self._backend.pieces(_INDEX, key, end)
            return sum(len(self._alive_at(rows, revision)) for rows in pieces)
        inside = [other for other in changed if other >= key and (end is None or other < end)]
        then = sum(len(self.one(other, revision)) for other in inside)
        return now + then - sum(len(self.one(other, 0)) for other in inside)

    def _alive_at(self, rows: list[Row], revision: int) -> list[Row]:
        alive = []
        for key, newest in rows:
            entry = entry_at(self._backend, newest, revision)
            if entry is not None and len(entry) != TOMBSTONE_BYTES:
                alive.append((key, entry))
        return alive

    def _changed_after(self, revision: int, records_max: int) -> set[bytes] | None:
        """The keys that were written later, unless there are more records of that than a look is worth."""
        changed: set[bytes] = set()
        records = 0
        for rows in self._backend.value_pieces(_KEY, encode_main(revision + 1), None):
            records += len(rows)
            if records > records_max:
                return None
            changed.update(map(key_of, rows))
        return changed


def _check_number(keys: int, keys_max: int) -> None:
    if 0 < keys_max < keys:
        raise RangeTooLarge


def without_values(rows: list[Row]) -> list[bytes]:
    """KeyValues without their values."""
    return [encode_without_value(key, entry) for key, entry in rows]


def bound(key: bytes, range_end: bytes) -> bytes | None:
    """The end for the database. One at or before the key makes an empty range, which is no mistake."""
    return None if range_end == TO_THE_END else max(key, range_end)
