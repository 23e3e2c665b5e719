"""Keys and ranges of keys. Keys are bytes; a text stands for its UTF-8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Key = str | bytes

# etcd's range end for "everything from the key on".
_TO_THE_END: Final = b"\0"


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from `start`, up to but without `end`; `end` is in etcd's terms (one zero byte: no end).

    Made by `prefix`, `between` and `from_key`.
    """

    start: bytes
    end: bytes


Keys = Key | KeyRange


def prefix(start: Key) -> KeyRange:
    """All keys that begin so; an empty prefix is every key.

    >>> prefix("app/")
    KeyRange(start=b'app/', end=b'app0')
    """
    first = as_bytes(start)
    kept = first.rstrip(b"\xff")
    end = kept[:-1] + bytes([kept[-1] + 1]) if kept else _TO_THE_END
    return KeyRange(first or b"\0", end)


def between(start: Key, end: Key) -> KeyRange:
    """The keys from `start` up to but without `end`."""
    return KeyRange(as_bytes(start), as_bytes(end))


def from_key(start: Key) -> KeyRange:
    """The key and all that sort behind it."""
    return KeyRange(as_bytes(start) or b"\0", _TO_THE_END)


def as_bytes(key: Key) -> bytes:
    """A key as etcd has it."""
    return key.encode() if isinstance(key, str) else key


def bounds(keys: Keys) -> tuple[bytes, bytes]:
    """Key and range end for a request."""
    return (keys.start, keys.end) if isinstance(keys, KeyRange) else (as_bytes(keys), b"")
