"""The layout of a bbolt file: numbers and structures that reader and writer share.

A file is an array of pages, all integers little-endian. Pages 0 and 1 are metas, of which the newer valid one
counts. Everything else hangs below the root bucket: a tree of branch and leaf pages whose elements are the
buckets, each with a tree of its own, or, when it is small, with one leaf image inside its value.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

__all__ = [
    "BRANCH",
    "BRANCH_ELEMENT",
    "BUCKET_FLAG",
    "BUCKET_HEADER",
    "ELEMENT_BYTES",
    "FREELIST",
    "HEADER",
    "HEADER_BYTES",
    "INLINE_ROOT",
    "KEY_BYTES_MAX",
    "LEAF",
    "LEAF_ELEMENT",
    "META",
    "META_BYTES",
    "META_PAGES",
    "Meta",
    "NO_FREELIST",
    "PAGE_BYTES",
    "PAGE_BYTES_MAX",
    "PAGE_BYTES_MIN",
    "VALUE_BYTES_MAX",
    "decode_meta",
    "encode_meta",
]

PAGE_BYTES: Final = 4096
PAGE_BYTES_MIN: Final = 1 << 10
PAGE_BYTES_MAX: Final = 1 << 24
META_PAGES: Final = 2

# Page header: id, flags, count, number of further pages that continue this one.
HEADER: Final = Struct("<QHHI")
HEADER_BYTES: Final = HEADER.size
BRANCH: Final = 1
LEAF: Final = 2
META: Final = 4
FREELIST: Final = 0x10

# Leaf element: flags, offset of the key from the element, size of the key, size of the value behind it.
LEAF_ELEMENT: Final = Struct("<IIII")
# Branch element: offset of the key from the element, size of the key, page of the child.
BRANCH_ELEMENT: Final = Struct("<IIQ")
ELEMENT_BYTES: Final = 16
BUCKET_FLAG: Final = 1
KEY_BYTES_MAX: Final = 32_768
VALUE_BYTES_MAX: Final = (1 << 31) - 2

# The value of a bucket: page of its root, sequence number. Root 0: the leaf image follows.
BUCKET_HEADER: Final = Struct("<QQ")
INLINE_ROOT: Final = 0

_MAGIC: Final = 0xED0CDAED
_VERSION: Final = 2
# Magic, version, page size, flags, root page, root sequence, freelist page, high-water mark, transaction id.
_META: Final = Struct("<IIIIQQQQQ")
_CHECKSUM: Final = Struct("<Q")
META_BYTES: Final = HEADER_BYTES + _META.size + _CHECKSUM.size
NO_FREELIST: Final = (1 << 64) - 1


class Meta(NamedTuple):
    """Where everything begins. `high_water` is the first page that was never used."""

    page_bytes: int
    root: int
    freelist: int
    high_water: int
    transaction_id: int


def encode_meta(page_id: int, meta: Meta) -> bytes:
    """A whole meta page."""
    body = _META.pack(
        _MAGIC,
        _VERSION,
        meta.page_bytes,
        0,
        meta.root,
        0,
        meta.freelist,
        meta.high_water,
        meta.transaction_id,
    )
    page = HEADER.pack(page_id, META, 0, 0) + body + _CHECKSUM.pack(_fnv_1a(body))
    return page.ljust(meta.page_bytes, b"\0")


def decode_meta(page: bytes) -> Meta | None:
    """The meta in the first bytes of a page; None when it is not valid."""
    if len(page) < META_BYTES:
        return None
    body = page[HEADER_BYTES : HEADER_BYTES + _META.size]
    magic, version, page_bytes, _, root, _, freelist, high_water, transaction_id = _META.unpack(body)
    if (magic, version) != (_MAGIC, _VERSION):
        return None
    if _CHECKSUM.unpack_from(page, HEADER_BYTES + _META.size)[0] != _fnv_1a(body):
        return None
    return Meta(page_bytes, root, freelist, high_water, transaction_id)


def _fnv_1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
