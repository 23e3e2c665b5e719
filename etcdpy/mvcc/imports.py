"""Taking over the keys of another member: records of a KEY bucket in, a complete store out.

A snapshot carries only what etcd keeps: the records by revision. The index, the links and the keys by
lease are made again here, by the same steps in which the transactions of this member would have made them, so
the result is the store that this member would have if it had applied everything itself.

Records come in ascending order of revision. What is written goes to an otherwise empty backend that nobody
reads yet, and is flushed from time to time, so memory does not grow with the store.
"""

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from etcdpy.backend import Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.key_counts import KeyCounts
from etcdpy.mvcc.key_index import (
    TOMBSTONE_BYTES,
    encode_entry,
    lease_of,
    move_attachment,
)
from etcdpy.mvcc.links import link
from etcdpy.mvcc.revision import REVISION_BYTES, TOMBSTONE_MARK, is_tombstone
from etcdpy.proto.kv_pb2 import KeyValue

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from etcdpy.backend import Backend

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# A flush per this many records: enough to write sorted runs, few enough to hold in memory.
RECORDS_PER_FLUSH: Final = 50_000


def import_records(
    backend: "Backend", records: "Iterable[tuple[bytes, bytes]]", leases: "Container[int]"
) -> int:
    """Write all records and what is made from them; how many there were.

    Args:
        backend: without a committer thread; nothing else writes to it meanwhile.
        records: (revision key, stored KeyValue) of a KEY bucket.
        leases: ids of the leases there are. A key may name one that is gone; it is attached to nothing then.

    Raises:
        CorruptStore: a record is none.
    """
    count = 0
    for revision, data in records:
        _import_record(backend, revision, data, leases)
        count += 1
        if count % RECORDS_PER_FLUSH == 0:
            backend.flush_sync()
    backend.flush_sync()
    KeyCounts(backend)  # counted now, the store opens at once whatever its size
    backend.flush_sync()
    return count


def _import_record(backend: "Backend", revision: bytes, data: bytes, leases: "Container[int]") -> None:
    if len(revision) not in (REVISION_BYTES, REVISION_BYTES + 1):
        raise CorruptStore(f"a key record under {len(revision)} bytes")
    backend.put(_KEY, revision, data)
    if not data:
        return  # with an empty record a restore raises the revision
    try:
        record = KeyValue.FromString(data)
    except DecodeError as error:
        raise CorruptStore(f"the record at revision {revision.hex()} is no key-value") from error
    key = record.key
    if not key:
        raise CorruptStore(f"the record at revision {revision.hex()} has no key")
    before = backend.get(_INDEX, key)
    lease_before, depth = 0, record.version
    if before is not None:
        depth = link(backend, revision[:REVISION_BYTES], before)
        lease_before = lease_of(before) if len(before) != TOMBSTONE_BYTES else 0
    if is_tombstone(revision):
        lease, entry = 0, revision[:REVISION_BYTES] + TOMBSTONE_MARK
    else:
        lease = record.lease
        entry = encode_entry(revision, record.create_revision, record.version, lease, depth)
    backend.put(_INDEX, key, entry)
    attached_before = lease_before if lease_before in leases else 0
    attached = lease if lease in leases else 0
    if attached != attached_before:
        move_attachment(backend, key, attached_before, attached)
