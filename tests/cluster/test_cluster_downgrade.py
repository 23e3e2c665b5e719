"""Downgrades: the cluster version falls while a job lasts, an older release may join, and the job ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

VALIDATE, ENABLE, CANCEL = (
    pb.DowngradeRequest.VALIDATE,
    pb.DowngradeRequest.ENABLE,
    pb.DowngradeRequest.CANCEL,
)
# Less than nothing, what is no version, not one minor lower, and one that never was.
BAD_TARGETS = ("", "x", "3", "3.x", "3.4.5.6", "v3.5", "2.9", "3.2.0", "4.0", "3.7", "99.99")


def downgrade(
    client: Client, action: pb.DowngradeRequest.DowngradeAction, version: str = ""
) -> str | Refusal:
    """The cluster version that is told, or the refusal."""
    answer = client.outcome(pb.DowngradeRequest(action=action, version=version))
    if isinstance(answer, Refusal):
        return answer
    assert isinstance(answer, pb.DowngradeResponse)
    assert answer.header.revision > 0
    return answer.version


def status(client: Client) -> pb.StatusResponse:
    return client.ask(pb.StatusRequest(), pb.StatusResponse)


def test_bad_targets_are_refused_as_by_etcd(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with (
        Server(reference, tmp_path / "etcd") as one,
        Server(candidate, tmp_path / "etcdpy") as other,
        Client(one.endpoint) as left,
        Client(other.endpoint) as right,
    ):
        eventually(lambda: downgrade(right, VALIDATE, "3.5") == "3.6")
        eventually(lambda: downgrade(left, VALIDATE, "3.4") == "3.5.0")
        assert downgrade(right, VALIDATE, "3.5.7") == "3.6"
        assert downgrade(left, VALIDATE, "3.4.7") == "3.5.0"  # 3.6 leaves the patch out
        for target in BAD_TARGETS:
            for action in (VALIDATE, ENABLE):
                assert downgrade(right, action, target) == downgrade(left, action, target), target


def test_a_job_from_beginning_to_end(candidate: Kind, tmp_path: Path) -> None:
    flags = ["--downgrade-check-time=100ms"]
    with Server(candidate, tmp_path, flags) as server:
        with Client(server.endpoint) as client:
            eventually(lambda: downgrade(client, VALIDATE, "3.5") == "3.6")
            assert downgrade(client, ENABLE, "3.5") == "3.6"
            told = status(client).downgradeInfo
            assert (told.enabled, told.targetVersion) == (True, "3.5.0")
            refusal = downgrade(client, ENABLE, "3.5")
            assert isinstance(refusal, Refusal)
            assert refusal.text == "etcdserver: cluster has a downgrade job in progress"
            eventually(lambda: not status(client).storageVersion)
        # A member that comes back knows of the job, and of the lower version.
        server.restart()
        with Client(server.endpoint) as client:
            assert status(client).downgradeInfo.enabled
            assert downgrade(client, CANCEL) == "3.5"
            assert not status(client).downgradeInfo.enabled
            assert downgrade(client, CANCEL) == "3.5"
            eventually(lambda: status(client).storageVersion == "3.6.0")


@pytest.mark.slow
def test_all_members_go_back_and_forth(candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [candidate] * 3) as cluster:
        follower = next(member for member in cluster.members if member is not cluster.leader())
        with Client(follower.endpoint) as client:
            eventually(lambda: downgrade(client, VALIDATE, "3.5") == "3.6")
            assert downgrade(client, ENABLE, "3.5.1") == "3.6"
            eventually(lambda: set(cluster.versions()) == {"3.5.0"})
            # Members without data ask this, and 3.5 joins by another rule then.
            assert cluster.http(follower, "/downgrade/enabled") == b"true"
            assert downgrade(client, CANCEL) == "3.5"
            eventually(lambda: set(cluster.versions()) == {"3.6.0"})
