"""Elections: of those who campaign, one leads, and everybody can see who."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.client import op
from etcdpy.client.contender import Contender
from etcdpy.client.errors import CompactedError, NotHeld
from etcdpy.client.keys import as_bytes, prefix
from etcdpy.client.sides import AsyncSide, PlainSide, both, both_iterate, drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from etcdpy.client.values import KeyValue
    from etcdpy.client.watch_hub import Batch


class ElectionFlows(Contender):
    """What `Election` and `AsyncElection` have in common."""

    @both
    async def campaign(self, value: str | bytes, timeout: float | None = None) -> bool:
        """Wait until we lead; False, and no candidate any more, if we do not within so many seconds.

        Args:
            value: what others shall read about the leader, its address for example.
        """
        return await self._get_turn(as_bytes(value), self._calls._caller.deadline(timeout))

    @both
    async def proclaim(self, value: str | bytes) -> None:
        """Say something else about ourselves, while we lead. Raises NotHeld."""
        self.check()
        assert self._lease is not None
        put = op.put(self._key, value, lease=self._lease.id)
        if not (await self._calls._run(op.txn(self.condition, put))).succeeded:
            raise NotHeld(f"the key {self._key!r} is gone")

    @both
    async def resign(self) -> None:
        """Let the next one lead; nothing happens if we do not lead."""
        await self._leave()

    @both
    async def leader(self) -> KeyValue | None:
        """The key of the leader, None if there is none now."""
        return (await self._calls._run(op.get(prefix(self._prefix), sort_by="create", limit=1))).kv

    @both_iterate
    async def observe(self) -> AsyncIterator[KeyValue]:
        """Iterate over the leaders' keys: the present one's, and each that leads or proclaims later.

        Those who led for so short a time that another one led in the same revision are not seen.
        """
        told = 0
        while True:
            found = await self._calls._run(op.get(prefix(self._prefix)))
            candidates = {kv.key: kv for kv in found.kvs}
            watch = await self._calls._watch(prefix(self._prefix), start_revision=found.header.revision + 1)
            try:
                while True:
                    leader = min(candidates.values(), key=lambda kv: kv.create_revision, default=None)
                    if leader is not None and leader.mod_revision != told:
                        told = leader.mod_revision
                        yield leader
                    _apply(await watch._next_batch(None), candidates)
            except CompactedError:
                continue  # look anew at who is there
            finally:
                watch._end()


def _apply(batch: Batch, candidates: dict[bytes, KeyValue]) -> None:
    for event in batch.events:
        if event.type == "delete":
            candidates.pop(event.key, None)
        else:
            candidates[event.key] = event.kv


class Election(ElectionFlows, PlainSide):
    """An election. Leaving its `with` block resigns."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._leave())


class AsyncElection(ElectionFlows, AsyncSide):
    """An election. Leaving its `async with` block resigns."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
