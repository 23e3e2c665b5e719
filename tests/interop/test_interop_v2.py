"""The v2 API in a cluster of real etcd 3.5.1 and etcdpy: one log, one tree, one index, whoever is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client
from tests.support.quorum import MixedCluster, eventually
from tests.support.v2_client import V2Client

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

V2 = "--enable-v2"
# Real etcd 3.5 keeps 5000 entries behind a raft snapshot.
CATCH_UP_ENTRIES = 5000
SOON_A_SNAPSHOT = (V2, "--snapshot-count=100", "--strict-reconfig-check=false")


def check_equal(members: list[ClusterMember]) -> None:
    """All members have the same tree at the same index."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(V2Client(member.endpoint))) for member in members]

        def trees() -> list[object]:
            return [client.keys("GET", "/", recursive="true") for client in clients]

        eventually(lambda: all(tree == trees()[0] for tree in trees()))


def test_every_member_leads_and_expires_keys(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [reference, candidate, candidate], flags=[V2]) as cluster:
        check_equal(cluster.members)
        for leader in cluster.members:
            cluster.move_leader(leader)
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(closing(V2Client(member.endpoint))) for member in cluster.members
                ]
                waits = [
                    stack.enter_context(closing(client.wait("/ttl", stream="true", recursive="true")))
                    for client in clients
                ]
                for number, client in enumerate(clients):
                    assert client.keys("PUT", f"/kept/{leader.name}/{number}", value="x").status == 201
                    assert client.keys("POST", "/queue", value=str(number)).status == 201
                    clients[number - 1].keys("PUT", "/swap", prevValue=str(number), value=str(number + 1))
                clients[0].keys("PUT", "/swap", value="0")
                clients[1].keys("PUT", "/ttl/soon", value="x", ttl="1")
                for wait in waits:
                    while "expire" not in str(wait.events[-1:]):
                        assert wait.heard()
                assert waits[0].events == waits[1].events == waits[2].events
            check_equal(cluster.members)


def test_members_are_added_and_removed_by_v2(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [candidate, reference, candidate], flags=SOON_A_SNAPSHOT) as cluster:
        joining = cluster.new_member("joining", candidate)
        with closing(V2Client(cluster.members[0].endpoint)) as client:
            headers = {"Content-Type": "application/json"}
            body = f'{{"peerURLs":["{joining.peer_url}"]}}'
            added = client.call("POST", "/v2/members", body=body, **headers)
            assert added.status == 201, added
            cluster.members.append(joining)
            cluster.start_member(joining)
            identity = f"{cluster.id_of(joining):x}"
            eventually(lambda: identity in str(client.call("GET", "/v2/members").body))
            check_equal(cluster.members)
            assert client.call("DELETE", f"/v2/members/{identity}").status == 204
            assert client.call("DELETE", f"/v2/members/{identity}").status == 410
            cluster.kill(joining)
            cluster.members.remove(joining)
            check_equal(cluster.members)


@pytest.mark.parametrize("leading", ["etcdpy", "etcd"])
def test_snapshots_carry_the_store(reference: Kind, candidate: Kind, tmp_path: Path, leading: str) -> None:
    """Members of both kinds that lag behind the log get the tree, its index and its history."""
    leader_kind = candidate if leading == "etcdpy" else reference
    kinds = [leader_kind, leader_kind, candidate if leading == "etcd" else reference]
    entries = 300 if leading == "etcdpy" else CATCH_UP_ENTRIES + 300
    with ShortLogs(tmp_path, kinds, flags=SOON_A_SNAPSHOT) as cluster:
        cluster.move_leader(cluster.members[0])
        lagging = cluster.members[2]
        with closing(V2Client(cluster.members[0].endpoint)) as client:
            client.keys("PUT", "/before", value="x", ttl="1000")
            cluster.kill(lagging)
            for number in range(40):
                client.keys("PUT", f"/dir/{number % 5}/key", value=str(number))
            client.keys("DELETE", "/dir/3", recursive="true")
            with Client(cluster.members[0].endpoint) as v3, ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda number: v3.put(b"key-%d" % (number % 7), b"x"), range(entries)))
            last = client.keys("POST", "/dir", value="last").index
            cluster.start_member(lagging)
            check_equal(cluster.members)
            with closing(V2Client(lagging.endpoint)) as late:
                for since in ("5", "30", str(last)):
                    waits = [one.wait("/", recursive="true", waitIndex=since) for one in (client, late)]
                    for wait in waits:
                        with closing(wait):
                            assert wait.heard()
                    assert waits[0].events == waits[1].events
        cluster.stop_member(lagging)
        cluster.start_member(lagging)
        check_equal(cluster.members)


class ShortLogs(MixedCluster):
    """Real etcd keeps as much of its log as it likes, ours next to nothing."""

    def _arguments(self, member: ClusterMember) -> list[str]:
        short = ["--snapshot-catchup-entries=20"] if self.kind_of(member).name == "etcdpy" else []
        return [*super()._arguments(member), *short]
