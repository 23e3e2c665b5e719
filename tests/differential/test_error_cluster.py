"""Refusals that need other members: learners, followers, leaders that hang, and a quorum that is gone.

The same story is played on three members of real etcd 3.5.1 and on three of the candidate, at the same time;
each step must end in the same refusal, which is also written down here.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually
from tests.support.raw_grpc import raw_call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.protobuf.message import Message

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

ELECTION_S = 0.5
FLAGS = ("--election-timeout=500", "--heartbeat-interval=50")
"""Requests then have six seconds."""

PUT = pb.PutRequest(key=b"k", value=b"v")
READ = pb.RangeRequest(key=b"k")
LOCAL = pb.RangeRequest(key=b"k", serializable=True)
FOR_VOTERS = Refusal("FAILED_PRECONDITION", "etcdserver: rpc not supported for learner")
NOT_LEADER = Refusal("FAILED_PRECONDITION", "etcdserver: not leader")
DROPPED = Refusal("UNKNOWN", "raft proposal dropped")
TRANSFER = Refusal("UNKNOWN", "etcdserver: request timed out, leader transfer took too long")
LEADER_CHANGED = Refusal("UNAVAILABLE", "etcdserver: leader changed")
LEADER_FAILED = Refusal(
    "UNAVAILABLE", "etcdserver: request timed out, possibly due to previous leader failure"
)
TIMED_OUT = Refusal("UNAVAILABLE", "etcdserver: request timed out")
UNHEALTHY = Refusal("UNAVAILABLE", "etcdserver: unhealthy cluster")
NO_LEADER = Refusal("UNAVAILABLE", "etcdserver: no leader")
DEADLINE = Refusal("DEADLINE_EXCEEDED", "context deadline exceeded")
OLD_DEADLINE = Refusal("UNKNOWN", DEADLINE.text)
"""Of 3.5.1; later releases pass the code on."""


def ask(member: ClusterMember, request: Message, seconds: float = 20.0) -> Message | Refusal:
    with Client(member.endpoint) as client:
        return client.outcome(request, seconds)


def by_hand(member: ClusterMember, path: str, request: Message, *fields: tuple[str, str]) -> Refusal:
    return raw_call(member.endpoint, path, request.SerializeToString(), *fields)


def learner_refuses(cluster: MixedCluster, kind: Kind) -> list[object]:
    learner = cluster.new_member("learner", kind)
    cluster.join(learner, learner=True)
    asked: list[Message] = [
        PUT,
        READ,
        pb.TxnRequest(),
        pb.DeleteRangeRequest(key=b"k"),
        pb.CompactionRequest(revision=1),
        pb.LeaseGrantRequest(TTL=9),
        pb.LeaseTimeToLiveRequest(ID=9),
        pb.LeaseLeasesRequest(),
        pb.MemberListRequest(),
        pb.MemberRemoveRequest(ID=9),
        pb.AlarmRequest(),
        pb.HashRequest(),
        pb.HashKVRequest(),
        pb.DefragmentRequest(),
        pb.MoveLeaderRequest(targetID=1),
        pb.AuthStatusRequest(),
        pb.AuthenticateRequest(name="root"),
    ]
    answers: list[object] = [ask(learner, request) for request in asked]
    with Client(learner.endpoint) as client:
        eventually(lambda: not isinstance(client.outcome(LOCAL), Refusal))
        answers.append(client.keep_alive(9))
        stream = client.watch_stream()
        stream.create(key=b"k")
        stream.wait(lambda: bool(stream.responses))
        answers.append(stream.ended)
        stream.close()
        assert client.ask(pb.StatusRequest(), pb.StatusResponse).isLearner
    return answers


def leader_transfer_fails(cluster: MixedCluster, _: Kind) -> list[object]:
    """A follower that hangs does not take over; meanwhile the leader takes no writes."""
    leader = cluster.leader()
    hanging, other = (member for member in cluster.members if member is not leader)
    move = pb.MoveLeaderRequest(targetID=cluster.id_of(hanging))
    path = "/etcdserverpb.Maintenance/MoveLeader"
    with Client(leader.endpoint) as client, ThreadPoolExecutor(1) as pool:
        client.call(READ)
        not_the_leader = ask(other, move)
        cluster.pause(hanging)
        try:
            transfer = pool.submit(by_hand, leader, path, move, ("grpc-timeout", "1500m"))
            write: Message | Refusal = PUT
            deadline = time.monotonic() + 2 * ELECTION_S
            while time.monotonic() < deadline and write != DROPPED:
                write = client.outcome(PUT)
            return [not_the_leader, write, transfer.result()]
        finally:
            cluster.resume(hanging)


def leader_hangs(cluster: MixedCluster, _: Kind) -> list[object]:
    """Its followers have sent it a read and writes, which nobody will answer. Writes that came shortly before
    the next election are blamed on the leader before; in 3.5.1 by who has become leader alone.
    """
    leader = cluster.leader()
    followers = [member for member in cluster.members if member is not leader]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(follower.endpoint)) for follower in followers]
        pool = stack.enter_context(ThreadPoolExecutor(5))
        for client in clients:
            client.call(READ)
        cluster.pause(leader)
        try:
            reading = pool.submit(clients[0].outcome, READ)
            writing = [pool.submit(client.outcome, PUT) for client in clients]
            time.sleep(0.9 * ELECTION_S)
            writing += [pool.submit(client.outcome, PUT) for client in clients]
            writes = [answer.result() for answer in writing]
            return [reading.result(), LEADER_FAILED if LEADER_FAILED in writes else writes]
        finally:
            cluster.resume(leader)


def quorum_is_lost(cluster: MixedCluster, _: Kind) -> list[object]:
    """The write that was under way, then what a member answers that has no leader."""
    leader = cluster.leader()
    with Client(leader.endpoint) as client, ThreadPoolExecutor(2) as pool:
        client.call(READ)
        stream = watch_that_needs_a_leader(client)
        for member in cluster.members:
            if member is not leader:
                cluster.kill(member)
        under_way = pool.submit(client.outcome, PUT)
        reading = pool.submit(client.outcome, READ)
        adding = client.outcome(pb.MemberAddRequest(peerURLs=["http://127.0.0.1:1"]))
        with Client(leader.endpoint) as needing:
            needing.metadata = (("hasleader", "true"),)
            eventually(lambda: needing.outcome(LOCAL) == NO_LEADER)
            streamed = needing.stream(
                "/etcdserverpb.Maintenance/Snapshot", pb.SnapshotRequest(), pb.SnapshotResponse
            )
        refused = by_hand(leader, "/etcdserverpb.KV/Put", PUT, ("grpc-timeout", "500m"))
        stream.wait(lambda: stream.ended is not None)
        stream.close()
        assert not isinstance(client.outcome(LOCAL), Refusal)
        return [adding, streamed, refused, stream.ended, under_way.result(), reading.result()]


def watch_that_needs_a_leader(client: Client):  # type: ignore[no-untyped-def]
    client.metadata = (("hasleader", "true"),)
    stream = client.watch_stream()
    client.metadata = ()
    stream.create(key=b"k")
    assert stream.wait(lambda: bool(stream.responses))
    return stream


def play(
    kinds: tuple[Kind, Kind], directory: Path, *acts: Callable[[MixedCluster, Kind], list[object]]
) -> list[list[list[object]]]:
    """What each kind's cluster answers, act by act."""

    def on(kind: Kind) -> list[list[object]]:
        with MixedCluster(directory / kind.name, [kind] * 3, FLAGS) as cluster:
            return [act(cluster, kind) for act in acts]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(on, kinds))


