"""The bookkeeping of watches without a server: what is asked for, what is delivered, and how often."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdpy.client import Client, CompactedError, PermissionDenied, Settings, WatchEnded
from etcdpy.client.caller import Caller
from etcdpy.client.plain import PlainTransport
from etcdpy.client.watch_hub import Stage, WatchHub, WatchState, reason_of
from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb


class Hub(WatchHub):
    """A hub whose stream is a list."""

    def __init__(self, **settings: Any) -> None:
        caller = Caller(Settings(**settings), PlainTransport(Settings(**settings)))
        super().__init__(caller, buffered_events_max=5)
        self.sent: list[pb.WatchRequest] = []

    def start(self) -> None:
        pass

    def send(self, request: pb.WatchRequest) -> None:
        self.sent.append(request)

    def connect(self) -> list[pb.WatchCreateRequest]:
        """A new stream; the creations that were sent on it."""
        self.sent.clear()
        self.opened()
        return [one.create_request for one in self.sent]


def put(revision: int, key: bytes = b"k") -> kv_pb2.Event:
    return kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, mod_revision=revision))


def response(watch_id: int, revision: int, events: Any = (), **fields: Any) -> pb.WatchResponse:
    header = pb.ResponseHeader(revision=revision)
    return pb.WatchResponse(header=header, watch_id=watch_id, events=events, **fields)


def open_watch(hub: Hub, start: int = 0, now: int = 10) -> WatchState:
    watch = hub.add(pb.WatchCreateRequest(key=b"k", start_revision=start))
    (request,) = hub.connect()
    hub.received(response(request.watch_id, now, created=True))
    return watch


def taken(hub: Hub, watch: WatchState) -> list[int]:
    revisions = []
    while (batch := hub.take(watch)) is not None:
        revisions += [event.revision for event in batch.events]
    return revisions


def test_now_is_what_the_server_says_it_is() -> None:
    hub = Hub()
    watch = open_watch(hub, now=10)
    assert watch.was_created
    assert [one.start_revision for one in hub.connect()] == [11]


def test_creation_that_was_not_answered_is_made_again_for_now() -> None:
    hub = Hub()
    hub.add(pb.WatchCreateRequest(key=b"k"))
    assert [one.start_revision for one in hub.connect()] == [0]
    assert [one.start_revision for one in hub.connect()] == [0]


def test_goes_on_behind_the_last_event() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.received(response(watch.watch_id, 30, [put(12), put(15)]))
    assert taken(hub, watch) == [12, 15]
    # The header's 30 tells of the store; events between 15 and 30 may be on their way.
    assert [one.start_revision for one in hub.connect()] == [16]


def test_goes_on_behind_a_progress_notification() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.received(response(watch.watch_id, 30))
    assert [one.start_revision for one in hub.connect()] == [31]


def test_asked_progress_is_told_but_not_relied_on() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.received(response(-1, 30))
    batch = hub.take(watch)
    assert batch is not None
    assert (batch.revision, batch.events) == (30, [])
    assert [one.start_revision for one in hub.connect()] == [11]


def test_fragments_are_joined_and_half_of_them_is_nothing() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.received(response(watch.watch_id, 12, [put(12, b"a")], fragment=True))
    assert hub.take(watch) is None
    assert [one.start_revision for one in hub.connect()] == [11]
    hub.received(response(watch.watch_id, 12, created=True))
    hub.received(response(watch.watch_id, 12, [put(12, b"a")], fragment=True))
    hub.received(response(watch.watch_id, 12, [put(12, b"b")]))
    batch = hub.take(watch)
    assert batch is not None
    assert [event.key for event in batch.events] == [b"a", b"b"]


def test_events_that_come_again_are_dropped() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.received(response(watch.watch_id, 12, [put(11), put(12)]))
    hub.received(response(watch.watch_id, 13, [put(12), put(13)]))
    assert taken(hub, watch) == [11, 12, 13]


def test_compaction_ends_it_and_names_the_revision() -> None:
    hub = Hub()
    watch = open_watch(hub, start=3)
    hub.received(response(watch.watch_id, 12, canceled=True, compact_revision=9))
    assert watch.stage is Stage.ENDED
    assert isinstance(watch.error, CompactedError)
    assert watch.error.compact_revision == 9
    assert hub.connect() == []


def test_refusal_without_id_is_that_of_the_oldest_creation() -> None:
    hub = Hub()
    first = hub.add(pb.WatchCreateRequest(key=b"a"))
    second = hub.add(pb.WatchCreateRequest(key=b"b"))
    hub.connect()
    reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    hub.received(response(-1, 5, created=True, canceled=True, cancel_reason=reason))
    assert isinstance(first.error, PermissionDenied)
    hub.received(response(second.watch_id, 5, created=True))
    assert second.stage is Stage.OPEN


def test_reasons() -> None:
    assert isinstance(reason_of(""), WatchEnded)
    assert isinstance(reason_of("because"), WatchEnded)
    assert reason_of("rpc error: code = NoSuchCode desc = x").text == "x"


def test_slow_user_is_parked_and_comes_back_where_it_was() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.sent.clear()
    hub.received(response(watch.watch_id, 20, [put(number) for number in range(11, 18)]))
    assert watch.stage is Stage.PARKED
    assert [one.WhichOneof("request_union") for one in hub.sent] == ["cancel_request"]
    hub.received(response(watch.watch_id, 20, [put(18)]))
    assert hub.connect() == []
    assert taken(hub, watch) == list(range(11, 18))
    assert [one.create_request.start_revision for one in hub.sent] == [18]


def test_end_is_told_to_the_server_and_last_words_are_ignored() -> None:
    hub = Hub()
    watch = open_watch(hub)
    hub.end(watch)
    assert hub.sent[-1].cancel_request.watch_id == watch.watch_id
    hub.received(response(watch.watch_id, 20, [put(11)]))
    hub.received(response(watch.watch_id, 20, canceled=True))
    assert (watch.error, list(watch.batches)) == (None, [])
    assert not hub.has_work()


class Story:
    """One key's history at a server that sends it in pieces, over a network that is cut at any time."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.revision = 10
        self.history: list[int] = []
        self.watch = open_watch(self.hub, now=self.revision)
        self.seen: list[int] = []
        self._sent_to = self.revision + 1

    def play(self, what: str, count: int) -> None:
        getattr(self, what)(count)
        if self.watch.stage is Stage.ASKED:
            self._sent_to = self.hub.sent[-1].create_request.start_revision
            self.hub.received(response(self.watch.watch_id, self.revision, created=True))

    def write(self, count: int) -> None:
        self.history += range(self.revision + 1, self.revision + 1 + count)
        self.revision += count

    def send(self, count: int, **fields: Any) -> None:
        chosen = [one for one in self.history if one >= self._sent_to][:count]
        if chosen:
            self.hub.received(
                response(self.watch.watch_id, self.revision, [put(one) for one in chosen], **fields)
            )
            self._sent_to = chosen[-1] + 1

    def half(self, count: int) -> None:
        self.send(count, fragment=True)
        self.cut(count)

    def again(self, count: int) -> None:
        """What no server should do: the same events twice."""
        self._sent_to = max(self._sent_to - count, 11)
        self.send(count)

    def progress(self, _count: int) -> None:
        if self._sent_to > self.revision:
            self.hub.received(response(self.watch.watch_id, self.revision))

    def cut(self, _count: int) -> None:
        self.hub.connect()

    def take(self, _count: int) -> None:
        self.seen += taken(self.hub, self.watch)


steps = st.tuples(
    st.sampled_from(["write", "send", "half", "again", "progress", "cut", "take"]), st.integers(1, 4)
)


@given(st.lists(steps, max_size=60))
def test_every_event_once_and_in_order(script: list[tuple[str, int]]) -> None:
    story = Story()
    for what, count in script:
        story.play(what, count)
    while len(story.seen) < len(story.history):
        before = len(story.seen)
        story.play("take", 0)
        story.play("cut", 0)
        story.play("send", 4)
        story.play("take", 0)
        assert len(story.seen) > before, "nothing comes any more"
    assert story.seen == story.history


def test_closed_client_has_no_watches() -> None:
    client = Client("127.0.0.1:1", timeout=0.1)
    client.close()
    with pytest.raises(Exception, match="closed"):
        client.watch("k")
