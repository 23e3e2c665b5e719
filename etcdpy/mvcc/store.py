"""The multi-version store: every change of every key since the last compaction, by revision.

`Store` joins what the other modules know. The record of all changes is the KEY bucket, ordered by revision;
INDEX and LINKS find a key in it. The current revision is the last record's, so opening a store reads three
records, whatever its size.

Everything here is called from the thread that applies raft entries, and is deterministic: the same entries
give the same bytes.
"""

from collections.abc import Iterator
from typing import Final

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc.compaction import Compactor
from etcdpy.mvcc.errors import Compacted, FutureRevision
from etcdpy.mvcc.event import Event
from etcdpy.mvcc.hash import HashAllJob, HashKV, HashKVJob
from etcdpy.mvcc.history import PastEvent, events_between
from etcdpy.mvcc.key_counts import SEGMENT_KEYS_MAX, KeyCounts
from etcdpy.mvcc.key_index import TOMBSTONE_BYTES, KeyMeta, Row, Rows, attachments, decode_meta
from etcdpy.mvcc.observed import StoreObserved
from etcdpy.mvcc.ranges import RangeResult, Ranges, Values, bound, without_values
from etcdpy.mvcc.relink import relink
from etcdpy.mvcc.revision import main_of
from etcdpy.mvcc.shared_ranges import SharedRanges
from etcdpy.mvcc.txn import WriteTxn

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value


