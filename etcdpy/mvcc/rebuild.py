"""Making the index anew from the records alone.

A database that came from elsewhere (a snapshot of another member, which may be a Go one, or a restored
backup) has etcd's buckets and nothing of ours. The KEY bucket knows everything the index knows, in the order
in which it happened.
"""

from typing import Final

from google.protobuf.message import DecodeError

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_index import encode_entry, lease_of, move_attachment, retire
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.revision import REVISION_BYTES, is_tombstone, main_of
from etcdpy.proto.kv_pb2 import KeyValue

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# Records between two flushes: enough to be quick, little enough to fit into memory with large values.
STEP_ROWS: Final = 10_000


def rebuild_index(backend: Backend) -> None:
    """Fill the index of a database that has none. Takes the thread, and some microseconds for each record."""
    position = b""
    while (rows := next(backend.pieces(_KEY, position, None, STEP_ROWS), None)) is not None:
        for record, data in rows:
            _index(backend, record, data)
        position = rows[-1][0] + b"\x00"
        backend.flush_sync()


def _index(backend: Backend, record: bytes, data: bytes) -> None:
    key = key_of(data)
    if not key:
        # A restore raises the revision by a record of nothing.
        return
    entry = record if is_tombstone(record) else _live_entry(record, data)
    replaced = backend.get(_INDEX, key)
    if replaced is not None:
        retire(backend, key, replaced)
    lease_before, lease = 0 if replaced is None else lease_of(replaced), lease_of(entry)
    if lease != lease_before:
        move_attachment(backend, key, lease_before, lease)
    backend.put(_INDEX, key, entry)


def _live_entry(record: bytes, data: bytes) -> bytes:
    if len(record) != REVISION_BYTES:
        raise CorruptStore(f"a record under a key of {len(record)} bytes")
    try:
        kv = KeyValue.FromString(data)
    except DecodeError as error:
        raise CorruptStore(f"the record at revision {main_of(record)} is no key-value") from error
    return encode_entry(record, kv.create_revision, kv.version, kv.lease)
