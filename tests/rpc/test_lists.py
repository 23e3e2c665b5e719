"""Long lists of keys: sent in parts, and shared by those who ask for the same. Over both servers where it is
about answers, on the wire where it is about the way they take.
"""

from __future__ import annotations

import pytest

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.encoding import LIST_BYTES_MIN
from etcdpy.rpc.services import Health, make_router
from etcdpy.server.ranges import read_range
from tests.http2 import wire
from tests.rpc.fakes import FakeMember
from tests.rpc.grpc_wire import Wire, packed
from tests.rpc.harness import run_async, serving_member

RANGE = "/etcdserverpb.KV/Range"
ALL = pb.RangeRequest(key=b"k", range_end=b"l")


def filled(count: int = 300, size: int = 1000) -> FakeMember:
    member = FakeMember()
    for number in range(count):
        member.write(b"k%04d" % number, b"%04d" % number * (size // 4))
    assert count * size > LIST_BYTES_MIN
    return member


def expected(member: FakeMember, request: pb.RangeRequest = ALL) -> pb.RangeResponse:
    """What a read of the store gives, message by message."""
    answer = read_range(member.state.store, request)
    response = pb.RangeResponse(count=answer.count, more=answer.more)
    response.header.cluster_id, response.header.member_id = member.cluster_id, member.member_id
    response.header.revision, response.header.raft_term = member.state.store.revision, member.raft_term
    for kv in answer.kvs:
        response.kvs.add().ParseFromString(kv)
    return response


@pytest.mark.usefixtures("transport")
@run_async
async def test_a_list_is_the_same_however_often_it_comes_and_true_after_each_change() -> None:
    member = filled()
    changes = [
        lambda: member.write(b"k0100", b"changed"),
        lambda: member.write(b"k0100x", b"new"),
        lambda: member.delete(b"k0000"),
        lambda: member.write(b"elsewhere", b"moves the revision only"),
        lambda: setattr(member, "raft_term", 3),
        lambda: member.write(b"l", b"just behind the end"),
    ]
    async with serving_member(member) as client:
        for change in changes:
            for _ in range(3):
                assert await client.ask(RANGE, ALL, pb.RangeResponse) == expected(member)
            change()
        assert await client.ask(RANGE, ALL, pb.RangeResponse) == expected(member)
    assert member.state.store.shared.is_used


@pytest.mark.usefixtures("transport")
@run_async
async def test_only_equal_requests_share() -> None:
    member = filled()
    requests = [
        ALL,
        pb.RangeRequest(key=b"k", range_end=b"l", serializable=True),
        pb.RangeRequest(key=b"k", range_end=b"l", limit=200),
        pb.RangeRequest(key=b"k", range_end=b"l", limit=-1),
        pb.RangeRequest(key=b"k0001", range_end=b"\0"),
        pb.RangeRequest(key=b"k", range_end=b"l", revision=250),
        pb.RangeRequest(key=b"k", range_end=b"l", revision=member.state.store.revision),
        pb.RangeRequest(key=b"k", range_end=b"l", min_mod_revision=100),
        pb.RangeRequest(key=b"k", range_end=b"l", sort_order=pb.RangeRequest.DESCEND),
        pb.RangeRequest(key=b"k", range_end=b"l", sort_target=pb.RangeRequest.VALUE),
        pb.RangeRequest(key=b"k", range_end=b"l", count_only=True),
        pb.RangeRequest(key=b"k", range_end=b"l", keys_only=True),
    ]
    async with serving_member(member) as client:
        for _ in range(3):
            for request in requests:
                answer = await client.ask(RANGE, request, pb.RangeResponse)
                assert answer == expected(member, request), request


@run_async
async def test_a_shared_list_is_only_for_those_who_may_read_it() -> None:
    member = filled()
    async with serving_member(member) as client:
        for _ in range(3):
            await client.ask(RANGE, ALL, pb.RangeResponse)
        assert member.state.store.shared.is_used
        member.state.auth.is_enabled = True
        assert (await client.refusal(RANGE, ALL))[0] == 3  # user name is empty


def test_looks_at_keys_are_counted_when_nothing_is_read() -> None:
    member = filled()
    client = Wire(make_router(member, Health()))
    counts = []
    for _ in range(4):
        before = member.state.store.observed.ranges
        client.call(ALL.SerializeToString(), path=RANGE)
        counts.append(member.state.store.observed.ranges - before)
    assert counts == [1] * 4


def test_equal_bytes_whether_joined_or_in_parts() -> None:
    member = filled()
    client = Wire(make_router(member, Health()))
    answers = [client.call(ALL.SerializeToString(), path=RANGE).messages for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert pb.RangeResponse.FromString(answers[0][0]) == expected(member)


@pytest.mark.parametrize("asked_before", [0, 2])
def test_a_list_through_a_narrow_window(asked_before: int) -> None:
    member = filled()
    client = Wire(make_router(member, Health()), stream_window=0)
    for _ in range(asked_before):
        stream_id = client.open(path=RANGE)
        client.body(stream_id, packed(ALL.SerializeToString()), end=True)
        client.reset(stream_id)
    stream_id = client.open(path=RANGE)
    client.body(stream_id, packed(ALL.SerializeToString()), end=True)
    answer = client.answer(stream_id)
    assert not answer.data
    while not answer.is_ended:
        client.give_window(stream_id, 7001)
    assert pb.RangeResponse.FromString(answer.messages[0]) == expected(member)
    assert client.engine.queued_bytes == 0


@pytest.mark.parametrize("end", ["reset", "connection", "deadline"])
def test_a_list_that_is_left_in_the_middle(end: str) -> None:
    member = filled()
    client = Wire(make_router(member, Health()), stream_window=50_000)
    stream_id = client.open(("grpc-timeout", "5S"), path=RANGE)
    client.body(stream_id, packed(ALL.SerializeToString()), end=True)
    assert len(client.answer(stream_id).data) == 50_000
    assert not client.layer.calls  # nothing is left to do but to send
    if end == "reset":
        client.reset(stream_id)
        assert client.engine.queued_bytes == 0
    elif end == "connection":
        client.engine.connection_lost()
        assert client.engine.queued_bytes == 0
    else:
        client.advance(6)
        client.give_window(stream_id, 1_000_000)
        assert pb.RangeResponse.FromString(client.answer(stream_id).messages[0]) == expected(member)


def test_lists_that_nobody_takes_are_bounded_for_a_connection() -> None:
    """Each counts in full, though all share the same bytes."""
    member = filled()
    client = Wire(make_router(member, Health()), stream_window=0)
    size = len(expected(member).SerializeToString()) + 5
    for _ in range(10):
        stream_id = client.open(path=RANGE)
        client.body(stream_id, packed(ALL.SerializeToString()), end=True)
    assert client.engine.queued_bytes == 10 * size
    assert wire.GOAWAY not in {one.kind for one in client.control}
