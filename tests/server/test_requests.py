"""Entry data: what we write by hand is what protobuf reads."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.raft_internal_pb2 import InternalRaftRequest
from etcdpy.server.requests import decode_request, encode_request


@settings(derandomize=True, deadline=None)
@given(key=st.binary(max_size=300), request_id=st.integers(1, 2**64 - 1), user=st.sampled_from(["", "root"]))
def test_wrapping_equals_protobufs_own_encoding(key: bytes, request_id: int, user: str) -> None:
    put = pb.PutRequest(key=key, value=b"v")
    revision = 7 if user else 0
    encoded = encode_request("put", put.SerializeToString(), request_id, user, revision)
    expected = InternalRaftRequest(put=put)
    expected.header.ID = request_id
    expected.header.username = user
    expected.header.auth_revision = revision
    assert encoded == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("alarm", pb.AlarmRequest(memberID=3)),
        ("auth_enable", pb.AuthEnableRequest()),
        ("put", pb.PutRequest(key=b"k")),
        ("range", pb.RangeRequest()),
        ("delete_range", pb.DeleteRangeRequest(key=b"k")),
        ("txn", pb.TxnRequest()),
        ("compaction", pb.CompactionRequest(revision=3)),
        ("lease_grant", pb.LeaseGrantRequest(ID=3)),
        ("lease_revoke", pb.LeaseRevokeRequest(ID=3)),
    ],
)
def test_a_request_comes_back_with_its_kind_and_id(kind: str, message: object) -> None:
    encoded = encode_request(kind, message.SerializeToString(), 99)  # type: ignore[attr-defined]
    decoded = decode_request(encoded)
    assert decoded is not None
    assert decoded[0] == kind
    assert decoded[1] == message
    assert decoded[2].ID == 99


def test_the_id_of_old_entries_is_found_outside_the_header() -> None:
    old = InternalRaftRequest(ID=5, put=pb.PutRequest(key=b"k"))
    decoded = decode_request(old.SerializeToString())
    assert decoded is not None
    assert decoded[2].ID == 5


def test_an_entry_without_a_known_request_is_none() -> None:
    assert decode_request(InternalRaftRequest(ID=5).SerializeToString()) is None


def test_garbage_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        decode_request(b"\xff\xff\xff")
