"""Many watches on one stream, and how they go on when the stream ends: the bookkeeping, without a socket.

A watch remembers the first revision that it has not delivered yet. On a new stream it is created from there,
so that nothing is lost; and what lies before that is dropped, so that nothing comes twice. That works because
a server never splits the events of one revision over responses but in fragments, which are joined here before
anybody sees them.

Responses say which watch they belong to by the id that we chose at its creation, but for refusals of a
creation, which may bear -1: creations are answered in their order, so the oldest unanswered one is meant.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

import grpc

from etcdpy.client import rpcs
from etcdpy.client.errors import (
    TEXT_COMPACTED,
    TEXT_PERMISSION_DENIED,
    CompactedError,
    EtcdError,
    WatchEnded,
    error_of,
)
from etcdpy.client.keeper import StreamKeeper
from etcdpy.client.retry import is_token_text
from etcdpy.client.values import Event, event
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.client.caller import Caller, Signal

# A watch whose user is so far behind is ended at the server, and begun again when its user has caught up.
BUFFERED_EVENTS_MAX: Final = 50_000
_PROGRESS_ID: Final = -1
# How Go renders a status within the text of a cancellation.
_STATUS: Final = re.compile(r"rpc error: code = (\w+) desc = (.*)", re.DOTALL)
_CODES: Final = {code.name.replace("_", "").lower(): code for code in grpc.StatusCode}


@dataclass(slots=True)
class Batch:
    """Events of one or more whole revisions, in order; `revision` is the newest that is covered.

    One without events tells that there are none up to there.
    """

    revision: int
    events: list[Event]


class Stage(Enum):
    """How far a watch is with the server."""

    ASKED = "to be created, or its creation not answered yet"
    OPEN = "the server sends its events"
    PARKED = "ended at the server until its user has caught up"
    ENDED = "over"


@dataclass(slots=True, eq=False)
class WatchState:
    """One watch: what was asked for, how far it is, and what waits for its user."""

    request: pb.WatchCreateRequest
    signal: Signal
    next_revision: int
    """The first revision not delivered yet; 0 until the server has said what "from now" means."""
    stage: Stage = Stage.ASKED
    was_created: bool = False
    error: EtcdError | None = None
    batches: deque[Batch] = field(default_factory=deque)
    buffered_events: int = 0
    watch_id: int = 0
    fragments: list[Event] = field(default_factory=list)

    @property
    def has_news(self) -> bool:
        """Whether its user need not wait."""
        return bool(self.batches) or self.stage is Stage.ENDED


class WatchHub(StreamKeeper[pb.WatchRequest, pb.WatchResponse]):
    """All watches of a client. Public methods take the guard themselves."""

    def __init__(self, caller: Caller, *, buffered_events_max: int = BUFFERED_EVENTS_MAX) -> None:
        super().__init__(caller, rpcs.WATCH, "watch")
        self._buffered_events_max = buffered_events_max
        self._watches: dict[WatchState, None] = {}
        self._by_id: dict[int, WatchState] = {}
        self._unanswered: deque[int] = deque()
        self._last_id = 0

    # For watches.

    def add(self, request: pb.WatchCreateRequest) -> WatchState:
        """Begin a watch. Raises Closed."""
        with self.guard:
            signal = self.caller.transport.signal(self.guard)
            watch = WatchState(request, signal, request.start_revision)
            self._watches[watch] = None
            try:
                self.start()
            except EtcdError:
                del self._watches[watch]
                raise
            self._ask(watch)
            return watch

    def end(self, watch: WatchState) -> None:
        """Its user has enough of it."""
        with self.guard:
            if watch.stage is not Stage.ENDED:
                self._leave_server(watch)
                self._over(watch, None)
                self.stop_if_idle()

    def take(self, watch: WatchState) -> Batch | None:
        """The next batch, None if there is none now."""
        with self.guard:
            if not watch.batches:
                return None
            batch = watch.batches.popleft()
            watch.buffered_events -= len(batch.events)
            if watch.stage is Stage.PARKED and not watch.batches:
                self._ask(watch)
            return batch

    def ask_for_progress(self) -> None:
        """Have the server say how far the stream is."""
        with self.guard:
            self.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    # Hooks of the stream.

    def has_work(self) -> bool:
        return bool(self._watches)

    def opened(self) -> None:
        self._by_id.clear()
        self._unanswered.clear()
        for watch in self._watches:
            if watch.stage is not Stage.PARKED:
                self._ask(watch)

    def failed(self, error: EtcdError) -> None:
        for watch in list(self._watches):
            self._over(watch, error)

    def received(self, response: pb.WatchResponse) -> None:
        if response.created:
            watch = self._answered()
        elif response.watch_id == _PROGRESS_ID and not response.canceled:
            self._progress(response.header.revision)
            return
        else:
            watch = self._by_id.get(response.watch_id)
        if watch is None or watch.stage in (Stage.ENDED, Stage.PARKED):
            return  # the last words of a watch that we have ended
        if response.canceled:
            self._cancelled(watch, response)
        elif response.created:
            self._created(watch, response.header.revision)
        else:
            self._events(watch, response)

    # Creation and end.

    def _ask(self, watch: WatchState) -> None:
        self._last_id += 1
        watch.watch_id = self._last_id
        watch.stage = Stage.ASKED
        watch.fragments = []
        request = pb.WatchCreateRequest()
        request.CopyFrom(watch.request)
        request.start_revision, request.watch_id = watch.next_revision, watch.watch_id
        self._by_id[watch.watch_id] = watch
        self._unanswered.append(watch.watch_id)
        self.send(pb.WatchRequest(create_request=request))

    def _answered(self) -> WatchState | None:
        return self._by_id.get(self._unanswered.popleft()) if self._unanswered else None

    def _created(self, watch: WatchState, revision: int) -> None:
        self.token_works()
        watch.stage = Stage.OPEN
        watch.was_created = True
        if watch.next_revision == 0:
            watch.next_revision = revision + 1
        watch.signal.notify()

    def _cancelled(self, watch: WatchState, response: pb.WatchResponse) -> None:
        reason = response.cancel_reason
        # Of a watch, etcd 3.5 says of a token that it has forgotten what it says of one without permission.
        is_about_token = is_token_text(reason) or (
            self.doubts_token and reason.endswith(TEXT_PERMISSION_DENIED)
        )
        if is_about_token and self.replace_token():
            return
        del self._by_id[watch.watch_id]
        if response.compact_revision:
            self._over(
                watch,
                CompactedError(
                    reason or TEXT_COMPACTED,
                    grpc.StatusCode.OUT_OF_RANGE,
                    compact_revision=response.compact_revision,
                ),
            )
        else:
            self._over(watch, reason_of(reason))
        self.stop_if_idle()

    def _leave_server(self, watch: WatchState) -> None:
        if self._by_id.pop(watch.watch_id, None) is not None:
            self.send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch.watch_id)))

    def _over(self, watch: WatchState, error: EtcdError | None) -> None:
        watch.stage, watch.error = Stage.ENDED, error
        self._watches.pop(watch, None)
        watch.signal.notify()

    # Events.

    def _events(self, watch: WatchState, response: pb.WatchResponse) -> None:
        watch.fragments += self._new_events(watch, response)
        if response.fragment:
            return
        events, watch.fragments = watch.fragments, []
        if response.events and not events:
            return  # all of it had come before
        # With events, the header tells of the whole store, of which more may still be on their way.
        revision = events[-1].revision if events else response.header.revision
        watch.next_revision = max(watch.next_revision, revision + 1)
        self._deliver(watch, Batch(revision, events))

    def _new_events(self, watch: WatchState, response: pb.WatchResponse) -> Iterable[Event]:
        return [event(one) for one in response.events if one.kv.mod_revision >= watch.next_revision]

    def _progress(self, revision: int) -> None:
        """An answer to `ask_for_progress`. Before 3.5.8 it could overtake events of the same stream, so it
        is told, but nothing is skipped on its word.
        """
        for watch in self._watches:
            if watch.stage is Stage.OPEN:
                self._deliver(watch, Batch(revision, []))

    def _deliver(self, watch: WatchState, batch: Batch) -> None:
        watch.batches.append(batch)
        watch.buffered_events += len(batch.events)
        if watch.buffered_events > self._buffered_events_max:
            self._leave_server(watch)
            watch.stage = Stage.PARKED
        watch.signal.notify()


def reason_of(text: str) -> EtcdError:
    """The error for the reason of a cancellation."""
    status = _STATUS.fullmatch(text)
    if status is None:
        return WatchEnded(text or "the server has ended the watch")
    return error_of(_CODES.get(status[1].lower(), grpc.StatusCode.UNKNOWN), status[2])