class Store:
    """Keys, values and their history over one backend."""

    def __init__(
        self,
        backend: Backend,
        *,
        segment_keys_max: int = SEGMENT_KEYS_MAX,
        observed: StoreObserved | None = None,
    ) -> None:
        self.backend = backend
        self.observed = StoreObserved() if observed is None else observed
        self._compactor = Compactor(backend, self.observed)
        self.compact_revision = self._compactor.revision
        relink(backend, self.compact_revision)
        last = backend.last(_KEY)
        self.revision = max(1, self.compact_revision, 0 if last is None else main_of(last[0]))
        self._values = Values(backend)
        self.counts = KeyCounts(backend, segment_keys_max)
        self._ranges = Ranges(backend, self.counts)
        self.shared = SharedRanges()
        """Answers that were made of this store and still hold; every write tells it what it has changed."""
        self._txn: WriteTxn | None = None

    # ---- reads

    def current(self, key: bytes) -> KeyMeta | None:
        """What is known of a live key without its value."""
        self.observed.ranges += 1
        entry = self.backend.get(_INDEX, key)
        return None if entry is None or len(entry) == TOMBSTONE_BYTES else decode_meta(entry)

    def get(self, key: bytes) -> bytes | None:
        """The current KeyValue of a key."""
        self.observed.ranges += 1
        entry = self.backend.get(_INDEX, key)
        if entry is None or len(entry) == TOMBSTONE_BYTES:
            return None
        return self._values.read(entry)

    def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
        metas: bool = False,
        keys_max: int = 0,
        bytes_max: int = 0,
        is_piece: bool = False,
    ) -> RangeResult:
        """The keys of [key, range_end) in key order, at most `limit` of them; `count` is not limited.

        An empty range_end means one key, a single zero byte all keys from `key` on. More keys or bytes than
        `keys_max` and `bytes_max` (0: any number) raise RangeTooLarge. Of a piece of a large
        answer nobody needs `count`, and its values are not kept at hand.
        """
        current = self.revision
        if revision > 0:
            try:
                self.check_revision(revision)
            except (Compacted, FutureRevision):
                self.observed.ranges += 1
                raise
            # Inside a transaction the newest entries may be ahead of `current`, and the history has to
            # answer.
            at = 0 if revision == current and self._txn is None else revision
        else:
            at = 0
        if not range_end and not (at or count_only or keys_only or metas):
            data = self.get(key)
            return RangeResult([], 0, current) if data is None else RangeResult([data], 1, current)
        self.observed.ranges += 1
        if count_only:
            return RangeResult([], self._count(key, range_end, at), current)
        if keys_only or at or not range_end:
            rows, count = self._rows(key, range_end, at, limit, keys_max, not is_piece)
            entries = [entry for _, entry in rows]
            if keys_only:
                kvs = without_values(rows)
            else:
                kvs = self._values.read_many(entries, bytes_max, kept=not is_piece)
        else:
            entries, count = self._ranges.entries(key, bound(key, range_end), limit, keys_max)
            kvs = self._values.read_many(entries, bytes_max, kept=not is_piece)
        return RangeResult(kvs, count, current, list(map(decode_meta, entries)) if metas else [])

    def live_rows(self, key: bytes, range_end: bytes) -> list[Row]:
        """Keys and index entries of all live keys of a range."""
        return self._rows(key, range_end, 0, 0)[0]

    def _rows(
        self,
        key: bytes,
        range_end: bytes,
        at: int,
        limit: int,
        keys_max: int = 0,
        counted: bool = True,
    ) -> tuple[list[Row], int]:
        if not range_end:
            rows = self._ranges.one(key, at)
            return rows, len(rows)
        end = bound(key, range_end)
        if at:
            return self._ranges.rows_at(key, end, limit, at, keys_max, counted)
        return self._ranges.rows(key, end, limit, keys_max)

    def _count(self, key: bytes, range_end: bytes, at: int) -> int:
        if not range_end:
            return len(self._ranges.one(key, at))
        end = bound(key, range_end)
        return self._ranges.count_at(key, end, at) if at else self._ranges.count(key, end)

    def check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision(f"revision {revision} is ahead of {self.revision}")
        if revision < self.compact_revision:
            raise Compacted(f"revision {revision} is before {self.compact_revision}")

    def get_at(self, key: bytes, revision: int) -> bytes | None:
        """The KeyValue of a key at an older revision; none as well when that is compacted or not reached."""
        if not max(self.compact_revision, 1) <= revision <= self.revision:
            return None
        rows = self._ranges.one(key, revision)
        return self._values.read(rows[0][1]) if rows else None

    def previous(self, event: Event) -> bytes | None:
        """The KeyValue of a key at the revision before an event, unless there was none or it is compacted.

        One transaction may put a key and then delete it; what it put was never there for anybody else.
        """
        if event.create:
            return None
        before = event.previous
        if before is not None and main_of(before) < event.mod_revision > self.compact_revision:
            return self.backend.get(_KEY, before)
        return self.get_at(event.key, event.mod_revision - 1)

    def events_between(self, start_revision: int, end_revision: int) -> Iterator[tuple[int, list[PastEvent]]]:
        """What happened from one revision to another (both included), as far as it is kept."""
        return events_between(self.backend, start_revision, end_revision)

    def attached_leases(self) -> Iterator[tuple[int, bytes]]:
        """All (lease, key) pairs of live keys."""
        return attachments(self.backend)

    # ---- compaction and hashes

    def compact(self, revision: int) -> None:
        """Give up the history before `revision`. Readers see it at once; `compact_step` does the work."""
        if revision <= self.compact_revision:
            raise Compacted(f"revision {revision} is compacted already: {self.compact_revision}")
        if revision > self.revision:
            raise FutureRevision(f"revision {revision} is ahead of {self.revision}")
        self._compactor.schedule(revision)
        self.compact_revision = revision

    def compact_step(self, limit: int = 1000) -> bool:
        """Remove a part of what is compacted; whether there is more to do."""
        return self._compactor.step(limit)

    @property
    def compaction_pending(self) -> bool:
        return self._compactor.is_pending

    @property
    def finished_compact_revision(self) -> int:
        """The last compaction that has removed all it had to."""
        return self._compactor.finished_revision

    @property
    def compaction_hashes(self) -> list[HashKV]:
        """The hashes that the last compactions have left behind, oldest first."""
        return self._compactor.hashes

    def compaction_hash(self, revision: int) -> HashKV | None:
        """The hash that a compaction at exactly this revision has left behind."""
        return self._compactor.hash_at(revision)

    def hash_kv(self, revision: int = 0) -> HashKV:
        """HashKV at once, with everything written to disk first. `hash_kv_job` does the same in steps."""
        remembered = self._compactor.hash_at(revision)
        if remembered is not None:
            return remembered
        self.backend.flush_sync()
        with self.backend.view() as view:
            job = self.hash_kv_job(view, revision or self.revision)
            while job.step():
                pass
            return job.result

    def hash_kv_job(self, view: Rows, revision: int) -> HashKVJob:
        """HashKV in steps, over a view made in this turn that holds all of `revision`.

        To hash the current revision, keep its number, flush, and come here when the flush is done.
        """
        if revision > 0:
            self.check_revision(revision)
        return HashKVJob(view, revision, self.compact_revision)

    def hash(self) -> int:
        """Hash of all of etcd's buckets, at once; `HashAllJob` does the same in steps."""
        self.backend.flush_sync()
        with self.backend.view() as view:
            job = HashAllJob(view)
            while job.step():
                pass
            return job.result

    # ---- writes

    def begin(self) -> WriteTxn:
        """The transaction of one raft entry. One that has written nothing may be dropped without an end."""
        assert self._txn is None or not self._txn.has_written, f"open transaction after {self.revision}"
        self._txn = WriteTxn(self)
        return self._txn

    def finish(self, txn: WriteTxn, revision: int) -> None:
        """The end of a transaction, called by it."""
        assert txn is self._txn, "an end without a begin"
        assert self.revision <= revision <= self.revision + 1, f"from revision {self.revision} to {revision}"
        self.revision = revision
        self._txn = None
