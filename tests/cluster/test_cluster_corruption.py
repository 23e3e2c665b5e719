"""Members compare their data: a member whose keys were changed behind its back is found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from etcdpy import embed
from etcdpy.backend import Bucket
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.corruption import DataInconsistent
from etcdpy.server.log import Logger
from tests.support.inprocess import cluster, configurations, leader_of, put, run, until

if TYPE_CHECKING:
    from pathlib import Path


def damage(server: embed.Server) -> None:
    """Another value under the last revision."""
    backend = server.member.state.backend
    row = backend.last(Bucket.KEY)
    assert row is not None
    backend.put(Bucket.KEY, row[0], row[1][:-1] + b"!")


def alarmed(servers: list[embed.Server]) -> list[int]:
    return [alarm.memberID for alarm in servers[0].member.state.alarms.list(pb.AlarmType.CORRUPT)]


def test_the_periodic_check_finds_the_member_that_differs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, corrupt_check_time_s=0.1) as servers:
            leader = leader_of(servers)
            assert leader is not None
            await put(leader, b"a", b"1")
            await until(lambda: len({server.member.state.store.revision for server in servers}) == 1)
            wrong = next(server for server in servers if server is not leader)
            damage(wrong)
            await until(lambda: alarmed(servers) == [wrong.member.member_id])
            refused = await put(leader, b"a", b"2")
            assert refused.error is not None

    run(scenario())


@pytest.mark.parametrize("leads", [True, False])
def test_hashes_of_compactions_tell_who_is_in_the_minority(tmp_path: Path, leads: bool) -> None:
    async def scenario() -> None:
        settings = {"feature_gates": "CompactHashCheck=true", "compact_hash_check_time_s": 0.1}
        async with cluster(tmp_path, **settings) as servers:
            leader = leader_of(servers)
            assert leader is not None
            for number in range(5):
                await put(leader, b"a", b"%d" % number)
            await until(lambda: len({server.member.state.store.revision for server in servers}) == 1)
            wrong = leader if leads else next(server for server in servers if server is not leader)
            damage(wrong)
            revision = leader.member.state.store.revision
            leader.member.propose_own("compaction", pb.CompactionRequest(revision=revision))
            await until(lambda: alarmed(servers) == [wrong.member.member_id])

    run(scenario())


@pytest.mark.parametrize("damaged", [True, False])
def test_a_member_that_differs_does_not_start(tmp_path: Path, damaged: bool) -> None:
    async def scenario() -> None:
        configs = configurations(tmp_path, 3, feature_gates="InitialCorruptCheck=true")
        servers = list(await asyncio.gather(*(embed.start(config, Logger.silent()) for config in configs)))
        try:
            await until(lambda: leader_of(servers) is not None)
            await put(servers[0], b"a", b"1")
            await until(lambda: len({server.member.state.store.revision for server in servers}) == 1)
            if damaged:
                damage(servers[0])
            identity = servers[0].member.member_id
            await servers.pop(0).stop()
            if damaged:
                with pytest.raises(DataInconsistent, match=f"{identity:x} found data inconsistency"):
                    await embed.start(configs[0], Logger.silent())
            else:
                servers.append(await embed.start(configs[0], Logger.silent()))
        finally:
            for server in servers:
                await server.stop()

    run(scenario())


def test_equal_members_raise_no_alarm(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {
            "feature_gates": "CompactHashCheck=true",
            "compact_hash_check_time_s": 0.05,
            "corrupt_check_time_s": 0.05,
        }
        async with cluster(tmp_path, **settings) as servers:
            leader = leader_of(servers)
            assert leader is not None
            for number in range(60):
                await put(leader, b"a", b"%d" % number)
                if number % 20 == 19:
                    leader.member.propose_own("compaction", pb.CompactionRequest(revision=number))
            assert alarmed(servers) == []

    run(scenario())
