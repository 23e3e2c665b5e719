"""Limits and refusals, word for word, on real etcd and on the candidate.

Real etcd runs through the same table, so a text written down wrongly here fails on its side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tests.support.programs import Kind
    from tests.support.server import Server

pytestmark = pytest.mark.cluster

REQUEST_BYTES_MAX = 1_572_864  # etcd's default of --max-request-bytes
MESSAGE_BYTES_MAX = REQUEST_BYTES_MAX + 512 * 1024  # gRPC's own limit lies above it


def put_operation(key: bytes, value: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def delete_operation(key: bytes, range_end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end))


def success(*operations: pb.RequestOp) -> pb.TxnRequest:
    return pb.TxnRequest(success=operations)


def nested(request: pb.TxnRequest) -> pb.RequestOp:
    return pb.RequestOp(request_txn=request)


def puts(count: int, prefix: bytes = b"n/") -> list[pb.RequestOp]:
    return [put_operation(prefix + b"%d" % number) for number in range(count)]


EMPTY_KEY = Refusal("INVALID_ARGUMENT", "etcdserver: key is not provided")
KEY_NOT_FOUND = Refusal("INVALID_ARGUMENT", "etcdserver: key not found")
VALUE_PROVIDED = Refusal("INVALID_ARGUMENT", "etcdserver: value is provided")
LEASE_PROVIDED = Refusal("INVALID_ARGUMENT", "etcdserver: lease is provided")
TOO_MANY_OPERATIONS = Refusal("INVALID_ARGUMENT", "etcdserver: too many operations in txn request")
DUPLICATE_KEY = Refusal("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request")
TOO_LARGE = Refusal("INVALID_ARGUMENT", "etcdserver: request is too large")
COMPACTED = Refusal("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
FUTURE = Refusal("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")
LEASE_NOT_FOUND = Refusal("NOT_FOUND", "etcdserver: requested lease not found")
LEASE_EXISTS = Refusal("FAILED_PRECONDITION", "etcdserver: lease already exists")
TTL_TOO_LARGE = Refusal("OUT_OF_RANGE", "etcdserver: too large lease TTL")

REFUSED: dict[str, tuple[Message, Refusal]] = {
    "range: no key": (pb.RangeRequest(), EMPTY_KEY),
    "put: no key": (pb.PutRequest(value=b"v"), EMPTY_KEY),
    "delete: no key": (pb.DeleteRangeRequest(), EMPTY_KEY),
    "txn: compare without a key": (pb.TxnRequest(compare=[pb.Compare()]), EMPTY_KEY),
    "txn: put without a key": (success(put_operation(b"")), EMPTY_KEY),
    "txn: nested delete without a key": (success(nested(success(delete_operation(b"")))), EMPTY_KEY),
    "txn: empty operation": (success(pb.RequestOp()), KEY_NOT_FOUND),
    "put: ignored value is given": (pb.PutRequest(key=b"k", value=b"v", ignore_value=True), VALUE_PROVIDED),
    "put: ignored lease is given": (pb.PutRequest(key=b"k", lease=5, ignore_lease=True), LEASE_PROVIDED),
    "put: no value to keep": (pb.PutRequest(key=b"absent", ignore_value=True), KEY_NOT_FOUND),
    "put: no lease to keep": (pb.PutRequest(key=b"absent", ignore_lease=True), KEY_NOT_FOUND),
    "put: unknown lease": (pb.PutRequest(key=b"k", lease=404), LEASE_NOT_FOUND),
    "txn: unknown lease": (
        success(pb.RequestOp(request_put=pb.PutRequest(key=b"k", lease=404))),
        LEASE_NOT_FOUND,
    ),
    "put: over the limit": (pb.PutRequest(key=b"k", value=bytes(REQUEST_BYTES_MAX)), TOO_LARGE),
    "put: over gRPC's limit": (
        pb.PutRequest(key=b"k", value=bytes(MESSAGE_BYTES_MAX)),
        Refusal(
            "RESOURCE_EXHAUSTED",
            f"grpc: received message larger than max ({MESSAGE_BYTES_MAX + 8} vs. {MESSAGE_BYTES_MAX})",
        ),
    ),
    "txn: 129 operations": (success(*puts(129)), TOO_MANY_OPERATIONS),
    "txn: 129 failure operations": (pb.TxnRequest(failure=puts(129)), TOO_MANY_OPERATIONS),
    "txn: 129 compares": (pb.TxnRequest(compare=[pb.Compare(key=b"k")] * 129), TOO_MANY_OPERATIONS),
    "txn: nested ones share the limit": (
        success(*puts(100), nested(success(*puts(28, b"m/")))),
        TOO_MANY_OPERATIONS,
    ),
    "txn: key twice": (success(put_operation(b"k"), put_operation(b"k")), DUPLICATE_KEY),
    "txn: key twice in failure": (pb.TxnRequest(failure=[put_operation(b"k")] * 2), DUPLICATE_KEY),
    "txn: key twice, once nested": (
        success(put_operation(b"k"), nested(success(put_operation(b"k")))),
        DUPLICATE_KEY,
    ),
    "txn: put inside a delete": (success(delete_operation(b"a", b"z"), put_operation(b"k")), DUPLICATE_KEY),
    "range: future": (pb.RangeRequest(key=b"k", revision=10**9), FUTURE),
    "txn range: future": (
        success(pb.RequestOp(request_range=pb.RangeRequest(key=b"k", revision=10**9))),
        FUTURE,
    ),
    "compact: future": (pb.CompactionRequest(revision=10**9), FUTURE),
    "hash: future": (pb.HashKVRequest(revision=10**9), FUTURE),
    "revoke: unknown lease": (pb.LeaseRevokeRequest(ID=404), LEASE_NOT_FOUND),
    "grant: too long": (pb.LeaseGrantRequest(ID=6, TTL=9_000_000_001), TTL_TOO_LARGE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_exact(either_client: Client, name: str) -> None:
    request, expected = REFUSED[name]
    before = either_client.revision()
    assert either_client.outcome(request) == expected
    assert either_client.revision() == before, "a refused request changed the store"


def test_long_key_and_large_value_work(either_client: Client) -> None:
    key, value = b"k" * 10_000, b"v" * 1_468_006  # 1.4 MiB
    either_client.put(key, value)
    (kv,) = either_client.range(key).kvs
    assert (kv.key, kv.value) == (key, value)
    assert either_client.range(key[:-1], key + b"\x00", keys_only=True).count == 1
    assert either_client.delete(key).deleted == 1


def test_128_operations_work(either_client: Client) -> None:
    response = either_client.ask(success(*puts(128)), pb.TxnResponse)
    assert len(response.responses) == 128
    assert either_client.delete(b"n/", b"n0").deleted == 128


def test_put_and_delete_to_the_end_share_a_transaction(either_client: Client) -> None:
    """The one overlap that etcd's check for duplicate keys does not see."""
    response = either_client.ask(
        success(put_operation(b"zz"), delete_operation(b"z", b"\x00")), pb.TxnResponse
    )
    assert response.responses[1].response_delete_range.deleted == 1
    assert either_client.range(b"zz").count == 0


