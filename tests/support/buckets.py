"""A store of buckets in memory, so that membership is tested without a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.backend import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryBuckets:
    """What `BucketWriter` asks for, with the contents open to look at."""

    def __init__(self) -> None:
        self.rows: dict[Bucket, dict[bytes, bytes]] = {bucket: {} for bucket in Bucket}

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        self.rows[bucket][key] = value

    def delete(self, bucket: Bucket, key: bytes) -> None:
        del self.rows[bucket][key]

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        return self.rows[bucket].get(key)

    def items(self, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self.rows[bucket].items()))
