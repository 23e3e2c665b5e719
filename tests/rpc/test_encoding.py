"""Bytes made by hand are the bytes that messages would make."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import (
    LeaseLeasesResponse,
    LeaseStatus,
    RangeRequest,
    RangeResponse,
    RangeStreamResponse,
    ResponseHeader,
)
from etcdpy.rpc.encoding import HeaderEncoder, encode_field, encode_range, encode_varint, single_key

ids = st.integers(0, (1 << 64) - 1)
revisions = st.integers(0, (1 << 63) - 1)
key_values = st.builds(
    KeyValue,
    key=st.binary(min_size=1, max_size=3),
    value=st.sampled_from([b"", b"v", b"v" * 126, b"v" * 300, b"v" * 20_000]),
    mod_revision=revisions,
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(number=st.integers(-(1 << 63), (1 << 63) - 1))
@example(number=(1 << 7) - 1)
@example(number=1 << 7)
@example(number=1 << 14)
@example(number=1 << 21)
@example(number=1 << 28)
def test_varints(number: int) -> None:
    assert b"\x08" + encode_varint(number) == (LeaseStatus(ID=number).SerializeToString() or b"\x08\x00")


@settings(derandomize=True, max_examples=200, deadline=None)
@given(cluster_id=ids, member_id=ids, revision=revisions, term=ids)
def test_headers(cluster_id: int, member_id: int, revision: int, term: int) -> None:
    encoder = HeaderEncoder(cluster_id, member_id)
    for changed in (revision, revision, revision // 2):
        header = ResponseHeader(cluster_id=cluster_id, member_id=member_id, revision=changed, raft_term=term)
        expected = LeaseLeasesResponse(header=header).SerializeToString()
        assert encoder.encode(changed, term) == expected
        assert encoder.encode(changed, 1) == HeaderEncoder(cluster_id, member_id).encode(changed, 1)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(kvs=st.lists(key_values, max_size=4), count=revisions, more=st.booleans())
def test_ranges(kvs: list[KeyValue], count: int, more: bool) -> None:
    header = HeaderEncoder(1, 2).encode(3, 4)
    body = encode_range(header, [kv.SerializeToString() for kv in kvs], count, more)
    response = RangeResponse(kvs=kvs, count=count, more=more)
    response.header.MergeFrom(ResponseHeader(cluster_id=1, member_id=2, revision=3, raft_term=4))
    assert body == response.SerializeToString()
    wrapped = RangeStreamResponse(range_response=response)
    assert encode_field(b"\x0a", body) == wrapped.SerializeToString()


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    request=st.builds(
        RangeRequest,
        key=st.sampled_from([b"", b"a", b"k" * 127, b"k" * 128, b"8\x01"]),
        range_end=st.sampled_from([b"", b"", b"b"]),
        limit=st.sampled_from([0, 0, 1]),
        serializable=st.booleans(),
        keys_only=st.sampled_from([False, False, True]),
    )
)
def test_a_look_up_of_one_key_is_known_by_its_bytes(request: RangeRequest) -> None:
    is_plain = not (request.range_end or request.limit or request.keys_only)
    expected = (request.key, request.serializable) if is_plain and 0 < len(request.key) < 128 else None
    assert single_key(request.SerializeToString()) == expected


@settings(derandomize=True, max_examples=200, deadline=None)
@given(data=st.binary(max_size=8) | st.binary(max_size=6).map(lambda tail: b"\x0a\x02" + tail))
def test_whatever_passes_for_a_look_up_parses_as_one(data: bytes) -> None:
    single = single_key(data)
    if single is not None:
        assert RangeRequest.FromString(data) == RangeRequest(key=single[0], serializable=single[1])
