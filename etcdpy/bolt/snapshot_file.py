"""Snapshot files as `etcdctl snapshot save` makes them: a database, then its SHA-256.

A database is a multiple of 512 bytes long, so the digest is known to be there by the 32 bytes that are left
over.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from google_crc32c import extend

from etcdpy.bolt.errors import CorruptFile
from etcdpy.bolt.writer import measure, stream_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from etcdpy.bolt.reader import Reader
    from etcdpy.bolt.writer import Buckets, Layout

__all__ = ["DIGEST_BYTES", "Status", "check_digest", "read_status", "with_digest", "write_snapshot"]

DIGEST_BYTES: Final = 32
_SECTOR_BYTES: Final = 512
_BLOCK_BYTES: Final = 1 << 20


class Status(NamedTuple):
    """What `etcdutl snapshot status` 3.5 tells: `total_keys` counts the records of all buckets."""

    hash: int
    revision: int
    total_keys: int
    total_size: int
    version: str


def with_digest(pages: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, then the digest of them all."""
    digest = hashlib.sha256()
    for page in pages:
        digest.update(page)
        yield page
    yield digest.digest()


def write_snapshot(file: BinaryIO, buckets: Buckets) -> Layout:
    """Write a database and its digest. The records are walked through twice."""
    layout = measure(buckets)
    file.writelines(with_digest(stream_pages(buckets, layout)))
    return layout


def check_digest(path: Path) -> int:
    """Length of the database in this file, without the digest, which is right."""
    size = path.stat().st_size
    if size % _SECTOR_BYTES != DIGEST_BYTES:
        raise CorruptFile("snapshot missing hash but --skip-hash-check=false")
    remaining = size - DIGEST_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while remaining and (block := file.read(min(remaining, _BLOCK_BYTES))):
            digest.update(block)
            remaining -= len(block)
        expected = file.read()
    if expected != digest.digest():
        raise CorruptFile(f"expected sha256 {_go_bytes(expected)}, got {_go_bytes(digest.digest())}")
    return size - DIGEST_BYTES


def _go_bytes(data: bytes) -> str:
    """As Go prints a slice of bytes, for the sake of whoever greps for etcdutl's message."""
    return "[" + " ".join(str(byte) for byte in data) + "]"


def read_status(reader: Reader) -> Status:
    """Walk through everything once, checking it, and sum it up."""
    reader.check()
    checksum = revision = total_keys = 0
    version = b""
    for bucket in reader.buckets():
        checksum = extend(checksum, bucket)
        key = b""
        for key, value in reader.items(bucket):
            checksum = extend(checksum, key + value)
            total_keys += 1
            if bucket == b"meta" and key == b"storageVersion":
                version = value
        if bucket == b"key":
            revision = int.from_bytes(key[:8], "big")
    return Status(checksum, revision, total_keys, reader.size_bytes, version.decode("ascii", "replace"))
