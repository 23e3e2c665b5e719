"""The first fields of an encoded raft entry, without the rest.

A log has a hundred thousand entries that lie behind the snapshot from which a member starts. Of those only
the index matters, and protobuf would unpack all of each. etcd writes type, term, index and data in this order
and leaves out only the data; so do we. Whatever looks different is left to protobuf, so nothing is decided
here that it would decide in another way.
"""

from __future__ import annotations

from typing import Final

__all__ = ["read_entry_head"]

_TAG_TYPE: Final = 0x08
_TAG_TERM: Final = 0x10
_TAG_INDEX: Final = 0x18
_TAG_DATA: Final = 0x22
# Numbers of up to nine varint bytes, so below 2**63; a longer one is not read here.
_SHIFT_MAX: Final = 56
_TYPE_MAX: Final = 2


def read_entry_head(body: bytes) -> tuple[int, int, int, int] | None:
    """Type, term, index and the length of the data; None if protobuf has to look."""
    try:
        kind = body[1]
        if body[0] != _TAG_TYPE or kind > _TYPE_MAX or body[2] != _TAG_TERM:
            return None
        term, offset = _read_number(body, 3)
        if offset < 0 or body[offset] != _TAG_INDEX:
            return None
        index, offset = _read_number(body, offset + 1)
        if offset < 0 or offset == len(body):
            return None if offset < 0 else (kind, term, index, 0)
        if body[offset] != _TAG_DATA:
            return None
        data_bytes, offset = _read_number(body, offset + 1)
    except IndexError:
        return None
    return (kind, term, index, data_bytes) if offset >= 0 and offset + data_bytes == len(body) else None


def _read_number(data: bytes, offset: int) -> tuple[int, int]:
    """A varint and the offset behind it, which is negative for one that is too long."""
    byte = data[offset]
    value = byte & 127
    shift = 7
    while byte > 127:
        if shift > _SHIFT_MAX:
            return 0, -1
        offset += 1
        byte = data[offset]
        value |= (byte & 127) << shift
        shift += 7
    return value, offset + 1
