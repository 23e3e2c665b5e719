"""Each of etcd's published holes in auth, tried here. Most of them are open in the 3.5.1 that other tests
compare with, so these run on the candidate alone and expect what the releases answer that closed them.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import election_pb2, health_pb2, lock_pb2
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.server import Server

from .conftest import DENIED, NOBODY, QUICK_PASSWORDS, READWRITE, callers_of, grant, make_user

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.support.programs import Kind

    from .conftest import Callers

pytestmark = pytest.mark.cluster

SECRET = b"secret"


@pytest.fixture(scope="module", autouse=True)
def secrets(callers: Callers) -> None:
    callers.root.put(SECRET, b"1")
    callers.root.put(b"drop/secret", b"2")
    callers.root.put(b"lonely", b"3")


def read(key: bytes, range_end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end))


def put(key: bytes, **fields: object) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, **fields))  # type: ignore[arg-type]


def delete(key: bytes, **fields: object) -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, **fields))  # type: ignore[arg-type]


def nested(request: pb.TxnRequest) -> pb.RequestOp:
    return pb.RequestOp(request_txn=request)


INNERMOST = pb.TxnRequest(success=[put(SECRET)])
NESTED: dict[str, pb.TxnRequest] = {
    "read": pb.TxnRequest(success=[read(SECRET)]),
    "read in the branch not taken": pb.TxnRequest(failure=[read(SECRET)]),
    "put": pb.TxnRequest(success=[put(SECRET)]),
    "delete": pb.TxnRequest(success=[delete(SECRET)]),
    "delete of more": pb.TxnRequest(success=[delete(b"ann/", range_end=b"\0")]),
    "compare": pb.TxnRequest(compare=[pb.Compare(key=SECRET)]),
    "compare of more": pb.TxnRequest(compare=[pb.Compare(key=b"ann/", range_end=b"\0")]),
    "deeper": pb.TxnRequest(success=[nested(pb.TxnRequest(failure=[nested(INNERMOST)]))]),
}


@pytest.mark.parametrize("name", NESTED)
def test_cve_2026_33343_a_nested_txn_is_checked(callers: Callers, name: str) -> None:
    """GHSA-rfx7-8w68-q57q: nothing that was nested in a Txn was."""
    before = callers.root.revision()
    inner = NESTED[name]
    for request in (
        inner,
        pb.TxnRequest(success=[nested(inner)]),
        pb.TxnRequest(success=[put(b"ann/x")], failure=[nested(inner)]),
    ):
        assert callers.ann.outcome(request) == DENIED
        assert callers.nobody.outcome(request) == NOBODY
    assert callers.root.revision() == before


def test_cve_2026_33343_what_is_permitted_runs(callers: Callers) -> None:
    inner = pb.TxnRequest(success=[put(b"ann/y", value=b"1"), read(b"lonely")])
    answer = callers.ann.ask(pb.TxnRequest(success=[nested(inner)]), pb.TxnResponse)
    assert answer.responses[0].response_txn.responses[1].response_range.kvs[0].value == b"3"


def test_cve_2026_44283_prev_kv_needs_the_permission_to_read(callers: Callers) -> None:
    """GHSA-x35m-3gp4-4fh5, first half."""
    asks: list[Message] = [
        pb.PutRequest(key=b"drop/secret", prev_kv=True),
        pb.DeleteRangeRequest(key=b"drop/secret", prev_kv=True),
        pb.TxnRequest(success=[put(b"drop/secret", prev_kv=True)]),
        pb.TxnRequest(success=[delete(b"drop/secret", prev_kv=True)]),
        pb.TxnRequest(success=[nested(pb.TxnRequest(success=[put(b"drop/secret", prev_kv=True)]))]),
    ]
    for request in asks:
        assert callers.ann.outcome(request) == DENIED
    assert callers.root.range(b"drop/secret").kvs[0].value == b"2"
    assert callers.ann.ask(pb.TxnRequest(success=[put(b"drop/other")]), pb.TxnResponse).succeeded


def test_cve_2026_44283_a_lease_of_others_cannot_be_joined(callers: Callers) -> None:
    """GHSA-x35m-3gp4-4fh5, second half: who may not write all keys of a lease may not hang another on it."""
    lease = callers.root.ask(pb.LeaseGrantRequest(TTL=600), pb.LeaseGrantResponse).ID
    callers.root.put(b"leased", lease=lease)
    for request in (
        pb.PutRequest(key=b"ann/l", lease=lease),
        pb.TxnRequest(success=[put(b"ann/l", lease=lease)]),
        pb.TxnRequest(failure=[nested(pb.TxnRequest(success=[put(b"ann/l", lease=lease)]))]),
    ):
        assert callers.ann.outcome(request) == DENIED
    assert callers.root.range(b"ann/l").count == 0


def test_a_range_in_pieces_needs_what_a_range_needs(callers: Callers) -> None:
    """RangeStream is younger than the advisories; it is guarded like the rest."""
    path = "/etcdserverpb.KV/RangeStream"
    callers.ann.put(b"ann/streamed")
    asks = {
        pb.RangeRequest(key=SECRET).SerializeToString(): DENIED,
        pb.RangeRequest(key=b"ann/", range_end=b"\0", serializable=True).SerializeToString(): DENIED,
        pb.RangeRequest(key=b"ann/", range_end=b"ann1", count_only=True).SerializeToString(): DENIED,
    }
    for data, expected in asks.items():
        request = pb.RangeRequest.FromString(data)
        assert callers.ann.stream(path, request, pb.RangeStreamResponse) == expected
        assert callers.nobody.stream(path, request, pb.RangeStreamResponse) == NOBODY
    request = pb.RangeRequest(key=b"ann/streamed")
    (answer,) = callers.ann.stream(path, request, pb.RangeStreamResponse)
    assert isinstance(answer, pb.RangeStreamResponse)
    assert answer.range_response.count == 1


def test_a_member_is_healthy_while_auth_is_on(callers: Callers) -> None:
    """Who asks after a member's health has no token."""
    for path in ("/health", "/health?serializable=true", "/version"):
        with urllib.request.urlopen(f"http://{callers.server.endpoint}{path}", timeout=20) as answer:
            assert answer.status == 200
    checked = callers.nobody.stream(
        "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    )
    assert checked == [health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)]


