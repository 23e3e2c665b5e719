"""What one Watch stream promises, asked of real etcd and of the candidate alike."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from tests.support.client import Client, WatchStream

pytestmark = pytest.mark.cluster

FRAGMENT_BYTES_MAX = 1_572_864 + 512 * 1024  # --max-request-bytes and what gRPC gets on top
LARGE_VALUES, LARGE_VALUE_BYTES = 40, 100_000  # together about twice a fragment
WATCHES = 200


def received(stream: WatchStream, watch_id: int) -> list[pb.WatchResponse]:
    return [response for response in stream.responses if response.watch_id == watch_id and response.events]


def event_count(stream: WatchStream, watch_id: int) -> int:
    return sum(len(response.events) for response in received(stream, watch_id))


def test_large_answer_is_cut_only_on_request(either_client: Client) -> None:
    start = either_client.revision() + 1
    operations = [
        pb.RequestOp(request_put=pb.PutRequest(key=b"large/%02d" % number, value=bytes(LARGE_VALUE_BYTES)))
        for number in range(LARGE_VALUES)
    ]
    for first in range(0, LARGE_VALUES, 10):
        either_client.call(pb.TxnRequest(success=operations[first : first + 10]))
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"large/", range_end=b"large0", start_revision=start, watch_id=1, fragment=True)
        stream.create(key=b"large/", range_end=b"large0", start_revision=start, watch_id=2)
        assert stream.wait(lambda: event_count(stream, 1) == event_count(stream, 2) == LARGE_VALUES)
        parts, whole = received(stream, 1), received(stream, 2)
    assert len(parts) > 1
    assert all(part.ByteSize() <= FRAGMENT_BYTES_MAX for part in parts)
    assert [part.fragment for part in parts] == [True] * (len(parts) - 1) + [False]
    assert not any(response.fragment for response in whole)
    assert max(response.ByteSize() for response in whole) > FRAGMENT_BYTES_MAX
    assert [event for part in parts for event in part.events] == [e for one in whole for e in one.events]


def test_every_watch_of_a_stream_gets_every_revision_once(either_client: Client) -> None:
    """Half of the watches catch up from the past while new writes arrive."""
    start = either_client.put(b"shared/0").header.revision
    with closing(either_client.watch_stream()) as stream:
        for number in range(WATCHES):
            at = start if number % 2 else 0
            stream.create(key=b"shared/", range_end=b"shared0", start_revision=at, watch_id=number + 1)
            if number % 20 == 0:
                last = either_client.put(b"shared/%d" % number).header.revision

        def complete() -> bool:
            last_seen = {r.watch_id: r.events[-1].kv.mod_revision for r in stream.responses if r.events}
            return len(last_seen) == WATCHES and set(last_seen.values()) == {last}

        created = stream.wait(lambda: sum(r.created for r in stream.responses) == WATCHES)
        last = either_client.put(b"shared/last").header.revision
        assert created
        assert stream.wait(complete)
        for number in range(WATCHES):
            revisions = [e.kv.mod_revision for r in received(stream, number + 1) for e in r.events]
            assert revisions == sorted(set(revisions)), f"watch {number + 1} saw {revisions}"
            if number % 2:
                assert revisions == list(range(start, last + 1))


def test_one_transaction_is_one_response(either_client: Client) -> None:
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"txn/", range_end=b"txn0", prev_kv=True, watch_id=1)
        assert stream.wait(lambda: len(stream.responses) == 1)
        either_client.put(b"txn/old", b"before")
        put = pb.RequestOp(request_put=pb.PutRequest(key=b"txn/new", value=b"v"))
        delete = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"txn/old"))
        revision = either_client.ask(pb.TxnRequest(success=[put, delete]), pb.TxnResponse).header.revision
        assert stream.wait(lambda: len(stream.responses) == 3)
        response = stream.responses[2]
    assert response.header.revision == revision
    first, second = response.events
    assert (first.type, first.kv.key, first.kv.mod_revision) == (kv_pb2.Event.PUT, b"txn/new", revision)
    assert not first.HasField("prev_kv")
    assert (second.type, second.kv.key, second.kv.mod_revision) == (kv_pb2.Event.DELETE, b"txn/old", revision)
    assert second.prev_kv.value == b"before"


def test_previous_value_is_that_of_the_revision_before(either_client: Client) -> None:
    """Also where one transaction puts and deletes a key, which a delete without an end may do."""
    either_client.put(b"zz/old", b"before")
    operations = [
        pb.RequestOp(request_put=pb.PutRequest(key=b"zz/old", value=b"during")),
        pb.RequestOp(request_put=pb.PutRequest(key=b"zz/new", value=b"during")),
        pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"zz/", range_end=b"\x00")),
    ]
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"zz/", range_end=b"\x00", prev_kv=True, watch_id=1)
        assert stream.wait(lambda: len(stream.responses) == 1)
        revision = either_client.ask(pb.TxnRequest(success=operations), pb.TxnResponse).header.revision
        stream.create(key=b"zz/", range_end=b"\x00", prev_kv=True, watch_id=2, start_revision=revision)
        assert stream.wait(lambda: event_count(stream, 1) == event_count(stream, 2) == 4)
        (live,), (late,) = received(stream, 1), received(stream, 2)
    for response in (live, late):
        previous = [(event.kv.key, event.prev_kv.value) for event in response.events]
        assert previous == [
            (b"zz/old", b"before"),
            (b"zz/new", b""),
            (b"zz/new", b""),
            (b"zz/old", b"before"),
        ]


def test_start_at_a_compacted_revision_ends_the_watch(either_client: Client) -> None:
    """Created, then cancelled with the compacted revision; one cancel request is still answered."""
    revision = [either_client.put(b"gone", b"%d" % number) for number in range(5)][-1].header.revision
    either_client.call(pb.CompactionRequest(revision=revision, physical=True))
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"gone", start_revision=revision - 2, watch_id=9)
        assert stream.wait(lambda: len(stream.responses) == 2)
        created, canceled = stream.responses
        stream.cancel_watch(9)
        assert stream.wait(lambda: len(stream.responses) == 3)
        answer = stream.responses[2]
    assert (created.created, created.canceled, created.watch_id) == (True, False, 9)
    assert (canceled.canceled, canceled.compact_revision, canceled.watch_id) == (True, revision, 9)
    assert (canceled.header.revision, canceled.cancel_reason) == (0, "")
    assert (answer.canceled, answer.compact_revision, answer.watch_id) == (True, 0, 9)


def test_a_cancelled_watch_is_silent_and_its_neighbour_is_not(either_client: Client) -> None:
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"quiet", watch_id=1)
        stream.create(key=b"quiet", watch_id=2)
        stream.cancel_watch(1)
        assert stream.wait(lambda: any(r.canceled for r in stream.responses))
        either_client.put(b"quiet")
        assert stream.wait(lambda: event_count(stream, 2) == 1)
        stream.create(key=b"quiet", watch_id=1)  # the number is free again
        assert stream.wait(lambda: sum(r.created for r in stream.responses) == 3)
        assert event_count(stream, 1) == 0
        assert not stream.responses[-1].canceled


def test_watch_waits_for_a_future_revision(either_client: Client) -> None:
    now = either_client.revision()
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"future", start_revision=now + 3, watch_id=1)
        assert stream.wait(lambda: len(stream.responses) == 1)
        for number in range(5):
            either_client.put(b"future", b"%d" % number)
        assert stream.wait(lambda: event_count(stream, 1) == 3)
        assert received(stream, 1)[0].events[0].kv.mod_revision == now + 3


def test_negative_start_is_cancelled(either_client: Client) -> None:
    """3.5.1 says so in a second response, later releases in the first; either way there is no watch."""
    with closing(either_client.watch_stream()) as stream:
        stream.create(key=b"negative", start_revision=-1_000_000)
        assert stream.wait(lambda: any(response.canceled for response in stream.responses))
