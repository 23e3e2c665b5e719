"""The Cluster service on a real member: learners, refusals, and what of them survives a restart.

The refusals are those real etcd 3.5.1 gave in the same session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from etcdpy import embed
from etcdpy.cluster.membership import PeerUrlExists, TooManyLearners
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.config import Config
from etcdpy.server.errors import LearnerNotReady
from etcdpy.server.log import Logger
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.server.results import Result
    from tests.support.programs import Kind

DEADLINE_S = 20.0


async def change(server: embed.Server, request: pb.MemberAddRequest | pb.MemberPromoteRequest) -> Result:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    server.front.change_members(request, answered.set_result)
    return await answered


def test_a_refused_change_is_not_made_when_the_log_is_read_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = Config.for_test(tmp_path)
        server = await embed.start(config, Logger.silent())
        added = await change(server, pb.MemberAddRequest(peerURLs=["http://127.0.0.1:1"], isLearner=True))
        assert added.error is None
        learners = server.member.node.conf_state.learners
        refused = await change(server, pb.MemberAddRequest(peerURLs=["http://127.0.0.1:2"], isLearner=True))
        assert isinstance(refused.error, TooManyLearners)
        taken = await change(
            server, pb.MemberAddRequest(peerURLs=["http://127.0.0.1:1", "http://127.0.0.1:3"])
        )
        assert isinstance(taken.error, PeerUrlExists)
        lagging = await change(server, pb.MemberPromoteRequest(ID=learners[0]))
        assert isinstance(lagging.error, LearnerNotReady)
        await server.stop()

        again = await embed.start(config, Logger.silent())
        assert again.member.node.conf_state.learners == learners
        assert again.member.node.conf_state.voters == [again.member.member_id]
        await again.stop()

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


@pytest.mark.cluster
def test_a_learner_catches_up_is_promoted_leads_and_is_removed(candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [candidate] * 3, ["--strict-reconfig-check=false"]) as cluster:
        learner = cluster.new_member("learner", candidate)
        cluster.join(learner, learner=True)
        identity = cluster.id_of(learner)
        with Client(learner.endpoint) as client:
            assert isinstance(client.outcome(pb.RangeRequest(key=b"a")), Refusal)
            assert not isinstance(client.outcome(pb.RangeRequest(key=b"a", serializable=True)), Refusal)
            assert isinstance(client.outcome(pb.PutRequest(key=b"a")), Refusal)
            assert cluster.status(learner).isLearner
        follower = next(member for member in cluster.members if member is not cluster.leader())
        # A follower asks the leader, who alone knows how far the learner is.
        eventually(lambda: cluster.ctl("member", "promote", f"{identity:x}", members=[follower]) is not None)
        eventually(lambda: not cluster.status(learner).isLearner)
        cluster.move_leader(learner)
        with Client(learner.endpoint) as client:
            client.put(b"a", b"led by who was a learner")
        cluster.leave(learner)
        process = learner.process
        assert process is not None
        assert process.wait(DEADLINE_S) == 0
        assert "permanently removed from the cluster" in learner.log_path.read_text()
        # It stays removed.
        cluster.launch(learner)
        assert learner.process is not None
        assert learner.process.wait(DEADLINE_S) == 0
        with Client(cluster.leader().endpoint) as client:
            assert client.range(b"a").count == 1


@pytest.mark.cluster
def test_changes_that_would_endanger_the_quorum_are_refused(candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [candidate] * 3) as cluster:
        leader = cluster.leader()
        others = [member for member in cluster.members if member is not leader]
        identities = {member.name: cluster.id_of(member) for member in cluster.members}
        # Connections count once they have lasted five seconds.
        assert cluster.ctl("member", "add", "x", "--peer-urls=http://127.0.0.1:1", members=[leader]) is None
        cluster.kill(others[0])
        # Who is not there anyway may go; of the two that remain none may.
        eventually(lambda: cluster.ctl("member", "remove", f"{identities[others[0].name]:x}") is not None)
        cluster.members.remove(others[0])
        cluster.kill(others[1])
        refusal = cluster.ctl("member", "remove", f"{identities[leader.name]:x}", members=[leader])
        assert refusal is None