def test_cve_2026_73499_an_open_ended_watch_is_no_single_key(callers: Callers) -> None:
    """GHSA-xg4h-6gfc-h4m8: it was taken for its first key."""
    asked: list[tuple[bytes, bytes, bool]] = [
        (b"lonely", b"", True),
        (b"ann/", b"ann0", True),
        (b"ann/a", b"ann/b", True),
        (b"lonely", b"\0", False),
        (b"ann/", b"\0", False),
        (b"ann/", b"ann1", False),
        (b"", b"", False),
        (b"", b"\0", False),
        (SECRET, b"", False),
    ]
    stream = callers.ann.watch_stream()
    try:
        for key, range_end, _ in asked:
            stream.create(key=key, range_end=range_end, start_revision=1)
        assert stream.wait(lambda: sum(one.created for one in stream.responses) == len(asked))
    finally:
        stream.close()
    created = [one for one in stream.responses if one.created]
    assert [not one.canceled for one in created] == [is_allowed for _, _, is_allowed in asked]
    for one in created:
        if one.canceled:
            assert one.watch_id == -1
            assert one.cancel_reason == (
                "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
            )
    keys = {event.kv.key for one in stream.responses for event in one.events}
    assert all(key == b"lonely" or key.startswith(b"ann/") for key in keys)


ADMIN_ONLY: list[Message] = [
    pb.CompactionRequest(revision=1),
    pb.DefragmentRequest(),
    pb.HashRequest(),
    pb.HashKVRequest(),
    pb.MoveLeaderRequest(targetID=1),
    pb.DowngradeRequest(action=pb.DowngradeRequest.VALIDATE, version="3.5"),
    pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=1, alarm=pb.NOSPACE),
    pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=1, alarm=pb.NOSPACE),
    pb.MemberAddRequest(peerURLs=["http://127.0.0.1:1"]),
    pb.MemberRemoveRequest(ID=1),
    pb.MemberUpdateRequest(ID=1, peerURLs=["http://127.0.0.1:1"]),
    pb.MemberPromoteRequest(ID=1),
    pb.AuthDisableRequest(),
    pb.AuthEnableRequest(),
    pb.AuthStatusRequest(),
    pb.AuthUserAddRequest(name="mallory", password="x"),
    pb.AuthUserListRequest(),
    pb.AuthUserGetRequest(name="root"),
    pb.AuthUserDeleteRequest(name="ann"),
    pb.AuthUserChangePasswordRequest(name="root", password="mine"),
    pb.AuthUserGrantRoleRequest(user="ann", role="root"),
    pb.AuthUserRevokeRoleRequest(name="ann", role="ann"),
    pb.AuthRoleAddRequest(name="mallory"),
    pb.AuthRoleGetRequest(role="root"),
    pb.AuthRoleListRequest(),
    pb.AuthRoleDeleteRequest(role="ann"),
    grant("ann", READWRITE, b"\0", b"\0"),
    pb.AuthRoleRevokePermissionRequest(role="ann", key=b"lonely"),
]