def test_lease_twice(either_client: Client) -> None:
    request = pb.LeaseGrantRequest(ID=77, TTL=1_000)
    granted = either_client.ask(request, pb.LeaseGrantResponse)
    assert (granted.ID, granted.TTL) == (77, 1_000)
    assert either_client.outcome(request) == LEASE_EXISTS
    either_client.call(pb.LeaseRevokeRequest(ID=77))


def test_short_lease_is_raised_to_the_minimum(either_client: Client) -> None:
    for lease, ttl in ((81, 0), (82, -5), (83, 1)):
        granted = either_client.ask(pb.LeaseGrantRequest(ID=lease, TTL=ttl), pb.LeaseGrantResponse)
        assert granted.TTL == 2, f"asked for {ttl}"


def test_unknown_lease_is_no_error_where_etcd_has_a_value(either_client: Client) -> None:
    renewed = either_client.keep_alive(404)
    assert isinstance(renewed, pb.LeaseKeepAliveResponse)
    assert (renewed.ID, renewed.TTL) == (404, 0)
    lookup = either_client.ask(pb.LeaseTimeToLiveRequest(ID=404, keys=True), pb.LeaseTimeToLiveResponse)
    assert (lookup.ID, lookup.TTL, lookup.grantedTTL) == (404, -1, 0)


def test_compacted_revision(either_client: Client) -> None:
    """Equal to the compacted revision is readable, below it is not; to compact again is refused."""
    revision = [either_client.put(b"compacted", b"%d" % number) for number in range(4)][-1].header.revision
    either_client.call(pb.CompactionRequest(revision=revision - 1, physical=True))
    assert either_client.range(b"compacted", revision=revision - 1).kvs[0].value == b"2"
    asked: list[Callable[[int], Message]] = [
        lambda at: pb.RangeRequest(key=b"compacted", revision=at),
        lambda at: success(pb.RequestOp(request_range=pb.RangeRequest(key=b"compacted", revision=at))),
        lambda at: pb.HashKVRequest(revision=at),
        lambda at: pb.CompactionRequest(revision=at),
        lambda at: pb.CompactionRequest(revision=at + 1),
        lambda _: pb.CompactionRequest(revision=0),
        lambda _: pb.CompactionRequest(revision=-1),
    ]
    for request in asked:
        assert either_client.outcome(request(revision - 2)) == COMPACTED


@pytest.fixture
def candidate_client(either_server: Server, candidate: Kind, either_client: Client) -> Client:
    """For what 3.5.1 does differently (`KNOWN_DIFFERENCES`)."""
    if either_server.kind.name != candidate.name or not candidate.name.startswith("etcdpy"):
        pytest.skip("asks etcdpy alone")
    return either_client


@pytest.mark.parametrize("field", ["sort_order", "sort_target"])
def test_unknown_sorting_is_refused(candidate_client: Client, field: str) -> None:
    request = pb.RangeRequest(key=b"k")
    setattr(request, field, 9)
    assert candidate_client.outcome(request) == Refusal("INVALID_ARGUMENT", "etcdserver: invalid sort option")


def test_a_negative_revision_hashes_nothing(either_client: Client) -> None:
    either_client.put(b"hashed")
    assert either_client.hash_kv(-5).hash == either_client.hash_kv(-1).hash != either_client.hash_kv().hash


def test_hash_names_its_revision(candidate_client: Client) -> None:
    revision = candidate_client.put(b"hashed").header.revision
    assert candidate_client.hash_kv().hash_revision == revision
    assert candidate_client.hash_kv(revision).hash_revision == revision
