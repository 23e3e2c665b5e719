"""Locks across processes and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.client.contender import Contender
from etcdpy.client.sides import AsyncSide, PlainSide, both, drive

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class LockFlows(Contender):
    """What `Lock` and `AsyncLock` have in common. A lock is held by one client, not by one thread or task.

    A lock is lost when its lease is: `check` tells. Work that must not happen after that has to ask etcd in
    the same transaction, with `condition` among its conditions.
    """

    @both
    async def acquire(self, timeout: float | None = None) -> bool:
        """Wait until the lock is ours; False if it is not within so many seconds.

        Raises:
            LeaseNotFound, DeadlineExceeded: the lease was lost while we waited.
        """
        return await self._get_turn(b"", self._calls._caller.deadline(timeout))

    @both
    async def release(self) -> None:
        """Give the lock to the next in line. Raises NotHeld."""
        if not self._has_turn:
            self.check()
        await self._leave()


class Lock(LockFlows, PlainSide):
    """A lock, held for the length of a `with` block."""

    def __enter__(self) -> Self:
        drive(self._get_turn(b"", None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._leave())


class AsyncLock(LockFlows, AsyncSide):
    """A lock, held for the length of an `async with` block."""

    async def __aenter__(self) -> Self:
        await self._get_turn(b"", None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
