"""Reading ranges of keys, now or at an older revision.

The rows of INDEX are the keys in order. At the current revision an entry that is no tombstone *is* the
answer; at an older one the entry is taken as it is when it is old enough, and looked up in the history when
it is not. Stored values are then fetched by their revision and never unpacked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_index import (
    TOMBSTONE_BYTES,
    KeyMeta,
    Row,
    Rows,
    encode_without_value,
    entry_at,
)
from etcdpy.mvcc.revision import REVISION_BYTES, main_of

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# etcd's range_end for "all keys from `key` on".
TO_THE_END: Final = b"\x00"

# Values that were read lately stay at hand: looking one up in the database costs half a microsecond, here a
# tenth of that.
CACHE_BYTES: Final = 64 << 20
# What an entry costs beside its value: two objects and a slot.
CACHE_ENTRY_BYTES: Final = 200


@dataclass(slots=True)
class RangeResult:
    """Serialized `mvccpb.KeyValue`s, the number of keys in the whole range, the current revision."""

    kvs: list[bytes]
    count: int
    revision: int
    # One for each of `kvs`, when asked for.
    metas: list[KeyMeta] = field(default_factory=list)


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

    def read_many(self, entries: list[bytes]) -> list[bytes]:
        """The KeyValues behind live index entries, in their order."""
        revisions = [entry[:REVISION_BYTES] for entry in entries]
        found = list(map(self._cache.get, revisions))
        if None not in found:
            return cast("list[bytes]", found)
        missing = [revision for revision, data in zip(revisions, found, strict=True) if data is None]
        read = self._read_missing(missing)
        if len(missing) == len(found):
            return read
        fresh = iter(read)
        return [next(fresh) if data is None else data for data in found]

    def _read_missing(self, revisions: list[bytes]) -> list[bytes]:
        found = self._backend.get_many(_KEY, revisions)
        if None in found:
            raise CorruptStore(f"no record at revision {main_of(revisions[found.index(None)])}")
        read = cast("list[bytes]", found)
        # Not if this one answer would push out all the others.
        if sum(map(len, read)) <= self._bytes_max // 2:
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


def live_entries(
    backend: Backend, key: bytes, range_end: bytes, revision: int, limit: int, *, count_only: bool = False
) -> tuple[list[bytes], int]:
    """The first `limit` (0: all) entries alive at `revision` (0: now) in key order; how many there are."""
    if revision or not range_end:
        rows, count = live_rows(backend, key, range_end, revision, limit, count_only=count_only)
        return [entry for _, entry in rows], count
    live: list[bytes] = []
    count = 0
    for entries in backend.value_pieces(_INDEX, key, _end(key, range_end), limit):
        if min(map(len, entries)) == TOMBSTONE_BYTES:
            entries = [entry for entry in entries if len(entry) != TOMBSTONE_BYTES]
        count += len(entries)
        if not count_only:
            live += entries if not limit else entries[: limit - len(live)]
    return live, count


def live_rows(
    backend: Backend, key: bytes, range_end: bytes, revision: int, limit: int, *, count_only: bool = False
) -> tuple[list[Row], int]:
    """As `live_entries`, with the keys."""
    if not range_end:
        rows = _one(backend, key, revision)
        return [] if count_only else rows, len(rows)
    live: list[Row] = []
    count = 0
    for rows in backend.pieces(_INDEX, key, _end(key, range_end), limit):
        if revision:
            rows = list(_rows_at(backend, rows, revision))
        found = [row for row in rows if len(row[1]) != TOMBSTONE_BYTES]
        count += len(found)
        if not count_only:
            live += found if not limit else found[: limit - len(live)]
    return live, count


def without_values(rows: list[Row]) -> list[bytes]:
    """KeyValues without their values."""
    return [encode_without_value(key, entry) for key, entry in rows]


def _end(key: bytes, range_end: bytes) -> bytes | None:
    """The bound for the database. An end at or before the key makes an empty range, which is no mistake."""
    return None if range_end == TO_THE_END else max(key, range_end)


def _one(rows: Rows, key: bytes, revision: int) -> list[Row]:
    entry = rows.get(_INDEX, key)
    if entry is not None and revision:
        entry = entry_at(rows, key, entry, revision)
    return [] if entry is None or len(entry) == TOMBSTONE_BYTES else [(key, entry)]


def _rows_at(backend: Backend, rows: list[Row], revision: int) -> Iterator[Row]:
    """The rows as they were at `revision`; keys that came later are left out."""
    for key, newest in rows:
        entry = entry_at(backend, key, newest, revision)
        if entry is not None:
            yield key, entry
