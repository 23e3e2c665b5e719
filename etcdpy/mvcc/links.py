"""From an entry of the key index to the older ones of its key.

LINKS has a row for each revision that replaced another one of its key: under the newer revision, the entry
that it replaced. So an older revision is found by going back from the newest. Rows are only ever added at the
end, in the order of revisions, where a table ordered by key would have a page to copy for each put; and a
compaction drops all rows up to its revision, because who reads at or after it needs none of them.

Nobody walks through all versions. The revisions of a key have a *depth*: 1, 2, 3, ... The row of one with an
even depth d names also the revision of depth d & (d - 1), that is d without its lowest bit, unless that is 0.
Going back by such a jump where it does not lead too far, and by one step where it does, takes some square of
the logarithm of the number of versions. The jump for a new revision is found by as many look-ups as its depth
has zeros at the end, one on average, and none up to depth 4.

The depth is the version of a key that was never deleted, so most entries need not tell it. After a
compaction links lead to revisions that are gone. Only who looks for a revision before the compacted one
would follow them.
"""

from typing import TYPE_CHECKING, Final

from etcdpy.backend import Bucket
from etcdpy.mvcc.key_index import (
    DEPTH_BYTES,
    LEASED_BYTES,
    LIVE_BYTES,
    TOMBSTONE_BYTES,
    Rows,
    decode_birth,
)
from etcdpy.mvcc.revision import REVISION_BYTES, encode_main, main_of

if TYPE_CHECKING:
    from etcdpy.backend import Backend

_LINKS: Final = Bucket.LINKS.value

_ENTRY_BYTES: Final = (
    TOMBSTONE_BYTES,
    LIVE_BYTES,
    LIVE_BYTES + DEPTH_BYTES,
    LEASED_BYTES,
    LEASED_BYTES + DEPTH_BYTES,
)
# Rows with a jump have the length of an entry and a revision; no entry is as long.
_WITH_JUMP: Final = frozenset(size + REVISION_BYTES for size in _ENTRY_BYTES)
assert _WITH_JUMP.isdisjoint(_ENTRY_BYTES), _WITH_JUMP


def link(backend: "Backend", revision: bytes, replaced: bytes) -> int:
    """Lead from a new revision to the entry that it replaces; the depth of the new one."""
    depth = depth_of(backend, replaced) + 1
    if depth & 1:
        backend.put(_LINKS, revision, replaced)
    else:
        backend.put(_LINKS, revision, replaced + _find_jump(backend, depth, replaced))
    return depth


def depth_of(rows: Rows, entry: bytes) -> int:
    """How many revisions a key had up to this entry, this one included (as far as they are known)."""
    size = len(entry)
    if size in (LIVE_BYTES, LEASED_BYTES):
        return decode_birth(entry)[1]
    if size != TOMBSTONE_BYTES:
        return int.from_bytes(entry[-DEPTH_BYTES:], "big")
    row = rows.get(_LINKS, entry[:REVISION_BYTES])
    if row is None:
        return 1
    assert len(row) > TOMBSTONE_BYTES, f"a tombstone follows one at {main_of(row)}"
    return depth_of(rows, _without_jump(row)) + 1


def _find_jump(rows: Rows, depth: int, replaced: bytes) -> bytes:
    """The revision to which that of an even depth jumps; empty if there is none, or none is left."""
    target = depth & (depth - 1)
    if not target:
        return b""
    revision, place = replaced[:REVISION_BYTES], depth - 1
    while place != target:
        row = rows.get(_LINKS, revision)
        if row is None:
            return b""
        if place & 1:
            revision = row[:REVISION_BYTES]
        elif len(row) in _WITH_JUMP:
            revision = row[-REVISION_BYTES:]
        else:
            return b""
        place &= place - 1
    return revision


def entry_at(rows: Rows, newest: bytes, revision: int) -> bytes | None:
    """The entry that was the newest one of its key at `revision` (it may be a tombstone)."""
    bound = encode_main(revision + 1)
    entry = newest
    while entry >= bound:
        row = rows.get(_LINKS, entry[:REVISION_BYTES])
        if row is None:
            return None
        entry = row
        if len(row) in _WITH_JUMP:
            jump = row[-REVISION_BYTES:]
            entry = jump if jump >= bound else row[:-REVISION_BYTES]
    return entry


def is_superseded(rows: Rows, newest: bytes, revision: bytes, at: int) -> bool:
    """Whether a key whose newest entry is `newest` has a revision later than `revision` with a main number of
    at most `at`.
    """
    entry = entry_at(rows, newest, at)
    return entry is not None and entry[:REVISION_BYTES] != revision


def _without_jump(row: bytes) -> bytes:
    return row[:-REVISION_BYTES] if len(row) in _WITH_JUMP else row
