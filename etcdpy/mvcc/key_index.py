"""The key index: each key's newest revision, and what is known of it without reading a value.

INDEX maps each user key that has any revision left to its newest *entry*: the 17-byte revision, then
create_revision and version (and the lease when there is one), or a single `t` when the newest revision is a
tombstone. Puts, compares, counts and reads at the current revision need nothing else, and a range of n keys
is n neighbouring rows. From an entry to the older ones of its key lead the `links`.

Another bucket, ATTACHMENTS, remembers which keys hang on a lease, so that a member can start without reading
all keys to find them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, Protocol

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.key_value import encode_key_value
from etcdpy.mvcc.revision import REVISION_BYTES, main_of

# Lengths tell the kinds of entries apart. A live one whose depth (see `links`) is not its version has that in
# four bytes more.
TOMBSTONE_BYTES: Final = REVISION_BYTES + 1
LIVE_BYTES: Final = REVISION_BYTES + 16
LEASED_BYTES: Final = LIVE_BYTES + 8
DEPTH_BYTES: Final = 4

_LIVE: Final = Struct(">QQ")
_LEASED: Final = Struct(">QQq")
_LEASE: Final = Struct(">q")

_INDEX: Final = Bucket.INDEX.value
_ATTACHMENTS: Final = Bucket.ATTACHMENTS.value

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


@dataclass(slots=True, init=False)
class KeyMeta:
    """Everything about a live key but its value."""

    create_revision: int
    mod_revision: int
    version: int
    lease: int

    def __init__(self, create_revision: int, mod_revision: int, version: int, lease: int) -> None:
        self.create_revision = create_revision
        self.mod_revision = mod_revision
        self.version = version
        self.lease = lease


def encode_entry(revision: bytes, create_revision: int, version: int, lease: int, depth: int) -> bytes:
    """The index entry of a live key. `depth` counts its revisions so far, this one too."""
    if lease:
        entry = revision + _LEASED.pack(create_revision, version, lease)
    else:
        entry = revision + _LIVE.pack(create_revision, version)
    return entry if depth == version else entry + depth.to_bytes(DEPTH_BYTES, "big")


def decode_birth(entry: bytes) -> tuple[int, int]:
    """create_revision and version of a live entry."""
    create_revision, version = _LIVE.unpack_from(entry, REVISION_BYTES)
    return create_revision, version


def lease_of(entry: bytes) -> int:
    lease: int = _LEASE.unpack_from(entry, LIVE_BYTES)[0] if len(entry) >= LEASED_BYTES else 0
    return lease


def decode_meta(entry: bytes) -> KeyMeta:
    """A live entry, unpacked."""
    create_revision, version = _LIVE.unpack_from(entry, REVISION_BYTES)
    return KeyMeta(create_revision, int.from_bytes(entry[:8], "big"), version, lease_of(entry))


def encode_without_value(key: bytes, entry: bytes) -> bytes:
    """The KeyValue of a live entry for those who asked for keys only."""
    meta = decode_meta(entry)
    return encode_key_value(key, meta.create_revision, meta.mod_revision, meta.version, b"", meta.lease)


def forget(backend: Backend, key: bytes, revision: bytes) -> None:
    """One revision of a key was compacted: if it is the newest, a tombstone, nothing is left of the key."""
    newest = backend.get(_INDEX, key)
    if newest is not None and newest[:REVISION_BYTES] == revision:
        assert len(newest) == TOMBSTONE_BYTES, f"compaction of the live revision {main_of(revision)} of a key"
        backend.delete(_INDEX, key)


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
