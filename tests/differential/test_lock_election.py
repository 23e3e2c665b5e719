"""Lock and Election, the same script on real etcd and on the candidate."""

from __future__ import annotations

from contextlib import closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from etcdpy.proto import election_pb2 as el
from etcdpy.proto import lock_pb2 as lk
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import OPTIONS, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from tests.support.client import WatchStream
    from tests.support.server import Server

pytestmark = pytest.mark.cluster

SECONDS_MAX = 20.0
LEASE_SECONDS = 600
NO_LEASE = "etcdserver: requested lease not found"
_numbers = count(1)

METHODS: dict[type[Message], tuple[str, type[Message]]] = {
    lk.LockRequest: ("/v3lockpb.Lock/Lock", lk.LockResponse),
    lk.UnlockRequest: ("/v3lockpb.Lock/Unlock", lk.UnlockResponse),
    el.CampaignRequest: ("/v3electionpb.Election/Campaign", el.CampaignResponse),
    el.ProclaimRequest: ("/v3electionpb.Election/Proclaim", el.ProclaimResponse),
    el.LeaderRequest: ("/v3electionpb.Election/Leader", el.LeaderResponse),
    el.ResignRequest: ("/v3electionpb.Election/Resign", el.ResignResponse),
}


class Sessions:
    """Calls of Lock and Election on one channel, and what they leave behind in the store."""

    def __init__(self, channel: grpc.Channel, client: Client) -> None:
        self.client = client
        self._channel = channel

    def begin(self, request: Message, timeout: float = SECONDS_MAX) -> Any:
        """A call under way; `result()` waits for it, `cancel()` gives it up."""
        path, response = METHODS[type(request)]
        method = self._channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return method.future(request, timeout=timeout)

    def ask(self, request: Message) -> Any:
        return self.begin(request).result()

    def refusal(self, request: Message, timeout: float = SECONDS_MAX) -> tuple[str, str]:
        error = self.begin(request, timeout).exception()
        assert isinstance(error, grpc.RpcError), error
        answer: Any = error
        return answer.code().name, answer.details()

    def observe(self, name: bytes) -> Any:
        """Leaders as they come; an iterator that can be cancelled."""
        method = self._channel.unary_stream(
            "/v3electionpb.Election/Observe",
            request_serializer=el.LeaderRequest.SerializeToString,
            response_deserializer=el.LeaderResponse.FromString,
        )
        return method(el.LeaderRequest(name=name), timeout=SECONDS_MAX)

    def lease(self) -> int:
        request = pb.LeaseGrantRequest(TTL=LEASE_SECONDS)
        return self.client.ask(request, pb.LeaseGrantResponse).ID

    def keys(self, name: bytes) -> list[bytes]:
        return [kv.key for kv in self.client.range(name + b"/", name + b"0").kvs]

    @contextmanager
    def watching(self, name: bytes) -> Iterator[WatchStream]:
        """What happens below a name."""
        with closing(self.client.watch_stream()) as stream:
            stream.create(key=name + b"/", range_end=name + b"0")
            assert stream.wait(lambda: len(stream.responses) == 1)
            yield stream


def happened(stream: WatchStream, number: int) -> bool:
    return stream.wait(lambda: sum(len(response.events) for response in stream.responses) >= number)


@pytest.fixture
def sessions(either_server: Server, either_client: Client) -> Iterator[Sessions]:
    with grpc.insecure_channel(either_server.endpoint, options=OPTIONS) as channel:
        yield Sessions(channel, either_client)


@pytest.fixture
def name() -> bytes:
    """A name that no other test uses."""
    return b"name%d" % next(_numbers)


