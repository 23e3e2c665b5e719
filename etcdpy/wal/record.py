"""Records and their frames: the bytes of a log segment.

A frame is a 64-bit little-endian length field, one record, and zeros up to a multiple of eight bytes. The low
56 bits of the field are the size of the record; when there is padding, the top byte is 0x80 plus the number
of padding bytes. A record is the message `walpb.Record`: kind, CRC-32C, data. The CRC runs over the data of
all records so far, across segments, so a record that is lost or swapped breaks the chain; a record of kind
CRC starts each segment and carries the value on.

Both directions are written by hand. Encoding is the hot path of every put: for one size of data, everything
but the CRC and the data is constant, so those bytes are made once and kept. Decoding is strict where a
protobuf parser would be generous, because the CRC covers the data only: a flipped bit in a tag, a kind or the
padding must be found here.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final

from google_crc32c import extend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BadRecord",
    "RecordKind",
    "RecordReader",
    "encode_entries",
    "encode_record",
    "read_length",
    "read_sizes",
]


class RecordKind(IntEnum):
    """What the data of a record is."""

    METADATA = 1
    ENTRY = 2
    STATE = 3
    CRC = 4
    SNAPSHOT = 5


class BadRecord(Exception):
    """The bytes at this offset are no record. The reader of the file decides what that means."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


FIELD_BYTES: Final = 8
_LENGTH: Final = Struct("<Q")
_SIZE_MASK: Final = (1 << 56) - 1
_PADDINGS: Final = [bytes(count) for count in range(8)]
# The top byte of the length field, by the number of padding bytes.
_PADDING_BYTES: Final = [0] + [0x80 | count for count in range(1, 8)]

_CRC: Final = RecordKind.CRC
_KIND_BY_NUMBER: Final = {int(kind): kind for kind in RecordKind}

_TAG_KIND: Final = 0x08
_TAG_CRC: Final = 0x10
_TAG_DATA: Final = 0x1A

# A CRC of 28 bits or more takes five varint bytes: two of these, two of these, and its top four bits. Fifteen
# in sixteen are like that, and three look-ups cost a third of shifting and masking in Python.
_VARINT_MIDDLE: Final = [bytes((value & 127 | 128, value >> 7 | 128)) for value in range(1 << 14)]
_VARINT_LAST: Final = [bytes((value,)) for value in range(16)]
_CRC_LONG: Final = 1 << 28

# What surrounds CRC and data in a record of one size: (length field and tags before the CRC, tag and length
# of the data, padding). Sizes repeat a lot; the bound only keeps a hostile mix of sizes from growing the
# table.
_Shape = tuple[bytes, bytes, bytes]
_entry_shapes: dict[int, _Shape] = {}
_ENTRY_SHAPES_MAX: Final = 1 << 14


def encode_entries(frames: list[bytes], entries: Sequence[tuple[int, bytes]], crc: int) -> int:
    """Append the frames of these entries, in pieces, and return the running CRC after them."""
    shapes = _entry_shapes
    for _, data in entries:
        crc = extend(crc, data)
        if crc >= _CRC_LONG:
            shape = shapes.get(len(data)) or _keep_entry_shape(len(data))
            frames += (
                shape[0],
                _VARINT_MIDDLE[crc & 0x3FFF],
                _VARINT_MIDDLE[crc >> 14 & 0x3FFF],
                _VARINT_LAST[crc >> 28],
                shape[1],
                data,
                shape[2],
            )
        else:
            frames.append(_frame(RecordKind.ENTRY, crc, data))
    return crc


def _keep_entry_shape(data_bytes: int) -> _Shape:
    if len(_entry_shapes) >= _ENTRY_SHAPES_MAX:
        _entry_shapes.clear()
    shape = _entry_shapes[data_bytes] = _shape(RecordKind.ENTRY, 5, data_bytes)
    return shape


def encode_record(kind: RecordKind, data: bytes, crc: int) -> tuple[bytes, int]:
    """One frame and the running CRC after it. A CRC record has no data and carries the CRC as it is."""
    if kind is RecordKind.CRC:
        assert not data, f"a CRC record with {len(data)} bytes of data"
        body = bytes((_TAG_KIND, kind, _TAG_CRC)) + _varint(crc)
        padding = -len(body) % 8
        return _length_field(len(body), padding) + body + bytes(padding), crc
    crc = extend(crc, data)
    return _frame(kind, crc, data), crc


def _frame(kind: RecordKind, crc: int, data: bytes) -> bytes:
    encoded_crc = _varint(crc)
    before, middle, padding = _shape(kind, len(encoded_crc), len(data))
    return b"".join((before, encoded_crc, middle, data, padding))


