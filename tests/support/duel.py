"""Plays one sequence of calls on two servers and stops at the first answer that differs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from etcdpy.proto import rpc_pb2 as pb

from .answers import comparable, short_text
from .client import Client, Refusal
from .sequence import (
    STREAMS,
    Action,
    Ask,
    KeepAlive,
    Sequence,
    Settle,
    WatchCancel,
    WatchCreate,
    WatchProgress,
)
from .watching import WatchFault, Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.proto import kv_pb2

    from .server import Server
    from .watching import WatchLog

ARRIVAL_SECONDS_MAX = 15.0
HASHES_AT_END = 40


class Mismatch(AssertionError):
    """The two servers answered differently; the text says where, to what, and how to see it again."""


@dataclass
class Side:
    """One of the two servers."""

    name: str
    client: Client
    watching: Watching


class Duel:
    """One sequence on two servers, in lock-step: each call goes to both before the next is chosen."""

    def __init__(self, reference: Server, candidate: Server, seed: int) -> None:
        self._seed = seed
        self._step = 0
        self._sequence = Sequence(random.Random(seed))
        self._left, self._right = (self._open(server) for server in (reference, candidate))
        self.counts: dict[str, int] = {}
        self.refusals = 0

    @staticmethod
    def _open(server: Server) -> Side:
        client = Client(server.endpoint)
        return Side(server.kind.name, client, Watching(client, STREAMS, ARRIVAL_SECONDS_MAX))

    def play(self, steps: int) -> None:
        for self._step in range(1, steps + 1):
            self._perform(self._sequence.next())
        self._finish()

    def close(self) -> None:
        for side in (self._left, self._right):
            side.watching.close()
            side.client.close()

    def _perform(self, action: Action) -> None:
        self.counts[label_of(action)] = self.counts.get(label_of(action), 0) + 1
        match action:
            case Ask(request):
                self._ask(request)
            case KeepAlive(lease):
                self._compare(action, lambda side: side.client.keep_alive(lease))
            case WatchCreate():
                self._watch_create(action)
            case WatchCancel(stream, watch_id):
                self._compare(action, lambda side: side.watching.cancel(stream, watch_id))
                self._forget(stream, watch_id)
            case WatchProgress(stream):
                self._compare(action, lambda side: side.watching.progress(stream), required=True)
            case Settle():
                self._settle()

    def _ask(self, request: Message) -> None:
        answer = self._compare(request, lambda side: side.client.outcome(request))
        if isinstance(answer, Refusal):
            self.refusals += 1
            return
        self._sequence.note_revision(revision_of(answer))
        self._sequence.note_success(request)

    def _compare(
        self,
        asked: object,
        ask: Callable[[Side], Message | Refusal | None],
        *,
        required: bool = False,
    ) -> Message | Refusal | None:
        """Ask both; the reference's answer, which the other's equals."""
        left, right = ask(self._left), ask(self._right)
        if left is None and right is None and not required:
            return None
        if left is None or right is None:
            raise self._mismatch(asked, left, right)
        request = asked if isinstance(asked, Message) else None
        try:
            same = comparable(request, left) == comparable(request, right)
        except AssertionError as error:  # an answer is wrong in itself
            raise self._mismatch(asked, left, right) from error
        if not same:
            raise self._mismatch(asked, left, right)
        return left

    def _watch_create(self, action: WatchCreate) -> None:
        logs: dict[str, WatchLog | None] = {}

        def create(side: Side) -> Message | None:
            response, logs[side.name] = side.watching.create(action.stream, action.request)
            return response

        self._compare(action, create, required=True)
        log = logs[self._left.name]
        if log is None:
            return
        if 0 < action.request.start_revision < self._sequence.known.compacted:
            # Ended by a compaction, it still has its number: it answers one cancel request, and until then a
            # stream with such a watch reports no progress in later releases.
            self._compare(action, lambda side: self._canceled(side, logs[side.name]), required=True)
            cancel = WatchCancel(action.stream, log.watch_id)
            self._compare(
                cancel, lambda side: side.watching.cancel(cancel.stream, cancel.watch_id), required=True
            )
            self._forget(cancel.stream, cancel.watch_id)
            return
        self._sequence.note_watch(action.stream, log.watch_id, action.request)

    @staticmethod
    def _canceled(side: Side, log: WatchLog | None) -> Message | None:
        return None if log is None else side.watching.canceled(log)

    def _forget(self, stream: int, watch_id: int) -> None:
        for side in (self._left, self._right):
            if (stream, watch_id) in side.watching.logs:
                side.watching.forget(stream, watch_id)
        self._sequence.note_watch_gone(stream, watch_id)

    def _settle(self) -> None:
        """Wait for all that is due on both sides and compare what is new, watch by watch."""
        compared = len(self._left.watching.history)
        for side in (self._left, self._right):
            try:
                side.watching.settle(self._sequence.known.revision)
            except WatchFault as error:
                raise Mismatch(f"{self._where()}\n{side.name}: {error}") from error
        self._same_events(
            "the witness", self._left.watching.history[compared:], self._right.watching.history[compared:]
        )
        for place, left in self._left.watching.logs.items():
            right = self._right.watching.logs[place]
            self._same_events(
                f"watch {place} {{ {left.request} }}",
                left.events[left.compared :],
                right.events[left.compared :],
            )
            left.compared = len(left.events)

    def _same_events(self, whose: str, left: list[kv_pb2.Event], right: list[kv_pb2.Event]) -> None:
        if left == right:
            return
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            if one != other:
                raise self._mismatch(f"{whose}, new event {number} of {len(left)}", one, other)
        raise Mismatch(f"{self._where()}\n{whose}: {len(left)} events and {len(right)}")

    def _finish(self) -> None:
        """Everything has arrived; then all keys, all leases, and the hash of many revisions."""
        self._settle()
        known = self._sequence.known
        lowest = max(known.compacted + 1, 1)
        spread = range(lowest, known.revision + 1, max(1, (known.revision - lowest) // HASHES_AT_END))
        for revision in spread:
            self._ask(pb.HashKVRequest(revision=revision))
            self._ask(pb.RangeRequest(key=b"\x00", range_end=b"\x00", revision=revision))
        self._ask(pb.LeaseLeasesRequest())
        for lease in sorted(known.leases):
            self._ask(pb.LeaseTimeToLiveRequest(ID=lease, keys=True))

    def _mismatch(
        self, asked: object, left: Message | Refusal | None, right: Message | Refusal | None
    ) -> Mismatch:
        return Mismatch(
            f"{self._where()}\n"
            f"request: {type(asked).__name__} {{ {asked} }}\n"
            f"{self._left.name}: {short_text(left)}\n{self._right.name}: {short_text(right)}"
        )

    def _where(self) -> str:
        return (
            f"seed {self._seed}, step {self._step}; steps 1 to {self._step} show it again: "
            f"pytest tests/differential --seed={self._seed} --steps={self._step}"
        )


def revision_of(answer: Message | None) -> int:
    """The revision in the header that every answer of KV, Lease and Maintenance carries."""
    header = getattr(answer, "header", None)
    assert isinstance(header, pb.ResponseHeader), f"no header in {short_text(answer)}"
    return header.revision


def label_of(action: Action) -> str:
    return type(action.request).__name__ if isinstance(action, Ask) else type(action).__name__
