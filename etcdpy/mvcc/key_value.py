"""`mvccpb.KeyValue` as bytes, written and read by hand.

Stored key-values go from the put to the socket as the same bytes and are part of `HashKV`, so what is written
here must be exactly what every other member writes: fields in ascending order, zeros left out, negative
numbers in ten bytes. A message object would cost more than the rest of a put.
"""

from typing import Final

# 14 bits at a time: the last group of a varint, and a group with more to come.
_GROUP_BITS: Final = 14
_GROUP: Final = 1 << _GROUP_BITS
_LOW_GROUP: Final = _GROUP - 1
_TWO_GROUPS: Final = _GROUP * _GROUP
_LAST: Final = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(_GROUP))
_MORE: Final = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(_GROUP))
_UNSIGNED: Final = (1 << 64) - 1

_KEY_TAG: Final = 0x0A


def varint(number: int) -> bytes:
    """An int64 as protobuf writes it."""
    if 0 <= number < _GROUP:
        return _LAST[number]
    if 0 < number < _TWO_GROUPS:
        return _MORE[number & _LOW_GROUP] + _LAST[number >> _GROUP_BITS]
    number &= _UNSIGNED
    groups = []
    while number >= _GROUP:
        groups.append(_MORE[number & _LOW_GROUP])
        number >>= _GROUP_BITS
    return b"".join(groups) + _LAST[number]


def encode_key_value(
    key: bytes, create_revision: int, mod_revision: int, version: int, value: bytes, lease: int = 0
) -> bytes:
    """A live key-value: the three revisions are never zero."""
    created = varint(create_revision)
    modified = created if mod_revision == create_revision else varint(mod_revision)
    parts = [b"\n", varint(len(key)), key, b"\x10", created, b"\x18", modified, b"\x20", varint(version)]
    if value:
        parts += (b"*", varint(len(value)), value)
    if lease:
        parts += (b"0", varint(lease))
    return b"".join(parts)


def encode_deleted(key: bytes, mod_revision: int = 0) -> bytes:
    """A tombstone as stored (only the key) or, with its revision, as watchers see it."""
    data = b"\n%b%b" % (varint(len(key)), key)
    return data + b"\x18" + varint(mod_revision) if mod_revision else data


def key_of(data: bytes) -> bytes:
    """The key of a stored key-value; empty for the empty record with which a restore raises the revision."""
    if not data or data[0] != _KEY_TAG:
        return b""
    length = data[1]
    if length < 128:
        return data[2 : 2 + length]
    length, start = read_varint(data, 1)
    return data[start : start + length]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