@pytest.mark.parametrize("request_", ADMIN_ONLY, ids=lambda one: f"{type(one).__name__}")
def test_cve_2026_33413_calls_of_administrators(callers: Callers, request_: Message) -> None:
    """GHSA-q8m4-xhhv-38mg: maintenance and cluster calls that asked nobody who they are, and of auth."""
    assert callers.ann.outcome(request_) == DENIED
    assert callers.nobody.outcome(request_) == NOBODY


def test_cve_2026_33413_snapshot(callers: Callers) -> None:
    assert callers.ann.snapshot() == DENIED
    assert callers.nobody.snapshot() == NOBODY
    assert isinstance(callers.root.snapshot(), bytes)


FOR_USERS: list[Message] = [
    pb.MemberListRequest(),
    pb.MemberListRequest(linearizable=True),
    pb.StatusRequest(),
    pb.AlarmRequest(),
    pb.LeaseGrantRequest(TTL=600),
    pb.LeaseTimeToLiveRequest(ID=4711),
]


@pytest.mark.parametrize("request_", FOR_USERS, ids=lambda one: f"{type(one).__name__}")
def test_cve_2026_33413_calls_of_users(callers: Callers, request_: Message) -> None:
    assert callers.nobody.outcome(request_) == NOBODY
    assert not isinstance(callers.ann.outcome(request_), Refusal)


def test_cve_2026_33413_leases(callers: Callers) -> None:
    """Who has not all keys of a lease may neither end it, nor keep it alive, nor learn of it."""
    with Client(callers.server.endpoint) as bob:
        make_user(callers.root, "bob", grant("bob", READWRITE, b"bob/", b"bob0"))
        callers.ann.log_in("ann", "annpw")
        bob.log_in("bob", "bobpw")
        own = bob.ask(pb.LeaseGrantRequest(TTL=600), pb.LeaseGrantResponse).ID
        bob.put(b"bob/1", lease=own)
        for refused, expected in ((callers.ann, DENIED), (callers.nobody, NOBODY)):
            assert refused.outcome(pb.LeaseRevokeRequest(ID=own)) == expected
            assert refused.keep_alive(own) == expected
            assert refused.outcome(pb.LeaseLeasesRequest()) == expected
        kept = bob.keep_alive(own)
        assert isinstance(kept, pb.LeaseKeepAliveResponse)
        assert kept.TTL == 600
        assert not isinstance(callers.root.keep_alive(own), Refusal)
        assert callers.root.ask(pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse).leases
        bob.ask(pb.LeaseRevokeRequest(ID=own), pb.LeaseRevokeResponse)


def test_cve_2023_32082_names_of_keys_on_a_lease(callers: Callers) -> None:
    """GHSA-3p4g-rcw5-8298: LeaseTimeToLive told them to everybody."""
    lease = callers.root.ask(pb.LeaseGrantRequest(TTL=600), pb.LeaseGrantResponse).ID
    callers.root.put(b"ann/mine", lease=lease)
    with_keys = pb.LeaseTimeToLiveRequest(ID=lease, keys=True)
    assert list(callers.ann.ask(with_keys, pb.LeaseTimeToLiveResponse).keys) == [b"ann/mine"]
    callers.root.put(SECRET, b"1", lease=lease)
    assert callers.ann.outcome(with_keys) == DENIED
    assert callers.nobody.outcome(with_keys) == NOBODY
    without = callers.ann.ask(pb.LeaseTimeToLiveRequest(ID=lease), pb.LeaseTimeToLiveResponse)
    assert (without.grantedTTL, list(without.keys)) == (600, [])
    assert len(callers.root.ask(with_keys, pb.LeaseTimeToLiveResponse).keys) == 2


def test_cve_2021_28235_passwords_are_nowhere(candidate: Kind, tmp_path: Path) -> None:
    """They were to be seen in etcd's trace of requests; here not in the log, and not on the disk."""
    flags = (QUICK_PASSWORDS, "--log-level=debug")
    with Server(candidate, tmp_path, flags) as server, callers_of(server) as found:
        found.root.call(pb.AuthUserAddRequest(name="kim", password="one-of-a-kind"))
        found.root.call(pb.AuthUserChangePasswordRequest(name="kim", password="another-of-a-kind"))
        with Client(server.endpoint) as kim:
            kim.log_in("kim", "another-of-a-kind")
            assert isinstance(
                kim.outcome(pb.AuthenticateRequest(name="kim", password="wrong-of-a-kind")), Refusal
            )
        server.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert b"of-a-kind" not in path.read_bytes(), path