def test_learners_and_leaders_that_go(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    acts = (leader_transfer_fails, leader_hangs, quorum_is_lost)
    theirs, ours = play((reference, candidate), tmp_path, *acts)
    assert theirs[0] == [NOT_LEADER, DROPPED, TRANSFER]
    # Ours keeps the write until somebody leads; that a deadline has passed, it says in gRPC's words.
    assert (ours[0][0], type(ours[0][1]), ours[0][2]) == (NOT_LEADER, pb.PutResponse, DEADLINE)
    assert theirs[1] == [LEADER_CHANGED, LEADER_FAILED]
    # Our followers ask the next leader, and the read gets its answer.
    assert isinstance(ours[1][0], pb.RangeResponse)
    assert ours[1][1] == LEADER_FAILED
    assert ours[2] == [UNHEALTHY, NO_LEADER, DEADLINE, NO_LEADER, TIMED_OUT, TIMED_OUT]
    assert [answer if answer != OLD_DEADLINE else DEADLINE for answer in theirs[2]] == ours[2]


def test_a_learner_refuses(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    (theirs,), (ours,) = play((reference, candidate), tmp_path, learner_refuses)
    assert set(ours) == {FOR_VOTERS}
    assert set(theirs) == {Refusal("UNAVAILABLE", FOR_VOTERS.text)}, "3.6 has given it another code"