def test_lock_that_nobody_holds(sessions: Sessions, name: bytes) -> None:
    lease = sessions.lease()
    before = sessions.client.revision()
    first = sessions.ask(lk.LockRequest(name=name, lease=lease))
    assert first.key == name + b"/%x" % lease
    assert first.header.revision == before + 1
    again = sessions.ask(lk.LockRequest(name=name, lease=lease))
    assert (again.key, again.header.revision) == (first.key, before + 1)
    (kv,) = sessions.client.range(first.key).kvs
    assert (kv.value, kv.lease, kv.version) == (b"", lease, 1)
    assert sessions.ask(lk.UnlockRequest(key=first.key)).header.revision == before + 2
    assert sessions.ask(lk.UnlockRequest(key=first.key)).header.revision == before + 2


def test_lock_without_a_lease(sessions: Sessions, name: bytes) -> None:
    response = sessions.ask(lk.LockRequest(name=name))
    (kv,) = sessions.client.range(response.key).kvs
    assert response.key == name + b"/%x" % kv.lease
    left = sessions.client.ask(pb.LeaseTimeToLiveRequest(ID=kv.lease), pb.LeaseTimeToLiveResponse)
    assert left.grantedTTL == 60


def test_locks_are_given_in_the_order_of_asking(sessions: Sessions, name: bytes) -> None:
    leases = [sessions.lease() for _ in range(3)]
    with sessions.watching(name) as stream:
        calls = []
        for number, lease in enumerate(leases, 1):
            calls.append(sessions.begin(lk.LockRequest(name=name, lease=lease)))
            assert happened(stream, number)
        for number, call in enumerate(calls):
            response = call.result()
            assert response.key == name + b"/%x" % leases[number]
            # The holder of an uncontended lock sees its own write, the others a read after the wait.
            written = stream.responses[number + 1].events[0].kv.mod_revision
            assert response.header.revision >= written + number
            assert not any(later.done() for later in calls[number + 1 :])
            sessions.ask(lk.UnlockRequest(key=response.key))
    assert sessions.keys(name) == []


def test_lock_of_a_revoked_lease_goes_to_the_next(sessions: Sessions, name: bytes) -> None:
    first, second = sessions.lease(), sessions.lease()
    sessions.ask(lk.LockRequest(name=name, lease=first))
    with sessions.watching(name) as stream:
        waiting = sessions.begin(lk.LockRequest(name=name, lease=second))
        assert happened(stream, 1)
    sessions.client.call(pb.LeaseRevokeRequest(ID=first))
    assert waiting.result().key == name + b"/%x" % second


def test_lock_whose_key_vanished_while_waiting(sessions: Sessions, name: bytes) -> None:
    first, second = sessions.lease(), sessions.lease()
    held = sessions.ask(lk.LockRequest(name=name, lease=first))
    with sessions.watching(name) as stream:
        waiting = sessions.begin(lk.LockRequest(name=name, lease=second))
        assert happened(stream, 1)
    sessions.client.call(pb.LeaseRevokeRequest(ID=second))
    sessions.ask(lk.UnlockRequest(key=held.key))
    error: Any = waiting.exception()
    assert (error.code().name, error.details()) == ("UNKNOWN", "mutex: session is expired")


@pytest.mark.parametrize("kind", ["cancel", "deadline"])
def test_a_caller_that_leaves_takes_its_key_with_it(sessions: Sessions, name: bytes, kind: str) -> None:
    first, second, third = (sessions.lease() for _ in range(3))
    held = sessions.ask(lk.LockRequest(name=name, lease=first))
    with sessions.watching(name) as stream:
        leaving = sessions.begin(
            lk.LockRequest(name=name, lease=second), SECONDS_MAX if kind == "cancel" else 0.5
        )
        assert happened(stream, 1)
        staying = sessions.begin(lk.LockRequest(name=name, lease=third))
        assert happened(stream, 2)
        if kind == "cancel":
            leaving.cancel()
        assert happened(stream, 3)
        gone = stream.responses[-1].events[0]
        assert (gone.type, gone.kv.key) == (1, name + b"/%x" % second)
    sessions.ask(lk.UnlockRequest(key=held.key))
    assert staying.result().key == name + b"/%x" % third


