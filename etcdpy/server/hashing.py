"""Hashes without stopping everything else: a few milliseconds at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from etcdpy.backend import BackendError
from etcdpy.mvcc import HashAllJob, MvccError
from etcdpy.server.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.backend import Backend, Reader
    from etcdpy.mvcc import HashKV
    from etcdpy.server.member import Member

    Done = Callable[[HashKV | None, Exception | None], None]

STEP_S = 0.003

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """A hash in the making."""

    @property
    def result(self) -> T_co:
        """The hash, once there are no more steps."""

    def step(self) -> bool:
        """Do a millisecond's work; whether there is more."""


class Hashing:
    """Hashes of one member's keys. `later` calls back after other work has had its turn."""

    def __init__(self, member: Member, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._member = member
        self._later = later

    def hash_kv(self, revision: int, done: Done) -> None:
        """HashKV at a revision, 0 for the present one; `done` with it, or with what is wrong.

        Nothing is older than a negative revision, so it is not compacted either, and etcd hashes nothing.
        """
        store, backend = self._member.state.store, self._member.state.backend
        revision = revision or store.revision
        remembered = store.compaction_hash(revision)
        if remembered is not None:
            done(remembered, None)
            return

        try:
            if revision > 0:
                store.check_revision(revision)
        except MvccError as error:
            done(None, error)
            return
        self._begin(backend, lambda view: store.hash_kv_job(view, revision), done)

    def hash(self, done: Callable[[int | None, Exception | None], None]) -> None:
        """Hash of everything that snapshots carry."""
        self._begin(self._member.state.backend, HashAllJob, done)

    def _begin(
        self,
        backend: Backend,
        make_job: Callable[[Reader], Job[T]],
        done: Callable[[T | None, Exception | None], None],
    ) -> None:
        def flushed() -> None:
            if self._member.state.backend is not backend:
                done(None, Stopped())
                return
            view = backend.view()
            try:
                job = make_job(view)
            except MvccError as error:
                view.close()
                done(None, error)
                return
            self._step(job, view, done)

        try:
            backend.flush(flushed)
        except BackendError as error:
            done(None, error)

    def _step(self, job: Job[T], view: Reader, done: Callable[[T | None, Exception | None], None]) -> None:
        backend = self._member.state.backend

        def step() -> None:
            if self._member.state.backend is not backend:
                done(None, Stopped())  # a snapshot has taken its place, and closed the view
                return
            until = time.perf_counter() + STEP_S
            try:
                while job.step():
                    if time.perf_counter() >= until:
                        self._later(0, step)
                        return
            except MvccError as error:
                view.close()
                done(None, error)
                return
            view.close()
            done(job.result, None)

        step()
