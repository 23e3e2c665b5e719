"""Writing a frozen batch to LMDB, and the thread that does it.

One batch is one write transaction, synced, and it carries the consistent index: after a crash the database is
at the end of some batch, never inside one. Keys go in sorted, so that neighbours share the pages that
copy-on-write has to copy; the new revisions of KEY are appended behind its last key, which fills its pages to
the brim.

LMDB ties a write transaction to its thread, so all of a batch happens in one thread. py-lmdb gives up the
interpreter lock around every call into LMDB; page copies and the sync run beside the event loop.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import lmdb

from etcdpy.backend.buckets import Bucket
from etcdpy.backend.errors import BackendError
from etcdpy.backend.long_keys import CHUNK, delete_long, put_long

if TYPE_CHECKING:
    from etcdpy.backend.batch import Batch
    from etcdpy.backend.environment import Database
    from etcdpy.backend.observed import BackendObserved

SORT_RUN_KEYS: Final = 1000


def write_batch(database: "Database", batch: "Batch", observed: "BackendObserved") -> None:
    """Write one batch in one synced transaction, or nothing of it."""
    started = perf_counter()
    try:
        with database.env.begin(write=True) as txn:
            for bucket in Bucket:
                values = batch.values[bucket]
                if values:
                    _write_bucket(txn, bucket, database.buckets[bucket], database.tails, values)
            written = perf_counter()
    except lmdb.Error as error:
        raise database.explain(error) from error
    ended = perf_counter()
    observed.writes_s.observe(ended - written)
    observed.commits_s.observe(ended - started)


def _write_bucket(
    txn: lmdb.Transaction, bucket: Bucket, db: Any, tails: Any, values: dict[bytes, bytes | None]
) -> None:
    rows: list[tuple[bytes, bytes]] = []
    for key in in_order(values):
        value = values[key]
        if len(key) > CHUNK:
            if value is None:
                delete_long(txn, bucket, db, tails, key)
            else:
                put_long(txn, bucket, db, tails, key, value)
        elif value is None:
            txn.delete(key, db=db)
        else:
            rows.append((key, value))
    if rows:
        put_rows(txn, db, rows)


def put_rows(txn: lmdb.Transaction, db: Any, rows: list[tuple[bytes, bytes]]) -> None:
    """Write rows that are in order; behind all that is there, they fill its pages to the brim."""
    with txn.cursor(db) as cursor:
        ascending = not cursor.last() or rows[0][0] > bytes(cursor.key())
        consumed, added = cursor.putmulti(rows, append=ascending)
        assert consumed == len(rows), f"wrote {consumed} ({added} new) of {len(rows)} rows"


def in_order(keys: Iterable[bytes]) -> list[bytes]:
    """The keys in order, without keeping the interpreter to ourselves for long.

    A sort is one call that nobody else can run beside: ten milliseconds for ten thousand keys in random
    order. Sorting runs of a thousand first leaves for the last call only to merge them.
    """
    iterator = iter(keys)
    runs: list[bytes] = []
    while run := list(islice(iterator, SORT_RUN_KEYS)):
        run.sort()
        runs += run
    runs.sort()
    return runs


Done = Callable[[BackendError | None], None]


class Job:
    """Work for the committer thread, and how it ended."""

    __slots__ = ("done", "error", "run")

    def __init__(self, run: Callable[[], None], done: Done) -> None:
        self.run = run
        self.done = done
        self.error: BackendError | None = None


class Committer:
    """A thread that runs one job after the other and reports each back through `call_soon`."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._jobs: SimpleQueue[Job | Event | None] = SimpleQueue()
        self._worker = Thread(target=self._run, name="backend-committer", daemon=True)
        self._worker.start()

    def submit(self, run: Callable[[], None], done: Done) -> Job:
        """Run it after everything submitted before; then `done` with its error, on the loop thread."""
        job = Job(run, done)
        self._jobs.put(job)
        return job

    def drain(self) -> None:
        """Wait until all that was submitted has been run."""
        idle = Event()
        self._jobs.put(idle)
        idle.wait()

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._jobs.put(None)
        self._worker.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, Event):
                job.set()
                continue
            try:
                job.run()
            except BackendError as error:
                job.error = error
            self._report(job)

    def _report(self, job: Job) -> None:
        self._call_soon(lambda: job.done(job.error))
