"""Saving what raft says must be on disk: at once where the disk is quick, in a thread where it is not.

A good disk syncs in less time than it takes to hand a job to a thread and back, and then the loop
may as well wait: it waits for a tenth of a millisecond, once for a whole batch of requests. A slow
disk would stop every read for as long as it takes, so when saves have been slow on average, those that
follow go to the WAL thread. How long they take there says little of the disk, for a thread that comes back
from the disk has to wait for the interpreter; so one save in a while is a probe, and waited for on the loop
again. Probes that find the disk slow become rarer.

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
# Saves that the average looks back on, about.
AVERAGE_OVER = 16
# What one save may weigh in it, as a multiple of the bound: a single hiccup is no slow disk.
OUTLIER = 4
# Between two probes, as long as the thread does the saves.
PROBE_PAUSE_S_MIN = 0.05
PROBE_PAUSE_S_MAX = 5.0


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
        clock: seconds that only grow.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        quick_s: float = QUICK_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._call_soon = call_soon
        self._quick_s = quick_s
        self._clock = clock
        self._average_s = 0.0
        self._is_quick = False  # not trusted before it has been seen
        self._probe_pause_s = PROBE_PAUSE_S_MIN
        self._probe_at = clock()
        self._under_way = 0
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._worker = threading.Thread(target=self._run, name="etcdpy-wal", daemon=True)
        self._worker.start()

    def submit(self, job: Job, done: Done) -> bool:
        if self._under_way == 0 and self._failure is None and self._may_wait():
            failure = self._do_here(job)
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

    def _may_wait(self) -> bool:
        """Whether the loop does the next save: the disk is quick, or it is time to look whether it is."""
        return self._is_quick or (self._quick_s > 0 and self._clock() >= self._probe_at)

    def _do_here(self, job: Job) -> Exception | None:
        began = self._clock()
        failure = self._do(job)
        ended = self._clock()
        took = ended - began
        if self._is_quick:
            self._average_s += (min(took, OUTLIER * self._quick_s) - self._average_s) / AVERAGE_OVER
            if self._average_s >= self._quick_s:
                self._is_quick = False
                self._probe_at = ended + self._probe_pause_s
        elif took < self._quick_s:
            self._is_quick = True
            self._average_s = took
            self._probe_pause_s = max(self._probe_pause_s / 2, PROBE_PAUSE_S_MIN)
        else:
            self._probe_at = ended + self._probe_pause_s
            self._probe_pause_s = min(2 * self._probe_pause_s, PROBE_PAUSE_S_MAX)
        return failure

    def _do(self, job: Job) -> Exception | None:
        """Run a job on whichever thread this is; the other one has nothing to do meanwhile."""
        try:
            job()
        except Exception as error:  # noqa: BLE001  # reported to the member, which stops serving
            self._failure = error
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
