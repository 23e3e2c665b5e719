"""Lease, Cluster, Maintenance, Auth and Health over both servers."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from etcdpy.cluster.membership import MemberNotFound
from etcdpy.lease import NotPrimary
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from etcdpy.rpc.services import Health, make_router
from etcdpy.rpc.services.auth import PROPOSED
from etcdpy.rpc.services.lease import WAITING_RENEWALS_MAX, Lease
from etcdpy.rpc.services.maintenance import SNAPSHOT_PENDING_BYTES_MAX, Maintenance
from etcdpy.server.errors import LearnerNotReady, NotLeader, NotSupported
from tests.rpc.fakes import FakeMember, FakeSnapshot, RecordingCall
from tests.rpc.harness import Refused, run_async, serving, serving_member

LEASE = "/etcdserverpb.Lease/"
CLUSTER = "/etcdserverpb.Cluster/"
MAINTENANCE = "/etcdserverpb.Maintenance/"
AUTH = "/etcdserverpb.Auth/"
pytestmark = pytest.mark.usefixtures("transport")

HEALTH = "/grpc.health.v1.Health/"


class TestLease:
    @run_async
    async def test_grant_time_to_live_and_revoke(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            request = pb.LeaseGrantRequest(ID=7, TTL=60)
            granted = await client.ask(LEASE + "LeaseGrant", request, pb.LeaseGrantResponse)
            assert (granted.ID, granted.TTL, granted.header.revision) == (7, 60, 1)
            put = pb.PutRequest(key=b"a", lease=7)
            await client.ask("/etcdserverpb.KV/Put", put, pb.PutResponse)
            request = pb.LeaseTimeToLiveRequest(ID=7, keys=True)
            left = await client.ask(LEASE + "LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse)
            assert (left.TTL, left.grantedTTL, list(left.keys), left.header.revision) == (59, 60, [b"a"], 2)
            listed = await client.ask(LEASE + "LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
            assert ([lease.ID for lease in listed.leases], listed.header.revision) == ([7], 2)
            request = pb.LeaseRevokeRequest(ID=7)
            revoked = await client.ask(LEASE + "LeaseRevoke", request, pb.LeaseRevokeResponse)
            assert revoked.header.revision == 3
            text = "etcdserver: requested lease not found"
            assert await client.refusal(LEASE + "LeaseRevoke", request) == (5, text)

    @run_async
    async def test_refusals(self) -> None:
        async with serving_member(FakeMember()) as client:
            grant = LEASE + "LeaseGrant"
            await client.call(grant, pb.LeaseGrantRequest(ID=7, TTL=60).SerializeToString())
            text = "etcdserver: lease already exists"
            assert await client.refusal(grant, pb.LeaseGrantRequest(ID=7, TTL=60)) == (9, text)
            text = "etcdserver: too large lease TTL"
            assert await client.refusal(grant, pb.LeaseGrantRequest(TTL=9_000_000_001)) == (11, text)
            text = "etcdserver: requested lease not found"
            put = pb.PutRequest(key=b"a", lease=9)
            assert await client.refusal("/etcdserverpb.KV/Put", put) == (5, text)

    @run_async
    async def test_the_server_picks_an_id_that_the_log_then_holds(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            request = pb.LeaseGrantRequest(TTL=60)
            first = await client.ask(LEASE + "LeaseGrant", request, pb.LeaseGrantResponse)
            second = await client.ask(LEASE + "LeaseGrant", request, pb.LeaseGrantResponse)
        assert 0 < first.ID < second.ID
        proposed = [pb.LeaseGrantRequest.FromString(data).ID for _, data in member.proposals]
        assert proposed == [first.ID, second.ID]

    @run_async
    async def test_keep_alive_answers_in_order_and_zero_for_unknown_leases(self) -> None:
        member = FakeMember()
        member.state.lessor.grant(7, 60)
        async with serving_member(member) as client:
            call = client.open(LEASE + "LeaseKeepAlive")
            for lease_id in (7, 8, 7):
                await call.write(pb.LeaseKeepAliveRequest(ID=lease_id).SerializeToString())
            await call.done_writing()
            answers = [pb.LeaseKeepAliveResponse.FromString(await call.read()) for _ in range(3)]
            assert [(answer.ID, answer.TTL) for answer in answers] == [(7, 60), (8, 0), (7, 60)]
            assert answers[0].header.member_id == member.member_id
            assert (await call.code()).value[0] == 0

    @run_async
    async def test_a_failed_renewal_ends_the_stream(self) -> None:
        member = FakeMember(other_error=NotPrimary("not a primary lessor"))
        async with serving_member(member) as client:
            call = client.open(LEASE + "LeaseKeepAlive")
            await call.write(pb.LeaseKeepAliveRequest(ID=7).SerializeToString())
            assert ((await call.code()).value[0], await call.details()) == (2, "not a primary lessor")

    def test_renewals_wait_for_the_one_before_and_stop_the_reading(self) -> None:
        member = FakeMember()
        member.state.lessor.grant(7, 60)
        member.is_holding = True
        call = RecordingCall()
        Lease(member).keep_alive(call, b"")
        assert call.on_message is not None
        assert call.on_half_close is not None
        for _ in range(WAITING_RENEWALS_MAX + 1):
            call.on_message(pb.LeaseKeepAliveRequest(ID=7).SerializeToString())
        assert len(member.held) == 1
        assert not call.is_reading
        call.on_half_close()
        while member.held:
            member.release()
        assert call.is_reading
        assert len(call.sent) == WAITING_RENEWALS_MAX + 1
        assert call.is_finished

    def test_a_client_that_left_gets_no_more_renewals(self) -> None:
        member = FakeMember()
        member.is_holding = True
        call = RecordingCall()
        Lease(member).keep_alive(call, b"")
        assert call.on_message is not None
        for _ in range(3):
            call.on_message(pb.LeaseKeepAliveRequest(ID=7).SerializeToString())
        call.cancel()
        member.release()
        assert (member.held, call.sent) == ([], [])


class TestCluster:
    MEMBERS = (
        pb.Member(ID=1, name="one", peerURLs=["http://a:1"], clientURLs=["http://a:2"]),
        pb.Member(ID=2, isLearner=True),
    )

    @run_async
    async def test_member_list_has_no_revision(self) -> None:
        member = FakeMember(members=list(self.MEMBERS))
        async with serving_member(member) as client:
            for linearizable in (False, True):
                request = pb.MemberListRequest(linearizable=linearizable)
                response = await client.ask(CLUSTER + "MemberList", request, pb.MemberListResponse)
                assert list(response.members) == list(self.MEMBERS)
                assert (response.header.revision, response.header.raft_term) == (0, 2)
                assert response.header.cluster_id == member.cluster_id

    @run_async
    async def test_only_a_linearizable_list_needs_a_quorum(self) -> None:
        member = FakeMember(read_error=NotLeader())
        async with serving_member(member) as client:
            await client.call(CLUSTER + "MemberList")
            code, _ = await client.refusal(CLUSTER + "MemberList", pb.MemberListRequest(linearizable=True))
            assert code == 9

    @run_async
    async def test_changes_are_asked_of_the_member(self) -> None:
        member = FakeMember(members=list(self.MEMBERS))
        changes: list[tuple[str, Any, Any]] = [
            ("MemberAdd", pb.MemberAddRequest(peerURLs=["http://c:1"]), pb.MemberAddResponse),
            ("MemberRemove", pb.MemberRemoveRequest(ID=2), pb.MemberRemoveResponse),
            ("MemberUpdate", pb.MemberUpdateRequest(ID=2, peerURLs=["x"]), pb.MemberUpdateResponse),
            ("MemberPromote", pb.MemberPromoteRequest(ID=2), pb.MemberPromoteResponse),
        ]
        async with serving_member(member) as client:
            for name, request, response_type in changes:
                response = await client.ask(CLUSTER + name, request, response_type)
                assert len(response.members) == 2
                assert (response.header.revision, response.header.raft_term) == (0, 2)
            assert member.asked == [request for _, request, _ in changes]
            member.other_error = MemberNotFound()
            text = "etcdserver: member not found"
            assert await client.refusal(CLUSTER + "MemberRemove", changes[1][1]) == (5, text)
            member.other_error = LearnerNotReady()
            text = "etcdserver: can only promote a learner member which is in sync with leader"
            assert await client.refusal(CLUSTER + "MemberPromote", changes[3][1]) == (9, text)


class TestMaintenance:
    @run_async
    async def test_status_and_hashes(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            status = await client.ask(MAINTENANCE + "Status", pb.StatusRequest(), pb.StatusResponse)
            assert (status.version, status.leader, status.header.revision) == ("3.6.5", member.leader_id, 1)
            hashed = await client.ask(MAINTENANCE + "Hash", pb.HashRequest(), pb.HashResponse)
            assert (hashed.hash, hashed.header.revision) == (member.state.store.hash(), 1)
            hashed = await client.ask(MAINTENANCE + "HashKV", pb.HashKVRequest(), pb.HashKVResponse)
            expected = member.state.store.hash_kv(1).hash
            assert (hashed.hash, hashed.compact_revision, hashed.hash_revision) == (expected, -1, 1)
            text = "etcdserver: mvcc: required revision is a future revision"
            assert await client.refusal(MAINTENANCE + "HashKV", pb.HashKVRequest(revision=5)) == (11, text)

    @run_async
    async def test_alarms_go_through_the_log(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            response = await client.ask(MAINTENANCE + "Alarm", pb.AlarmRequest(), pb.AlarmResponse)
            assert response.alarms[0].alarm == pb.NOSPACE
            assert response.header.revision == 1
            # An action outside the enum.
            with pytest.raises(Refused) as caught:
                await client.call(MAINTENANCE + "Alarm", b"\x08\x05")
            assert caught.value.args == (2, "etcdserver: unknown method")
        assert [kind for kind, _ in member.proposals] == ["alarm"]

    @run_async
    async def test_defragment_and_move_leader_answer_with_nothing(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            assert await client.call(MAINTENANCE + "Defragment") == b""
            move = pb.MoveLeaderRequest(targetID=9)
            assert await client.call(MAINTENANCE + "MoveLeader", move.SerializeToString()) == b""
            assert member.asked == ["defragment", 9]
            member.other_error = NotLeader()
            assert await client.refusal(MAINTENANCE + "MoveLeader", move) == (9, "etcdserver: not leader")

    @run_async
    async def test_downgrade(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            request = pb.DowngradeRequest(action=pb.DowngradeRequest.ENABLE, version="3.5")
            response = await client.ask(MAINTENANCE + "Downgrade", request, pb.DowngradeResponse)
            assert (response.version, response.header.member_id) == ("3.6", member.member_id)
            with pytest.raises(Refused) as caught:
                await client.call(MAINTENANCE + "Downgrade", b"\x08\x05")
            assert caught.value.args == (2, "etcdserver: unknown method")

    @run_async
    async def test_a_snapshot_is_blobs_and_their_digest(self) -> None:
        content = bytes(range(256)) * 300
        member = FakeMember(snapshot=FakeSnapshot(content))
        async with serving_member(member) as client:
            messages = await client.stream(MAINTENANCE + "Snapshot", pb.SnapshotRequest())
        blobs = [pb.SnapshotResponse.FromString(message) for message in messages]
        assert [len(blob.blob) for blob in blobs] == [32768, 32768, 11264, 32]
        assert [blob.remaining_bytes for blob in blobs] == [44032, 11264, 0, 0]
        assert b"".join(blob.blob for blob in blobs[:-1]) == content
        assert blobs[-1].blob == sha256(content).digest()
        assert {blob.version for blob in blobs} == {"3.6.0"}
        assert not any(blob.HasField("header") for blob in blobs)
        assert member.snapshot.is_closed

    def test_a_snapshot_waits_for_a_slow_client_and_is_closed_when_it_leaves(self) -> None:
        member = FakeMember(snapshot=FakeSnapshot(b"x" * 4 * SNAPSHOT_PENDING_BYTES_MAX))
        call = RecordingCall()
        call.takes_all = False
        Maintenance(member).snapshot(call, b"")
        assert call.pending_bytes < 2 * SNAPSHOT_PENDING_BYTES_MAX
        before = member.snapshot.position
        call.take()
        assert member.snapshot.position > before
        call.cancel()
        assert member.snapshot.is_closed

    @run_async
    async def test_a_member_without_snapshots_says_so(self) -> None:
        member = FakeMember(other_error=NotSupported("snapshot"))
        async with serving_member(member) as client:
            with pytest.raises(Refused) as caught:
                await client.stream(MAINTENANCE + "Snapshot", pb.SnapshotRequest())
            assert caught.value.args == (12, "etcdserver: not supported: snapshot")


class TestAuth:
    @run_async
    async def test_every_method_is_proposed_and_unimplemented_until_the_member_knows_it(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            for name, (field, _) in PROPOSED.items():
                text = f"etcdserver: not supported: {field}"
                assert await client.refusal(AUTH + name) == (12, text)
        assert [kind for kind, _ in member.proposals] == [field for field, _ in PROPOSED.values()]

    @run_async
    async def test_authenticate_is_the_members_own(self) -> None:
        member = FakeMember()
        async with serving_member(member) as client:
            request = pb.AuthenticateRequest(name="root", password="secret")
            response = await client.ask(AUTH + "Authenticate", request, pb.AuthenticateResponse)
            assert (response.token, response.header.revision) == ("abc.1", 1)
        assert member.proposals == []


class TestHealth:
    @run_async
    async def test_check(self) -> None:
        health = Health()
        async with serving(make_router(FakeMember(), health)) as client:
            for is_serving, status in (
                (True, HealthCheckResponse.SERVING),
                (False, HealthCheckResponse.NOT_SERVING),
            ):
                health.set_serving(is_serving)
                response = await client.ask(HEALTH + "Check", HealthCheckRequest(), HealthCheckResponse)
                assert response.status == status
            named = HealthCheckRequest(service="etcdserverpb.KV")
            assert await client.refusal(HEALTH + "Check", named) == (5, "unknown service")

    @run_async
    async def test_watch(self) -> None:
        health = Health()
        async with serving(make_router(FakeMember(), health)) as client:
            call = client.channel.unary_stream(HEALTH + "Watch")(b"")
            assert await status_of(call) == HealthCheckResponse.SERVING
            health.set_serving(True)
            health.set_serving(False)
            assert await status_of(call) == HealthCheckResponse.NOT_SERVING
            call.cancel()
            named = HealthCheckRequest(service="etcdserverpb.KV").SerializeToString()
            call = client.channel.unary_stream(HEALTH + "Watch")(named)
            assert await status_of(call) == HealthCheckResponse.SERVICE_UNKNOWN
            call.cancel()


async def status_of(call: Any) -> int:
    message = await asyncio.wait_for(call.read(), 10)
    return HealthCheckResponse.FromString(message).status
