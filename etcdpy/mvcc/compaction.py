"""Forgetting history, in small steps.

Compacting at revision C removes every record with a main revision of at most C but the newest one of each
key, and that one too when it is a tombstone older than C. (A tombstone of exactly C stays until the next
compaction, so that a watch from C still sees it.)

C is compacted as far as readers can tell as soon as it is asked for; the records go in the background.
`scheduledCompactRev` is written with the request and `finishedCompactRev` at the end. Each step decides from
the index and looks only at what is still there, so a member that dies in the middle begins again at the first
record and comes to the same end.

Records are removed in their order, and then the older entries of their keys in theirs, so that either way
whole pages become free; removing both at once would touch a page of the history for each record. An entry
without its record is in nobody's way as long as its key has a newer one up to C. With the last entry of a key
that was deleted all of its history goes at once, for the key may be made again at any time.

All records up to C are read on the way, so their hash is taken as well. The last few are remembered: another
member can then be compared with this one at exactly the revision that both compacted.
"""

from typing import Final

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.hash import HashKV, KeepSet, RecordHash
from etcdpy.mvcc.key_index import SHORT_KEYS_END, entries_end, forget, superseded_entries
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.observed import StoreObserved
from etcdpy.mvcc.revision import REVISION_BYTES, encode_main, encode_revision, main_of

_KEY: Final = Bucket.KEY.value
_HISTORY: Final = Bucket.HISTORY.value

SCHEDULED: Final = b"scheduledCompactRev"
FINISHED: Final = b"finishedCompactRev"

NOTHING_COMPACTED: Final = -1
HASHES_MAX: Final = 10


class Compaction:
    """The work that one compaction leaves to do."""

    def __init__(
        self, backend: Backend, revision: int, previous: int, observed: StoreObserved, *, hashes: bool
    ) -> None:
        self.revision = revision
        self._observed = observed
        self._previous = previous
        self._backend = backend
        self._keep = KeepSet(backend, revision, with_tombstones=True)
        # Records that an interrupted compaction has removed would be missing in a hash.
        self._hash = RecordHash(previous, self._keep) if hashes else None
        self._position = b""
        self._swept = b""
        self._are_records_done = False
        self._end = encode_main(revision + 1)
        self._batch = 0

    @property
    def result(self) -> HashKV | None:
        """The hash of what was there before, once all steps are done."""
        return None if self._hash is None else HashKV(self._hash.value, self._previous, self.revision)

    def step(self, limit: int) -> bool:
        """Look at about `limit` records or entries and remove what is not needed; whether there are more."""
        if not self._are_records_done:
            self._are_records_done = not self._remove_records(limit)
            return True
        return self._sweep(limit)

    def _sweep(self, limit: int) -> bool:
        """Remove older entries of keys whose records are gone; whether there are more."""
        backend = self._backend
        rows = next(backend.pieces(_HISTORY, self._swept, SHORT_KEYS_END, limit), None)
        if rows is None:
            return False
        for row in superseded_entries(backend, rows, self.revision):
            backend.delete(_HISTORY, row)
        last = rows[-1][0]
        # What came later is not looked at: a key that is written all the time would never end.
        self._swept = entries_end(last) if last[-REVISION_BYTES:] >= self._end else last + b"\x00"
        return True

    def _remove_records(self, limit: int) -> bool:
        backend = self._backend
        # Records up to the revision come no more, and those that we remove lie behind us: once all that was
        # there when we began is on disk, what waits in memory need not be looked at.
        if not self._position:
            self._batch = backend.open_batch
        is_stored = backend.flushed_batches > self._batch
        pieces = backend.stored_pieces if is_stored else backend.pieces
        rows = next(pieces(_KEY, self._position, self._end, limit), None)
        if rows is None:
            return False
        kept = self._keep.flags(rows)
        if self._hash is not None:
            self._hash.add(rows, kept)
        for (record, data), flag in zip(rows, kept, strict=True):
            if not flag:
                forget(backend, key_of(data), record[:REVISION_BYTES])
                backend.delete(_KEY, record)
                self._observed.compacted_records += 1
        self._position = rows[-1][0] + b"\x00"
        return True


class Compactor:
    """Compactions asked for, running and done, of one store."""

    def __init__(self, backend: Backend, observed: StoreObserved) -> None:
        self._backend = backend
        self._observed = observed
        self.finished_revision = _stored_revision(backend, FINISHED)
        self._scheduled_revision = max(_stored_revision(backend, SCHEDULED), self.finished_revision)
        self._waiting: list[Compaction] = []
        self._hashes: dict[int, HashKV] = {}
        if self._scheduled_revision > self.finished_revision:
            interrupted = Compaction(
                backend, self._scheduled_revision, self.finished_revision, observed, hashes=False
            )
            self._waiting.append(interrupted)

    @property
    def revision(self) -> int:
        """History before this revision is gone, for readers at least; -1 while all of it is there."""
        return self._scheduled_revision

    @property
    def is_pending(self) -> bool:
        return bool(self._waiting)

    def schedule(self, revision: int) -> None:
        previous = self._scheduled_revision
        assert revision > previous, f"compaction at {revision} after {previous}"
        hashes = not self._waiting
        self._waiting.append(Compaction(self._backend, revision, previous, self._observed, hashes=hashes))
        self._scheduled_revision = revision
        self._backend.put(Bucket.META, SCHEDULED, encode_revision(revision))

    def step(self, limit: int) -> bool:
        """Do a part of what is waiting; whether there is more."""
        if self._waiting and not self._waiting[0].step(limit):
            self._finish(self._waiting.pop(0))
        return bool(self._waiting)

    def hash_at(self, revision: int) -> HashKV | None:
        """The hash taken by the compaction at exactly this revision, if it is remembered."""
        return self._hashes.get(revision)

    @property
    def hashes(self) -> list[HashKV]:
        """The hashes that are remembered, oldest first."""
        return [self._hashes[revision] for revision in sorted(self._hashes)]

    def _finish(self, compaction: Compaction) -> None:
        assert compaction.revision > self.finished_revision, (
            f"compaction at {compaction.revision} ends after that at {self.finished_revision}"
        )
        self.finished_revision = compaction.revision
        self._backend.put(Bucket.META, FINISHED, encode_revision(compaction.revision))
        if compaction.result is not None:
            self._hashes[compaction.revision] = compaction.result
            if len(self._hashes) > HASHES_MAX:
                del self._hashes[min(self._hashes)]


def _stored_revision(backend: Backend, name: bytes) -> int:
    data = backend.get(Bucket.META, name)
    if data is None:
        return NOTHING_COMPACTED
    if len(data) != REVISION_BYTES:
        raise CorruptStore(f"meta/{name.decode()} has {len(data)} bytes instead of {REVISION_BYTES}")
    return main_of(data)
