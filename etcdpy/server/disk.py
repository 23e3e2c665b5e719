"""The WAL thread: saves what raft says must be on disk, one batch after another.

The loop hands over a job and goes on; the thread writes, syncs, and reports back through the loop's
thread-safe door. Nobody else touches the log while a job is under way, so the log needs no lock. A
failed write is final: the log has lost its place, and whatever follows it could be acknowledged
without being there. The failure is reported for this job and all later ones.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]
    Done = Callable[[Exception | None], None]


class Disk(Protocol):
    """What the driver needs of a disk; the simulator brings its own."""

    def submit(self, job: Job, done: Done) -> None:
        """Run `job` after all jobs before it; then call `done` on the loop thread, with the error if
        it failed.
        """

    def close(self) -> None:
        """Finish what was submitted."""


class WalThread:
    """`Disk` on a thread of its own."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="etcdpy-wal", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            if self._failure is None:
                try:
                    job()
                except Exception as error:  # noqa: BLE001  # reported to the member, which stops serving
                    self._failure = error
            self._call_soon(_reporter(done, self._failure))


def _reporter(done: Done, failure: Exception | None) -> Callable[[], None]:
    return lambda: done(failure)
