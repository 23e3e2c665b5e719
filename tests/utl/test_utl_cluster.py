"""Members of a running cluster move one by one from real etcd to etcdpy and back, while it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

    from .conftest import Utl

pytestmark = pytest.mark.cluster

PUTS = 60


class Moving(MixedCluster):
    """A cluster whose members change their program between two starts."""

    def move(self, member: ClusterMember, kind: Kind, verb: str, utl: Utl) -> None:
        old = utl.directory / member.name
        moved = utl.directory / f"{member.name}-{kind.name}"
        identity = self.id_of(member)
        self.stop_member(member)
        self.write()  # what it misses it must get from the others
        utl.do(verb, f"--from={old}", f"--data-dir={moved}")
        old.rename(utl.directory / f"{member.name}-{self.kind_of(member).name}-old")
        moved.rename(old)
        self._kinds[member.name] = kind
        self.start_member(member)
        eventually(lambda: self.id_of(member) == identity)

    def write(self) -> None:
        with Client(self.running()[0].endpoint) as client:
            for number in range(PUTS):
                client.put(b"key/%d" % (number % 7), b"%d" % number)

    def check_equal(self) -> None:
        with Client(self.running()[0].endpoint) as client:
            revision = client.revision()
        self.wait_for_revision(revision)
        assert len(self.hashes(revision)) == 1


def test_a_cluster_moves_over_and_one_member_back(
    reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    with Moving(tmp_path, [reference] * 3, ("--snapshot-count=50",)) as cluster:
        cluster.write()
        for member in cluster.members[:2]:
            cluster.move(member, candidate, "import", utl)
            cluster.write()
            cluster.check_equal()
        cluster.move(cluster.members[0], reference, "export", utl)
        cluster.write()
        cluster.check_equal()
        members = [[one.name for one in client_members(member)] for member in cluster.members]
        assert members == [sorted(member.name for member in cluster.members)] * 3


def client_members(member: ClusterMember) -> list[pb.Member]:
    with Client(member.endpoint) as client:
        found = client.ask(pb.MemberListRequest(), pb.MemberListResponse).members
    assert all(one.clientURLs for one in found)
    return sorted(found, key=lambda one: one.name)
