"""The model of the key bucket against known hashes and against both servers, compaction included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from tests.support.model import KeyBucket

if TYPE_CHECKING:
    from tests.support.client import Client

# The hashes were read from etcd 3.6.5, one after each request, on a store of its own.
STEPS: tuple[tuple[pb.PutRequest | pb.DeleteRangeRequest, int], ...] = (
    (pb.PutRequest(key=b"foo", value=b"bar"), 3305255506),
    (pb.PutRequest(key=b"foo", value=b"baz"), 2020292994),
    (pb.DeleteRangeRequest(key=b"foo"), 3153096970),
    (pb.PutRequest(key=b"a", value=b"1"), 1967179850),
)
EMPTY_HASH = 1084519789
HASH_AFTER_COMPACTION_AT_THE_DELETION = 2007788419


def test_model_gives_the_known_hashes() -> None:
    model = KeyBucket()
    assert model.hash_at(1) == EMPTY_HASH
    for request, expected in STEPS:
        model.apply(request)
        assert model.hash_at(model.revision) == expected
    model.compact_revision = 4
    assert model.hash_at(5) == HASH_AFTER_COMPACTION_AT_THE_DELETION


def test_both_servers_give_the_known_hashes(either_client: Client) -> None:
    assert either_client.hash_kv().hash == EMPTY_HASH
    for request, expected in STEPS:
        either_client.call(request)
        assert either_client.hash_kv().hash == expected
    either_client.call(pb.CompactionRequest(revision=4, physical=True))
    answer = either_client.hash_kv()
    assert (answer.hash, answer.compact_revision) == (HASH_AFTER_COMPACTION_AT_THE_DELETION, 4)


def test_negative_lease_takes_ten_bytes() -> None:
    """A client may choose any lease number, and the hash covers its encoding."""
    model = KeyBucket()
    model.apply(pb.PutRequest(key=b"k", lease=-1))
    assert model.records[0].value == bytes.fromhex("0a016b10021802200130ffffffffffffffffff01")
