"""Saving what raft says must be on disk: at once where the disk is quick, in a thread where it is not.

A good disk syncs in less time than it takes to hand a job to a thread and back, and then the loop
may as well wait: it waits for a tenth of a millisecond, once for a whole batch of requests. A slow
disk would stop every read for as long as it takes, so as soon as a save has taken long, those that
follow go to the WAL thread, until it has been quick for a while again.

Nobody else touches the log while a job is under way, so the log needs no lock. A failed write is
final: the log has lost its place, and whatever follows it could be acknowledged without being
there. The failure is reported for this job and all later ones.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]
    Done = Callable[[Exception | None], None]

# While saves take longer than this on average, the thread does them.
QUICK_S = 0.000_5
# Saves that the average looks back on, about. One that takes 100 times the bound keeps the thread busy for
# some 75 saves.
AVERAGE_OVER = 16


class Disk(Protocol):
    """What the driver needs of a disk; the simulator brings its own."""

    def submit(self, job: Job, done: Done) -> bool:
        """Run `job` after all jobs before it.

        True when it has been run: `done` will not be called. Otherwise `done` is called later, on
        the loop thread, with the error if it failed.
        """

    def close(self) -> None:
        """Finish what was submitted."""


class WalThread:
    """`Disk` on the loop thread and on a thread of its own.

    Args:
        call_soon: calls back on the loop thread, from any thread.
        quick_s: saves up to this long may be waited for; 0 always uses the thread.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None], *, quick_s: float = QUICK_S) -> None:
        self._call_soon = call_soon
        self._quick_s = quick_s
        self._average_s = 2 * quick_s  # not trusted before it has been seen
        self._under_way = 0
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._worker = threading.Thread(target=self._run, name="etcdpy-wal", daemon=True)
        self._worker.start()

    def submit(self, job: Job, done: Done) -> bool:
        if self._under_way == 0 and self._average_s < self._quick_s and self._failure is None:
            failure = self._do(job)
            if failure is None:
                return True
            self._call_soon(lambda: done(failure))
            return False
        self._under_way += 1
        self._jobs.put((job, done))
        return False

    def close(self) -> None:
        self._jobs.put(None)
        self._worker.join()

    def _do(self, job: Job) -> Exception | None:
        """Run a job on whichever thread this is; the other one has nothing to do meanwhile."""
        started = time.perf_counter()
        try:
            job()
        except Exception as error:  # noqa: BLE001  # reported to the member, which stops serving
            self._failure = error
        took = time.perf_counter() - started
        self._average_s += (took - self._average_s) / AVERAGE_OVER
        return self._failure

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            if self._failure is None:
                self._do(job)
            self._call_soon(self._finisher(done, self._failure))

    def _finisher(self, done: Done, failure: Exception | None) -> Callable[[], None]:
        def finish() -> None:
            self._under_way -= 1
            done(failure)

        return finish
