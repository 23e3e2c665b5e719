"""etcdserverpb.KV over both servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.errors import LeaderChanged
from etcdpy.server.ranges import read_range
from tests.rpc.fakes import FakeConfig, FakeMember, RecordingCall
from tests.rpc.harness import Refused, run_async, serving_member

RANGE = "/etcdserverpb.KV/Range"
RANGE_STREAM = "/etcdserverpb.KV/RangeStream"
PUT = "/etcdserverpb.KV/Put"
DELETE = "/etcdserverpb.KV/DeleteRange"
TXN = "/etcdserverpb.KV/Txn"
pytestmark = pytest.mark.usefixtures("transport")

COMPACT = "/etcdserverpb.KV/Compact"


def everything(**options: Any) -> pb.RangeRequest:
    return pb.RangeRequest(key=b"\0", range_end=b"\0", **options)


def header(member: FakeMember, revision: int) -> pb.ResponseHeader:
    return pb.ResponseHeader(
        cluster_id=member.cluster_id,
        member_id=member.member_id,
        revision=revision,
        raft_term=member.raft_term,
    )


def fill(member: FakeMember, count: int, size: int = 1) -> None:
    for number in range(count):
        member.write(b"k%04d" % number, b"v" * size)


@run_async
async def test_put_and_range() -> None:
    member = FakeMember()
    async with serving_member(member) as client:
        request = pb.PutRequest(key=b"a", value=b"1")
        assert await client.ask(PUT, request, pb.PutResponse) == pb.PutResponse(header=header(member, 2))
        request = pb.PutRequest(key=b"a", value=b"2", prev_kv=True)
        response = await client.ask(PUT, request, pb.PutResponse)
        assert (response.header.revision, response.prev_kv.value) == (3, b"1")
        response = await client.ask(RANGE, pb.RangeRequest(key=b"a"), pb.RangeResponse)
        assert response.header == header(member, 3)
        assert (response.count, response.more, response.kvs[0].value) == (1, False, b"2")
        response = await client.ask(RANGE, pb.RangeRequest(key=b"none"), pb.RangeResponse)
        assert response == pb.RangeResponse(header=header(member, 3))


@run_async
async def test_the_clients_bytes_are_proposed_as_they_are() -> None:
    member = FakeMember()
    # Field 15 is unknown to us and may mean something to a newer member.
    data = pb.PutRequest(key=b"a", value=b"1").SerializeToString() + b"\x78\x05"
    async with serving_member(member) as client:
        await client.call(PUT, data)
    assert member.proposals == [("put", data)]


@run_async
async def test_a_linearizable_range_waits_and_sees_what_was_written_meanwhile() -> None:
    member = FakeMember()
    member.is_holding = True
    router_call = RecordingCall(RANGE)
    from etcdpy.rpc.services.kv import KV

    service = KV(member)
    service.range(router_call, pb.RangeRequest(key=b"a").SerializeToString())
    local_call = RecordingCall(RANGE)
    service.range(local_call, pb.RangeRequest(key=b"a", serializable=True).SerializeToString())
    assert not router_call.closed
    assert pb.RangeResponse.FromString(local_call.sent[0]).count == 0
    fill(member, 1)
    member.write(b"a")
    member.release()
    assert pb.RangeResponse.FromString(router_call.sent[0]).count == 1


@run_async
async def test_reads_fail_with_their_read_index_or_their_revision() -> None:
    member = FakeMember()
    async with serving_member(member) as client:
        future = pb.RangeRequest(key=b"a", revision=9)
        text = "etcdserver: mvcc: required revision is a future revision"
        assert await client.refusal(RANGE, future) == (11, text)
        future.serializable = True
        assert await client.refusal(RANGE, future) == (11, text)
        member.read_error = LeaderChanged()
        for path, request in (
            (RANGE, pb.RangeRequest(key=b"a")),
            (TXN, pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"a"))])),
        ):
            assert await client.refusal(path, request) == (14, "etcdserver: leader changed")


@run_async
async def test_delete_and_compact() -> None:
    member = FakeMember()
    fill(member, 3)
    async with serving_member(member) as client:
        request = pb.DeleteRangeRequest(key=b"k0001", range_end=b"\0", prev_kv=True)
        response = await client.ask(DELETE, request, pb.DeleteRangeResponse)
        assert (response.header, response.deleted) == (header(member, 5), 2)
        assert [kv.key for kv in response.prev_kvs] == [b"k0001", b"k0002"]
        response = await client.ask(COMPACT, pb.CompactionRequest(revision=4), pb.CompactionResponse)
        assert response == pb.CompactionResponse(header=header(member, 5))
        text = "etcdserver: mvcc: required revision has been compacted"
        assert await client.refusal(COMPACT, pb.CompactionRequest(revision=4)) == (11, text)
        assert await client.refusal(RANGE, pb.RangeRequest(key=b"a", revision=3)) == (11, text)


@run_async
async def test_txns_that_write_go_through_the_log_and_others_do_not() -> None:
    member = FakeMember()
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"a", value=b"1"))
    get = pb.RequestOp(request_range=pb.RangeRequest(key=b"a"))
    async with serving_member(member) as client:
        response = await client.ask(TXN, pb.TxnRequest(success=[put, get]), pb.TxnResponse)
        assert (response.header, response.succeeded) == (header(member, 2), True)
        assert response.responses[1].response_range.kvs[0].value == b"1"
        response = await client.ask(TXN, pb.TxnRequest(success=[get]), pb.TxnResponse)
        assert response.header == header(member, 2)
        assert response.responses[0].response_range.count == 1
        response = await client.ask(TXN, pb.TxnRequest(), pb.TxnResponse)
        assert response == pb.TxnResponse(header=header(member, 2), succeeded=True)
    assert [kind for kind, _ in member.proposals] == ["txn"]


@run_async
async def test_serializable_txns_ask_for_no_quorum() -> None:
    member = FakeMember(read_error=LeaderChanged())
    get = pb.RequestOp(request_range=pb.RangeRequest(key=b"a", serializable=True))
    async with serving_member(member) as client:
        await client.ask(TXN, pb.TxnRequest(success=[get]), pb.TxnResponse)
        await client.ask(TXN, pb.TxnRequest(), pb.TxnResponse)


@run_async
async def test_what_can_be_seen_in_the_request_is_refused_before_it_is_proposed() -> None:
    member = FakeMember(config=FakeConfig(max_txn_ops=2))
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"a"))
    refusals = [
        (RANGE, pb.RangeRequest(), "key is not provided"),
        (RANGE_STREAM, pb.RangeRequest(), "key is not provided"),
        (PUT, pb.PutRequest(value=b"a"), "key is not provided"),
        (PUT, pb.PutRequest(key=b"a", value=b"a", ignore_value=True), "value is provided"),
        (PUT, pb.PutRequest(key=b"a", lease=1, ignore_lease=True), "lease is provided"),
        (DELETE, pb.DeleteRangeRequest(), "key is not provided"),
        (TXN, pb.TxnRequest(success=[put] * 3), "too many operations in txn request"),
        (TXN, pb.TxnRequest(success=[put] * 2), "duplicate key given in txn request"),
        (TXN, pb.TxnRequest(success=[pb.RequestOp()]), "key not found"),
        (TXN, pb.TxnRequest(compare=[pb.Compare()]), "key is not provided"),
    ]
    async with serving_member(member) as client:
        for path, request, text in refusals:
            assert await client.refusal(path, request) == (3, f"etcdserver: {text}")
    assert member.proposals == []


@run_async
async def test_without_space_only_writes_that_add_are_refused() -> None:
    member = FakeMember(space_is_left=False)
    text = "etcdserver: mvcc: database space exceeded"
    async with serving_member(member) as client:
        assert await client.refusal(PUT, pb.PutRequest(key=b"a")) == (8, text)
        assert await client.refusal(TXN, pb.TxnRequest()) == (8, text)
        assert await client.refusal("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest()) == (8, text)
        await client.ask(DELETE, pb.DeleteRangeRequest(key=b"a"), pb.DeleteRangeResponse)
        await client.ask(RANGE, pb.RangeRequest(key=b"a"), pb.RangeResponse)


# RangeStream.


def merged(messages: list[bytes]) -> pb.RangeResponse:
    """What a client makes of the pieces."""
    whole = pb.RangeResponse()
    for message in messages:
        whole.MergeFrom(pb.RangeStreamResponse.FromString(message).range_response)
    return whole


@pytest.mark.parametrize(
    "options",
    [{}, {"limit": 7}, {"limit": 10}, {"limit": 25}, {"limit": 100}, {"revision": 40}, {"keys_only": True}],
)
def test_the_pieces_of_a_stream_make_the_answer_of_a_range(options: dict[str, int]) -> None:
    @run_async
    async def ask() -> None:
        member = FakeMember()
        fill(member, 100, 50)
        request = everything(**options)
        async with serving_member(member) as client:
            whole = await client.ask(RANGE, request, pb.RangeResponse)
            assert merged(await client.stream(RANGE_STREAM, request)) == whole

    ask()


@run_async
async def test_only_the_last_piece_has_header_count_and_more() -> None:
    member = FakeMember()
    fill(member, 100)
    async with serving_member(member) as client:
        messages = await client.stream(RANGE_STREAM, everything())
    pieces = [pb.RangeStreamResponse.FromString(message).range_response for message in messages]
    # Each small piece makes the next twice as long.
    assert [len(piece.kvs) for piece in pieces] == [10, 20, 40, 30]
    assert [piece.HasField("header") for piece in pieces] == [False, False, False, True]
    assert [piece.count for piece in pieces] == [0, 0, 0, 100]


@run_async
async def test_large_values_make_short_pieces() -> None:
    member = FakeMember(config=FakeConfig(max_request_bytes=1000))
    fill(member, 40, 300)
    async with serving_member(member) as client:
        messages = await client.stream(RANGE_STREAM, everything())
    sizes = [len(pb.RangeStreamResponse.FromString(message).range_response.kvs) for message in messages]
    assert sizes[:3] == [10, 5, 5]
    assert sum(sizes) == 40


@run_async
async def test_a_stream_of_nothing_or_of_a_count_is_one_message() -> None:
    member = FakeMember()
    async with serving_member(member) as client:
        empty = await client.stream(RANGE_STREAM, everything())
        assert [merged([message]) for message in empty] == [pb.RangeResponse(header=header(member, 1))]
        fill(member, 30)
        counted = await client.stream(RANGE_STREAM, everything(count_only=True))
        assert [merged([message]) for message in counted] == [
            pb.RangeResponse(header=header(member, 31), count=30)
        ]


@run_async
async def test_a_stream_sorts_and_filters_nothing() -> None:
    member = FakeMember()
    orders = "RangeStream does not support custom sort orders"
    filters = "RangeStream does not support revision filters"
    async with serving_member(member) as client:
        for options, text in [
            ({"sort_order": pb.RangeRequest.DESCEND}, orders),
            ({"sort_order": pb.RangeRequest.ASCEND, "sort_target": pb.RangeRequest.MOD}, orders),
            ({"min_mod_revision": 1}, filters),
            ({"max_create_revision": 1}, filters),
        ]:
            with pytest.raises(Refused) as caught:
                await client.stream(RANGE_STREAM, everything(**options))
            assert caught.value.args == (12, text)
        for options in [
            {"sort_order": pb.RangeRequest.ASCEND},
            {"sort_target": pb.RangeRequest.VALUE},
        ]:
            await client.stream(RANGE_STREAM, everything(**options))


def test_a_stream_waits_for_a_slow_client_and_keeps_its_revision() -> None:
    from etcdpy.rpc.services.kv import KV

    member = FakeMember()
    fill(member, 64, 1024 * 1024)
    call = RecordingCall(RANGE_STREAM)
    call.takes_all = False
    KV(member).range_stream(call, everything().SerializeToString())
    # A first piece of ten keys is above the limit of pending bytes already.
    assert len(call.queued) == 1
    fill(member, 1)
    while not call.closed:
        call.take()
    call.take()
    whole = merged(call.sent)
    assert (whole.count, len(whole.kvs), whole.header.revision) == (64, 64, 65)
    assert {len(kv.value) for kv in whole.kvs} == {1024 * 1024}


def test_a_compaction_ends_a_stream_that_needs_older_history() -> None:
    from etcdpy.rpc.services.kv import KV

    member = FakeMember()
    fill(member, 64, 1024 * 1024)
    call = RecordingCall(RANGE_STREAM)
    call.takes_all = False
    KV(member).range_stream(call, everything().SerializeToString())
    fill(member, 2)
    member.state.store.compact(67)
    call.take()
    assert call.error is not None
    assert call.error.message == "etcdserver: mvcc: required revision has been compacted"


# Answers too large for memory.


@pytest.fixture
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has more than ten keys is large."""
    monkeypatch.setattr("etcdpy.rpc.services.kv._MEMORY", ((0, 0), (10, 1 << 20)))
    monkeypatch.setattr("etcdpy.mvcc.large_range.STEP_ROWS", 7)


