"""Watches: iterators over the changes of keys that go on by themselves when a member goes away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import grpc

from etcdpy.client.base import Calls
from etcdpy.client.errors import Closed, DeadlineExceeded
from etcdpy.client.keys import Keys, bounds
from etcdpy.client.opening import opens
from etcdpy.client.sides import AsyncSide, PlainSide, both, both_iterate, drive
from etcdpy.client.watch_hub import Batch, Stage, WatchHub
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from etcdpy.client.values import Event


class WatchFlows:
    """What `Watch` and `AsyncWatch` have in common.

    Attributes:
        keys: what is watched.
        revision: all changes up to this one have been given; a new watch from `revision + 1` continues
            this one. 0 until that is known.
    """

    def __init__(self, hub: WatchHub, keys: Keys, request: pb.WatchCreateRequest) -> None:
        self.keys = keys
        self.revision = max(request.start_revision - 1, 0)
        self._hub = hub
        self._state = hub.add(request)
        self._left: list[Event] = []

    @property
    def is_open(self) -> bool:
        """Whether more events may come."""
        return self._state.stage is not Stage.ENDED

    def request_progress(self) -> None:
        """Ask the server how far it is; the answer comes as a batch without events."""
        self._hub.ask_for_progress()

    @both
    async def next_batch(self, timeout: float | None = None) -> Batch:
        """Wait for the next events, which are those of whole revisions.

        Raises:
            TimeoutError: none came within so many seconds.
            CompactedError: the history that the watch needs is gone; events were missed.
            EtcdError: the watch has ended for another reason.
        """
        return await self._next_batch(timeout)

    @both_iterate
    async def batches(self) -> AsyncIterator[Batch]:
        """Iterate over batches, those without events among them, until the watch is closed."""
        while True:
            try:
                batch = await self._next_batch(None)
            except Closed:
                if self._state.error is not None:
                    raise
                return
            yield batch

    def _end(self) -> None:
        self._hub.end(self._state)

    async def _created(self, timeout: float | None) -> None:
        """Wait until the server watches."""
        state = self._state
        if not await state.signal.wait_for(lambda: state.was_created or state.stage is Stage.ENDED, timeout):
            trouble = self._hub.trouble
            self._hub.end(state)
            raise trouble or DeadlineExceeded(
                "the watch was not created in time", grpc.StatusCode.DEADLINE_EXCEEDED
            )
        if state.error is not None and not state.was_created:
            raise state.error
        if not state.batches:
            self.revision = max(self.revision, state.next_revision - 1)

    async def _next_batch(self, timeout: float | None) -> Batch:
        deadline = None if timeout is None else time.monotonic() + timeout
        state = self._state
        while True:
            batch = self._hub.take(state)
            if batch is not None:
                self.revision = max(self.revision, batch.revision)
                return batch
            if state.stage is Stage.ENDED:
                raise state.error or Closed("the watch is closed")
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not await state.signal.wait_for(lambda: state.has_news, left):
                raise TimeoutError(f"no event of {self.keys!r} in {timeout} s")

    async def _next_event(self) -> Event | None:
        """The next event, None at the end."""
        while not self._left:
            try:
                self._left = (await self._next_batch(None)).events[::-1]
            except Closed:
                if self._state.error is not None:
                    raise
                return None
        return self._left.pop()


class Watch(WatchFlows, PlainSide):
    """An iterator over events. Closing it, from any thread, ends the iteration."""

    def close(self) -> None:
        """End the watch."""
        self._end()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        found = drive(self._next_event())
        if found is None:
            raise StopIteration
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWatch(WatchFlows, AsyncSide):
    """An asynchronous iterator over events. Closing it ends the iteration."""

    async def close(self) -> None:
        """End the watch."""
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        found = await self._next_event()
        if found is None:
            raise StopAsyncIteration
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class WatchCalls(Calls):
    """Watching."""

    _watches: WatchHub

    @opens(Watch, AsyncWatch)
    async def watch(
        self,
        keys: Keys,
        *,
        start_revision: int = 0,
        prev_kv: bool = False,
        only: Literal["put", "delete"] | None = None,
        progress_notify: bool = True,
        fragment: bool = True,
    ) -> Watch | AsyncWatch:
        """Watch a key or a range; once this returns, no later change is missed.

        All watches of a client share one stream. When that ends, for whatever reason, they go on at the
        next endpoint behind the last event that was given: none is lost, none comes twice.

        Args:
            start_revision: the first revision of interest; 0 for what happens from now on.
            prev_kv: tell with each event what the key was before.
            only: events of this type.
            progress_notify: have the server say every 10 minutes or so how far it is. A watch without
                events falls behind the compaction without that, and could not go on elsewhere.
            fragment: have large responses sent in pieces; they are joined before anybody sees them.

        Raises:
            CompactedError: from the iteration: the start revision, or the one where it has to go on, is gone.
            PermissionDenied: the user may not read all of it.
            EtcdError: the watch could not be created within the client's timeout.
        """
        return await self._watch(
            keys,
            start_revision=start_revision,
            prev_kv=prev_kv,
            only=only,
            progress_notify=progress_notify,
            fragment=fragment,
        )

    async def _watch(
        self,
        keys: Keys,
        *,
        start_revision: int = 0,
        prev_kv: bool = False,
        only: Literal["put", "delete"] | None = None,
        progress_notify: bool = True,
        fragment: bool = True,
    ) -> Watch | AsyncWatch:
        key, range_end = bounds(keys)
        request = pb.WatchCreateRequest(
            key=key,
            range_end=range_end,
            start_revision=start_revision,
            prev_kv=prev_kv,
            progress_notify=progress_notify,
            fragment=fragment,
        )
        if only is not None:
            unwanted = pb.WatchCreateRequest.NODELETE if only == "put" else pb.WatchCreateRequest.NOPUT
            request.filters.append(unwanted)
        cls: type[Watch | AsyncWatch] = AsyncWatch if isinstance(self, AsyncSide) else Watch
        watch = cls(self._watches, keys, request)
        deadline = self._caller.deadline(self._timeout)
        try:
            await watch._created(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        except BaseException:
            watch._end()
            raise
        return watch
