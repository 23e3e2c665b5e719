"""Saving what raft says must be on disk: at once where the disk is quick, in a thread where it is not.

A good disk syncs in less time than it takes to hand a job to a thread and back, and then the loop
may as well wait: it waits for a tenth of a millisecond, once for a whole batch of requests. A slow
disk would stop every read for as long as it takes, so when saves have been slow on average, those that
follow go to the WAL thread. How long they take there says little of the disk, for a thread that comes back
from the disk has to wait for the interpreter; so one save in a while is a probe, and waited for on the loop
again. Probes that find the disk slow become rarer.

A batch of many entries means that there is much else to do meanwhile. It is written at once and synced by
the kernel while the loop goes on (`server.kernel_sync`), where the kernel does that; during the sync the
next batch gathers, and the one before is applied.

Nobody else touches the log while a job is under way, so the log needs no lock. A failed write is
final: the log has lost its place, and whatever follows it could be acknowledged without being
there. The failure is reported for this job and all later ones.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

from etcdpy.server.storage import LogWrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.server.kernel_sync import KernelSync

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
# So many entries in one save come from callers enough to keep the loop busy during a sync.
SHARED_ENTRIES_MIN = 8


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
        kernel: syncs without a thread; None where the kernel does not do that.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        quick_s: float = QUICK_S,
        clock: Callable[[], float] = time.perf_counter,
        kernel: KernelSync | None = None,
    ) -> None:
        self._call_soon = call_soon
        self._quick_s = quick_s
        self._clock = clock
        self._average_s = 0.0
        self._is_quick = False  # not trusted before it has been seen
        self._probe_pause_s = PROBE_PAUSE_S_MIN
        self._probe_at = clock()
        self._kernel = kernel
        self._behind_kernel: list[tuple[Job, Done]] = []  # to be done after what the kernel is at
        self._under_way = 0
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._worker = threading.Thread(target=self._run, name="etcdpy-wal", daemon=True)
        self._worker.start()

    def submit(self, job: Job, done: Done) -> bool:
        if self._kernel is not None and self._kernel.is_busy:
            self._under_way += 1
            self._behind_kernel.append((job, done))
            return False
        if self._under_way == 0 and self._failure is None:
            may_wait = self._is_quick or (self._quick_s > 0 and self._clock() >= self._probe_at)
            shared_min = SHARED_ENTRIES_MIN if may_wait else 1
            if self._kernel is not None and isinstance(job, LogWrite) and job.synced_entries >= shared_min:
                return self._told(self._begin(self._kernel, job, done), done)
            if may_wait:
                self._do_here(job)
                return self._told(True, done)
        self._under_way += 1
        self._jobs.put((job, done))
        return False

    def _told(self, is_done: bool, done: Done) -> bool:
        """What `submit` says of a job that was begun on the loop, with a failure to come later."""
        failure = self._failure
        if failure is None:
            return is_done
        self._call_soon(lambda: done(failure))
        return False

    def close_kernel(self) -> None:
        """Wait for what the kernel is at, and do without it from now on. Before `close`, on the loop."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()

    def close(self) -> None:
        self._jobs.put(None)
        self._worker.join()

    def _begin(self, kernel: KernelSync, job: LogWrite, done: Done) -> bool:
        """Write now and let the kernel sync; whether that is done already, because the kernel will not."""

        def write() -> None:
            descriptor, began = job.begin(), self._clock()

            def synced(error: OSError | None) -> None:
                self._do(lambda: job.end(self._clock() - began, error))
                self._after_kernel(done)

            if kernel.start(descriptor, synced):
                self._under_way += 1
            else:
                self.close_kernel()
                job.sync()

        self._do(write)
        return self._kernel is None

    def _after_kernel(self, done: Done) -> None:
        self._under_way -= 1
        behind, self._behind_kernel = self._behind_kernel, []
        for item in behind:
            self._jobs.put(item)
        done(self._failure)

    def _do_here(self, job: Job) -> None:
        began = self._clock()
        self._do(job)
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

    def _do(self, job: Job) -> None:
        """Run a job on whichever thread this is; the other one has nothing to do meanwhile."""
        try:
            job()
        except Exception as error:  # noqa: BLE001  # reported to the member, which stops serving
            self._failure = error

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
