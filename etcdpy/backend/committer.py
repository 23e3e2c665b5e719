"""Writing a frozen batch to LMDB, and the thread that does it.

One batch is one write transaction, synced, and it carries the consistent index: after a crash the database is
at the end of some batch, never inside one. Keys go in sorted, so that neighbours share the pages that
copy-on-write has to copy; the new revisions of KEY are appended behind its last key, which fills its pages to
the brim.

LMDB ties a write transaction to its thread, so all of a batch happens in one thread. py-lmdb gives up the
interpreter lock around every call into LMDB; page copies and the sync run beside the event loop.
"""

import logging
import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

import lmdb

from etcdpy.backend.buckets import Bucket
from etcdpy.backend.errors import BackendCorrupt, BackendError, BackendFull
from etcdpy.backend.long_keys import CHUNK, delete_long, put_long

if TYPE_CHECKING:
    from etcdpy.backend.batch import Batch

SORT_RUN_KEYS: Final = 1000

logger = logging.getLogger(__name__)


def write_batch(env: lmdb.Environment, dbs: list[Any], tails: Any, batch: "Batch") -> None:
    """Write one batch in one synced transaction, or nothing of it."""
    try:
        with env.begin(write=True) as txn:
            for bucket in Bucket:
                values = batch.values[bucket]
                if values:
                    _write_bucket(txn, bucket, dbs[bucket], tails, values)
    except lmdb.Error as error:
        raise translate(error) from error


def _write_bucket(
    txn: lmdb.Transaction, bucket: Bucket, db: Any, tails: Any, values: dict[bytes, bytes | None]
) -> None:
    rows: list[tuple[bytes, bytes]] = []
    for key in _sorted(values):
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
        with txn.cursor(db) as cursor:
            ascending = not cursor.last() or rows[0][0] > bytes(cursor.key())
            consumed, added = cursor.putmulti(rows, append=ascending)
            assert consumed == len(rows), f"{bucket.name}: wrote {consumed} ({added} new) of {len(rows)} rows"


def _sorted(keys: Iterable[bytes]) -> list[bytes]:
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


def write_copy(env: lmdb.Environment, target: Path) -> None:
    """A compact copy of the database, on disk when this returns."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            env.copyfd(descriptor, compact=True)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except lmdb.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise BackendFull(f"cannot write {target}: {error}") from error


def translate(error: lmdb.Error) -> BackendError:
    """LMDB's exception as one of this room."""
    if isinstance(error, (lmdb.MapFullError, lmdb.TxnFullError, lmdb.DiskError)):
        return BackendFull(str(error))
    corrupt = (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.PageNotFoundError,
        lmdb.PanicError,
        lmdb.VersionMismatchError,
        lmdb.IncompatibleError,
    )
    return BackendCorrupt(str(error)) if isinstance(error, corrupt) else BackendError(str(error))


Done = Callable[[BackendError | None], None]


class Committer:
    """A thread that runs one job after the other and reports each back through `call_soon`."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._jobs: SimpleQueue[tuple[Callable[[], None], Done | None] | None] = SimpleQueue()
        self._last_error: BackendError | None = None
        self._thread = Thread(target=self._run, name="backend-committer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], done: Done) -> None:
        self._jobs.put((job, done))

    def drain(self) -> BackendError | None:
        """Wait until all that was submitted is done, and return the error of the last job if it had one."""
        idle = Event()
        errors: list[BackendError | None] = []

        def take_note() -> None:
            errors.append(self._last_error)
            idle.set()

        self._jobs.put((take_note, None))
        idle.wait()
        return errors[0]

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, done = entry
            error: BackendError | None = None
            try:
                job()
            except BackendError as caught:
                logger.error("backend: cannot write: %s", caught)
                error = caught
            if done is not None:
                self._last_error = error
                self._report(done, error)

    def _report(self, done: Done, error: BackendError | None) -> None:
        self._call_soon(lambda: done(error))
