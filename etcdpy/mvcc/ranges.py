"""Reading ranges of keys, now or at an older revision.

The rows of INDEX are the keys in order. At the current revision an entry that is no tombstone *is* the
answer; at an older one the entry is taken as it is when it is old enough, and looked up in the history when
it is not. Stored values are then fetched by their revision and never unpacked.
"""

from dataclasses import dataclass, field
from typing import Final

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_index import (
    TOMBSTONE_BYTES,
    KeyMeta,
    Row,
    decode_meta,
    encode_without_value,
    entry_at,
)
from etcdpy.mvcc.revision import REVISION_BYTES, main_of

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# etcd's range_end for "all keys from `key` on".
TO_THE_END: Final = b"\x00"


@dataclass(slots=True)
class RangeResult:
    """Serialized `mvccpb.KeyValue`s, the number of keys in the whole range, the current revision."""

    kvs: list[bytes]
    count: int
    revision: int
    # One for each of `kvs`, when asked for.
    metas: list[KeyMeta] = field(default_factory=list)


def live_rows(
    backend: Backend, key: bytes, range_end: bytes, revision: int, limit: int, count_only: bool = False
) -> tuple[list[Row], int]:
    """The first `limit` (0: all) keys alive at `revision` (0: now) with entries, and how many there are."""
    if not range_end:
        rows = _one(backend, key, revision)
        return [] if count_only else rows, len(rows)
    if range_end == TO_THE_END:
        end = None
    elif range_end <= key:
        return [], 0
    else:
        end = range_end
    live: list[Row] = []
    count = 0
    for rows in backend.pieces(_INDEX, key, end, limit):
        if revision:
            rows = _at(backend, rows, revision)
        found = [row for row in rows if len(row[1]) != TOMBSTONE_BYTES]
        count += len(found)
        if count_only:
            continue
        if not limit:
            live += found
        elif len(live) < limit:
            live += found[: limit - len(live)]
    return live, count


def read_values(backend: Backend, entries: list[Row]) -> list[bytes]:
    """The stored KeyValue of each entry."""
    values = backend.get_many(_KEY, [entry[:REVISION_BYTES] for _, entry in entries])
    if None in values:
        key, entry = entries[values.index(None)]
        raise CorruptStore(f"no record at revision {main_of(entry)} for a key of {len(key)} bytes")
    return values  # type: ignore[return-value]  # the line above has seen every one of them


def range_result(
    backend: Backend, entries: list[Row], count: int, revision: int, *, keys_only: bool, metas: bool
) -> RangeResult:
    if keys_only:
        kvs = [encode_without_value(key, entry) for key, entry in entries]
    else:
        kvs = read_values(backend, entries)
    if metas:
        return RangeResult(kvs, count, revision, [decode_meta(entry) for _, entry in entries])
    return RangeResult(kvs, count, revision)


def _one(backend: Backend, key: bytes, revision: int) -> list[Row]:
    entry = backend.get(_INDEX, key)
    if entry is not None and revision:
        entry = entry_at(backend, key, entry, revision)
    return [] if entry is None or len(entry) == TOMBSTONE_BYTES else [(key, entry)]


def _at(backend: Backend, rows: list[Row], revision: int) -> list[Row]:
    """The rows as they were at `revision`; keys that came later are left out."""
    older = []
    for key, newest in rows:
        entry = entry_at(backend, key, newest, revision)
        if entry is not None:
            older.append((key, entry))
    return older
