"""Defragmentation: the rows of all tables written anew, in order, into a fresh file.

LMDB fills a hole only when a page is free from end to end, and its own compacting copy leaves out nothing but
such pages; a store from which nine keys of ten were deleted here and there would hardly shrink. Rows appended
in order fill every page.

Nothing stands still meanwhile. The copy is made in steps of some megabytes, each from the newest state of the
database, and between two steps the committer writes batches as ever. It writes them twice while a copy is in
the making: rows up to the place that the copy has reached go into the copy too, and rows behind it will be
met there. So the copy needs no list of what has changed, and its last step finds it complete.

A step is synced, which also keeps the disk from drowning in pages that all have to be written at the end. The
file gets its place by a rename; a member that dies before finds the old file, one that dies after it the new
one, and both hold all that was ever reported as flushed.
"""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import lmdb

from etcdpy.backend.buckets import Bucket
from etcdpy.backend.committer import in_order, put_rows
from etcdpy.backend.environment import Database, remove_file, replace_file, sync_directory
from etcdpy.backend.errors import BackendError, translate
from etcdpy.backend.long_keys import CHUNK, rows_of

if TYPE_CHECKING:
    from etcdpy.backend.batch import Batch
    from etcdpy.backend.long_keys import Row

# What a step copies at most: a batch that waits for the committer waits some ten milliseconds for it.
STEP_BYTES: Final = 4 << 20
STEP_ROWS: Final = 16_384

# The row after a key: there is none between them.
_AFTER: Final = b"\x00"


class Copy:
    """A database on its way into a fresh file. All but `cancel` and `close` runs in the committer thread."""

    def __init__(self, source: Database, place: Path, path: Path, map_bytes: int) -> None:
        self._source = source
        self._place = place
        self._path = path
        self._map_bytes = map_bytes
        self._made: Database | None = None
        # How far it is: all of the tables before this one, and of this one the rows up to `_last`.
        self._table = 0
        self._last = b""
        self._failure: BackendError | None = None
        self._place_lock = Lock()
        self._is_cancelled = False
        self.is_placed = False

    @property
    def database(self) -> Database:
        """The copy."""
        assert self._made is not None, "no step was made"
        return self._made

    def step(self) -> None:
        """Copy some more; when nothing is left, put the copy in the place of the source.

        Raises:
            BackendError: there will be no copy, and the source is as it was (unless `is_placed`).
        """
        if self._failure is not None:
            raise self._failure
        if self._is_cancelled:
            raise BackendError("the defragmentation was given up")
        if self._made is None:
            remove_file(self._path)
            self._made = Database(self._path, self._map_bytes)
        try:
            more = self._copy_rows()
        except lmdb.Error as error:
            raise translate(error) from error
        if not more:
            self._put_in_place()

    def follow(self, batch: "Batch") -> None:
        """Take in a batch that the source has just got, as far as the copy is.

        Raises:
            BackendError: the copy has taken the place of the source, and cannot be written.
        """
        if self._failure is not None or self._made is None:
            return
        try:
            with self._source.env.begin() as now, self._made.env.begin(write=True) as txn:
                for table, values in enumerate(self._changes(batch, now)):
                    if values:
                        _write_rows(txn, self._made.tables[table], values)
        except lmdb.Error as error:
            self._failure = translate(error)
            if self.is_placed:
                raise self._failure from error

    def cancel(self) -> None:
        """After this call, the copy does not get into place any more. From the loop thread."""
        with self._place_lock:
            self._is_cancelled = True

    def close(self) -> None:
        """Let go of it. While no step is under way."""
        if self._made is not None:
            self._made.close()
        if not self.is_placed:
            remove_file(self._path)

    def _copy_rows(self) -> bool:
        """Copy the rows of one step; whether there may be more."""
        source, made = self._source.tables, self.database
        with self._source.env.begin() as now:
            rows: list[Row] = []
            while not rows and self._table < len(source):
                rows = _rows_after(now, source[self._table], self._last)
                if not rows:
                    self._table, self._last = self._table + 1, b""
        if not rows:
            return False
        with made.env.begin(write=True) as txn:
            put_rows(txn, made.tables[self._table], rows)
        self._last = rows[-1][0]
        return True

    def _put_in_place(self) -> None:
        with self._place_lock:
            if self._is_cancelled:
                raise BackendError("the defragmentation was given up")
            try:
                replace_file(self._path, self._place)
                self.is_placed = True
                sync_directory(self._place.parent)
            except OSError as error:
                raise BackendError(f"cannot put a copy in the place of {self._place}: {error}") from error

    def _changes(self, batch: "Batch", now: Any) -> list[dict[bytes, bytes | None]]:
        """What a batch changes in each table of what is copied already."""
        tables = self._source.tables
        changes: list[dict[bytes, bytes | None]] = [{} for _ in tables]
        for bucket in Bucket:
            for key, value in batch.values[bucket].items():
                if len(key) <= CHUNK:
                    if self._has(bucket, key):
                        changes[bucket][key] = value
                    continue
                for in_tails, row in rows_of(bucket, key):
                    table = len(tables) - 1 if in_tails else bucket.value
                    if self._has(table, row):
                        changes[table][row] = now.get(row, None, tables[table])
        return changes

    def _has(self, table: int, key: bytes) -> bool:
        return table < self._table or (table == self._table and key <= self._last)


def _rows_after(txn: Any, db: Any, key: bytes) -> "list[Row]":
    """The rows behind a key, as many as make a step."""
    rows: list[Row] = []
    with txn.cursor(db) as cursor:
        if not (cursor.set_range(key + _AFTER) if key else cursor.first()):
            return rows
        size = 0
        for key, value in cursor.iternext():
            rows.append((key, value))
            size += len(value)
            if size >= STEP_BYTES or len(rows) >= STEP_ROWS:
                break
    return rows


def _write_rows(txn: lmdb.Transaction, db: Any, values: dict[bytes, bytes | None]) -> None:
    rows: list[Row] = []
    for key in in_order(values):
        value = values[key]
        if value is None:
            txn.delete(key, db=db)
        else:
            rows.append((key, value))
    if rows:
        put_rows(txn, db, rows)
