"""What happened from one revision to another, read from the key bucket.

The bucket is ordered by revision, so the history of the store is one range scan of it. Watchers that must
catch up share one such scan.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from etcdpy.backend import Bucket
from etcdpy.mvcc.event import DELETE, PUT, Event
from etcdpy.mvcc.key_value import key_of, varint
from etcdpy.mvcc.revision import encode_main, is_tombstone

_KEY: Final = Bucket.KEY.value
_CREATE_REVISION_TAG: Final = b"\x10"

PastEvent = Event


class OrderedBuckets(Protocol):
    """What a scan needs of the backend."""

    def items(self, bucket: int, start: bytes, end: bytes | None, /) -> Iterable[tuple[bytes, bytes]]:
        """Pairs from `start` up to but not including `end`, in key order."""


def events_between(
    backend: OrderedBuckets, start_revision: int, end_revision: int
) -> Iterator[tuple[int, list[Event]]]:
    """Each revision from start to end, both included, that still has changes, with its changes in order."""
    if start_revision > end_revision:
        return
    prefix = encode_main(start_revision)
    main, made_now = start_revision, _CREATE_REVISION_TAG + varint(start_revision)
    events: list[Event] = []
    for revision, kv in backend.items(_KEY, prefix, encode_main(end_revision + 1)):
        if not revision.startswith(prefix):
            if events:
                yield main, events
            prefix, events = revision[:8], []
            main = int.from_bytes(prefix, "big")
            made_now = _CREATE_REVISION_TAG + varint(main)
        key = key_of(kv)
        if not key:
            continue  # The empty record with which a restore raises the revision.
        if is_tombstone(revision):
            events.append(Event(DELETE, key, kv, main, False, 0, None))
        else:
            # The creation revision comes right behind the key: the put made the key if it is this one.
            create = kv.startswith(made_now, _end_of_key(key))
            events.append(Event(PUT, key, kv, main, create, 0, None))
    if events:
        yield main, events


def _end_of_key(key: bytes) -> int:
    return 1 + len(varint(len(key))) + len(key)
