"""etcdserverpb.Watch (behaviour reference, section 7): the stream itself, and once over both servers."""

from __future__ import annotations

from typing import Any

import pytest

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import Event
from etcdpy.rpc.services.watch import GRPC_OVERHEAD_BYTES, PENDING_BYTES_MAX, Watch
from tests.rpc.fakes import FakeConfig, FakeMember, RecordingCall
from tests.rpc.harness import run_async, serving_member

pytestmark = pytest.mark.usefixtures("transport")

WATCH = "/etcdserverpb.Watch/Watch"


class Stream:
    """A Watch call whose client says and hears messages."""

    def __init__(self, member: FakeMember, service: Watch | None = None) -> None:
        self.member = member
        self.call = RecordingCall(WATCH)
        (service or Watch(member)).watch(self.call, b"")

    def say(self, **request: Any) -> None:
        assert self.call.on_message is not None
        self.call.on_message(pb.WatchRequest(**request).SerializeToString())

    def create(self, key: bytes = b"a", **fields: Any) -> None:
        self.say(create_request=pb.WatchCreateRequest(key=key, **fields))

    def heard(self) -> list[pb.WatchResponse]:
        """What was sent since the last look."""
        messages = [pb.WatchResponse.FromString(message) for message in self.call.sent]
        self.call.sent.clear()
        return messages


@pytest.fixture
def member() -> FakeMember:
    return FakeMember()


@pytest.fixture
def stream(member: FakeMember) -> Stream:
    return Stream(member)


def test_created_then_events(member: FakeMember, stream: Stream) -> None:
    member.write(b"a", b"0")
    stream.create()
    (created,) = stream.heard()
    assert (created.created, created.watch_id, created.canceled) == (True, 0, False)
    assert created.header == pb.ResponseHeader(
        cluster_id=member.cluster_id, member_id=member.member_id, revision=2, raft_term=2
    )
    member.write(b"a", b"1")
    member.write(b"b", b"2")
    member.delete(b"a")
    put, deleted = stream.heard()
    assert (put.header.revision, put.header.cluster_id, put.watch_id) == (3, member.cluster_id, 0)
    assert (put.events[0].type, put.events[0].kv.value, put.events[0].kv.mod_revision) == (0, b"1", 3)
    assert deleted.header.revision == 5
    assert (deleted.events[0].type, deleted.events[0].kv.key) == (Event.DELETE, b"a")


def test_ids_are_counted_from_zero_and_skip_those_in_use(stream: Stream) -> None:
    stream.create(watch_id=1)
    for _ in range(3):
        stream.create()
    assert [response.watch_id for response in stream.heard()] == [1, 0, 2, 3]


def test_events_carry_the_id_of_their_watch(member: FakeMember, stream: Stream) -> None:
    for watch_id in (7, 300, 0):
        stream.create(watch_id=watch_id)
    stream.create(b"b")
    stream.heard()
    member.write(b"a")
    assert sorted(response.watch_id for response in stream.heard()) == [0, 7, 300]


def test_a_response_is_shared_by_streams_with_the_same_id(member: FakeMember) -> None:
    service = Watch(member)
    first, second = Stream(member, service), Stream(member, service)
    first.create()
    second.create()
    first.call.sent.clear()
    second.call.sent.clear()
    member.write(b"a", b"1")
    assert first.call.sent[0] is second.call.sent[0]


def refused(stream: Stream) -> str:
    (response,) = stream.heard()
    assert (response.created, response.canceled, response.watch_id) == (True, True, -1)
    assert response.header.revision == stream.member.state.store.revision
    return response.cancel_reason


def test_an_id_in_use_is_refused(member: FakeMember, stream: Stream) -> None:
    stream.create(watch_id=5)
    stream.heard()
    stream.create(watch_id=5)
    assert refused(stream) == "mvcc: duplicate watch ID provided on the WatchStream"
    member.write(b"a")
    assert [response.watch_id for response in stream.heard()] == [5]


def test_an_empty_range_is_refused(stream: Stream) -> None:
    stream.create(b"b", range_end=b"a")
    assert refused(stream) == "mvcc: watcher range is empty"
    stream.create(b"b", range_end=b"b")
    assert refused(stream) == "mvcc: watcher range is empty"


def test_a_negative_start_is_refused(stream: Stream) -> None:
    stream.create(start_revision=-1)
    assert refused(stream) == "etcdserver: mvcc: required revision has been compacted"


@pytest.mark.parametrize("watch_id", [0, 4])
def test_a_refused_watch_takes_no_id(stream: Stream, watch_id: int) -> None:
    stream.create(b"b", range_end=b"a", watch_id=watch_id)
    stream.heard()
    stream.create(watch_id=watch_id)
    assert [(response.watch_id, response.canceled) for response in stream.heard()] == [(watch_id, False)]


