"""MemberPromote while auth is on: asked of whoever, decided by the leader, on both kinds."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.auth.conftest import DENIED, NOBODY, QUICK_PASSWORDS, make_root, make_user
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

# Waiting for the leader's consent ends after 5 s and two election timeouts.
FLAGS = (
    QUICK_PASSWORDS,
    "--strict-reconfig-check=false",
    "--election-timeout=500",
    "--heartbeat-interval=50",
)
REFUSED = (500, b'{"message":"Internal Server Error"}')


@contextmanager
def cluster_with_learner(
    directory: Path, kinds: list[Kind], learner: Kind
) -> Iterator[tuple[MixedCluster, int, str, str]]:
    """The first member leads, auth is on; the learner's id, and the tokens of root and of ann."""
    with MixedCluster(directory, kinds, FLAGS) as cluster:
        cluster.move_leader(cluster.members[0])
        joining = cluster.new_member("learner", learner)
        cluster.join(joining, learner=True)
        identity = cluster.id_of(joining)
        with Client(cluster.members[0].endpoint) as client, Client(cluster.members[0].endpoint) as ann:
            make_root(client)
            make_user(client.log_in("root", "rootpw"), "ann")
            yield cluster, identity, client.token, ann.log_in("ann", "annpw").token


def promote_at(member: ClusterMember, identity: int, token: str) -> object:
    with Client(member.endpoint) as client:
        client.token = token
        return client.outcome(pb.MemberPromoteRequest(ID=identity))


def promote_at_peer_port(member: ClusterMember, identity: int, token: str) -> tuple[int, bytes]:
    arguments = ["-s", "-X", "POST", "-w", "%{http_code}", f"{member.peer_url}/members/promote/{identity}"]
    if token:
        arguments += ["-H", f"Authorization: {token}"]
    done = subprocess.run(["curl", *arguments], capture_output=True, timeout=30, check=True)
    return int(done.stdout[-3:]), done.stdout[:-3]


def is_promoted(answer: object) -> bool:
    return isinstance(answer, pb.MemberPromoteResponse)


def test_the_callers_token_goes_to_the_leader(candidate: Kind, tmp_path: Path) -> None:
    """As in 3.7."""
    with cluster_with_learner(tmp_path, [candidate] * 2, candidate) as (cluster, identity, root, ann):
        leader, follower, learner = cluster.members
        for member in (leader, follower):
            assert promote_at(member, identity, ann) == DENIED
            assert promote_at(member, identity, "") == NOBODY
        assert promote_at_peer_port(leader, identity, ann) == REFUSED
        assert promote_at_peer_port(leader, identity, f"{root}x") == REFUSED
        eventually(lambda: is_promoted(promote_at(follower, identity, root)))
        eventually(lambda: not is_learner(learner, root))


def is_learner(member: ClusterMember, token: str) -> bool:
    with Client(member.endpoint) as client:
        client.token = token
        return client.ask(pb.StatusRequest(), pb.StatusResponse).isLearner


def test_no_leader_takes_a_promotion_from_nobody(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    for kind in (reference, candidate):
        with cluster_with_learner(tmp_path / kind.name, [kind], kind) as (cluster, identity, root, _):
            assert promote_at_peer_port(cluster.members[0], identity, "") == REFUSED
            assert promote_at_peer_port(cluster.members[0], 404, "") == REFUSED
            eventually(lambda: is_promoted(promote_at(cluster.members[0], identity, root)))


@pytest.mark.slow
def test_a_leader_of_3_5_1_refuses_what_any_follower_passes_on(
    reference: Kind, candidate: Kind, tmp_path: Path
) -> None:
    """It looks for no token there, so both kinds of followers wait until the time is up, and say so alike."""
    kinds = [reference, reference, candidate]
    with cluster_with_learner(tmp_path, kinds, candidate) as (cluster, identity, root, ann):
        leader, go, python, _ = cluster.members
        assert promote_at(python, identity, ann) == DENIED
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(promote_at, member, identity, root) for member in (go, python)]
        assert {answer.result() for answer in asked} == {
            Refusal("UNAVAILABLE", "etcdserver: request timed out")
        }
        eventually(lambda: is_promoted(promote_at(leader, identity, root)))