@pytest.mark.usefixtures("small_answers")
@run_async
async def test_a_large_answer_is_the_same_message() -> None:
    member = FakeMember()
    fill(member, 100, 300)
    fill(member, 50, 20_000)
    old = member.state.store.revision
    for number in range(0, 40, 3):
        member.write(b"k%04d" % number, b"later")
    requests = [
        everything(),
        everything(limit=30),
        everything(limit=99),
        everything(limit=100),
        everything(revision=old),
        everything(revision=old - 60, limit=77),
        everything(keys_only=True),
        pb.RangeRequest(key=b"k0005", range_end=b"k0070", serializable=True),
        pb.RangeRequest(key=b"k0005", range_end=b"\0"),
    ]
    async with serving_member(member) as client:
        for request in requests:
            expected = read_range(member.state.store, request)
            response = await client.ask(RANGE, request, pb.RangeResponse)
            assert [kv.SerializeToString() for kv in response.kvs] == expected.kvs
            assert (response.count, response.more) == (expected.count, expected.more)
            assert response.header == header(member, expected.revision)


@pytest.mark.usefixtures("small_answers")
@run_async
async def test_a_large_answer_is_refused_like_a_small_one() -> None:
    member = FakeMember()
    fill(member, 30)
    async with serving_member(member) as client:
        with pytest.raises(Refused) as refused:
            await client.ask(RANGE, everything(revision=99), pb.RangeResponse)
        assert refused.value.args[1] == "etcdserver: mvcc: required revision is a future revision"


@pytest.mark.usefixtures("small_answers")
@run_async
async def test_writes_during_a_large_answer_are_not_in_it() -> None:
    member = FakeMember()
    fill(member, 60, 1000)
    asked = everything(revision=member.state.store.revision)
    expected = read_range(member.state.store, asked).kvs
    async with serving_member(member) as client:
        reading = asyncio.ensure_future(client.ask(RANGE, everything(), pb.RangeResponse))
        for number in range(200):
            await asyncio.sleep(0)
            if number % 10 == 0:
                member.write(b"k%04d" % (number % 60), b"new")
        response = await reading
    later = {kv.mod_revision for kv in response.kvs}
    assert max(later) == response.header.revision, "the header tells which state it is"
    again = read_range(member.state.store, everything(revision=response.header.revision)).kvs
    assert [kv.SerializeToString() for kv in response.kvs] == again
    assert len(again) == len(expected)
