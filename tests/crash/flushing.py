"""A backend that is flushed again and again, and what must be in it after each flush.

    LD_PRELOAD=record_writes.so python -m tests.crash.flushing DIRECTORY RECORD

makes a database in the directory, keeps a copy of it as `base`, and records the flushes.
"""

from __future__ import annotations

import ctypes
import random
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from etcdpy.backend import Backend, Bucket

FLUSHES = 40
MAP_BYTES = 1 << 26
BUCKETS = (Bucket.KEY, Bucket.INDEX, Bucket.LEASE)

Content = dict[tuple[int, bytes], bytes]


def writes(flush: int) -> list[tuple[int, bytes, bytes | None]]:
    """What goes into a batch: new rows in order, rows anywhere, long keys, removals."""
    draw = random.Random(flush)
    batch: list[tuple[int, bytes, bytes | None]] = [
        (Bucket.KEY, b"%06d" % (flush * 20 + number), draw.randbytes(draw.randint(1, 300)))
        for number in range(20)
    ]
    for _ in range(30):
        key = b"%03d" % draw.randrange(300)
        batch.append((Bucket.INDEX, key, None if draw.random() < 0.3 else draw.randbytes(60)))
    batch.append((Bucket.LEASE, b"long" * draw.randint(100, 400), draw.randbytes(draw.choice([5, 20_000]))))
    old = range(0, max(flush - 10, 0) * 20, 7)
    return batch + [(Bucket.KEY, b"%06d" % number, None) for number in old]


@cache
def contents() -> list[Content]:
    """What is in the database after each flush; the first is that of before."""
    content: Content = {}
    after = [content]
    for flush in range(1, FLUSHES + 1):
        content = dict(content)
        for bucket, key, value in writes(flush):
            if value is None:
                content.pop((bucket, key), None)
            else:
                content[bucket, key] = value
        after.append(content)
    return after


def content_of(backend: Backend) -> Content:
    return {(bucket, key): value for bucket in BUCKETS for key, value in backend.items(bucket)}


def main() -> int:
    directory, record = Path(sys.argv[1]), sys.argv[2]
    shim: Any = ctypes.CDLL(None)
    path = directory / "db"
    Backend.open(path, map_bytes=MAP_BYTES).close()
    shutil.copy(path, directory / "base")
    backend = Backend.open(path, map_bytes=MAP_BYTES)
    shim.record_to(record.encode())
    for flush in range(1, FLUSHES + 1):
        for bucket, key, value in writes(flush):
            if value is None:
                backend.delete(bucket, key)
            else:
                backend.put(bucket, key, value)
        backend.set_consistent(flush, 1)
        backend.flush()
        shim.mark(ctypes.c_uint64(flush))
    backend.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
