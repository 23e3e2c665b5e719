"""Clients that watch everything, and move to another member when theirs dies or when they feel like it.

Each must hear every change once, in order, whoever told it: a watch that goes on from the next revision
misses nothing and repeats nothing, across crashes, slow receivers and snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.mvcc.revision import TOMBSTONE_MARK, encode_revision
from etcdpy.proto.kv_pb2 import Event
from etcdpy.proto.rpc_pb2 import WatchResponse
from etcdpy.testing.checkers import Violation

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from etcdpy.mvcc.watch_contract import Watcher
    from etcdpy.mvcc.watch_events import EncodedEvents
    from etcdpy.testing.checkers import StoreChecker
    from etcdpy.testing.clock import SimClock
    from etcdpy.testing.machine import Process

FIRST_REVISION = 2
ALL_KEYS = b"\0"
MOVES = 0.1


class WatchClient:
    """One watcher of all keys. Implements `WatchSink`.

    Args:
        pick: gives a running member, or None.
        refusals: share of the deliveries that it has no room for.
    """

    def __init__(
        self,
        clock: SimClock,
        chance: random.Random,
        stores: StoreChecker,
        pick: Callable[[], Process | None],
        refusals: float,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._stores = stores
        self._pick = pick
        self._refusals = refusals
        self._process: Process | None = None
        self._watcher: Watcher | None = None
        self.heard = FIRST_REVISION - 1
        """The last revision that it knows wholly."""

    def look_after(self, _: object = None) -> None:
        """Now and then: see whether the member is still there, and find one if not."""
        process, watcher = self._process, self._watcher
        if process is None or watcher is None or not process.alive:
            self._begin()
        elif self._chance.random() < MOVES:
            process.member.state.hub.cancel(watcher)
            self._begin()
        self._clock.later(0.1 + 0.5 * self._chance.random(), self.look_after)

    def _begin(self) -> None:
        self._process, self._watcher = self._pick(), None
        if self._process is not None:
            hub = self._process.member.state.hub
            self._watcher = hub.watch(ALL_KEYS, ALL_KEYS, self.heard + 1, watch_id=1, sink=self)

    # The sink.

    def deliver(self, watcher: Watcher, revision: int, events: EncodedEvents) -> bool:
        """Take the events and look at each, or refuse them."""
        if self._chance.random() < self._refusals:
            self._clock.later(0.2 * self._chance.random(), self._resume, self._process)
            return False
        for event in WatchResponse.FromString(events.data).events:
            self._hear(event)
        return True

    def _resume(self, process: Process | None) -> None:
        if process is not None and process.alive and process is self._process:
            process.member.state.hub.resume(self)

    def _hear(self, event: Event) -> None:
        revision = event.kv.mod_revision
        if revision != self.heard + 1:
            raise Violation(f"a watcher that has heard revision {self.heard} is told of {revision}")
        # Every request of our clients changes one key, so a revision is one event.
        is_delete = event.type == Event.DELETE
        record = encode_revision(revision) + (TOMBSTONE_MARK if is_delete else b"")
        stored = self._stores.records.get(record)
        told = event.kv.key if is_delete else event.kv.SerializeToString()
        if stored is None or (told not in stored if is_delete else told != stored):
            raise Violation(f"a watcher is told {event} at revision {revision}, which is {stored!r}")
        self.heard = revision

    def compacted(self, watcher: Watcher, compact_revision: int) -> None:
        """Nobody compacts here."""
        raise Violation(f"a watcher at {self.heard} is told of a compaction at {compact_revision}")

    def progress(self, watcher: Watcher, revision: int) -> None:
        """Everything up to here must have been heard."""
        if revision > self.heard:
            raise Violation(f"a watcher that has heard {self.heard} is told that {revision} is past")