def test_ids_of_cancelled_watches_are_not_given_again(stream: Stream) -> None:
    stream.create()
    stream.say(cancel_request=pb.WatchCancelRequest(watch_id=0))
    stream.create()
    assert [response.watch_id for response in stream.heard()] == [0, 0, 1]


def test_ranges(member: FakeMember, stream: Stream) -> None:
    stream.create(b"b", range_end=b"d", watch_id=1)
    stream.create(b"b", range_end=b"\0", watch_id=2)
    stream.create(b"", range_end=b"\0", watch_id=3)
    stream.heard()
    heard: dict[bytes, list[int]] = {}
    for key in (b"a", b"c", b"d"):
        member.write(key)
        heard[key] = sorted(response.watch_id for response in stream.heard())
    assert heard == {b"a": [3], b"c": [1, 2, 3], b"d": [2, 3]}


def test_history_is_delivered_in_one_response(member: FakeMember, stream: Stream) -> None:
    for value in (b"1", b"2", b"3"):
        member.write(b"a", value)
    stream.create(start_revision=3)
    (created,) = stream.heard()
    assert created.created
    member.state.hub.catch_up()
    (response,) = stream.heard()
    assert [event.kv.value for event in response.events] == [b"2", b"3"]
    assert response.header.revision == 4


def test_filters_and_previous_values(member: FakeMember, stream: Stream) -> None:
    stream.create(filters=[pb.WatchCreateRequest.NOPUT], prev_kv=True)
    stream.create(filters=[pb.WatchCreateRequest.NODELETE], prev_kv=True)
    stream.heard()
    member.write(b"a", b"1")
    member.write(b"a", b"2")
    member.delete(b"a")
    heard = [(response.watch_id, response.events[0]) for response in stream.heard()]
    assert [watch_id for watch_id, _ in heard] == [1, 1, 0]
    assert [event.HasField("prev_kv") for _, event in heard] == [False, True, True]
    assert [event.prev_kv.value for _, event in heard] == [b"", b"1", b"2"]


def test_compacted_history_cancels_the_watch(member: FakeMember, stream: Stream) -> None:
    for _ in range(4):
        member.write(b"a")
    member.state.store.compact(4)
    stream.create(start_revision=2)
    (created,) = stream.heard()
    assert (created.created, created.canceled) == (True, False)
    member.state.hub.catch_up()
    (cancelled,) = stream.heard()
    assert (cancelled.canceled, cancelled.compact_revision, cancelled.watch_id) == (True, 4, 0)
    assert (cancelled.header.revision, cancelled.header.raft_term) == (0, 2)
    assert (cancelled.cancel_reason, len(cancelled.events)) == ("", 0)
    stream.say(cancel_request=pb.WatchCancelRequest(watch_id=0))
    stream.say(cancel_request=pb.WatchCancelRequest(watch_id=0))
    (answer,) = stream.heard()
    assert (answer.canceled, answer.watch_id, answer.compact_revision) == (True, 0, 0)


def test_cancel(member: FakeMember, stream: Stream) -> None:
    stream.create()
    stream.create(watch_id=9)
    stream.heard()
    stream.say(cancel_request=pb.WatchCancelRequest(watch_id=9))
    (answer,) = stream.heard()
    assert (answer.canceled, answer.watch_id, answer.cancel_reason) == (True, 9, "")
    assert answer.header.revision == 1
    member.write(b"a")
    assert [response.watch_id for response in stream.heard()] == [0]


def test_an_unknown_id_and_an_empty_request_get_no_answer(stream: Stream) -> None:
    stream.say(cancel_request=pb.WatchCancelRequest(watch_id=3))
    stream.say()
    assert stream.heard() == []
    assert not stream.call.closed


def test_progress_on_request(member: FakeMember, stream: Stream) -> None:
    stream.say(progress_request=pb.WatchProgressRequest())
    assert stream.heard() == []
    stream.create()
    member.write(b"b")
    stream.heard()
    stream.say(progress_request=pb.WatchProgressRequest())
    (response,) = stream.heard()
    assert (response.watch_id, response.header.revision, len(response.events)) == (-1, 2, 0)
    assert not response.created
    stream.create(start_revision=1)
    stream.heard()
    stream.say(progress_request=pb.WatchProgressRequest())
    assert stream.heard() == []


def test_progress_by_itself(member: FakeMember, stream: Stream) -> None:
    stream.create(progress_notify=True)
    stream.create()
    stream.heard()
    hub = member.state.hub
    hub.tick(0.0)
    hub.tick(600.0)
    (response,) = stream.heard()
    assert (response.watch_id, response.header.revision, len(response.events)) == (0, 1, 0)


