"""Status is kept encoded, and every change of what it tells is seen in the next answer."""

from __future__ import annotations

import asyncio

import grpc

from etcdpy import embed
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import UNARY

REPEATS = 3


class Asker:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def ask(self, request: object) -> object:
        path, answer_type = UNARY[type(request)]
        answer = await self._channel.unary_unary(path)(request.SerializeToString(), timeout=10)
        return answer_type.FromString(answer)

    async def status(self) -> pb.StatusResponse:
        """Asked a few times: nothing happens between two, so all are equal."""
        answers = [await self.ask(pb.StatusRequest()) for _ in range(REPEATS)]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]


async def _follow_changes(asker: Asker) -> None:
    first = await asker.status()
    assert first.version
    assert first.leader == first.header.member_id
    assert not first.errors

    await asker.ask(pb.PutRequest(key=b"k", value=b"v"))
    put = await asker.status()
    assert put.header.revision == first.header.revision + 1
    assert put.raftIndex > first.raftIndex
    assert put.raftAppliedIndex > first.raftAppliedIndex

    for alarm, name in ((pb.CORRUPT, "CORRUPT"), (pb.NOSPACE, "NOSPACE")):
        change = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=7, alarm=alarm)
        await asker.ask(change)
        assert list((await asker.status()).errors) == [f"memberID:7 alarm:{name} "]
        change.action = pb.AlarmRequest.DEACTIVATE
        await asker.ask(change)
        assert not (await asker.status()).errors

    before = (await asker.status()).dbSize
    for number in range(50):
        await asker.ask(pb.PutRequest(key=b"large", value=bytes([number]) * 100_000))
    await asker.ask(pb.HashRequest())  # which has everything written first
    after = await asker.status()
    assert after.dbSize > before
    assert 0 < after.dbSizeInUse <= after.dbSize


def test_every_change_is_told() -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), embed.member() as etcd:
            target = etcd.client_urls[0].removeprefix("http://")
            async with grpc.aio.insecure_channel(target) as channel:
                await _follow_changes(Asker(channel))

    asyncio.run(scenario())
