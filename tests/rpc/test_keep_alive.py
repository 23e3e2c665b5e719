"""Renewals on the wire: streams that are answered while they are heard, which clients leave right after."""

from __future__ import annotations

import gc

import pytest

from etcdpy.http2 import ErrorCode, Limits
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.services import Health, make_router
from etcdpy.rpc.services.lease import PENDING_BYTES_MAX, WAITING_RENEWALS_MAX
from tests.http2 import wire
from tests.rpc.fakes import FakeMember
from tests.rpc.grpc_wire import Answer, Wire, packed

KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
TIMEOUT = ("grpc-timeout", "5S")
LEASE, LONG_LEASE, UNKNOWN = 7, 0x694D_8F3C_2211_0000, 8


def connect(member: FakeMember, **options: int) -> Wire:
    return Wire(make_router(member, Health()), **options)


@pytest.fixture
def member() -> FakeMember:
    member = FakeMember()
    member.state.lessor.grant(LEASE, 60)
    member.state.lessor.grant(LONG_LEASE, 9_000_000)
    return member


@pytest.fixture
def client(member: FakeMember) -> Wire:
    return connect(member)


def renewal(lease_id: int = LEASE) -> bytes:
    return packed(pb.LeaseKeepAliveRequest(ID=lease_id).SerializeToString())


def open_frame(client: Wire, stream_id: int, *fields: tuple[str, str]) -> bytes:
    return client.headers_frame(stream_id, fields, KEEP_ALIVE)


def answers(answer: Answer) -> list[tuple[int, int]]:
    found = [pb.LeaseKeepAliveResponse.FromString(message) for message in answer.messages]
    assert all(response.header.member_id and response.header.revision for response in found)
    return [(response.ID, response.TTL) for response in found]


@pytest.mark.parametrize("lease_id", [LEASE, LONG_LEASE, UNKNOWN])
def test_an_answer_is_the_same_to_the_byte_whichever_way_it_takes(member: FakeMember, lease_id: int) -> None:
    client = connect(member)
    found = []
    for is_holding in (False, True):
        member.is_holding = is_holding
        stream_id = client.open(path=KEEP_ALIVE)
        client.body(stream_id, renewal(lease_id))
        member.release()
        client.flush()
        found.append(client.answer(stream_id).messages)
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_any_cut_of_what_the_client_writes(member: FakeMember) -> None:
    """Headers, two renewals and the half-close, in two reads or in two frames."""
    messages = renewal() + renewal(LONG_LEASE)
    size = len(open_frame(connect(member), 1, TIMEOUT) + wire.body(1, messages, end=True))
    for cut in range(size + 1):
        client = connect(member)
        data = open_frame(client, 1, TIMEOUT) + wire.body(1, messages, end=True)
        client.send(data[:cut], data[cut:])
        assert answers(client.answer(1)) == [(LEASE, 60), (LONG_LEASE, 9_000_000)], cut
        assert client.answer(1).status == (0, ""), cut
        assert not client.layer.calls
    for cut in range(len(messages) + 1):
        client = connect(member)
        client.send(
            open_frame(client, 1), wire.body(1, messages[:cut]), wire.body(1, messages[cut:], end=True)
        )
        assert answers(client.answer(1)) == [(LEASE, 60), (LONG_LEASE, 9_000_000)], cut


def test_answers_of_one_turn_share_a_frame(client: Wire) -> None:
    client.send(open_frame(client, 1) + b"".join(wire.body(1, renewal()) for _ in range(5)))
    frames_before = len(client.control)
    assert answers(client.answer(1)) == [(LEASE, 60)] * 5
    data = bytearray()
    client.take = lambda piece: data.extend(piece)  # type: ignore[method-assign]
    client.send(b"".join(wire.body(1, renewal()) for _ in range(5)))
    (one,) = wire.cut_frames(bytes(data))
    assert one.kind == wire.DATA
    assert len(client.control) == frames_before


def test_a_client_may_leave_after_each_answer_as_often_as_it_likes(client: Wire) -> None:
    """What the Go client's KeepAliveOnce does, which has nothing of a rapid reset."""
    for stream_id in range(1, 2 * 3 * Limits().peer_resets_burst, 2):
        client.send(open_frame(client, stream_id, TIMEOUT) + wire.body(stream_id, renewal()))
        assert answers(client.answer(stream_id)) == [(LEASE, 60)]
        client.reset(stream_id)
    assert not client.engine.closed
    assert not client.layer.calls
    assert not len(client.deadlines)


def test_streams_that_are_left_before_their_answer_are_counted(client: Wire) -> None:
    burst = Limits().peer_resets_burst
    for stream_id in range(1, 2 * 2 * burst, 2):
        client.send(open_frame(client, stream_id) + wire.body(stream_id, renewal()) + wire.reset(stream_id))
        if client.engine.closed:
            break
    assert client.engine.fault is not None
    assert client.engine.fault.code == ErrorCode.ENHANCE_YOUR_CALM
    assert stream_id == 2 * burst + 1
    assert not client.layer.calls


def test_streams_that_have_ended_leave_nothing_to_the_garbage_collector(client: Wire) -> None:
    def renew(stream_id: int) -> None:
        client.send(open_frame(client, stream_id, TIMEOUT) + wire.body(stream_id, renewal()))
        if stream_id % 4 == 1:
            client.reset(stream_id)
        else:
            client.body(stream_id, b"", end=True)

    renew(1)
    gc.collect()
    gc.disable()
    try:
        for stream_id in range(3, 203, 2):
            renew(stream_id)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_deadline_ends_a_stream_that_was_answered(client: Wire) -> None:
    client.send(open_frame(client, 1, TIMEOUT) + wire.body(1, renewal()))
    assert answers(client.answer(1)) == [(LEASE, 60)]
    client.advance(6)
    assert client.answer(1).status == (4, "context deadline exceeded")
    assert not client.layer.calls


def test_a_client_without_window_is_answered_when_it_gives_some(member: FakeMember) -> None:
    client = connect(member, stream_window=0)
    client.send(open_frame(client, 1), wire.body(1, renewal()))
    client.send(wire.body(1, renewal(LONG_LEASE)))
    assert client.answer(1).headers
    assert not client.answer(1).data
    for _ in range(200):
        client.give_window(1, 1)
    assert answers(client.answer(1)) == [(LEASE, 60), (LONG_LEASE, 9_000_000)]


def test_a_client_that_asks_and_never_reads_is_not_heard_for_ever(member: FakeMember) -> None:
    """Answers up to a bound, then as many requests, then the window of the stream: all that it costs us."""
    client = connect(member, stream_window=0)
    client.send(open_frame(client, 1))
    call = client.layer.calls[1]
    asked = 0
    while not call.paused:
        client.send(wire.body(1, renewal() * 100))
        asked += 100
        assert asked < 10_000
    size = call.pending_bytes
    assert size < PENDING_BYTES_MAX + 100
    for _ in range(10):
        client.send(wire.body(1, renewal() * 100))
    asked += 1000
    assert call.pending_bytes == size
    assert asked * 50 > PENDING_BYTES_MAX
    assert size > WRITABLE_BYTES + WAITING_RENEWALS_MAX
    client.give_window(1, 10_000_000)
    assert answers(client.answer(1)) == [(LEASE, 60)] * asked
    assert not call.paused
