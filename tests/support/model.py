"""A model of etcd's key bucket, small enough to be believed.

It keeps every record that was ever written, in order, and nothing is ever optimised away. From that follow
the live keys, the events of a request, and the hash that HashKV must return at any revision. It shares no
code with etcdpy; even the KeyValue encoding is its own. The format it follows is etcd's:

* record key: revision as eight bytes, `_`, sub-revision as eight bytes, and `t` for a tombstone;
* record value: a KeyValue, fields ascending and zeros left out; of a tombstone the key alone;
* hash: CRC-32C over `key`, then every record up to the revision, leaving out those that the compacted
  revision covers unless they are still current at the asked revision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c

from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.proto import kv_pb2


class Change(NamedTuple):
    """One event as the model tells it: a put, or with `version` 0 a deletion."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class Record(NamedTuple):
    """One item of the key bucket."""

    main: int
    sub: int
    tombstone: bool
    value: bytes

    @property
    def key(self) -> bytes:
        mark = b"t" if self.tombstone else b""
        return self.main.to_bytes(8, "big") + b"_" + self.sub.to_bytes(8, "big") + mark


@dataclass
class KeyBucket:
    """The store: `apply` a request, then ask."""

    revision: int = 1
    compact_revision: int = -1
    live: dict[bytes, Change] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    generations: dict[bytes, list[list[tuple[int, int]]]] = field(default_factory=dict)

    def preview(self, request: Message) -> list[Change]:
        """The events `request` would cause now, in order; nothing is changed."""
        overlay: dict[bytes, Change | None] = {}
        changes: list[Change] = []
        for operation in operations_of(request):
            made = self._operation_changes(operation, overlay)
            overlay.update((change.key, change if change.version else None) for change in made)
            changes.extend(made)
        return changes

    def apply(self, request: Message) -> list[Change]:
        """Carry out `request` as one revision; a request without effect takes none."""
        changes = self.preview(request)
        if not changes:
            return changes
        self.revision += 1
        for sub, change in enumerate(changes):
            tombstone = change.version == 0
            value = encode_field(1, change.key) if tombstone else encode_key_value(change)
            self.records.append(Record(self.revision, sub, tombstone, value))
            lives = self.generations.setdefault(change.key, [[]])
            lives[-1].append((self.revision, sub))
            if tombstone:
                lives.append([])
                del self.live[change.key]
            else:
                self.live[change.key] = change
        return changes

    def _operation_changes(self, operation: Message, overlay: dict[bytes, Change | None]) -> list[Change]:
        main = self.revision + 1
        state = self.live | overlay
        if isinstance(operation, pb.PutRequest):
            old = state.get(operation.key)
            created, version = (old.create_revision, old.version) if old is not None else (main, 0)
            return [Change(operation.key, operation.value, created, main, version + 1, operation.lease)]
        if isinstance(operation, pb.LeaseRevokeRequest):
            keys = [key for key, kv in state.items() if kv is not None and kv.lease == operation.ID]
        else:
            assert isinstance(operation, pb.DeleteRangeRequest), f"not in the model: {operation}"
            low, high = operation.key, operation.range_end or operation.key + b"\x00"
            keys = [key for key, kv in state.items() if kv is not None and low <= key < high]
        return [Change(key, b"", 0, main, 0, 0) for key in sorted(keys)]

    def hash_at(self, revision: int) -> int:
        """What HashKV answers for `revision`."""
        current = self._current_at(revision)
        assert current or self.compact_revision < 0, (
            "the model keeps too much to hash a store without live keys"
        )
        crc = google_crc32c.extend(0, b"key")
        for record in self.records:
            if record.main > revision:
                break
            if record.main <= self.compact_revision and (record.main, record.sub) not in current:
                continue
            crc = google_crc32c.extend(google_crc32c.extend(crc, record.key), record.value)
        return int(crc)

    def _current_at(self, revision: int) -> set[tuple[int, int]]:
        """The record that each key lives by at `revision`."""
        current = set()
        for lives in self.generations.values():
            life = next((life for life in lives[:-1] if life[-1][0] >= revision), lives[-1])
            reached = [place for place in life if place[0] <= revision]
            if reached and not (life is not lives[-1] and reached[-1] == life[-1]):
                current.add(reached[-1])
        return current


def operations_of(request: Message) -> list[Message]:
    """The puts and deletes of a request; of a transaction, those of its success branch."""
    if isinstance(request, pb.LeaseGrantRequest | pb.CompactionRequest):
        return []
    if not isinstance(request, pb.TxnRequest):
        return [request]
    assert not request.compare, "the model knows transactions without conditions only"
    members = [(operation, operation.WhichOneof("request")) for operation in request.success]
    return [getattr(operation, name) for operation, name in members if name is not None]


def change_of(event: kv_pb2.Event) -> Change:
    """A watch event in the model's terms."""
    kv = event.kv
    return Change(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def encode_key_value(change: Change) -> bytes:
    fields = (
        (1, change.key),
        (2, change.create_revision),
        (3, change.mod_revision),
        (4, change.version),
        (5, change.value),
        (6, change.lease),
    )
    return b"".join(encode_field(number, value) for number, value in fields if value)


def encode_field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: an int64 as a varint, bytes with their length."""
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value)
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def encode_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF  # a negative int64 is its two's complement, ten bytes long
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
