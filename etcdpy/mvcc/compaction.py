"""Forgetting history, in small steps.

Compacting at revision C removes every record with a main revision of at most C but the newest one of each
key, and that one too when it is a tombstone older than C. (A tombstone of exactly C stays until the next
compaction, so that a watch from C still sees it.)

C is compacted as far as readers can tell as soon as it is asked for; the records go in the background.
`scheduledCompactRev` is written with the request and `finishedCompactRev` at the end. Each step decides from
the index and looks only at what is still there, so a member that dies in the middle begins again at the first
record and comes to the same end.

Records and links lie in the order of revisions, so whole pages become free. Of the links up to C nobody needs
one: the newest entry up to C is where every look-up ends.

All records up to C are read on the way, so their hash is taken as well. The last few are remembered: another
member can then be compared with this one at exactly the revision that both compacted.
"""

from typing import Final

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.errors import CorruptStore
from etcdpy.mvcc.hash import HashKV, KeepSet, RecordHash
from etcdpy.mvcc.key_index import Row, forget
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.observed import StoreObserved
from etcdpy.mvcc.revision import REVISION_BYTES, encode_main, encode_revision, main_of

_KEY: Final = Bucket.KEY.value
_LINKS: Final = Bucket.LINKS.value

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
        self._end = encode_main(revision + 1)
        self._batch = 0

    @property
    def result(self) -> HashKV | None:
        """The hash of what was there before, once all steps are done."""
        return None if self._hash is None else HashKV(self._hash.value, self._previous, self.revision)

    def step(self, limit: int) -> bool:
        """Look at about `limit` records and remove what is not needed; whether there are more."""
        rows = self._next_rows(_KEY, limit)
        if rows:
            self._remove_records(rows)
        else:
            rows = self._next_rows(_LINKS, limit)  # links whose records are gone already
        if not rows:
            return False
        position, self._position = self._position, rows[-1][0] + b"\x00"
        for row, _ in self._backend.items(_LINKS, position, self._position):
            self._backend.delete(_LINKS, row)
        return True

    def _next_rows(self, bucket: int, limit: int) -> list[Row]:
        """What is left of a bucket up to the revision, beginning at our place."""
        backend = self._backend
        # Records up to the revision come no more, and those that we remove lie behind us: once all that was
        # there when we began is on disk, what waits in memory need not be looked at.
        if not self._position:
            self._batch = backend.open_batch
        is_stored = backend.flushed_batches > self._batch
        pieces = backend.stored_pieces if is_stored else backend.pieces
        return next(pieces(bucket, self._position, self._end, limit), [])

    def _remove_records(self, rows: list[Row]) -> None:
        kept = self._keep.flags(rows)
        if self._hash is not None:
            self._hash.add(rows, kept)
        for (record, data), flag in zip(rows, kept, strict=True):
            if not flag:
                forget(self._backend, key_of(data), record[:REVISION_BYTES])
                self._backend.delete(_KEY, record)
                self._observed.compacted_records += 1


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
