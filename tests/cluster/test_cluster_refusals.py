"""Refusals that no client can bring about at will, brought about from inside of members."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from etcdpy.embed import start
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.errors import to_rpc_error
from etcdpy.server.downgrade import Downgrades
from etcdpy.server.log import Logger
from tests.support.client import Client, Refusal
from tests.support.inprocess import cluster, configurations, cut, isolate, leader_of, put, run

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

    from etcdpy import embed
    from etcdpy.server.member import Member
    from etcdpy.server.results import Result

TOO_MANY = Refusal("UNKNOWN", "etcdserver: too many requests")
TRANSFER = "etcdserver: request timed out, leader transfer took too long"
CONNECTION_LOST = "etcdserver: request timed out, possibly due to connection lost"


class BrokenLink:
    """A link that has broken, which nobody has noticed, and has come back since."""

    def __init__(self, came_back: float) -> None:
        self._came_back = came_back

    def active_since(self, member_id: int) -> float | None:
        return self._came_back

    def is_lost(self, member_id: int) -> bool:
        return False


async def a_write_on_a_broken_link(directory: Path) -> Result:
    async with cluster(directory) as servers:
        leader = leader_of(servers)
        assert leader is not None
        follower = next(server for server in servers if server is not leader)
        member = follower.member
        member.connections = BrokenLink(member.clock() + 0.1)
        cut(follower, leader)
        writing = asyncio.ensure_future(put(follower, b"k", b"v"))
        await asyncio.sleep(0.1)  # less than an election timeout, so nobody misses the leader
        cut(follower, leader, heal=True)
        return await writing


async def a_transfer_to_who_is_not_there(directory: Path) -> Result:
    async with cluster(directory) as servers:
        leader = leader_of(servers)
        assert leader is not None
        alone = next(server for server in servers if server is not leader)
        isolate(servers, alone)
        answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        leader.front.move_leader(alone.member.member_id, answered.set_result)
        return await answered


def test_requests_that_time_out(tmp_path: Path) -> None:
    """Both last for the request timeout, so they share it."""

    async def scenario() -> None:
        write, transfer = await asyncio.gather(
            a_write_on_a_broken_link(tmp_path / "write"),
            a_transfer_to_who_is_not_there(tmp_path / "transfer"),
        )
        assert write.error is not None
        assert to_rpc_error(write.error).message == CONNECTION_LOST
        assert transfer.error is not None
        assert to_rpc_error(transfer.error).message == TRANSFER

    run(scenario())


def refused_writes(server: embed.Server) -> list[Message | Refusal]:
    with Client(server.client_urls[0].removeprefix("http://")) as client:
        requests = [
            pb.PutRequest(key=b"k"),
            pb.DeleteRangeRequest(key=b"k"),
            pb.TxnRequest(success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k"))]),
            pb.CompactionRequest(revision=1),
            pb.LeaseGrantRequest(TTL=9),
            pb.LeaseRevokeRequest(ID=9),
        ]
        return [refused_while_overloaded(server, client, request) for request in requests]


def refused_while_overloaded(server: embed.Server, client: Client, request: Message) -> Message | Refusal:
    """The member finds out every now and then that it is not."""
    for _ in range(5):
        server.member.is_overloaded = True
        answer = client.outcome(request)
        if answer == TOO_MANY:
            break
    return answer


def test_a_member_that_has_too_much_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, size=1) as servers:
            refused = await asyncio.to_thread(refused_writes, servers[0])
            assert refused == [TOO_MANY] * 6

    run(scenario())


def test_a_downgrade_before_a_cluster_version_is_known() -> None:
    membership = SimpleNamespace(cluster_version=None, downgrade=None)
    member = SimpleNamespace(
        confirm_read=lambda done: done(None),
        state=SimpleNamespace(membership=membership),
        log=Logger.silent(),
    )
    answers: list[Result] = []
    request = pb.DowngradeRequest(action=pb.DowngradeRequest.VALIDATE, version="3.5")
    Downgrades(cast("Member", member)).answer(request, answers.append)
    error = answers[0].error
    assert error is not None
    assert to_rpc_error(error).message == "etcdserver: cluster version not found during downgrade"


def test_a_member_that_is_stopping(tmp_path: Path) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1)
        server = await start(config, Logger.silent())
        await server.stop()
        result = await put(server, b"k", b"v")
        assert result.error is not None
        assert to_rpc_error(result.error).message == "etcdserver: server stopped"

    run(scenario())
