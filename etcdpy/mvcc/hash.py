"""Hashes by which members compare what they store.

`HashKV` at revision R is the CRC-32C of the records of the KEY bucket up to R, without those that a member
may or may not have removed already: of the records up to the compacted revision only the ones count that are
needed to read at R (the *keep set*). So two members with equal histories agree, however far each of them is
with its compaction.

A hash reads everything that is stored. `HashKVJob` does it in steps over a fixed view, so that requests can
go on in between.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from google_crc32c import extend

from etcdpy.backend import ETCD_BUCKETS, NAMES, Bucket
from etcdpy.backend.buckets import CONSISTENT_INDEX, TERM
from etcdpy.mvcc.key_index import TOMBSTONE_BYTES, Row, Rows
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.links import entry_at, is_superseded
from etcdpy.mvcc.revision import REVISION_BYTES, encode_main, is_tombstone, main_of

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value

# Records between two chances for others to run: about a millisecond.
STEP_ROWS: Final = 512

# Written differently by members that hold the same data.
STORAGE_VERSION: Final = b"storageVersion"
_NOT_HASHED: Final = frozenset({CONSISTENT_INDEX, TERM, STORAGE_VERSION})


class HashKV(NamedTuple):
    """A hash, the compacted revision under which it was taken, and the revision it stands for."""

    hash: int
    compact_revision: int
    revision: int


def hash_bucket_name(bucket: Bucket) -> int:
    """What the hash of a bucket begins with."""
    value: int = extend(0, NAMES[bucket])
    return value


class KeepSet:
    """The records needed to read at one revision: of each key the newest one, unless it is a tombstone.

    With `with_tombstones` a tombstone of exactly this revision belongs to the set, as it does for compaction.
    """

    def __init__(self, rows: Rows, revision: int, *, with_tombstones: bool) -> None:
        self._rows = rows
        self._revision = revision
        self._with_tombstones = with_tombstones
        self._empty: bool | None = None

    def flags(self, records: list[Row]) -> list[bool]:
        """For each record of the KEY bucket, none newer than the revision, whether it belongs to the set."""
        newest = self._rows.get_many(_INDEX, [key_of(data) for _, data in records])
        return [
            # Most records are the newest of their key, and are no tombstones (whose keys are longer).
            (entry is not None and entry[:REVISION_BYTES] == row[0]) or self._keeps(row[0], entry)
            for row, entry in zip(records, newest, strict=True)
        ]

    def _keeps(self, record: bytes, newest: bytes | None) -> bool:
        if is_tombstone(record) and not (self._with_tombstones and main_of(record) == self._revision):
            return False
        if newest is None:
            # The record with which a restore raises the revision has no key, and nothing ever replaces it.
            return True
        return not is_superseded(self._rows, newest, record[:REVISION_BYTES], self._revision)

    @property
    def is_empty(self) -> bool:
        """An empty keep set means to etcd's hashes that no record is left out."""
        if self._empty is None:
            self._empty = not any(
                self._is_needed(newest) for _, newest in self._rows.items(_INDEX, b"", None)
            )
        return self._empty

    def _is_needed(self, newest: bytes) -> bool:
        entry = entry_at(self._rows, newest, self._revision)
        if entry is None:
            return False
        if len(entry) != TOMBSTONE_BYTES:
            return True
        return self._with_tombstones and main_of(entry) == self._revision


class RecordHash:
    """The rule by which records enter a HashKV, for a given compacted revision and keep set."""

    def __init__(self, compact_revision: int, keep: KeepSet) -> None:
        self.value = hash_bucket_name(Bucket.KEY)
        self._compact_revision = compact_revision
        self._compacted = encode_main(max(compact_revision, 0) + 1)
        self._keep = keep

    def add(self, rows: list[Row], kept: list[bool] | None = None) -> None:
        """Take the next records in; `kept` are the flags of the keep set, if they are known."""
        if rows[0][0] < self._compacted:
            kept = kept or self._keep.flags(rows)
            rows = [row for row, flag in zip(rows, kept, strict=True) if self._takes(row[0], flag)]
        self.value = extend(self.value, b"".join([part for row in rows for part in row]))

    def _takes(self, record: bytes, kept: bool) -> bool:
        if record >= self._compacted:
            return True
        if not kept and not self._keep.is_empty:
            return False
        return not (is_tombstone(record) and main_of(record) == self._compact_revision)


class HashKVJob:
    """HashKV of one revision over a fixed view."""

    def __init__(self, view: Rows, revision: int, compact_revision: int) -> None:
        self.revision = revision
        self.compact_revision = compact_revision
        self._records = RecordHash(compact_revision, KeepSet(view, revision, with_tombstones=False))
        self._steps = self._run(view)

    @property
    def result(self) -> HashKV:
        return HashKV(self._records.value, self.compact_revision, self.revision)

    def step(self) -> bool:
        """Do a millisecond's work; whether there is more."""
        return next(self._steps, None) is not None

    def _run(self, view: Rows) -> Iterator[int]:
        if self.revision < 0:
            return
        for rows in view.pieces(_KEY, b"", encode_main(self.revision + 1)):
            for start in range(0, len(rows), STEP_ROWS):
                self._records.add(rows[start : start + STEP_ROWS])
                yield start


class HashAllJob:
    """Maintenance.Hash over a fixed view: all of etcd's buckets."""

    def __init__(self, view: Rows) -> None:
        self.result = 0
        self._steps = self._run(view)

    def step(self) -> bool:
        """Do a millisecond's work; whether there is more."""
        return next(self._steps, None) is not None

    def _run(self, view: Rows) -> Iterator[int]:
        for bucket in ETCD_BUCKETS:
            self.result = extend(self.result, NAMES[bucket])
            for rows in view.pieces(bucket, b"", None):
                if bucket is Bucket.META:
                    rows = [row for row in rows if row[0] not in _NOT_HASHED]
                for start in range(0, len(rows), STEP_ROWS):
                    some = rows[start : start + STEP_ROWS]
                    self.result = extend(self.result, b"".join([part for row in some for part in row]))
                    yield start
