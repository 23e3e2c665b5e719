"""Revisions and the bytes that stand for them.

A revision is two numbers: `main` counts the raft entries that changed keys, `sub` the changes within one
entry. As a key of the KEY bucket it is etcd's `main '_' sub` in big-endian, so that byte order is revision
order; a tombstone appends `t`.
"""

from struct import Struct
from typing import Final, NamedTuple

REVISION_BYTES: Final = 17
TOMBSTONE_MARK: Final = b"t"
# Larger than any `sub`: the bound behind all changes of one main revision.
SUB_MAX: Final = (1 << 64) - 1
MAIN_MAX: Final = (1 << 63) - 1

_LAYOUT: Final = Struct(">QBQ")
_MAIN: Final = Struct(">Q")
_SEPARATOR: Final = 0x5F


class Revision(NamedTuple):
    """One change of the store."""

    main: int
    sub: int = 0


def encode_revision(main: int, sub: int = 0) -> bytes:
    return _LAYOUT.pack(main, _SEPARATOR, sub)


def decode_revision(data: bytes) -> Revision:
    """The revision at the start of a KEY key or an index entry."""
    main, _, sub = _LAYOUT.unpack_from(data)
    return Revision(main, sub)


def main_of(data: bytes) -> int:
    """Only the main number of an encoded revision."""
    return int.from_bytes(data[:8], "big")


def encode_main(main: int) -> bytes:
    """The first bytes of all encoded revisions of `main`, and a bound below them."""
    return _MAIN.pack(main)


def is_tombstone(key: bytes) -> bool:
    """Whether a key of the KEY bucket marks a deletion."""
    return len(key) > REVISION_BYTES