def _shape(kind: RecordKind, crc_bytes: int, data_bytes: int) -> _Shape:
    middle = bytes((_TAG_DATA,)) + _varint(data_bytes)
    size = 3 + crc_bytes + len(middle) + data_bytes
    padding = -size % 8
    return _length_field(size, padding) + bytes((_TAG_KIND, kind, _TAG_CRC)), middle, bytes(padding)


def _length_field(size: int, padding: int) -> bytes:
    return _LENGTH.pack(size | _PADDING_BYTES[padding] << 56)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class RecordReader:
    """Walks one segment from `offset` on, checking the CRC chain; ends at a length field of zero or at the
    end.

    `offset` is the end of the last good record, also after `BadRecord`; `crc` is the running value there.
    With `crc` None there is no earlier segment to agree with and the value of the first record is taken.
    After `advance`, `kind` and `body` are those of the record that begins at `start`.
    """

    def __init__(self, data: bytes, crc: int | None, offset: int = 0) -> None:
        self.data = data
        self.offset = offset
        self.crc = crc
        self.start = offset
        self.kind: RecordKind = _CRC
        self.body = b""

    def __iter__(self) -> Iterator[tuple[int, RecordKind, bytes]]:
        """Give (offset, kind, data) of each record."""
        while self.advance():
            yield self.start, self.kind, self.body

    def advance(self) -> bool:
        """Read the next record; whether there was one. (A call for each costs half of a generator's step.)"""
        data, offset = self.data, self.offset
        field = read_length(data, offset)
        if field == 0:
            return False
        size, end = read_sizes(offset, field)
        if end > len(data):
            raise BadRecord(offset, f"the file ends at {len(data)}, before the record does at {end}")
        start = offset + FIELD_BYTES
        kind, crc, data_offset = read_head(data, start, size)
        body_end = start + size
        body = data[data_offset:body_end]
        if end != body_end and data[body_end:end] != _PADDINGS[end - body_end]:
            raise BadRecord(offset, "the padding is not zero")
        if kind is _CRC or self.crc is None:
            self._begin_chain(offset, kind, crc, body)
        elif (running := extend(self.crc, body)) == crc:
            self.crc = running
        else:
            raise BadRecord(offset, f"the CRC is {crc:#010x} and should be {running:#010x}")
        self.offset = end
        self.start, self.kind, self.body = offset, kind, body
        return True

    def _begin_chain(self, offset: int, kind: RecordKind, crc: int, body: bytes) -> None:
        """Take the running value from a CRC record, or check that it agrees with ours."""
        if kind is not _CRC:
            raise BadRecord(offset, "the segment does not start with a CRC record")
        if body:
            raise BadRecord(offset, "a CRC record with data")
        if self.crc is not None and crc != self.crc:
            raise BadRecord(offset, f"the chain of CRCs is at {self.crc:#010x}, not at {crc:#010x}")
        self.crc = crc


def read_length(data: bytes, offset: int) -> int:
    """The length field at this offset; 0 at the end of the records, which may also be the end of the file."""
    if offset + FIELD_BYTES <= len(data):
        field: int = _LENGTH.unpack_from(data, offset)[0]
        return field
    if any(data[offset:]):
        raise BadRecord(offset, "the file ends inside a length field")
    return 0


def read_sizes(offset: int, field: int) -> tuple[int, int]:
    """Size of the record, and where its frame ends."""
    size = field & _SIZE_MASK
    padding = -size % 8
    if field >> 56 != _PADDING_BYTES[padding]:
        raise BadRecord(offset, f"{field:#018x} is no length field")
    return size, offset + FIELD_BYTES + size + padding


def read_head(data: bytes, start: int, size: int) -> tuple[RecordKind, int, int]:
    """Kind, CRC and offset of the data of the record that begins at `start` and must be `size` bytes long."""
    field = start - FIELD_BYTES
    try:
        if data[start] != _TAG_KIND or data[start + 2] != _TAG_CRC:
            raise BadRecord(field, "the tags of kind and CRC are missing")
        kind = _KIND_BY_NUMBER.get(data[start + 1])
        if kind is None:
            raise BadRecord(field, f"{data[start + 1]} is no kind of record")
        crc, offset = _read_varint(data, start + 3)
        data_bytes = 0
        if offset - start != size:
            if data[offset] != _TAG_DATA:
                raise BadRecord(field, "the tag of the data is missing")
            data_bytes, offset = _read_varint(data, offset + 1)
    except IndexError:
        raise BadRecord(field, "the file ends inside the head of a record") from None
    if offset - start + data_bytes != size:
        raise BadRecord(field, f"a record of {size} bytes with {data_bytes} bytes of data")
    return kind, crc, offset


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    byte = data[offset]
    value = byte & 127
    shift = 7
    while byte > 127:
        offset += 1
        byte = data[offset]
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise BadRecord(offset, "a varint of more than ten bytes")
    return value, offset + 1
