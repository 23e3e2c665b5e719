"""What the watches of one server have delivered, watch by watch.

How many responses a server cuts its events into is its own affair, so only the sequence of events is kept
for each watch. When is a watch complete? A *witness* watches everything from revision 1; from its history
follows which events any other watch must have seen by now, and `settle` waits for exactly that many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from .client import Client, WatchStream

NOPUT, NODELETE = pb.WatchCreateRequest.NOPUT, pb.WatchCreateRequest.NODELETE


class WatchFault(AssertionError):
    """A promise that holds for every single server was broken, or something did not arrive."""


class WatchLog:
    """The events of one watch, read from its stream after the created response."""

    def __init__(self, stream: WatchStream, created_at: int, request: pb.WatchCreateRequest) -> None:
        created = stream.responses[created_at]
        self.stream = stream
        self.watch_id = created.watch_id
        self.request = request
        self.start_revision = request.start_revision or created.header.revision + 1
        self.events: list[kv_pb2.Event] = []
        self.canceled: pb.WatchResponse | None = None
        self.expected = 0
        self.compared = 0
        self._position = created_at + 1

    def read(self) -> None:
        """Take in what has arrived since the last call."""
        while self._position < len(self.stream.responses) and self.canceled is None:
            response = self.stream.responses[self._position]
            self._position += 1
            if response.watch_id != self.watch_id or response.created:
                continue
            if response.canceled:
                self.canceled = response
            self._check(response)
            self.events.extend(response.events)

    def _check(self, response: pb.WatchResponse) -> None:
        """In order; and no revision in two responses, unless fragments were asked for."""
        revisions = [event.kv.mod_revision for event in response.events]
        if revisions != sorted(revisions):
            raise WatchFault(f"watch {self.watch_id}: revisions not in order: {revisions}")
        if revisions and revisions[-1] > response.header.revision:
            raise WatchFault(
                f"watch {self.watch_id}: event {revisions[-1]} after header {response.header.revision}"
            )
        last = self.events[-1].kv.mod_revision if self.events else 0
        if revisions and not self.request.fragment and revisions[0] <= last:
            raise WatchFault(f"watch {self.watch_id}: revision {revisions[0]} after {last} was delivered")

    def matches(self, event: kv_pb2.Event) -> bool:
        """Must this watch see the event?"""
        dropped = NOPUT if event.type == kv_pb2.Event.PUT else NODELETE
        return (
            event.kv.mod_revision >= self.start_revision
            and dropped not in self.request.filters
            and in_interval(event.kv.key, self.request.key or b"\x00", self.request.range_end)
        )


class Watching:
    """All watch streams of one server."""

    def __init__(self, client: Client, streams: int, seconds_max: float) -> None:
        self.streams = [client.watch_stream() for _ in range(streams)]
        self.logs: dict[tuple[int, int], WatchLog] = {}
        self._seconds_max = seconds_max
        self._witness = client.watch_stream()
        everything = pb.WatchCreateRequest(key=b"\x00", range_end=b"\x00", start_revision=1)
        self._witness.create(key=b"\x00", range_end=b"\x00", start_revision=1)
        if not self._witness.wait(lambda: len(self._witness.responses) > 0, seconds_max):
            raise WatchFault("the witness was not created")
        self._history = WatchLog(self._witness, 0, everything)

    @property
    def history(self) -> list[kv_pb2.Event]:
        return self._history.events

    def create(
        self, stream: int, request: pb.WatchCreateRequest
    ) -> tuple[pb.WatchResponse | None, WatchLog | None]:
        """The created response (None: it never came), and the log of the watch if there is one now."""
        watch_stream = self.streams[stream]
        before = len(watch_stream.responses)
        watch_stream.create(**{field.name: value for field, value in request.ListFields()})
        created_at = -1

        def created() -> bool:
            nonlocal created_at
            places = range(before, len(watch_stream.responses))
            created_at = next((place for place in places if watch_stream.responses[place].created), -1)
            return created_at >= 0

        if not watch_stream.wait(created, self._seconds_max):
            return None, None
        response = watch_stream.responses[created_at]
        if response.canceled:
            return response, None
        log = WatchLog(watch_stream, created_at, request)
        log.expected = sum(log.matches(event) for event in self.history)
        self.logs[stream, response.watch_id] = log
        return response, log

    def canceled(self, log: WatchLog) -> pb.WatchResponse | None:
        """The response that ends this watch, or None if it does not come."""

        def ended() -> bool:
            log.read()
            return log.canceled is not None

        log.stream.wait(ended, self._seconds_max)
        return log.canceled

    def forget(self, stream: int, watch_id: int) -> None:
        del self.logs[stream, watch_id]

    def cancel(self, stream: int, watch_id: int) -> pb.WatchResponse | None:
        """Cancel; for a watch we know, wait for the answer. An unknown one gets none."""
        log = self.logs.get((stream, watch_id))
        if log is not None:
            log.canceled = None
        self.streams[stream].cancel_watch(watch_id)
        return None if log is None else self.canceled(log)

    def progress(self, stream: int) -> pb.WatchResponse | None:
        """The answer to a progress request."""
        watch_stream = self.streams[stream]
        before = len(watch_stream.responses)

        def answer() -> pb.WatchResponse | None:
            arrived = watch_stream.responses[before:]
            return next((r for r in arrived if r.watch_id == -1 and not r.created), None)

        watch_stream.progress()
        watch_stream.wait(lambda: answer() is not None, self._seconds_max)
        return answer()

    def settle(self, revision: int) -> None:
        """Return when the witness has seen `revision` and every watch all that is its due."""
        seen = len(self.history)

        def witnessed() -> bool:
            self._history.read()
            return revision <= 1 or (len(self.history) > 0 and self.history[-1].kv.mod_revision >= revision)

        if not self._witness.wait(witnessed, self._seconds_max):
            raise WatchFault(f"the witness has not seen revision {revision}")
        for event in self.history[seen:]:
            for log in self.logs.values():
                log.expected += log.matches(event)
        for log in self.logs.values():
            self._wait_for(log)

    def _wait_for(self, log: WatchLog) -> None:
        def complete() -> bool:
            log.read()
            return len(log.events) >= log.expected

        if not log.stream.wait(complete, self._seconds_max) or len(log.events) != log.expected:
            raise WatchFault(
                f"watch {log.watch_id} {{ {log.request} }} has {len(log.events)} events, "
                f"due are {log.expected}; canceled: {log.canceled}"
            )

    def close(self) -> None:
        for stream in (*self.streams, self._witness):
            stream.close()


def in_interval(key: bytes, start: bytes, range_end: bytes) -> bool:
    """Is `key` in [start, range_end)? An empty end means one key, a zero byte means no end."""
    if not range_end:
        return key == start
    return key >= start and (range_end == b"\x00" or key < range_end)