def test_permissions_that_were_looked_up_before_are_forgotten(callers: Callers) -> None:
    """etcd's cache of a user's ranges outlived changes of roles, and snapshots."""
    make_user(callers.root, "cat", grant("cat", READWRITE, b"cat"))
    with Client(callers.server.endpoint) as cat:
        cat.log_in("cat", "catpw")
        cat.put(b"cat", b"1")
        callers.root.call(pb.AuthRoleRevokePermissionRequest(role="cat", key=b"cat"))
        assert cat.outcome(pb.PutRequest(key=b"cat")) == DENIED
        callers.root.call(grant("cat", READWRITE, b"cat"))
        cat.put(b"cat", b"2")
        callers.root.call(pb.AuthUserRevokeRoleRequest(name="cat", role="cat"))
        assert cat.outcome(pb.RangeRequest(key=b"cat")) == DENIED
        callers.root.call(pb.AuthUserGrantRoleRequest(user="cat", role="cat"))
        cat.put(b"cat", b"3")
        callers.root.call(pb.AuthRoleDeleteRequest(role="cat"))
        assert cat.outcome(pb.RangeRequest(key=b"cat", serializable=True)) == DENIED


def test_a_watch_after_the_permission_was_taken(callers: Callers) -> None:
    """A stream asks for each watch anew. A watch that runs goes on, as in etcd."""
    make_user(callers.root, "dot", grant("dot", READWRITE, b"dot"))
    with Client(callers.server.endpoint) as dot:
        dot.log_in("dot", "dotpw")
        stream = dot.watch_stream()
        try:
            stream.create(key=b"dot", watch_id=1)
            assert stream.wait(lambda: len(stream.responses) == 1)
            callers.root.call(pb.AuthRoleRevokePermissionRequest(role="dot", key=b"dot"))
            stream.create(key=b"dot", watch_id=2)
            assert stream.wait(lambda: len(stream.responses) == 2)
            assert stream.responses[1].canceled
            callers.root.put(b"dot", b"seen")
            assert stream.wait(lambda: len(stream.responses) == 3)
            assert stream.responses[2].watch_id == 1
            callers.root.call(pb.AuthUserDeleteRequest(name="dot"))
            stream.create(key=b"dot", watch_id=3)
            assert stream.wait(lambda: len(stream.responses) == 4)
            assert stream.responses[3].cancel_reason == (
                "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
            )
        finally:
            stream.close()


def test_locks_and_elections_act_for_their_caller(callers: Callers) -> None:
    """Failures of calls inside of these services have no code of their own."""
    for refused, text in ((callers.ann, DENIED.text), (callers.nobody, NOBODY.text)):
        asks: list[Message] = [
            lock_pb2.LockRequest(name=b"secrets"),
            election_pb2.CampaignRequest(name=b"secrets", value=b"v"),
        ]
        for request in asks:
            assert refused.outcome(request) == Refusal("UNKNOWN", text)
    assert callers.root.range(b"secrets", b"secretz").count == 0
    assert callers.ann.ask(lock_pb2.LockRequest(name=b"ann/lock"), lock_pb2.LockResponse).key


def test_an_alarm_does_not_open_the_door(candidate: Kind, tmp_path: Path) -> None:
    """In etcd 3.5 a NOSPACE alarm replaced what checks permissions at apply by what does not."""
    with Server(candidate, tmp_path, (QUICK_PASSWORDS,)) as server, callers_of(server) as found:
        found.root.put(SECRET, b"1")
        member = found.root.ask(pb.MemberListRequest(), pb.MemberListResponse).members[0].ID
        for alarm in (pb.NOSPACE, pb.CORRUPT):
            activate = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member, alarm=alarm)
            found.root.call(activate)
            if alarm == pb.NOSPACE:
                assert found.ann.outcome(pb.DeleteRangeRequest(key=SECRET)) == DENIED
            assert found.ann.outcome(pb.AuthDisableRequest()) == DENIED
            assert found.ann.outcome(pb.AuthUserGrantRoleRequest(user="ann", role="root")) == DENIED
        assert found.root.range(SECRET).count == 1


def test_cve_2020_15113_directories_are_for_the_member_alone(callers: Callers) -> None:
    member = callers.server.data_directory / "member"
    for directory in (member / "snap", member / "wal"):
        assert directory.stat().st_mode & 0o077 == 0, directory
