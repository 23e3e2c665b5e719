"""The member's database: ordered buckets of bytes, written now and on disk soon.

Three layers, looked at from the top: the *open* batch takes all writes; the *frozen* batch is being written
by the committer thread; LMDB holds the rest. `flush` freezes the open batch. When its transaction is on disk,
the loop thread drops the frozen batch and moves its read transaction forward in one step, so no reader ever
sees a write twice or not at all.

The write-ahead log, not this room, is what makes a write durable: `set_consistent` names the last raft entry
whose effects are in the open batch, a flush writes that number in the same transaction, and a member that
starts again asks the log for what follows.

All calls come from one thread (the committer's are our own). Iterators must be used up before the next call
that writes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self

import lmdb

from etcdpy.backend.batch import Batch
from etcdpy.backend.buckets import CONSISTENT_INDEX, TERM, Bucket
from etcdpy.backend.committer import Committer, Job, write_batch
from etcdpy.backend.defragment import Copy
from etcdpy.backend.environment import MAP_BYTES, Database, remove_file
from etcdpy.backend.errors import BackendCorrupt, BackendError, translate
from etcdpy.backend.long_keys import CHUNK, Row
from etcdpy.backend.observed import BackendObserved
from etcdpy.backend.reader import Reader

# Above this many waiting operations the disk is too slow for the writers, and somebody should slow them down.
OVERLOAD_OPERATIONS: Final = 400_000

# Writes to keys all over a large store cost a page or two each, the fewer the more of them are in one batch.
# So the committer rests for so many times as long as a batch has taken it, within bounds: after a crash, that
# much more of the log is applied again.
PAUSE_RATIO: Final = 4
PAUSE_S_MAX: Final = 0.25
OPERATIONS_MAX: Final = 100_000

# What an interrupted defragmentation leaves behind.
COPY_SUFFIX: Final = ".tmp"

# Told from every stored value, `None` included, by identity.
_MISSING: Final = bytes(bytearray(b"missing"))

CallSoon = Callable[[Callable[[], None]], object]
DefragmentDone = Callable[[BackendError | None], None]


def _ignore(_error: BackendError) -> None:
    """Nobody asked to be told: the next flush will raise."""


class Backend:
    """Buckets over LMDB with two batches of writes in front."""

    def __init__(
        self,
        path: Path,
        *,
        batch_interval_s: float,
        batch_operations_max: int,
        map_bytes: int,
        sync: bool,
        call_soon: CallSoon | None,
        on_failure: Callable[[BackendError], None],
        observed: BackendObserved | None = None,
    ) -> None:
        self.path = path
        self.observed = BackendObserved() if observed is None else observed
        self.batch_interval_s = batch_interval_s
        self.batch_operations_max = batch_operations_max
        self._map_bytes = map_bytes
        self._on_failure = on_failure
        self._failure: BackendError | None = None
        self._closed = False
        self._open = Batch()
        self._frozen = Batch()
        self._flushing = False
        self._flush_job: Job | None = None
        self._copy: Copy | None = None
        self._copy_started = 0.0
        self._defragmentations: list[DefragmentDone] = []
        self._pages_in_use: int | None = None  # counted when somebody asks, once for each flush
        self._waiting: list[Callable[[], None]] = []
        self._flushed_at = 0.0
        self._pause_s = 0.0
        self._frozen_batches = 0
        self.flushed_batches = 0
        """Batches that are on disk."""
        self._use(Database(path, map_bytes, sync=sync))
        try:
            self.consistent_index = self._stored_number(CONSISTENT_INDEX)
            self.consistent_term = self._stored_number(TERM)
        except BackendCorrupt:
            self._detach()
            raise
        self._copy_path = path.with_name(path.name + COPY_SUFFIX)
        remove_file(self._copy_path)
        self._flushed_index = self.consistent_index
        self._committer = None if call_soon is None else Committer(call_soon)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        batch_interval_s: float = 0.1,
        batch_operations_max: int = 10_000,
        map_bytes: int = MAP_BYTES,
        sync: bool = True,
        call_soon: CallSoon | None = None,
        on_failure: Callable[[BackendError], None] = _ignore,
        observed: BackendObserved | None = None,
    ) -> Self:
        """Open or create the file.

        Args:
            sync: whether flushes are synced. A file that nobody needs before it is complete is filled much
                faster without, and made to last by `sync` at the end; a crash before that leaves no database.
            call_soon: without it there is no thread, and `flush` writes at once.
            on_failure: told when nothing can be written any more.
        """
        return cls(
            path,
            batch_interval_s=batch_interval_s,
            batch_operations_max=batch_operations_max,
            map_bytes=map_bytes,
            sync=sync,
            call_soon=call_soon,
            on_failure=on_failure,
            observed=observed,
        )

    def close(self) -> None:
        """Write what is waiting, then release the file. A backend that failed only releases it."""
        if self._closed:
            return
        if self._failure is None:
            self.flush_sync()
        self.abandon()

    def abandon(self) -> None:
        """Release the file without writing the open batch: what a crash leaves behind."""
        if self._closed:
            return
        self._closed = True
        if self._committer is not None:
            self._committer.close()
        if self._copy is not None:
            self._copy.close()
        self._detach()

    def _detach(self) -> None:
        self._reader.close()
        self._database.close()

    # ---- reads and writes

    def get(self, bucket: int, key: bytes) -> bytes | None:
        value = self._open_values[bucket].get(key, _MISSING)
        if value is _MISSING:
            value = self._frozen_values[bucket].get(key, _MISSING)
            if value is _MISSING:
                if 0 < len(key) <= CHUNK:
                    # The same as Reader.get, without the call: this line is in the path of every request.
                    value = self._read(key, None, self._dbs[bucket])
                else:
                    value = self._reader.get(bucket, key)
        return value

    def get_many(self, bucket: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of many keys; cheapest when the batches hold none of them."""
        open_values, frozen_values = self._open_values[bucket], self._frozen_values[bucket]
        if not open_values and not frozen_values:
            return self._reader.get_many(bucket, keys)
        return [self.get(bucket, key) for key in keys]

    def put(self, bucket: int, key: bytes, value: bytes) -> None:
        assert key, "a key has at least one byte"
        self._open_values[bucket][key] = value

    def delete(self, bucket: int, key: bytes) -> None:
        self._open_values[bucket][key] = None

    def items(self, bucket: int, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        """Keys and values of [start, end) in key order; no `end`: to the last key."""
        for rows in self.pieces(bucket, start, end):
            yield from rows

    def pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]:
        """The same as `items` in lists, for callers that want to stay out of a loop per row."""
        changed = self._changed_keys(bucket, start, end)
        if not changed:
            yield from self._reader.pieces(bucket, start, end, first_rows)
            return
        low = 0
        for rows in self._reader.pieces(bucket, start, end, first_rows):
            # Changed keys behind the last row of this piece belong to a later one.
            high = bisect_right(changed, rows[-1][0], low)
            if high > low:
                merged = self._merged(bucket, rows, changed[low:high])
                low = high
                if merged:
                    yield merged
            else:
                yield rows
        rest = self._merged(bucket, [], changed[low:])
        if rest:
            yield rest

    def stored_pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[Row]]:
        """As `pieces`, of what is on disk: see `open_batch`."""
        return self._reader.pieces(bucket, start, end, first_rows)

    def value_pieces(
        self, bucket: int, start: bytes, end: bytes | None, first_rows: int = 0
    ) -> Iterator[list[bytes]]:
        """Only the values, in lists: half the price, unless a key of the range was changed since a flush."""
        if self._changed_keys(bucket, start, end):
            for rows in self.pieces(bucket, start, end, first_rows):
                yield [value for _, value in rows]
        else:
            yield from self._reader.value_pieces(bucket, start, end, first_rows)

    def floor(self, bucket: int, start: bytes, end: bytes) -> Row | None:
        """The last row of [start, end). For buckets without long keys."""
        found: Row | None = None
        for row in self._reader.descend(bucket, start, end):
            value = self.get(bucket, row[0])
            if value is not None:
                found = (row[0], value)
                break
        for batch in (self._frozen, self._open):
            for key in reversed(batch.overlays[bucket].keys(start, end)):
                if found is not None and key <= found[0]:
                    break
                value = self.get(bucket, key)
                if value is not None:
                    found = (key, value)
                    break
        return found

    def last(self, bucket: int) -> Row | None:
        """The last row of a bucket without long keys."""
        return self.floor(bucket, b"", b"\xff" * CHUNK)

    # ---- batches

    def set_consistent(self, index: int, term: int) -> None:
        """The open batch now holds the effects of all raft entries up to `index`."""
        self.consistent_index = index
        self.consistent_term = term

    @property
    def open_batch(self) -> int:
        """The number of batches before the one that is open now: what is written now is on disk when
        `flushed_batches` is higher.
        """
        return self._frozen_batches

    @property
    def pending_operations(self) -> int:
        """Operations that are not on disk yet."""
        return self._open.operations + self._frozen.operations

    @property
    def failure(self) -> BackendError | None:
        """Why nothing can be written any more; None while all is well."""
        return self._failure

    @property
    def is_flushing(self) -> bool:
        return self._flushing

    @property
    def is_overloaded(self) -> bool:
        """The disk is far behind the writers."""
        return self.pending_operations > OVERLOAD_OPERATIONS

    def should_flush(self, now: float) -> bool:
        """Whether it is time to flush: enough operations, or something to write and the interval is over.

        A disk that is slow or has much to do gets longer pauses and larger batches.
        """
        if self._flushing or self._failure is not None:
            return False
        operations = self._open.operations
        since = now - self._flushed_at
        if operations >= self.batch_operations_max and since >= self._pause_s:
            self._flushed_at = now
            return True
        if since < max(self.batch_interval_s, self._pause_s) and operations < OPERATIONS_MAX:
            return False
        self._flushed_at = now
        return operations > 0 or self.consistent_index != self._flushed_index

    def flush(self, done: Callable[[], None] | None = None) -> None:
        """Hand everything written so far to the committer; `done` is called once it is on disk.

        While an earlier batch is being written the call is remembered, and answered by the flush that
        follows.
        """
        if self._failure is not None:
            raise self._failure
        if self._flushing:
            self._waiting.append(done or _nothing)
            return
        self._freeze()
        answers = [done] if done is not None else []
        frozen, write = self._frozen, self._writer()
        if self._committer is None:
            self._write_here(answers)
        else:
            self._flush_job = self._committer.submit(
                lambda: write(frozen), lambda error: self._flushed(frozen, answers, error)
            )

    def _writer(self) -> Callable[[Batch], None]:
        """What brings a batch to disk now: into the database, and into a copy of it that is being made."""
        database, copy, observed = self._database, self._copy, self.observed

        def write(batch: Batch) -> None:
            began = perf_counter()
            write_batch(database, batch, observed)
            self._pause_s = min(PAUSE_RATIO * (perf_counter() - began), PAUSE_S_MAX)
            if copy is not None:
                copy.follow(batch)

        return write

    def flush_sync(self) -> None:
        """Write everything before returning. For shutdown, tools and tests: the caller waits for the disk."""
        if self._failure is not None:
            raise self._failure
        answers, self._waiting = self._waiting, []
        if self._committer is not None:
            self._committer.drain()
        if self._flushing:
            # The thread was at the frozen batch and will report through a loop that may no longer run.
            # Whoever takes the batch down first, this call or the report, the other one finds nothing left to
            # do.
            assert self._flush_job is not None, "only the committer leaves a flush unfinished"
            self._flushed(self._frozen, [], self._flush_job.error)
            if self._failure is not None:
                raise self._failure
        self._freeze()
        self._write_here(answers)

    def sync(self) -> None:
        """Make all flushes so far last, where they were not synced."""
        try:
            self._database.env.sync(True)
        except lmdb.Error as error:
            raise translate(error) from error

    def _write_here(self, answers: list[Callable[[], None]]) -> None:
        try:
            self._writer()(self._frozen)
        except BackendError as error:
            self._flushed(self._frozen, [], error)
            raise
        self._flushed(self._frozen, answers, None)

    def _freeze(self) -> None:
        assert not self._flushing, "one batch is written at a time"
        self._frozen = self._open
        self._frozen_values = self._frozen.values
        self._open = Batch()
        self._open_values = self._open.values
        self._frozen.seal(self.consistent_index, self.consistent_term)
        self._flushing = True
        self._frozen_batches += 1

    def _flushed(self, batch: Batch, answers: list[Callable[[], None]], error: BackendError | None) -> None:
        if batch is self._frozen and self._flushing:
            self._flushing = False
            if error is not None:
                self._fail(error)
                return
            self._flushed_index = batch.consistent_index or self._flushed_index
            self.flushed_batches = self._frozen_batches
            self._frozen = Batch()
            self._frozen_values = self._frozen.values
            self._reader.close()
            self._renew_reader()
        _call_all(answers)
        self._flush_for_waiting()

    def _flush_for_waiting(self) -> None:
        if self._waiting and not self._flushing and not self._closed and self._failure is None:
            waiting, self._waiting = self._waiting, []
            self.flush(lambda: _call_all(waiting))

    def _fail(self, error: BackendError) -> None:
        """Nothing will be written any more."""
        self._failure = error
        self._on_failure(error)

    # ---- defragmentation

    def defragment(self, done: DefragmentDone) -> None:
        """Write the rows anew into a fresh file, in order and page by page full, and go on with that one.

        Reads and writes go on meanwhile, see `Copy`. `done(error)` is called on the loop thread. Views that
        are open keep the old file until they are closed.
        """
        if self._failure is not None:
            done(self._failure)
            return
        self._defragmentations.append(done)
        if self._copy is None:
            self._begin_copy()

    def give_up_copy(self) -> None:
        """Stop a defragmentation: after this call the name of the file is free for another database."""
        if self._copy is not None:
            self._copy.cancel()
            if self._committer is not None:
                self._committer.drain()

    def _begin_copy(self) -> None:
        self._copy_started = perf_counter()
        self.observed.defragmenting = 1
        self._copy = copy = Copy(self._database, self.path, self._copy_path, self._map_bytes)
        if self._committer is not None:
            self._committer.submit(copy.step, self._copied)
            return
        try:
            while not copy.is_placed:
                copy.step()
        except BackendError as failure:
            self._copied(failure)
        else:
            self._copied(None)

    def _copied(self, error: BackendError | None) -> None:
        """A step of the copy has ended."""
        copy = self._copy
        assert copy is not None, "a step of no copy"
        if self._closed:
            error = error or BackendError("the backend was closed while it was copied")
        elif error is None:
            error = self._failure
        if error is None and not copy.is_placed:
            assert self._committer is not None, "a copy in one go ends at once"
            self._committer.submit(copy.step, self._copied)
            return
        if error is None:
            self._exchange(copy.database)
        elif not self._closed:
            copy.close()
            if copy.is_placed:
                self._fail(error)
        self._copy = None
        self.observed.defragmenting = 0
        self.observed.defragments_s.observe(perf_counter() - self._copy_started)
        done = self._defragmentations.pop(0)
        if self._defragmentations and not self._closed and self._failure is None:
            self._begin_copy()
        done(error)

    def _exchange(self, database: Database) -> None:
        """Read and write the copy from now on. It has all that the old file has, whatever is under way."""
        old = self._database
        self._reader.close()
        self._use(database)
        if self._committer is None:
            old.retire()
        else:  # the thread may still be writing to it, and unmapping much takes a while
            self._committer.submit(old.retire, _ignore_end)

    # ---- the environment

    @property
    def size_in_use_bytes(self) -> int:
        """Bytes of the file that hold data; the rest is free for later writes."""
        if self._pages_in_use is None:
            self._pages_in_use = self._reader.pages_in_use()
        return self._pages_in_use * self._database.page_bytes

    @property
    def open_readers(self) -> int:
        """Open read transactions."""
        return self._database.open_readers

    def view(self) -> Reader:
        """A fixed view of what is on disk. Flush first if the latest writes matter; close it after use."""
        return self._database.view()

    def entries(self, bucket: int) -> int:
        """Rows of a bucket on disk (the batches are not counted)."""
        return self._reader.entries(bucket)

    def _use(self, database: Database) -> None:
        """Read and write this database from now on."""
        self._database = database
        self._dbs: list[Any] = database.buckets
        self._open_values = self._open.values
        self._frozen_values = self._frozen.values
        self._renew_reader()

    def _renew_reader(self) -> None:
        self._pages_in_use = None
        self._reader = self._database.reader()
        self._read = self._reader.read
        # Bytes of the file. Asked for with every write that a quota has to allow, so not asked of LMDB each
        # time.
        self.size_bytes = self._database.size_bytes

    def _stored_number(self, key: bytes) -> int:
        value = self._reader.get(Bucket.META, key)
        if value is not None and len(value) != 8:
            raise BackendCorrupt(f"meta/{key.decode()} has {len(value)} bytes instead of 8")
        return 0 if value is None else int.from_bytes(value, "big")

    def _changed_keys(self, bucket: int, start: bytes, end: bytes | None) -> list[bytes]:
        changed = self._open.overlays[bucket].keys(start, end)
        frozen = self._frozen.overlays[bucket].keys(start, end)
        if frozen:
            changed = sorted({*changed, *frozen}) if changed else frozen
        return changed

    def _merged(self, bucket: int, rows: list[Row], changed: list[bytes]) -> list[Row]:
        """`rows` with the newer values of the changed keys, which all lie between them."""
        if not changed:
            return rows
        frozen, latest = self._frozen_values[bucket], self._open_values[bucket]
        merged: dict[bytes, bytes | None] = dict(rows)
        stored = len(merged)
        for key in changed:
            value = latest.get(key, _MISSING)
            merged[key] = frozen[key] if value is _MISSING else value
        if len(merged) == stored:
            return [(key, value) for key, value in merged.items() if value is not None]
        return [(key, value) for key in sorted(merged) if (value := merged[key]) is not None]


def _nothing() -> None:
    """The answer of a flush that nobody waits for."""


def _ignore_end(_error: BackendError | None) -> None:
    """Nobody waits for the old file to be closed."""


def _call_all(answers: list[Callable[[], None]]) -> None:
    for answer in answers:
        answer()
