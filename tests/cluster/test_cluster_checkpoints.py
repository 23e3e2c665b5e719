"""Lease checkpoints: a new leader gives a lease what it had left, not its whole life again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from etcdpy.lease import NotPrimary
from etcdpy.proto import rpc_pb2 as pb
from tests.support.inprocess import cluster, leader_of, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy import embed
    from etcdpy.server.results import Result

LEASE, TTL_S, LATER_S = 7, 1000, 400


async def grant(leader: embed.Server) -> None:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    request = pb.LeaseGrantRequest(ID=LEASE, TTL=TTL_S)
    leader.member.propose("lease_grant", request, request.SerializeToString(), answered.set_result)
    assert (await answered).error is None


def remaining(server: embed.Server) -> int:
    lease = server.member.state.lessor.lookup(LEASE)
    return -1 if lease is None else lease.remaining_ttl


def left(server: embed.Server) -> int:
    """Seconds by the clock of the leader, 0 while it does not measure yet."""
    try:
        return server.member.state.lessor.time_to_live(LEASE, time.monotonic())
    except NotPrimary:
        return 0


def pass_time(server: embed.Server) -> None:
    """What the member does by itself a while from now."""
    assert server.member.duties is not None
    server.member.duties.tick(time.monotonic() + LATER_S)


@pytest.mark.parametrize("gate", [True, False])
def test_the_leader_tells_how_long_leases_have_left(tmp_path: Path, gate: bool) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, feature_gates=f"LeaseCheckpoint={str(gate).lower()}") as servers:
            leader = leader_of(servers)
            assert leader is not None
            await grant(leader)
            await until(lambda: all(remaining(server) == 0 for server in servers))
            now = time.monotonic()
            leader.member.state.lessor.expired(now)  # measures from now on
            pass_time(leader)
            if not gate:
                await until(lambda: len({server.member.applied_index for server in servers}) == 1)
                assert [remaining(server) for server in servers] == [0, 0, 0]
                return
            await until(lambda: all(remaining(server) for server in servers))
            assert all(TTL_S - LATER_S - 2 <= remaining(server) <= TTL_S - LATER_S for server in servers)

            handed_over = asyncio.get_running_loop().create_future()
            target = next(server for server in servers if server is not leader)
            leader.member.transfer_leadership(target.member.member_id, handed_over.set_result)
            assert await handed_over is None
            await until(lambda: target.member.is_leader)
            await until(lambda: left(target) > 0)
            assert left(target) <= TTL_S - LATER_S + 1

            # A renewal is for the whole time again, for everybody.
            renewed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            target.front.renew_lease(LEASE, renewed.set_result)
            assert (await renewed).response.TTL == TTL_S
            await until(lambda: all(remaining(server) == 0 for server in servers))

    run(scenario())
