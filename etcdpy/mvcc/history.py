"""What happened from one revision to another, read from the key bucket.

The bucket is ordered by revision, so the history of the store is one range scan of it: 8 bytes main
revision, `_`, 8 bytes sub-revision, then `t` for a tombstone. Watchers that must catch up share one such
scan.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Protocol

from etcdpy.backend import Bucket
from etcdpy.mvcc.watch_events import DELETE, PUT
from etcdpy.proto.kv_pb2 import KeyValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAIN = Struct(">Q")
_TOMBSTONE_KEY_BYTES = 18


class OrderedBuckets(Protocol):
    """What a scan needs of the backend."""

    def items(self, bucket: Bucket, start: bytes, end: bytes | None, /) -> Iterable[tuple[bytes, bytes]]:
        """Pairs from `start` up to but not including `end`, in key order."""


class PastEvent:
    """A stored change, read back; the key-value is taken apart only as far as somebody asks."""

    __slots__ = ("_parsed", "kv", "mod_revision", "type")

    def __init__(self, event_type: int, kv: bytes, mod_revision: int) -> None:
        self.type = event_type
        self.kv = kv
        self.mod_revision = mod_revision
        self._parsed: KeyValue | None = None

    @property
    def key(self) -> bytes:
        """The key that changed."""
        kv = self.kv
        # The key is field 1 and so stands first; a length below 128 is one byte.
        if len(kv) > 2 and kv[0] == 0x0A and kv[1] < 0x80:
            return kv[2 : 2 + kv[1]]
        return self._parse().key

    @property
    def create(self) -> bool:
        """Whether the change made the key."""
        return self.type == PUT and self._parse().create_revision == self.mod_revision

    def _parse(self) -> KeyValue:
        if self._parsed is None:
            self._parsed = KeyValue.FromString(self.kv)
        return self._parsed


def events_between(
    backend: OrderedBuckets, start_revision: int, end_revision: int
) -> Iterator[tuple[int, list[PastEvent]]]:
    """Each revision from start to end, both included, that still has changes, with its changes in order."""
    start, end = _MAIN.pack(start_revision), _MAIN.pack(end_revision + 1)
    revision, events = 0, list[PastEvent]()
    for key, value in backend.items(Bucket.KEY, start, end):
        main: int = _MAIN.unpack_from(key)[0]
        if main != revision:
            if events:
                yield revision, events
            revision, events = main, []
        event_type = DELETE if len(key) == _TOMBSTONE_KEY_BYTES else PUT
        events.append(PastEvent(event_type, value, main))
    if events:
        yield revision, events
