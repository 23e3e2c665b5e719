"""Clusters inside one event loop, whose network is cut inside the peer transports."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

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


def configurations(directory: Path, size: int, **settings: Any) -> list[Config]:
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
            **settings,
        )
        for number, url in enumerate(peers)
    ]


@asynccontextmanager
async def cluster(directory: Path, size: int = 3, **settings: Any) -> AsyncIterator[Servers]:
    configs = configurations(directory, size, **settings)
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
