"""Three members of etcdpy as real processes: every member serves everything, and one may die."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually, local_revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MixedCluster]:
    with MixedCluster(tmp_path_factory.mktemp("cluster"), [candidate] * 3) as started:
        yield started


def test_every_member_takes_writes_and_gives_linearizable_reads(cluster: MixedCluster) -> None:
    for writer in cluster.members:
        with Client(writer.endpoint) as client:
            written = client.put(b"from", writer.name.encode())
        for reader in cluster.members:
            with Client(reader.endpoint) as client:
                answer = client.range(b"from")
                assert answer.kvs[0].value == writer.name.encode()
                assert answer.kvs[0].mod_revision == written.header.revision
                assert answer.header.cluster_id == written.header.cluster_id


def test_a_watch_on_a_follower_sees_what_another_member_wrote(cluster: MixedCluster) -> None:
    leader = cluster.leader()
    follower = next(member for member in cluster.members if member is not leader)
    with Client(follower.endpoint) as client, Client(leader.endpoint) as other:
        stream = client.watch_stream()
        stream.create(key=b"watched")
        assert stream.wait(lambda: any(response.created for response in stream.responses))
        other.put(b"watched", b"1")
        assert stream.wait(lambda: any(response.events for response in stream.responses))
        stream.close()


def test_followers_ask_the_leader_about_leases(cluster: MixedCluster) -> None:
    with Client(cluster.members[0].endpoint) as client:
        lease = client.ask(pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse)
        client.put(b"leased", b"x", lease=lease.ID)
    for member in cluster.members:
        with Client(member.endpoint) as client:
            kept = client.keep_alive(lease.ID)
            assert isinstance(kept, pb.LeaseKeepAliveResponse)
            assert kept.TTL == 60
            left = client.ask(pb.LeaseTimeToLiveRequest(ID=lease.ID, keys=True), pb.LeaseTimeToLiveResponse)
            assert left.grantedTTL == 60
            assert 50 < left.TTL <= 60
            assert list(left.keys) == [b"leased"]
            unknown = client.keep_alive(12345)
            assert not isinstance(unknown, Refusal)
            assert unknown.TTL == 0
            gone = client.ask(pb.LeaseTimeToLiveRequest(ID=12345), pb.LeaseTimeToLiveResponse)
            assert gone.TTL == -1


def test_the_cluster_version_is_what_all_members_can_do(cluster: MixedCluster) -> None:
    eventually(lambda: set(cluster.versions()) == {"3.6.0"})


def test_leadership_moves_to_each_member_and_leases_survive(cluster: MixedCluster) -> None:
    with Client(cluster.leader().endpoint) as client:
        lease = client.ask(pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse)
    for target in cluster.members:
        cluster.move_leader(target)
        with Client(target.endpoint) as client:
            left = client.ask(pb.LeaseTimeToLiveRequest(ID=lease.ID), pb.LeaseTimeToLiveResponse)
            # A new leader gives every lease its whole time again, and an election timeout.
            assert 58 <= left.TTL <= 61


def test_members_hold_equal_data(cluster: MixedCluster) -> None:
    with Client(cluster.members[0].endpoint) as client:
        for number in range(50):
            client.put(b"key-%d" % (number % 7), b"value-%d" % number)
        client.delete(b"key-1", b"key-4")
        revision = client.revision()
    cluster.wait_for_revision(revision)
    for at in range(revision - 9, revision + 1):
        assert len(cluster.hashes(at)) == 1


def test_a_cluster_of_three_goes_on_without_one_and_takes_it_back(cluster: MixedCluster) -> None:
    leader = cluster.leader()
    cluster.kill(leader)
    survivor = cluster.running()[0]
    with Client(survivor.endpoint) as client:
        client.put(b"without", leader.name.encode())
        revision = client.revision()
    cluster.start_member(leader)
    with Client(leader.endpoint) as client:
        eventually(lambda: local_revision(client) >= revision)
        assert client.range(b"without").kvs[0].value == leader.name.encode()


def test_a_leader_that_is_told_to_go_hands_over_first(cluster: MixedCluster) -> None:
    leader = cluster.leader()
    term = cluster.status(leader).raftTerm
    cluster.stop_member(leader)
    new_leader = cluster.leader()
    assert "leadership transfer starting" in leader.log_path.read_text()
    assert cluster.status(new_leader).raftTerm == term + 1
    cluster.start_member(leader)


def test_a_minority_serves_only_what_needs_no_quorum(cluster: MixedCluster) -> None:
    alone, *others = cluster.members
    with Client(alone.endpoint) as client:
        client.put(b"before", b"x")
        revision = client.revision()
        for member in others:
            cluster.kill(member)
        assert client.range(b"before", serializable=True).kvs[0].value == b"x"
        with pytest.raises(grpc.RpcError):
            client.ask(pb.RangeRequest(key=b"before"), pb.RangeResponse, 2)
        with pytest.raises(grpc.RpcError):
            client.ask(pb.PutRequest(key=b"never"), pb.PutResponse, 2)
        for member in others:
            cluster.launch(member)
        for member in others:
            cluster.wait_ready(member)
        eventually(lambda: client.revision() >= revision)