class TestFragments:
    MAX = 1000 + GRPC_OVERHEAD_BYTES

    @pytest.fixture
    def member(self) -> FakeMember:
        return FakeMember(config=FakeConfig(max_request_bytes=1000))

    def write(self, member: FakeMember, count: int, size: int) -> None:
        txn = member.state.store.begin()
        for number in range(count):
            txn.put(b"a%d" % number, b"v" * size)
        member.publish(txn.end())

    def test_a_large_response_is_split_on_request(self, member: FakeMember, stream: Stream) -> None:
        stream.create(range_end=b"b", fragment=True, watch_id=6)
        stream.call.sent.clear()
        self.write(member, 10, 130_000)
        assert all(len(message) < self.MAX for message in stream.call.sent)
        parts = stream.heard()
        assert [part.fragment for part in parts] == [True, True, False]
        assert [len(part.events) for part in parts] == [4, 4, 2]
        assert {(part.watch_id, part.header.revision) for part in parts} == {(6, 2)}
        keys = [event.kv.key for part in parts for event in part.events]
        assert keys == [b"a%d" % number for number in range(10)]

    def test_otherwise_it_is_sent_whole(self, member: FakeMember, stream: Stream) -> None:
        stream.create(range_end=b"b")
        stream.heard()
        self.write(member, 10, 130_000)
        (whole,) = stream.heard()
        assert (len(whole.events), whole.fragment) == (10, False)

    def test_one_event_and_small_responses_are_never_split(self, member: FakeMember, stream: Stream) -> None:
        stream.create(range_end=b"b", fragment=True)
        stream.heard()
        self.write(member, 1, self.MAX)
        self.write(member, 3, 100_000)
        assert [(len(part.events), part.fragment) for part in stream.heard()] == [(1, False), (3, False)]

    def test_an_event_above_the_limit_has_a_part_of_its_own(self, member: FakeMember, stream: Stream) -> None:
        stream.create(range_end=b"b", fragment=True)
        stream.heard()
        self.write(member, 3, self.MAX)
        assert [(len(part.events), part.fragment) for part in stream.heard()] == [
            (1, True),
            (1, True),
            (1, False),
        ]


class TestSlowClients:
    def test_events_are_refused_and_come_later_without_gap(self, member: FakeMember, stream: Stream) -> None:
        stream.create()
        stream.heard()
        stream.call.takes_all = False
        member.write(b"a", b"x" * PENDING_BYTES_MAX)
        member.write(b"a", b"1")
        member.write(b"a", b"2")
        assert len(stream.call.queued) == 1
        stream.call.takes_all = True
        stream.call.take()
        member.write(b"a", b"3")
        member.state.hub.catch_up()
        values = [event.kv.value for response in stream.heard() for event in response.events]
        assert values[1:] == [b"1", b"2", b"3"]

    def test_requests_are_not_read_meanwhile(self, member: FakeMember, stream: Stream) -> None:
        stream.create()
        stream.call.takes_all = False
        member.write(b"a", b"x" * (PENDING_BYTES_MAX + 1))
        stream.create()
        assert not stream.call.is_reading
        stream.call.take()
        assert stream.call.is_reading

    def test_another_stream_is_not_held_up(self, member: FakeMember, stream: Stream) -> None:
        other = Stream(member)
        stream.create()
        other.create()
        other.heard()
        stream.call.takes_all = False
        member.write(b"a", b"x" * PENDING_BYTES_MAX)
        member.write(b"a", b"1")
        assert len(other.heard()) == 2


def test_a_client_that_leaves_takes_its_watches_along(member: FakeMember, stream: Stream) -> None:
    stream.create()
    stream.create(start_revision=100)
    assert member.state.hub.synced_watchers == 2
    stream.call.cancel()
    assert member.state.hub.synced_watchers == 0


def test_bytes_that_are_no_request_end_the_stream(member: FakeMember, stream: Stream) -> None:
    stream.create()
    assert stream.call.on_message is not None
    stream.call.on_message(b"\x0a\xff")
    assert stream.call.error is not None
    assert int(stream.call.error.code) == 13
    assert member.state.hub.synced_watchers == 0


@run_async
async def test_over_the_adapter_and_beyond_the_half_close() -> None:
    member = FakeMember()
    async with serving_member(member) as client:
        call = client.open(WATCH)
        request = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a"))
        await call.write(request.SerializeToString())
        assert pb.WatchResponse.FromString(await call.read()).created
        await call.done_writing()
        await client.call("/etcdserverpb.KV/Put", pb.PutRequest(key=b"a").SerializeToString())
        response = pb.WatchResponse.FromString(await call.read())
        assert response.events[0].kv.key == b"a"
        call.cancel()
