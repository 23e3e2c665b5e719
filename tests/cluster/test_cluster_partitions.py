"""Partitions, made inside the peer transports of three members that share one event loop.

The rules are named by where they come from: the Raft thesis, sections 4.2.3, 6.2, 6.4 and 9.6.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from tests.support.inprocess import ELECTION_MS, cluster, cut, isolate, leader_of, put, read, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.server.results import Result


def test_a_member_that_was_cut_off_does_not_depose_the_leader(tmp_path: Path) -> None:
    """Thesis 9.6: with pre-vote a member that cannot reach a quorum does not raise its term."""

    async def scenario() -> None:
        async with cluster(tmp_path) as servers:
            leader = leader_of(servers)
            assert leader is not None
            term = leader.member.raft_term
            alone = next(server for server in servers if server is not leader)
            isolate(servers, alone)
            await until(lambda: alone.member.leader_id == 0)
            await asyncio.sleep(4 * ELECTION_MS / 1000)  # time for it to campaign more than once
            assert alone.member.raft_term == term
            await put(leader, b"a", b"meanwhile")
            isolate(servers, alone, heal=True)
            await until(lambda: alone.member.leader_id == leader.member.member_id)
            assert await read(alone, b"a") == b"meanwhile"
            assert (leader_of(servers), leader.member.raft_term) == (leader, term)

    run(scenario())


def test_a_leader_without_a_quorum_steps_down_and_serves_nothing(tmp_path: Path) -> None:
    """Thesis 6.2 and 6.4: no reads and no writes by a leader whom the majority has left."""

    async def scenario() -> None:
        async with cluster(tmp_path) as servers:
            old = leader_of(servers)
            assert old is not None
            await put(old, b"a", b"before")
            majority = [server for server in servers if server is not old]
            isolate(servers, old)
            stale_read = asyncio.ensure_future(read(old, b"a"))
            stale_put: list[Result] = []
            request = pb.PutRequest(key=b"a", value=b"of a minority")
            old.member.propose("put", request, request.SerializeToString(), stale_put.append)
            await until(lambda: leader_of(majority) is not None)
            assert (await put(majority[0], b"a", b"after")).error is None
            await until(lambda: old.member.leader_id == 0)
            assert not stale_read.done()
            assert not stale_put
            isolate(servers, old, heal=True)
            # The read waited for a leader and is answered with what that one has committed.
            assert await stale_read == b"after"
            await until(lambda: leader_of(servers) in majority)
            assert [await read(server, b"a") for server in servers] == [b"after"] * 3

    run(scenario())


def test_a_leader_lease_keeps_voters_from_disturbing_a_leader(tmp_path: Path) -> None:
    """Thesis 4.2.3: cut off from the leader alone, a member finds no voters among those who hear it."""

    async def scenario() -> None:
        async with cluster(tmp_path) as servers:
            leader = leader_of(servers)
            assert leader is not None
            half_cut = next(server for server in servers if server is not leader)
            term = leader.member.raft_term
            cut(leader, half_cut)
            await until(lambda: half_cut.member.leader_id == 0)
            await asyncio.sleep(3 * ELECTION_MS / 1000)
            assert (leader.member.is_leader, leader.member.raft_term) == (True, term)
            assert (await put(leader, b"a", b"x")).error is None

    run(scenario())


def test_five_members_go_on_with_three(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, 5) as servers:
            leader = leader_of(servers)
            assert leader is not None
            minority = [leader, next(server for server in servers if server is not leader)]
            majority = [server for server in servers if server not in minority]
            for one in minority:
                for other in majority:
                    cut(one, other)
            await until(lambda: leader_of(majority) is not None)
            assert (await put(majority[0], b"a", b"three")).error is None
            for one in minority:
                for other in majority:
                    cut(one, other, heal=True)
            await until(lambda: leader_of(servers) is not None)
            assert [await read(server, b"a") for server in servers] == [b"three"] * 5

    run(scenario())
