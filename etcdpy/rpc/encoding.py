"""Responses as bytes, put together without message objects where the traffic is.

Every response of etcd begins with `header = 1`, and only the header depends on who answers. So a response
is a header from `HeaderEncoder` followed by its *body*: the serialized rest. Bodies of ranges and puts are
joined from stored key-values, which are serialized `mvccpb.KeyValue` already; all others come from a
message whose header was left unset.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A header holds four varints of at most ten bytes and their tags, so its length always takes one byte.
_TAG_HEADER = 0x0A
_TAG_CLUSTER_ID = b"\x08"
_TAG_MEMBER_ID = b"\x10"
_TAG_REVISION = b"\x18"
_TAG_RAFT_TERM = b"\x20"

_ONE_BYTE = [bytes((number,)) for number in range(0x80)]


def encode_varint(number: int) -> bytes:
    """`number` as a varint; a negative one takes ten bytes, as int64 does on the wire."""
    if 0 <= number < 0x80:
        return _ONE_BYTE[number]
    number &= 0xFFFF_FFFF_FFFF_FFFF
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 0x10000000:
        return bytes(
            (number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F | 0x80, number >> 21)
        )
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_field(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field; `tag` is its encoded tag."""
    return b"%b%b%b" % (tag, encode_varint(len(payload)), payload)


class HeaderEncoder:
    """Makes the header field of responses; the newest one is kept, because reads between two writes share
    it.
    """

    def __init__(self, cluster_id: int, member_id: int) -> None:
        self._identity = b"".join(
            tag + encode_varint(number)
            for tag, number in ((_TAG_CLUSTER_ID, cluster_id), (_TAG_MEMBER_ID, member_id))
            if number
        )
        self._revision = -1
        self._term = -1
        self._term_field = b""
        self._encoded = b""

    def encode(self, revision: int, term: int) -> bytes:
        """The header with tag and length; revision 0 leaves the revision out."""
        if revision == self._revision and term == self._term:
            return self._encoded
        if term != self._term:
            self._term_field = _TAG_RAFT_TERM + encode_varint(term) if term else b""
        revision_field = _TAG_REVISION + encode_varint(revision) if revision else b""
        header = b"%b%b%b" % (self._identity, revision_field, self._term_field)
        assert len(header) < 0x80, f"a header of {len(header)} bytes"
        self._revision = revision
        self._term = term
        self._encoded = b"%c%c%b" % (_TAG_HEADER, len(header), header)
        return self._encoded


_KEPT_SIZE_MAX = 1 << 14


class _Prefixes(dict[int, bytes]):
    """Tag and length in front of a key-value of a given size.

    Kept, because sizes repeat: a list of 10,000 keys is then joined without a Python call for each. Sizes
    above the limit are rare and would only fill memory.
    """

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag

    def __missing__(self, size: int) -> bytes:
        prefix = self._tag + encode_varint(size)
        if size < _KEPT_SIZE_MAX:
            self[size] = prefix
        return prefix


# Lists of less are joined before they are sent: a small message is quicker in one part.
LIST_BYTES_MIN = 1 << 16
# Pieces of less are cheaper to copy into one than to queue one by one.
JOINED_BYTES_MAX = 1 << 18

_KVS = _Prefixes(b"\x12")  # RangeResponse.kvs = 2


def encode_range(header: bytes, kvs: Sequence[bytes], count: int, more: bool) -> bytes:
    """RangeResponse from its header field (or nothing) and serialized key-values, copied once."""
    tail = range_tail(count, more)
    if len(kvs) == 1:
        return encode_single(header, kvs[0], tail)
    parts = chain.from_iterable(zip(map(_KVS.__getitem__, map(len, kvs)), kvs, strict=True))
    return b"".join((header, *parts, tail))


@dataclass(frozen=True, slots=True)
class EncodedList:
    """A RangeResponse of many keys without its header, in parts that are `size` bytes together."""

    parts: list[bytes]
    size: int


def encode_list(kvs: Sequence[bytes], count: int, more: bool) -> EncodedList:
    """What `encode_range` joins; key-values are not copied."""
    parts = list(chain.from_iterable(zip(map(_KVS.__getitem__, map(len, kvs)), kvs, strict=True)))
    parts.append(range_tail(count, more))
    return EncodedList(parts, sum(map(len, parts)))


def range_tail(count: int, more: bool) -> bytes:
    """What stands behind the key-values of a RangeResponse."""
    tail = b"\x18\x01" if more else b""
    return tail + b"\x20" + encode_varint(count) if count else tail


def encode_kvs(kvs: Sequence[bytes]) -> list[bytes]:
    """Key-values as fields of a RangeResponse; large ones are not copied."""
    parts = list(chain.from_iterable(zip(map(_KVS.__getitem__, map(len, kvs)), kvs, strict=True)))
    return [b"".join(parts)] if sum(map(len, parts)) < JOINED_BYTES_MAX else parts


def encode_single(header: bytes, kv: bytes, tail: bytes = b"\x20\x01") -> bytes:
    """RangeResponse with one key-value, by default the answer to a look-up of one key."""
    return b"%b%b%b%b" % (header, _KVS[len(kv)], kv, tail)


def encode_renewal(header: bytes, lease_id: int, ttl: int) -> bytes:
    """LeaseKeepAliveResponse of a lease that was renewed."""
    return b"".join((header, b"\x10", encode_varint(lease_id), b"\x18", encode_varint(ttl)))


def single_key(data: bytes) -> tuple[bytes, bool] | None:
    """The key of a RangeRequest that holds nothing but a key and perhaps `serializable`, and whether it does.

    Most reads look like this, and reading their bytes takes a tenth of what it takes to make a message and
    ask each of its fields. None for every other request, malformed ones included.
    """
    size = len(data)
    if size < 3 or data[0] != 0x0A or not 0 < data[1] < 0x80:
        return None
    end = data[1] + 2
    if size == end:
        return data[2:], False
    if size == end + 2 and data[end:] == b"\x38\x01":  # serializable = 7, true
        return data[2:end], True
    return None
