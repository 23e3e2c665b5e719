"""Directories from before there were links: their HISTORY becomes LINKS when they are opened.

HISTORY had each replaced entry under its user key (or the digest of a long one) and its revision. Rows of one
key are neighbours, oldest first, and each of them was replaced by the next one, the last by the entry in
INDEX. A row goes in the same batch in which the link to it comes, so a member that dies on the way goes on
with the rows that are left. It takes some seconds for a million rows, once.
"""

from typing import TYPE_CHECKING, Final

from etcdpy.backend import Bucket
from etcdpy.mvcc.key_index import TOMBSTONE_BYTES
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.links import link
from etcdpy.mvcc.revision import REVISION_BYTES, TOMBSTONE_MARK, encode_main

if TYPE_CHECKING:
    from etcdpy.backend import Backend

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value
_HISTORY: Final = Bucket.HISTORY.value

ROWS: Final = 4096
# Operations between two flushes.
OPERATIONS_MAX: Final = 100_000


def relink(backend: "Backend", compact_revision: int) -> None:
    """Make links of the entries in HISTORY, if there are any, but not of those compacted by
    `compact_revision`.
    """
    compacted = encode_main(max(compact_revision, 0) + 1)
    position = last = last_entry = b""
    while rows := next(backend.pieces(_HISTORY, position, None, ROWS), None):
        for row, rest in rows:
            entry = row[-REVISION_BYTES:] + rest
            if last:
                is_same_key = last[:-REVISION_BYTES] == row[:-REVISION_BYTES]
                _relink_row(backend, last, last_entry, entry if is_same_key else None, compacted)
            last, last_entry = row, entry
        position = last + b"\x00"
        if backend.pending_operations > OPERATIONS_MAX:
            backend.flush_sync()
    if last:
        _relink_row(backend, last, last_entry, None, compacted)
        backend.flush_sync()


def _relink_row(
    backend: "Backend", row: bytes, entry: bytes, successor: bytes | None, compacted: bytes
) -> None:
    if successor is None:
        successor = _newest_after(backend, entry)
    if successor is not None and successor >= compacted:
        link(backend, successor[:REVISION_BYTES], entry)
    backend.delete(_HISTORY, row)


def _newest_after(backend: "Backend", entry: bytes) -> bytes | None:
    """The entry in INDEX of the key of an older entry, which tells its key by its record. One without a
    record was compacted, as was everything that led there.
    """
    revision = entry[:REVISION_BYTES]
    data = backend.get(_KEY, revision + TOMBSTONE_MARK if len(entry) == TOMBSTONE_BYTES else revision)
    return None if data is None else backend.get(_INDEX, key_of(data))
