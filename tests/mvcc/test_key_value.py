"""Key-values written by hand are byte for byte what protobuf writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.mvcc.key_value import encode_deleted, encode_key_value, key_of, varint
from etcdpy.proto.kv_pb2 import KeyValue

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
POSITIVE = st.integers(1, (1 << 63) - 1)
EDGES = [
    edge + step
    for bits in (7, 14, 21, 28, 35, 42, 49, 56, 63)
    for edge in (1 << bits,)
    for step in (-1, 0, 1)
]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300), POSITIVE, POSITIVE, POSITIVE, st.binary(max_size=300), INT64)
def test_live_key_values_are_encoded_as_by_protobuf(
    key: bytes, create_revision: int, mod_revision: int, version: int, value: bytes, lease: int
) -> None:
    encoded = encode_key_value(key, create_revision, mod_revision, version, value, lease)
    kv = KeyValue(
        key=key,
        create_revision=create_revision,
        mod_revision=mod_revision,
        version=version,
        value=value,
        lease=lease,
    )
    assert encoded == kv.SerializeToString()
    assert key_of(encoded) == key


@pytest.mark.parametrize("number", [edge for edge in EDGES if edge < 1 << 63])
def test_numbers_at_the_edges_of_varint_lengths(number: int) -> None:
    assert b"\x18" + varint(number) == KeyValue(mod_revision=number).SerializeToString()
    assert b"\x30" + varint(-number) == KeyValue(lease=-number).SerializeToString()


@pytest.mark.parametrize("length", [1, 127, 128, 16383, 16384, 1_500_000])
def test_long_keys_and_values(length: int) -> None:
    data = b"x" * length
    encoded = encode_key_value(data, 1, 2, 3, data, 0)
    assert (
        encoded
        == KeyValue(key=data, create_revision=1, mod_revision=2, version=3, value=data).SerializeToString()
    )
    assert key_of(encoded) == data


def test_a_tombstone_holds_only_the_key() -> None:
    assert encode_deleted(b"foo") == KeyValue(key=b"foo").SerializeToString()
    assert encode_deleted(b"foo", 300) == KeyValue(key=b"foo", mod_revision=300).SerializeToString()


def test_the_example_of_the_format() -> None:
    assert encode_key_value(b"k0", 6, 11, 2, b"v10") == bytes.fromhex("0a026b301006180b20022a03763130")
    assert key_of(b"") == b""
