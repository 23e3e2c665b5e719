"""The key index: which revisions a key has, newest first, without reading a value.

Two buckets share the work.

- INDEX maps each user key that has any revision left to its newest *entry*: the 17-byte revision, then
  create_revision and version (and the lease when there is one), or a single `t` when the newest revision is a
  tombstone. Puts, compares, counts and reads at the current revision need nothing else, and a range of n keys
  is n neighbouring rows.
- HISTORY gets an entry when a newer one replaces it: under the user key (with its length in front, so that no
  key is a prefix of another's rows) and the revision. A read at an older revision is one seek in it, however
  long the history is.

A key that was written once costs one row. HISTORY needs no order between user keys, so a key too long for it
is replaced by its digest.

A third bucket, ATTACHMENTS, remembers which keys hang on a lease, so that a member can start without reading
all keys to find them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final, Protocol

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.key_value import encode_key_value
from etcdpy.mvcc.revision import REVISION_BYTES, TOMBSTONE_MARK, encode_main, main_of

# Lengths tell the three kinds of entries apart.
TOMBSTONE_BYTES: Final = REVISION_BYTES + 1
LIVE_BYTES: Final = REVISION_BYTES + 16
LEASED_BYTES: Final = LIVE_BYTES + 8

_LIVE: Final = Struct(">QQ")
_LEASED: Final = Struct(">QQq")
_LEASE: Final = Struct(">q")

_INDEX: Final = Bucket.INDEX.value
_HISTORY: Final = Bucket.HISTORY.value
_ATTACHMENTS: Final = Bucket.ATTACHMENTS.value

# Longer user keys stand in HISTORY as a digest: length, key and revision have to fit into one key of the
# database.
HISTORY_KEY_BYTES_MAX: Final = 440
_LENGTHS: Final = tuple(length.to_bytes(2, "big") for length in range(HISTORY_KEY_BYTES_MAX + 1))
_LONG: Final = b"\xff\xff"
# Before the entries of longer ones.
SHORT_KEYS_END: Final = _LONG
# Behind every revision of a key.
_HISTORY_END: Final = b"\xff" * 9

Row = tuple[bytes, bytes]


class Rows(Protocol):
    """What of the database a look-up needs: the live backend and a fixed view of it both have it."""

    def get(self, bucket: int, key: bytes) -> bytes | None: ...

    def get_many(self, bucket: int, keys: list[bytes]) -> list[bytes | None]: ...

    def items(self, bucket: int, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]: ...

    def pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]: ...

    def floor(self, bucket: int, start: bytes, end: bytes) -> Row | None: ...


@dataclass(slots=True)
class KeyMeta:
    """Everything about a live key but its value."""

    create_revision: int
    mod_revision: int
    version: int
    lease: int


def encode_entry(revision: bytes, create_revision: int, version: int, lease: int) -> bytes:
    """The index entry of a live key."""
    if lease:
        return revision + _LEASED.pack(create_revision, version, lease)
    return revision + _LIVE.pack(create_revision, version)


def decode_birth(entry: bytes) -> tuple[int, int]:
    """create_revision and version of a live entry."""
    create_revision, version = _LIVE.unpack_from(entry, REVISION_BYTES)
    return create_revision, version


def lease_of(entry: bytes) -> int:
    lease: int = _LEASE.unpack_from(entry, LIVE_BYTES)[0] if len(entry) == LEASED_BYTES else 0
    return lease


def decode_meta(entry: bytes) -> KeyMeta:
    """A live entry, unpacked."""
    create_revision, version = _LIVE.unpack_from(entry, REVISION_BYTES)
    return KeyMeta(create_revision, int.from_bytes(entry[:8], "big"), version, lease_of(entry))


def encode_without_value(key: bytes, entry: bytes) -> bytes:
    """The KeyValue of a live entry for those who asked for keys only."""
    meta = decode_meta(entry)
    return encode_key_value(key, meta.create_revision, meta.mod_revision, meta.version, b"", meta.lease)


def history_prefix(key: bytes) -> bytes:
    length = len(key)
    if length <= HISTORY_KEY_BYTES_MAX:
        return _LENGTHS[length] + key
    return _LONG + blake2b(key, digest_size=32).digest()


def retire(backend: Backend, key: bytes, entry: bytes) -> None:
    """Move an entry that a newer one is about to replace into the history."""
    backend.put(_HISTORY, history_prefix(key) + entry[:REVISION_BYTES], entry[REVISION_BYTES:])


def forget(backend: Backend, key: bytes, revision: bytes) -> None:
    """Drop one revision of a key: it was compacted. The older entry of a short key is left to a later sweep,
    unless the whole key goes.
    """
    newest = backend.get(_INDEX, key)
    prefix = history_prefix(key)
    if newest is not None and newest[:REVISION_BYTES] == revision:
        assert len(newest) == TOMBSTONE_BYTES, f"compaction of the live revision {main_of(revision)} of a key"
        backend.delete(_INDEX, key)
        for row in [row for row, _ in backend.items(_HISTORY, prefix, prefix + _HISTORY_END)]:
            backend.delete(_HISTORY, row)
    elif prefix >= SHORT_KEYS_END:
        backend.delete(_HISTORY, prefix + revision)


def entries_end(row: bytes) -> bytes:
    """Behind the last entry in HISTORY of the key that this row belongs to."""
    return row[:-REVISION_BYTES] + _HISTORY_END


def superseded_entries(rows: Rows, entries: list[Row], at: int) -> list[bytes]:
    """Those of neighbouring entries in HISTORY, of short keys, that no reader at or after `at` needs."""
    compacted = encode_main(at + 1)
    unneeded: list[bytes] = []
    for position, (row, entry) in enumerate(entries):
        start = len(row) - REVISION_BYTES
        revision = row[start:]
        if revision >= compacted:
            continue
        if entry == TOMBSTONE_MARK and main_of(revision) < at:
            unneeded.append(row)
            continue
        following = entries[position + 1][0] if position + 1 < len(entries) else b""
        if following[:start] == row[:start] and len(following) == len(row):
            if following[start:] < compacted:
                unneeded.append(row)
        else:
            key = row[2:start]
            newest = rows.get(_INDEX, key)
            if newest is None or is_superseded(rows, key, newest, revision, at):
                unneeded.append(row)
    return unneeded


def entry_at(rows: Rows, key: bytes, newest: bytes, revision: int) -> bytes | None:
    """The entry of `key` that was the newest one at `revision` (it may be a tombstone)."""
    bound = encode_main(revision + 1)
    if newest < bound:
        return newest
    prefix = history_prefix(key)
    row = rows.floor(_HISTORY, prefix, prefix + bound)
    return None if row is None else row[0][len(prefix) :] + row[1]


def is_superseded(rows: Rows, key: bytes, newest: bytes, revision: bytes, at: int) -> bool:
    """Whether `key` has a revision later than `revision` with a main number of at most `at`."""
    if newest[:REVISION_BYTES] == revision:
        return False
    if main_of(newest) <= at:
        return True
    prefix = history_prefix(key)
    for later, _ in rows.items(_HISTORY, prefix + revision + b"\x00", prefix + _HISTORY_END):
        return main_of(later[len(prefix) :]) <= at
    return False


def move_attachment(backend: Backend, key: bytes, lease_before: int, lease: int) -> None:
    """Keep the list of keys by lease in step with an entry."""
    if lease_before:
        backend.delete(_ATTACHMENTS, _LEASE.pack(lease_before) + key)
    if lease:
        backend.put(_ATTACHMENTS, _LEASE.pack(lease) + key, b"")


def attachments(backend: Backend) -> Iterator[tuple[int, bytes]]:
    """All (lease, key) pairs."""
    for row, _ in backend.items(_ATTACHMENTS):
        yield _LEASE.unpack_from(row)[0], row[8:]
