"""HashKV without stopping everything else: a few milliseconds at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from etcdpy.backend import BackendError
from etcdpy.mvcc import MvccError
from etcdpy.server.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.backend import Reader
    from etcdpy.mvcc import HashKV, HashKVJob
    from etcdpy.server.member import Member

    Done = Callable[[HashKV | None, Exception | None], None]

STEP_S = 0.003


class Hashing:
    """Hashes of one member's keys. `later` calls back after other work has had its turn."""

    def __init__(self, member: Member, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._member = member
        self._later = later

    def hash_kv(self, revision: int, done: Done) -> None:
        """HashKV at a revision, 0 for the present one; `done` with it, or with what is wrong."""
        store, backend = self._member.state.store, self._member.state.backend
        revision = revision or store.revision
        remembered = store.compaction_hash(revision)
        if remembered is not None:
            done(remembered, None)
            return

        def flushed() -> None:
            view = backend.view()
            try:
                job = store.hash_kv_job(view, revision)
            except MvccError as error:
                view.close()
                done(None, error)
                return
            self._step(job, view, done)

        try:
            store.check_revision(revision)
            backend.flush(flushed)
        except (MvccError, BackendError) as error:
            done(None, error)

    def _step(self, job: HashKVJob, view: Reader, done: Done) -> None:
        backend = self._member.state.backend

        def step() -> None:
            if self._member.state.backend is not backend:
                done(None, Stopped())  # a snapshot has taken its place, and closed the view
                return
            until = time.perf_counter() + STEP_S
            while job.step():
                if time.perf_counter() >= until:
                    self._later(0, step)
                    return
            view.close()
            done(job.result, None)

        step()
