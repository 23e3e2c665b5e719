"""One cluster of real etcd 3.5.1 and etcdpy, in every role."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.quorum import MixedCluster, eventually
from tests.support.writers import Writers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

# Real etcd 3.5 keeps 5000 entries behind a raft snapshot: so many must be written before it sends one.
CATCH_UP_ENTRIES = 5000
SOON_A_SNAPSHOT = ("--snapshot-count=100", "--strict-reconfig-check=false")
COMMON_REVISIONS = 10


def check_equal_data(cluster: MixedCluster) -> None:
    """HashKV of all members at the newest revisions."""
    with Client(cluster.running()[0].endpoint) as client:
        revision = client.revision()
    cluster.wait_for_revision(revision)
    for at in range(revision - COMMON_REVISIONS + 1, revision + 1):
        assert len(cluster.hashes(at)) == 1, f"at revision {at}"


def write_history(client: Client, entries: int) -> int:
    """Puts, leases, deletes and a compaction; the id of a lease with keys."""
    lease = client.ask(pb.LeaseGrantRequest(TTL=600), pb.LeaseGrantResponse).ID
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda number: client.put(
                    b"key-%d" % (number % 37), b"v" * number, lease=lease if number % 5 == 0 else 0
                ),
                range(entries),
            )
        )
    client.put(b"long" * 500, b"a key that LMDB could not hold whole")
    client.delete(b"key-10", b"key-15")
    client.ask(pb.CompactionRequest(revision=client.revision() - 20, physical=True), pb.CompactionResponse)
    return int(lease)


@pytest.mark.parametrize("go_members", [2, 1])
def test_every_member_leads_in_turn_under_load(
    reference: Kind, candidate: Kind, tmp_path: Path, go_members: int
) -> None:
    kinds = [reference] * go_members + [candidate] * (3 - go_members)
    with MixedCluster(tmp_path, kinds) as cluster:
        with Writers(5, lambda: cluster.endpoints) as writers:
            for target in cluster.members:
                cluster.move_leader(target)
                writers.wait_for_progress(10)
        check_equal_data(cluster)
        # What a 3.5 member cannot do, the cluster does not.
        assert set(cluster.versions()) == {"3.5.0"}
        # A compaction, and hashes behind it.
        with Client(cluster.members[0].endpoint) as client:
            revision = client.revision()
            client.ask(pb.CompactionRequest(revision=revision - 5, physical=True), pb.CompactionResponse)
        eventually(lambda: len(cluster.hashes(revision)) == 1)


def test_leases_are_asked_for_across_the_kinds(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [reference, candidate, candidate]) as cluster:
        with Client(cluster.members[0].endpoint) as client:
            lease = client.ask(pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse).ID
            client.put(b"leased", b"x", lease=lease)
        for leader in cluster.members:
            cluster.move_leader(leader)
            for member in cluster.members:
                with Client(member.endpoint) as client:
                    kept = client.keep_alive(lease)
                    assert isinstance(kept, pb.LeaseKeepAliveResponse)
                    assert kept.TTL == 60
                    left = client.ask(
                        pb.LeaseTimeToLiveRequest(ID=lease, keys=True), pb.LeaseTimeToLiveResponse
                    )
                    assert left.TTL > 50
                    assert list(left.keys) == [b"leased"]
        with Client(cluster.members[-1].endpoint) as client:
            client.ask(pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse)
        check_equal_data(cluster)


def test_etcdpy_joins_a_cluster_of_etcd_by_snapshot(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [reference] * 3, SOON_A_SNAPSHOT) as cluster:
        with Client(cluster.members[0].endpoint) as client:
            lease = write_history(client, CATCH_UP_ENTRIES + 300)
        newcomer = cluster.new_member("newcomer", candidate)
        cluster.join(newcomer)
        check_equal_data(cluster)
        assert "applied snapshot" in newcomer.log_path.read_text()
        # It has all that is not in the keys too, and starts again from what it made of the snapshot.
        cluster.kill(newcomer)
        cluster.start_member(newcomer)
        with Client(newcomer.endpoint) as client:
            left = client.ask(pb.LeaseTimeToLiveRequest(ID=lease, keys=True), pb.LeaseTimeToLiveResponse)
            assert len(left.keys) > 0
            client.put(b"after", b"restart")
        cluster.move_leader(newcomer)
        check_equal_data(cluster)


def test_etcd_joins_a_cluster_that_etcdpy_leads_by_snapshot(
    reference: Kind, candidate: Kind, tmp_path: Path
) -> None:
    # One 3.5 member keeps the cluster at a version that another 3.5 member may join.
    flags = (*SOON_A_SNAPSHOT,)
    with MixedCluster(tmp_path, [candidate, candidate, reference], flags) as cluster:
        cluster.move_leader(cluster.members[0])
        with Client(cluster.members[0].endpoint) as client:
            lease = write_history(client, CATCH_UP_ENTRIES + 300)
        newcomer = cluster.new_member("newcomer", reference)
        cluster.join(newcomer)
        check_equal_data(cluster)
        assert "sent database snapshot" in cluster.members[0].log_path.read_text()
        assert "applied snapshot" in newcomer.log_path.read_text()
        cluster.kill(newcomer)
        cluster.start_member(newcomer)
        cluster.move_leader(newcomer)
        with Client(newcomer.endpoint) as client:
            left = client.ask(pb.LeaseTimeToLiveRequest(ID=lease, keys=True), pb.LeaseTimeToLiveResponse)
            assert len(left.keys) > 0
        check_equal_data(cluster)


@pytest.mark.slow
def test_all_members_of_etcd_are_replaced_by_etcdpy_one_by_one(
    reference: Kind, candidate: Kind, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, [reference] * 3) as cluster:
        old = list(cluster.members)
        with Writers(5, lambda: cluster.endpoints) as writers:
            for number, leaving in enumerate(old):
                newcomer = cluster.new_member(f"new{number}", candidate)
                cluster.join(newcomer)
                writers.wait_for_progress(10)
                cluster.leave(leaving)
                writers.wait_for_progress(10)
            acknowledged = writers.acknowledged
        assert acknowledged > 100
        check_equal_data(cluster)
        # Nobody is left who could do less.
        eventually(lambda: set(cluster.versions()) == {"3.6.0"})
        assert all(cluster.kind_of(member) is candidate for member in cluster.members)
