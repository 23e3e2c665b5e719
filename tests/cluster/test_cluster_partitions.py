"""Partitions, made inside the peer transports of three members that share one event loop.

The rules are named by where they come from: the Raft thesis, sections 4.2.3, 6.2, 6.4 and 9.6.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from etcdpy import embed
from etcdpy.cluster.urls import Url
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.config import Config
from etcdpy.server.log import Logger
from etcdpy.testing.cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from etcdpy.server.results import Result

ELECTION_MS = 300
DEADLINE_S = 30.0

Servers = list[embed.Server]


def configurations(directory: Path, size: int) -> list[Config]:
    peers = [Url(f"http://127.0.0.1:{port}") for port in free_ports(size)]
    initial_cluster = ",".join(f"m{number}={url}" for number, url in enumerate(peers))
    client = Url("http://127.0.0.1:0")
    return [
        Config(
            name=f"m{number}",
            data_dir=directory / f"m{number}",
            listen_client_urls=(client,),
            advertise_client_urls=(client,),
            listen_peer_urls=(url,),
            initial_advertise_peer_urls=(url,),
            initial_cluster=initial_cluster,
            heartbeat_interval_ms=ELECTION_MS // 10,
            election_timeout_ms=ELECTION_MS,
        )
        for number, url in enumerate(peers)
    ]


@asynccontextmanager
async def cluster(directory: Path, size: int = 3) -> AsyncIterator[Servers]:
    configs = configurations(directory, size)
    async with AsyncExitStack() as stack:
        starts = (embed.start(config, Logger.silent()) for config in configs)
        servers = list(await asyncio.gather(*starts))
        for server in servers:
            stack.push_async_callback(server.stop)
        await until(lambda: leader_of(servers) is not None)
        yield servers
        for one, other in itertools.combinations(servers, 2):
            cut(one, other, heal=True)


def cut(one: embed.Server, other: embed.Server, *, heal: bool = False) -> None:
    one.peers.transport.cut(other.member.member_id, cut=not heal)
    other.peers.transport.cut(one.member.member_id, cut=not heal)


def isolate(servers: Servers, alone: embed.Server, *, heal: bool = False) -> None:
    for server in servers:
        if server is not alone:
            cut(server, alone, heal=heal)


def leader_of(servers: Servers) -> embed.Server | None:
    """Whom all of these follow, if there is such a one among them."""
    ids = {server.member.leader_id for server in servers}
    return next((one for one in servers if ids == {one.member.member_id}), None)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def put(server: embed.Server, key: bytes, value: bytes) -> Result:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    request = pb.PutRequest(key=key, value=value)
    server.member.propose("put", request, request.SerializeToString(), answered.set_result)
    return await answered


async def read(server: embed.Server, key: bytes) -> bytes | Exception:
    """The value by a linearizable read, or why there is none."""
    confirmed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    server.member.confirm_read(confirmed.set_result)
    error = await confirmed
    if error is not None:
        return error
    kvs = server.member.state.store.range(key).kvs
    return pb.RangeResponse.FromString(b"\x12" + bytes([len(kvs[0])]) + kvs[0]).kvs[0].value if kvs else b""


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, DEADLINE_S))


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
