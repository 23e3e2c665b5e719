"""bbolt database files, which real etcd keeps and sends, read and written without it."""

from etcdpy.bolt.errors import BoltError, CorruptFile, NoSuchBucket
from etcdpy.bolt.reader import Reader
from etcdpy.bolt.snapshot_file import (
    DIGEST_BYTES,
    Status,
    check_digest,
    read_status,
    with_digest,
    write_snapshot,
)
from etcdpy.bolt.writer import Buckets, Layout, Source, measure, stream_pages, write_file

__all__ = [
    "Reader",
    "Buckets",
    "Source",
    "Layout",
    "measure",
    "stream_pages",
    "write_file",
    "write_snapshot",
    "with_digest",
    "check_digest",
    "DIGEST_BYTES",
    "Status",
    "read_status",
    "BoltError",
    "CorruptFile",
    "NoSuchBucket",
]