def test_what_locks_refuse(sessions: Sessions, name: bytes) -> None:
    assert sessions.refusal(lk.LockRequest(name=name, lease=99)) == ("UNKNOWN", NO_LEASE)
    assert sessions.refusal(lk.UnlockRequest()) == ("UNKNOWN", "etcdserver: key is not provided")
    assert sessions.ask(lk.LockRequest()).key.startswith(b"/")


def test_campaign_proclaim_resign(sessions: Sessions, name: bytes) -> None:
    lease = sessions.lease()
    leader_request = el.LeaderRequest(name=name)
    assert sessions.refusal(leader_request) == ("UNKNOWN", "election: no leader")
    won = sessions.ask(el.CampaignRequest(name=name, lease=lease, value=b"a"))
    revision = won.header.revision
    assert won.leader == el.LeaderKey(name=name, key=name + b"/%x" % lease, rev=revision, lease=lease)
    again = sessions.ask(el.CampaignRequest(name=name, lease=lease, value=b"a"))
    assert (again.leader, again.header.revision) == (won.leader, revision)
    changed = sessions.ask(el.CampaignRequest(name=name, lease=lease, value=b"b"))
    assert (changed.leader, changed.header.revision) == (won.leader, revision)
    found = sessions.ask(leader_request)
    assert (found.kv.value, found.kv.lease, found.header.revision) == (b"b", lease, revision + 1)
    proclaim = el.ProclaimRequest(leader=won.leader, value=b"c")
    assert sessions.ask(proclaim).header.revision == revision + 2
    assert sessions.ask(leader_request).kv.value == b"c"
    resign = el.ResignRequest(leader=won.leader)
    assert sessions.ask(resign).header.revision == revision + 3
    assert sessions.ask(resign).header.revision == revision + 3
    assert sessions.refusal(proclaim) == ("UNKNOWN", "election: not leader")


def test_what_elections_refuse(sessions: Sessions, name: bytes) -> None:
    missing = ("UNKNOWN", '"leader" field must be provided')
    assert sessions.refusal(el.ProclaimRequest()) == missing
    assert sessions.refusal(el.ResignRequest()) == missing
    assert sessions.refusal(el.CampaignRequest(name=name, lease=99)) == ("UNKNOWN", NO_LEASE)
    leader = el.LeaderKey(name=name, key=name + b"/1", rev=2, lease=sessions.lease())
    request = el.ProclaimRequest(leader=leader, value=b"v")
    assert sessions.refusal(request) == ("UNKNOWN", "election: not leader")


def test_observer_of_an_election(sessions: Sessions, name: bytes) -> None:
    first, second = sessions.lease(), sessions.lease()
    early = sessions.observe(name)
    won = sessions.ask(el.CampaignRequest(name=name, lease=first, value=b"a"))
    told = next(early)
    assert (told.kv.key, told.kv.value) == (won.leader.key, b"a")
    sessions.ask(el.ProclaimRequest(leader=won.leader, value=b"b"))
    told = next(early)
    assert (told.kv.value, told.header.revision) == (b"b", told.kv.mod_revision)
    with sessions.watching(name) as stream:
        candidate = sessions.begin(el.CampaignRequest(name=name, lease=second, value=b"c"))
        assert happened(stream, 1)
    late = sessions.observe(name)
    assert next(late).kv.value == b"b"
    sessions.ask(el.ResignRequest(leader=won.leader))
    following = candidate.result()
    for observer in (early, late):
        told = next(observer)
        assert (told.kv.key, told.kv.value) == (following.leader.key, b"c")
        observer.cancel()


def test_candidate_that_leaves_takes_its_key_with_it(sessions: Sessions, name: bytes) -> None:
    first, second = sessions.lease(), sessions.lease()
    won = sessions.ask(el.CampaignRequest(name=name, lease=first, value=b"a"))
    with sessions.watching(name) as stream:
        leaving = sessions.begin(el.CampaignRequest(name=name, lease=second, value=b"b"))
        assert happened(stream, 1)
        leaving.cancel()
        assert happened(stream, 2)
    assert sessions.keys(name) == [won.leader.key]
