"""The rows of a store without what only speeds up a look-up, so that two stores can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.backend import Bucket
from etcdpy.mvcc.key_index import DEPTH_BYTES, LEASED_BYTES, LIVE_BYTES, TOMBSTONE_BYTES
from etcdpy.mvcc.revision import REVISION_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[bytes, bytes]


class Buckets(Protocol):
    """What is needed of a backend."""

    def items(self, bucket: int) -> Iterator[Row]: ...


def plain_entry(row: bytes) -> bytes:
    """The entry that a row of INDEX or LINKS begins with, without its depth."""
    for size in (LEASED_BYTES, LIVE_BYTES):
        for jump in (0, REVISION_BYTES):
            if len(row) - jump in (size, size + DEPTH_BYTES):
                return row[:size]
    return row[:TOMBSTONE_BYTES]


def comparable(backend: Buckets) -> dict[Bucket, list[Row]]:
    """Records, newest entries, and the links that lead to a record which is still there."""
    records = list(backend.items(Bucket.KEY))
    there = {row[:REVISION_BYTES] for row, _ in records}
    links = [(row, plain_entry(value)) for row, value in backend.items(Bucket.LINKS)]
    return {
        Bucket.KEY: records,
        Bucket.INDEX: [(key, plain_entry(entry)) for key, entry in backend.items(Bucket.INDEX)],
        Bucket.LINKS: [(row, entry) for row, entry in links if entry[:REVISION_BYTES] in there],
    }
