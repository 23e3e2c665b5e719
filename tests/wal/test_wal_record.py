"""Frames: etcd's bytes, both ways, and nothing but `BadRecord` for strange ones."""

from __future__ import annotations

import struct

import pytest
from google_crc32c import extend
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto import wal_pb2
from etcdpy.wal import SnapshotMark
from etcdpy.wal.record import BadRecord, RecordKind, RecordReader, encode_entries, encode_record

# The first bytes of a log of etcd 3.6.5.
GOLDEN = bytes.fromhex(
    "0400000000000084 08041000 00000000"
    "2000000000000000 080110dbf5ddfc04 1a1608a1dec695e2add0d0860110b68cc7a1de9c8ac7bd01"
    "0e00000000000082 080510b0bbf2aa08 1a0408001000 0000"
)
METADATA = bytes.fromhex("08a1dec695e2add0d0860110b68cc7a1de9c8ac7bd01")

properties = settings(derandomize=True, max_examples=150, deadline=None)


def reference_frame(kind: int, data: bytes, crc: int) -> tuple[bytes, int]:
    """The slow way, through the protobuf library."""
    crc = extend(crc, data)
    body = wal_pb2.Record(type=kind, crc=crc, data=data).SerializeToString()
    padding = -len(body) % 8
    return struct.pack("<Q", len(body) | (0x80 | padding) << 56 if padding else len(body)) + body + bytes(
        padding
    ), crc


def test_the_first_bytes_of_a_log_are_etcds() -> None:
    head, crc = encode_record(RecordKind.CRC, b"", 0)
    metadata, crc = encode_record(RecordKind.METADATA, METADATA, crc)
    mark, crc = encode_record(RecordKind.SNAPSHOT, SnapshotMark().encode(), crc)
    assert head + metadata + mark == GOLDEN


def test_the_first_bytes_of_etcds_log_are_read() -> None:
    records = list(RecordReader(GOLDEN + bytes(100), None))
    assert [(kind.name, body) for _, kind, body in records] == [
        ("CRC", b""),
        ("METADATA", METADATA),
        ("SNAPSHOT", b"\x08\x00\x10\x00"),
    ]


@properties
@given(st.lists(st.binary(max_size=400), max_size=40), st.integers(0, 2**32 - 1))
def test_entries_are_framed_as_the_protobuf_library_would(bodies: list[bytes], crc: int) -> None:
    expected, expected_crc = b"", crc
    for body in bodies:
        frame, expected_crc = reference_frame(2, body, expected_crc)
        expected += frame
    frames: list[bytes] = []
    assert encode_entries(frames, list(enumerate(bodies)), crc) == expected_crc
    assert b"".join(frames) == expected


@properties
@given(st.lists(st.binary(max_size=200)), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(bodies: list[bytes], crc: int) -> None:
    head, crc = encode_record(RecordKind.CRC, b"", crc)
    frames = [head]
    last = encode_entries(frames, list(enumerate(bodies)), crc)
    reader = RecordReader(b"".join(frames), None)
    assert [body for _, _, body in reader] == [b"", *bodies]
    assert reader.crc == last
    assert reader.offset == len(reader.data)


@pytest.mark.parametrize("size", [0, 1, 109, 110, 111, 16370, 16383, 16384, 1 << 21])
def test_sizes_around_a_longer_varint(size: int) -> None:
    body = bytes(size)
    for crc in range(40):
        frame, after = encode_record(RecordKind.ENTRY, body, crc)
        frames: list[bytes] = []
        assert encode_entries(frames, [(1, body)], crc) == after
        assert (b"".join(frames), after) == (frame, after) == reference_frame(2, body, crc)


@properties
@given(st.binary(max_size=300), st.none() | st.integers(0, 2**32 - 1))
def test_garbage_is_read_or_refused(garbage: bytes, crc: int | None) -> None:
    reader = RecordReader(garbage, crc)
    try:
        list(reader)
    except BadRecord:
        pass
    assert 0 <= reader.offset <= len(garbage)


@properties
@given(st.data())
def test_almost_records_are_read_or_refused(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(GOLDEN) - 1))
    damaged = bytearray(GOLDEN)
    damaged[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != GOLDEN[position]))
    reader = RecordReader(bytes(damaged[: data.draw(st.integers(0, len(GOLDEN)))]), None)
    try:
        list(reader)
    except BadRecord:
        pass
