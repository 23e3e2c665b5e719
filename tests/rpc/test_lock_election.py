"""Lock and Election over both servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.proto import election_pb2 as el
from etcdpy.proto import lock_pb2 as lk
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.services import Health, make_router
from etcdpy.rpc.services.watch import PENDING_BYTES_MAX
from etcdpy.server.errors import NoSpace
from tests.rpc.fakes import FakeMember, RecordingCall
from tests.rpc.harness import Client, Refused, run_async, serving_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpc import aio

pytestmark = pytest.mark.usefixtures("transport")

LOCK, ELECTION = "/v3lockpb.Lock/", "/v3electionpb.Election/"
NO_LEASE = "etcdserver: requested lease not found"


def member_with_leases(*leases: int) -> FakeMember:
    member = FakeMember()
    for lease in leases:
        member.state.lessor.grant(lease, 60)
    return member


def keys(member: FakeMember) -> list[bytes]:
    found = member.state.store.range(b"\0", b"\0")
    return [pb.RangeResponse.FromString(b"\x12%c" % len(kv) + kv).kvs[0].key for kv in found.kvs]


async def until(condition: Callable[[], bool]) -> None:
    """Messages of a test in one process take a few turns of the loop."""
    while not condition():
        await asyncio.sleep(0.001)


def watchers(member: FakeMember) -> int:
    return member.state.hub.synced_watchers


async def lock(client: Client, name: bytes, lease: int = 0) -> lk.LockResponse:
    request = lk.LockRequest(name=name, lease=lease)
    response: lk.LockResponse = await client.ask(LOCK + "Lock", request, lk.LockResponse)
    return response


async def unlock(client: Client, key: bytes) -> lk.UnlockResponse:
    response: lk.UnlockResponse = await client.ask(
        LOCK + "Unlock", lk.UnlockRequest(key=key), lk.UnlockResponse
    )
    return response


async def campaign(client: Client, lease: int, value: bytes = b"v", **options: Any) -> el.CampaignResponse:
    request = el.CampaignRequest(name=b"e", lease=lease, value=value)
    response: el.CampaignResponse = await client.ask(
        ELECTION + "Campaign", request, el.CampaignResponse, **options
    )
    return response


async def leader(client: Client) -> el.LeaderResponse:
    request = el.LeaderRequest(name=b"e")
    response: el.LeaderResponse = await client.ask(ELECTION + "Leader", request, el.LeaderResponse)
    return response


class TestLock:
    @run_async
    async def test_nobody_holds_it(self) -> None:
        member = member_with_leases(0x1F)
        async with serving_member(member) as client:
            response = await lock(client, b"l", 0x1F)
            assert (response.key, response.header.revision) == (b"l/1f", 2)
            assert response.header.member_id == member.member_id
            assert member.state.lessor.lease_of(b"l/1f") == 0x1F

    @run_async
    async def test_without_a_lease_it_gets_one_of_a_minute(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            response = await lock(client, b"l")
        (lease,) = member.state.lessor.leases()
        assert (response.key, lease.ttl) == (b"l/%x" % lease.id, 60)

    @run_async
    async def test_the_same_lease_may_lock_again(self) -> None:
        async with serving_member(member_with_leases(1)) as client:
            first, second = await lock(client, b"l", 1), await lock(client, b"l", 1)
            assert first.key == second.key
            assert second.header.revision == 2

    @run_async
    async def test_locks_are_given_in_the_order_of_asking(self) -> None:
        member = member_with_leases(1, 2, 3)
        async with serving_member(member) as client:
            holder = await lock(client, b"l", 1)
            second = asyncio.ensure_future(lock(client, b"l", 2))
            await until(lambda: watchers(member) == 1)
            third = asyncio.ensure_future(lock(client, b"l", 3))
            await until(lambda: watchers(member) == 2)
            await unlock(client, holder.key)
            response = await second
            assert (response.key, response.header.revision) == (b"l/2", 5)
            assert not third.done()
            await unlock(client, response.key)
            assert (await third).key == b"l/3"
            assert watchers(member) == 0

    @run_async
    async def test_a_wait_goes_on_when_one_in_the_middle_leaves(self) -> None:
        member = member_with_leases(1, 2, 3)
        async with serving_member(member) as client:
            await lock(client, b"l", 1)
            second = asyncio.ensure_future(lock(client, b"l", 2))
            await until(lambda: watchers(member) == 1)
            third = asyncio.ensure_future(lock(client, b"l", 3))
            await until(lambda: watchers(member) == 2)
            second.cancel()
            await until(lambda: keys(member) == [b"l/1", b"l/3"])
            await until(lambda: watchers(member) == 1)
            await unlock(client, b"l/1")
            assert (await third).key == b"l/3"

    @run_async
    async def test_the_end_of_the_holders_lease_gives_the_lock(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            await lock(client, b"l", 1)
            second = asyncio.ensure_future(lock(client, b"l", 2))
            await until(lambda: watchers(member) == 1)
            await client.call(
                "/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=1).SerializeToString()
            )
            assert (await second).key == b"l/2"

    @run_async
    async def test_a_key_that_vanished_while_waiting(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            await lock(client, b"l", 1)
            waiting = asyncio.ensure_future(client.refusal(LOCK + "Lock", lk.LockRequest(name=b"l", lease=2)))
            await until(lambda: watchers(member) == 1)
            member.delete(b"l/2")
            member.delete(b"l/1")
            assert await waiting == (2, "mutex: session is expired")

    @run_async
    async def test_the_deadline_takes_the_key_away(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            await lock(client, b"l", 1)
            request = lk.LockRequest(name=b"l", lease=2)
            code, _ = await client.refusal(LOCK + "Lock", request, timeout=0.1)
            assert code == 4
            await until(lambda: keys(member) == [b"l/1"])
            assert watchers(member) == 0

    @run_async
    async def test_refusals_have_etcds_text_and_no_code(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            request = lk.LockRequest(name=b"l", lease=9)
            assert await client.refusal(LOCK + "Lock", request) == (2, NO_LEASE)
            unlock_request = lk.UnlockRequest()
            text = "etcdserver: key is not provided"
            assert await client.refusal(LOCK + "Unlock", unlock_request) == (2, text)
            member.space_is_left = False
            text = "etcdserver: mvcc: database space exceeded"
            assert await client.refusal(LOCK + "Lock", lk.LockRequest(name=b"l")) == (2, text)
            member.propose_error = NoSpace()
            member.space_is_left = True
            assert await client.refusal(LOCK + "Lock", lk.LockRequest(name=b"l")) == (2, text)

    @run_async
    async def test_unlocking_what_is_not_locked(self) -> None:
        async with serving_member(FakeMember()) as client:
            assert (await unlock(client, b"l/1")).header.revision == 1

    @run_async
    async def test_a_read_that_fails_while_waiting_gives_the_place_up(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            await lock(client, b"l", 1)
            waiting = asyncio.ensure_future(client.refusal(LOCK + "Lock", lk.LockRequest(name=b"l", lease=2)))
            await until(lambda: watchers(member) == 1)
            member.read_error = NoSpace()
            member.delete(b"l/1")
            assert await waiting == (2, "etcdserver: mvcc: database space exceeded")
            assert keys(member) == []


class TestCallersThatLeaveEarly:
    """Before their key is known to be there."""

    async def _leave_while_writing(self, lease: int) -> FakeMember:
        member = member_with_leases(1)
        router = make_router(member, Health())
        method = router.method(LOCK + "Lock")
        assert method is not None
        call = RecordingCall(method.path)
        member.is_holding = True
        router.start(method, call, lk.LockRequest(name=b"l", lease=lease).SerializeToString())
        if not lease:
            member.release()  # the lease is there, the key is not
        call.cancel()
        member.release()
        member.release()
        assert call.sent == []
        return member

    @run_async
    async def test_their_lease_keeps_the_key(self) -> None:
        """The caller may have asked again by now, and been told that it holds the lock."""
        assert keys(await self._leave_while_writing(1)) == [b"l/1"]

    @run_async
    async def test_a_lease_that_nobody_knows_does_not(self) -> None:
        assert keys(await self._leave_while_writing(0)) == []


class TestElection:
    @run_async
    async def test_campaign_leader_proclaim_resign(self) -> None:
        member = member_with_leases(1)
        async with serving_member(member) as client:
            assert await client.refusal(ELECTION + "Leader", el.LeaderRequest(name=b"e")) == (
                2,
                "election: no leader",
            )
            won = await campaign(client, 1, b"first")
            assert won.leader == el.LeaderKey(name=b"e", key=b"e/1", rev=2, lease=1)
            assert won.header.revision == 2
            found = await leader(client)
            assert (found.kv.key, found.kv.value, found.header.revision) == (b"e/1", b"first", 2)
            request = el.ProclaimRequest(leader=won.leader, value=b"second")
            proclaimed = await client.ask(ELECTION + "Proclaim", request, el.ProclaimResponse)
            assert proclaimed.header.revision == 3
            assert (await leader(client)).kv.value == b"second"
            assert member.state.lessor.lease_of(b"e/1") == 1
            resign = el.ResignRequest(leader=won.leader)
            assert (await client.ask(ELECTION + "Resign", resign, el.ResignResponse)).header.revision == 4
            assert (await client.ask(ELECTION + "Resign", resign, el.ResignResponse)).header.revision == 4
            assert await client.refusal(ELECTION + "Proclaim", request) == (2, "election: not leader")

    @run_async
    async def test_the_leader_must_be_named(self) -> None:
        async with serving_member(FakeMember()) as client:
            text = '"leader" field must be provided'
            assert await client.refusal(ELECTION + "Proclaim", el.ProclaimRequest()) == (2, text)
            assert await client.refusal(ELECTION + "Resign", el.ResignRequest()) == (2, text)
            request = el.CampaignRequest(name=b"e", lease=9)
            assert await client.refusal(ELECTION + "Campaign", request) == (2, NO_LEASE)

    @run_async
    async def test_campaigning_again_changes_the_value(self) -> None:
        async with serving_member(member_with_leases(1)) as client:
            first = await campaign(client, 1, b"a")
            again = await campaign(client, 1, b"a")
            assert (again.leader, again.header.revision) == (first.leader, 2)
            changed = await campaign(client, 1, b"b")
            assert changed.leader == first.leader
            assert changed.header.revision == 2  # of the read that found the key
            assert (await leader(client)).kv.value == b"b"

    @run_async
    async def test_the_next_leads_when_the_first_resigns(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            first = await campaign(client, 1)
            second = asyncio.ensure_future(campaign(client, 2))
            await until(lambda: watchers(member) == 1)
            await client.ask(ELECTION + "Resign", el.ResignRequest(leader=first.leader), el.ResignResponse)
            won = await second
            assert (won.leader.key, won.leader.rev, won.header.revision) == (b"e/2", 3, 3)

    @run_async
    async def test_a_candidate_that_leaves_takes_its_key_with_it(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            await campaign(client, 1)
            second = asyncio.ensure_future(campaign(client, 2))
            await until(lambda: watchers(member) == 1)
            second.cancel()
            await until(lambda: keys(member) == [b"e/1"])
            assert watchers(member) == 0
            with pytest.raises(Refused):
                await campaign(client, 2, timeout=0.1)
            await until(lambda: keys(member) == [b"e/1"])

    @run_async
    async def test_observers_see_leaders_and_their_words(self) -> None:
        member = member_with_leases(1, 2)
        async with serving_member(member) as client:
            request = el.LeaderRequest(name=b"e").SerializeToString()
            stream = client.channel.unary_stream(ELECTION + "Observe")(request)
            await until(lambda: watchers(member) == 1)
            first = await campaign(client, 1, b"a")
            assert await self._seen(stream) == (b"e/1", b"a", 2, 2)
            await until(lambda: watchers(member) == 1)
            words = el.ProclaimRequest(leader=first.leader, value=b"b")
            await client.ask(ELECTION + "Proclaim", words, el.ProclaimResponse)
            assert await self._seen(stream) == (b"e/1", b"b", 3, 3)
            second = asyncio.ensure_future(campaign(client, 2, b"c"))
            await until(lambda: watchers(member) == 2)
            await client.ask(ELECTION + "Resign", el.ResignRequest(leader=first.leader), el.ResignResponse)
            assert await self._seen(stream) == (b"e/2", b"c", 4, 5)
            await second
            late = client.channel.unary_stream(ELECTION + "Observe")(request)
            assert await self._seen(late) == (b"e/2", b"c", 4, 5)
            late.cancel()
            stream.cancel()
            await until(lambda: watchers(member) == 0)

    async def _seen(self, stream: aio.UnaryStreamCall[bytes, bytes]) -> tuple[bytes, bytes, int, int]:
        message: Any = await stream.read()
        response = el.LeaderResponse.FromString(message)
        return response.kv.key, response.kv.value, response.kv.mod_revision, response.header.revision

    @run_async
    async def test_an_observer_that_cannot_see_is_told(self) -> None:
        member = FakeMember(read_error=NoSpace())
        async with serving_member(member) as client:
            with pytest.raises(Refused) as refused:
                await client.stream(ELECTION + "Observe", el.LeaderRequest(name=b"e"))
            assert refused.value.args == (2, "election: observe closed early")

    @run_async
    async def test_a_slow_observer_slows_its_watch(self) -> None:
        member = FakeMember()
        router = make_router(member, Health())
        method = router.method(ELECTION + "Observe")
        assert method is not None
        call = RecordingCall(method.path)
        call.takes_all = False
        member.write(b"e/1", b"first")
        router.start(method, call, el.LeaderRequest(name=b"e").SerializeToString())
        for number in range(8):
            member.write(b"e/1", bytes(PENDING_BYTES_MAX // 4) + b"%d" % number)
        assert len(call.queued) < 8
        while len(call.sent) < 9:
            call.take()
            while member.state.hub.catch_up():
                pass
            call.queued, taken = [], call.queued
            call.sent += taken
        seen = [el.LeaderResponse.FromString(data).kv for data in call.sent]
        assert [kv.mod_revision for kv in seen] == list(range(2, 11))
