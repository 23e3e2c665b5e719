"""`InternalRaftRequest` as bytes: what a normal log entry holds.

A client's request is already serialized when it arrives, and it is one field of the internal
request, so it is wrapped instead of being encoded again. Field order is ascending as etcd's
encoders write it: requests up to number 11 stand before the header (100), the others behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto.raft_internal_pb2 import InternalRaftRequest, RequestHeader

if TYPE_CHECKING:
    from google.protobuf.message import Message

_FIELDS = {
    field.name: field.number
    for field in InternalRaftRequest.DESCRIPTOR.fields
    if field.name not in ("header", "ID")
}
_HEADER_FIELD = 100
_LENGTH_DELIMITED = 2


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class _IdVarint:
    """Varints of ids that count up: all but the lowest 14 bits stay the same for thousands of them."""

    __slots__ = ("_high", "_tail")

    def __init__(self) -> None:
        self._high = -1
        self._tail = b""

    def encode(self, request_id: int) -> bytes:
        high = request_id >> 14
        if not high:
            return _varint(request_id)
        if high != self._high:
            self._high = high
            self._tail = _varint(high)
        return bytes((request_id & 0x7F | 0x80, request_id >> 7 & 0x7F | 0x80)) + self._tail


_id_varint = _IdVarint().encode
_HEADER_TAG = _varint(_HEADER_FIELD << 3 | _LENGTH_DELIMITED)
# The tag of a kind, and whether its field stands before the header.
_SHAPES = {
    kind: (_varint(number << 3 | _LENGTH_DELIMITED), number < _HEADER_FIELD)
    for kind, number in _FIELDS.items()
}
# Kinds that an entry shows with its first byte, when it holds nothing else but a header.
_KIND_BY_TAG: dict[int, str] = {
    tag[0]: kind for kind, (tag, is_first) in _SHAPES.items() if is_first and len(tag) == 1
}
# Lengths that most requests have.
_LENGTHS = tuple(map(_varint, range(1 << 12)))


def encode_varint(size: int) -> bytes:
    """A number of at least zero; small ones, which most lengths are, are looked up."""
    return _LENGTHS[size] if size < len(_LENGTHS) else _varint(size)


def encode_request(
    kind: str, data: bytes, request_id: int, username: str = "", auth_revision: int = 0
) -> bytes:
    """The entry data for a request of `kind` (a field name of InternalRaftRequest) with serialized
    body `data`.
    """
    if username or auth_revision:
        header = RequestHeader(
            ID=request_id, username=username, auth_revision=auth_revision
        ).SerializeToString()
    else:
        header = b"\x08" + _id_varint(request_id)
    tag, is_first = _SHAPES[kind]
    if is_first:
        return b"".join(
            (tag, encode_varint(len(data)), data, _HEADER_TAG, encode_varint(len(header)), header)
        )
    return b"".join((_HEADER_TAG, encode_varint(len(header)), header, tag, encode_varint(len(data)), data))


def decode_request(data: bytes) -> tuple[str, Message, RequestHeader] | None:
    """(kind, request, header) of an entry; None when it holds no request that we know.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no InternalRaftRequest.
    """
    internal = InternalRaftRequest.FromString(data)
    header = internal.header
    if not header.ID:
        header.ID = internal.ID  # where releases before the header kept it
    # What a follower applies, and what a start applies again: asking for the fields costs half of all this.
    kind = _KIND_BY_TAG.get(data[0]) if data else None
    if kind is not None and internal.HasField(kind):
        return kind, getattr(internal, kind), header
    for field, value in internal.ListFields():
        if field.name not in ("header", "ID"):
            return field.name, value, header
    return None
