"""The checks that every call passes, and their order (errors reference, section 3)."""

from __future__ import annotations

import pytest

from etcdpy.proto.rpc_pb2 import PutRequest, RangeRequest, StatusRequest
from etcdpy.rpc.router import LEADERLESS_LOOKS_MAX, Kind, Router
from etcdpy.rpc.services import Health, make_router
from tests.rpc.fakes import FakeMember, FakeSnapshot, RecordingCall

NOT_CAPABLE = "etcdserver: not capable"
LEARNER = "etcdserver: rpc not supported for learner"
VERSION = "etcdserver: invalid client api version"
NO_LEADER = "etcdserver: no leader"
NO_SPACE = "etcdserver: mvcc: database space exceeded"
NO_KEY = "etcdserver: key is not provided"


@pytest.fixture
def member() -> FakeMember:
    return FakeMember()


@pytest.fixture
def router(member: FakeMember) -> Router:
    return make_router(member, Health())


def start(router: Router, path: str, data: bytes = b"", **metadata: str) -> RecordingCall:
    method = router.method(path)
    assert method is not None
    call = RecordingCall(path, {name.replace("_", "-"): value for name, value in metadata.items()})
    router.start(method, call, data)
    return call


def refusal(call: RecordingCall) -> str | None:
    return None if call.error is None else call.error.message


def test_every_rpc_of_etcd_is_there(router: Router) -> None:
    services: dict[str, int] = {}
    for path in router.paths:
        service = path.split("/")[1]
        services[service] = services.get(service, 0) + 1
    assert services == {
        "etcdserverpb.KV": 6,
        "etcdserverpb.Watch": 1,
        "etcdserverpb.Lease": 5,
        "etcdserverpb.Cluster": 5,
        "etcdserverpb.Maintenance": 8,
        "etcdserverpb.Auth": 17,
        "v3lockpb.Lock": 2,
        "v3electionpb.Election": 5,
        "grpc.health.v1.Health": 2,
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etcdserverpb.KV/Get", "unknown method Get for service etcdserverpb.KV"),
        ("/other.KV/Get", "unknown service other.KV"),
        ("/KV", 'malformed method name: "/KV"'),
        ("", 'malformed method name: ""'),
    ],
)
def test_unknown_paths(router: Router, path: str, message: str) -> None:
    assert router.method(path) is None
    error = router.unknown(path)
    assert (int(error.code), error.message) == (12, message)


def test_checks_come_in_the_order_of_etcd(member: FakeMember, router: Router) -> None:
    # A Put that is wrong in every way; each fault is mended in turn and uncovers the next.
    member.is_capable = False
    member.is_learner = True
    member.leader_id = 0
    member.space_is_left = False
    metadata = {"client_api_version": "3.\udcff", "hasleader": "true"}
    path = "/etcdserverpb.KV/Put"
    found = [refusal(start(router, path, **metadata))]
    member.is_capable = True
    found.append(refusal(start(router, path, **metadata)))
    member.is_learner = False
    found.append(refusal(start(router, path, **metadata)))
    metadata["client_api_version"] = "3.6"
    found.append(refusal(start(router, path, **metadata)))
    member.leader_id = 1
    found.append(refusal(start(router, path, **metadata)))
    member.space_is_left = True
    found.append(refusal(start(router, path, **metadata)))
    assert found == [NOT_CAPABLE, LEARNER, VERSION, NO_LEADER, NO_SPACE, NO_KEY]
    data = PutRequest(key=b"a").SerializeToString()
    assert refusal(start(router, path, data, **metadata)) is None


def test_client_versions_may_be_any_text(router: Router) -> None:
    data = StatusRequest().SerializeToString()
    path = "/etcdserverpb.Maintenance/Status"
    assert refusal(start(router, path, data, client_api_version="3.6")) is None
    assert refusal(start(router, path, data, client_api_version="drei")) is None
    assert refusal(start(router, path, data, client_api_version="ü")) is None


def test_hasleader_means_true_and_nothing_else(member: FakeMember, router: Router) -> None:
    member.leader_id = 0
    data = RangeRequest(key=b"a").SerializeToString()
    path = "/etcdserverpb.KV/Range"
    assert refusal(start(router, path, data, hasleader="true")) == NO_LEADER
    assert refusal(start(router, path, data, hasleader="1")) is None


def test_a_learner_serves_status_snapshot_and_serializable_ranges_only(
    member: FakeMember, router: Router
) -> None:
    member.is_learner = True
    member.snapshot = FakeSnapshot(b"x")
    served = set()
    for path in router.paths:
        method = router.method(path)
        assert method is not None
        if refusal(start(router, path)) != LEARNER:
            served.add(path.rpartition("/")[2])
    assert served == {"Status", "Snapshot"}
    path = "/etcdserverpb.KV/Range"
    local = RangeRequest(key=b"a", serializable=True).SerializeToString()
    assert refusal(start(router, path, local)) is None
    assert refusal(start(router, path, RangeRequest(key=b"a").SerializeToString())) == LEARNER


def test_a_stream_that_wants_a_leader_survives_an_election_but_not_a_lost_cluster(
    member: FakeMember, router: Router
) -> None:
    path = "/etcdserverpb.Watch/Watch"
    wanting = start(router, path, hasleader="true")
    content = start(router, path)
    watch = router.leader_watch
    member.leader_id = 0
    for _ in range(LEADERLESS_LOOKS_MAX - 1):
        watch.look()
    member.leader_id = 1
    watch.look()
    member.leader_id = 0
    for _ in range(LEADERLESS_LOOKS_MAX - 1):
        watch.look()
    assert refusal(wanting) is None
    watch.look()
    assert refusal(wanting) == NO_LEADER
    assert not content.closed


def test_bytes_that_are_no_request_are_an_internal_error(router: Router) -> None:
    for path in router.paths:
        method = router.method(path)
        assert method is not None
        if method.kind is Kind.UNARY and path.endswith(("/Put", "/Range", "/Txn", "/LeaseGrant", "/UserAdd")):
            call = start(router, path, b"\x0a\xff")
            assert call.error is not None
            assert int(call.error.code) == 13
            assert call.error.message.startswith("grpc: error unmarshalling request: ")
