"""Members in network namespaces, and a firewall between them: partitions as the network makes them.

Without root the same cuts are made inside the peer transport (`test_cluster_partitions`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.testing import firewall, namespaces
from etcdpy.testing.firewall import Firewall, Partition, Party, Rule
from etcdpy.testing.namespaces import Network
from tests.support.client import Client
from tests.support.quorum import MixedCluster, eventually
from tests.support.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

needs_root = pytest.mark.skipif(
    not (firewall.is_available() and namespaces.is_available()), reason="needs root, iptables and ip"
)
pytestmark = [pytest.mark.cluster, needs_root]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        for _ in range(3):
            made.add()
        yield made


def test_chains_and_rules(network: Network) -> None:
    place = Firewall(command=(*network.places[0].command, "iptables"))
    rule, other = Rule(source="10.0.0.1"), Rule(destination_port=2380, loss=0.25, comment="some")
    place.new_chain("etcdpy-test")
    place.append("etcdpy-test", rule)
    assert "etcdpy-test" in place.chains()
    assert place.exists("etcdpy-test", rule)
    assert not place.exists("etcdpy-test", other)
    place.insert("etcdpy-test", other)
    listed = place.list("etcdpy-test")
    assert [counted.packets for counted in listed] == [0, 0]
    assert "--dport 2380" in listed[0].text
    assert "10.0.0.1" in listed[1].text
    place.delete("etcdpy-test", rule)
    assert not place.exists("etcdpy-test", rule)
    place.flush("etcdpy-test")
    assert place.list("etcdpy-test") == []
    place.delete_chain("etcdpy-test")
    assert "etcdpy-test" not in place.chains()
    with pytest.raises(firewall.FirewallError):
        place.delete_chain("etcdpy-test")
    with pytest.raises(ValueError, match="no name"):
        place.new_chain("--flush")


@pytest.mark.slow
def test_partitions_of_real_processes(candidate: Kind, tmp_path: Path, network: Network) -> None:
    cluster = MixedCluster(tmp_path, [candidate] * 3)
    for member, place in zip(cluster.members, network.places, strict=True):
        member.host, member.place = place.address, place.command
    parties = {
        member.name: place.party for member, place in zip(cluster.members, network.places, strict=True)
    }
    with cluster, Partition(parties.values()) as partition:
        leader = cluster.leader()
        term = cluster.status(leader).raftTerm
        follower = next(member for member in cluster.members if member is not leader)

        # A follower that comes back does not depose the leader (thesis 9.6).
        partition.isolate(parties[follower.name], parties.values())
        eventually(lambda: cluster.status(follower).leader == 0)
        with Client(leader.endpoint) as client:
            client.put(b"meanwhile", b"1")
        assert partition.dropped() > 0
        partition.heal_all()
        eventually(lambda: cluster.status(follower).leader == cluster.id_of(leader))
        assert cluster.status(leader).raftTerm == term

        # A leader in the minority serves nothing linearizable; the majority goes on.
        partition.isolate(parties[leader.name], parties.values())
        check_majority_serves(follower, leader)
        partition.heal_all()
        cluster.leader()

        # A network that loses packets only slows things down.
        check_lossy_network(cluster, partition, list(parties.values()))


def check_majority_serves(majority: ClusterMember, minority: ClusterMember) -> None:
    with Client(minority.endpoint) as client, Client(majority.endpoint) as other:
        eventually(lambda: other.put(b"meanwhile", b"2") is not None)
        with pytest.raises(grpc.RpcError):
            client.ask(pb.RangeRequest(key=b"meanwhile"), pb.RangeResponse, 2)
        with pytest.raises(grpc.RpcError):
            client.ask(pb.PutRequest(key=b"meanwhile", value=b"3"), pb.PutResponse, 2)
        assert other.range(b"meanwhile").kvs[0].value == b"2"


def check_lossy_network(cluster: MixedCluster, partition: Partition, parties: list[Party]) -> None:
    for number, one in enumerate(parties):
        for other in parties[:number]:
            partition.cut(one, other, loss=0.05)
    with Writers(3, lambda: cluster.endpoints) as writers:
        writers.wait_for_progress(10)
        time.sleep(1)
        partition.heal_all()
        writers.wait_for_progress(3)
