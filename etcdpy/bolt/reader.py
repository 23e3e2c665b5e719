"""Reading a bbolt file that somebody gave us: a snapshot, a received database, a data directory of the Go
server.

Nothing in it is trusted. Every reference is checked against the file before it is followed, a walk meets each
page at most once and only keys that rise, so whatever the bytes are, a walk ends: with the records or with
`CorruptFile`. The file is mapped, not read; memory stays small however large it is. Buckets inside buckets
are not followed: etcd has none.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final, NamedTuple

from etcdpy.bolt.errors import CorruptFile, NoSuchBucket
from etcdpy.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET_FLAG,
    BUCKET_HEADER,
    ELEMENT_BYTES,
    FREELIST,
    HEADER,
    HEADER_BYTES,
    INLINE_ROOT,
    KEY_BYTES_MAX,
    LEAF,
    LEAF_ELEMENT,
    META_BYTES,
    META_PAGES,
    NO_FREELIST,
    PAGE_BYTES_MAX,
    PAGE_BYTES_MIN,
    Meta,
    decode_meta,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["Reader"]

_IDS_COUNT_FULL: Final = 0xFFFF
_PAGE_ID_BYTES: Final = 8


class _Node(NamedTuple):
    """A page or an inline image: where it is, and what its header says. Its keys lie in [low, high)."""

    offset: int
    end: int
    flags: int
    elements: int
    low: bytes
    high: bytes | None


class Reader:
    """An open bbolt file. A context manager; `check` reads all of it, everything else only what it needs."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        self.meta = _choose_meta(data)
        self._roots: dict[bytes, tuple[int, int]] | None = None

    @classmethod
    def open(cls, path: Path) -> Reader:
        with path.open("rb") as file:
            try:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # an empty file cannot be mapped
                raise CorruptFile(f"{path}: {error}") from error
        try:
            return cls(data)
        except CorruptFile:
            data.close()
            raise

    def close(self) -> None:
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """Length of the database; the file may be longer."""
        return self.meta.high_water * self.meta.page_bytes

    def buckets(self) -> list[bytes]:
        """Names of all buckets, in order."""
        return list(self._find_roots())

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) of a bucket, in order of keys."""
        roots = self._find_roots()
        if bucket not in roots:
            raise NoSuchBucket(bucket)
        return self._walk_bucket(roots[bucket], _Visits(self.meta.high_water))

    def check(self) -> None:
        """Read everything, and account for every page: in use once, or free."""
        visits = _Visits(self.meta.high_water)
        for _ in self._walk_elements(self._node(self.meta.root, visits), visits):
            pass
        for root in self._find_roots().values():
            for _ in self._walk_bucket(root, visits):
                pass
        if self.meta.freelist != NO_FREELIST:
            self._check_freelist(visits)

    def _find_roots(self) -> dict[bytes, tuple[int, int]]:
        """By name of a bucket: page of its root and offset of its value, where it is inline."""
        if self._roots is None:
            roots = {}
            visits = _Visits(self.meta.high_water)
            for flags, name, start, end in self._walk_elements(self._node(self.meta.root, visits), visits):
                if flags != BUCKET_FLAG or end - start < BUCKET_HEADER.size:
                    raise CorruptFile(f"{name!r} in the root is no bucket")
                root, _ = BUCKET_HEADER.unpack_from(self._data, start)
                if root != INLINE_ROOT and end - start != BUCKET_HEADER.size:
                    raise CorruptFile(f"bucket {name!r} has a root page and {end - start} bytes of value")
                roots[name] = (start + BUCKET_HEADER.size, end) if root == INLINE_ROOT else (root, 0)
            self._roots = roots
        return self._roots

    def _walk_bucket(self, root: tuple[int, int], visits: _Visits) -> Iterator[tuple[bytes, bytes]]:
        start, end = root
        data = self._data
        node = self._inline_node(start, end) if end else self._node(start, visits)
        for flags, key, value_start, value_end in self._walk_elements(node, visits):
            if flags:
                raise CorruptFile(f"key {key[:40]!r} is a bucket inside a bucket")
            yield key, data[value_start:value_end]

    def _walk_elements(self, root: _Node, visits: _Visits) -> Iterator[tuple[int, bytes, int, int]]:
        """(flags, key, start of value, end of value) of all leaves below this node, in order of keys."""
        data = self._data
        waiting = [root]
        previous = b""
        while waiting:
            node = waiting.pop()
            if node.flags == BRANCH:
                waiting += self._children(node, visits)
                continue
            low, high = node.low, node.high
            position = node.offset + HEADER_BYTES
            table = data[position : position + node.elements * ELEMENT_BYTES]
            for flags, distance, key_bytes, value_bytes in LEAF_ELEMENT.iter_unpack(table):
                start = position + distance
                middle = start + key_bytes
                end = middle + value_bytes
                key = data[start:middle]
                if end > node.end or key_bytes > KEY_BYTES_MAX or not previous < key or key < low:
                    raise CorruptFile(f"element at byte {position} breaks the bounds or the order of keys")
                yield flags, key, middle, end
                previous = key
                position += ELEMENT_BYTES
            if high is not None and previous >= high:
                raise CorruptFile(f"key {previous[:40]!r} lies beyond its branch")

    def _children(self, branch: _Node, visits: _Visits) -> list[_Node]:
        """The nodes below this one, last first."""
        keys: list[bytes] = []
        pages: list[int] = []
        position = branch.offset + HEADER_BYTES
        table = self._data[position : position + branch.elements * ELEMENT_BYTES]
        for distance, key_bytes, page_id in BRANCH_ELEMENT.iter_unpack(table):
            start = position + distance
            key = self._data[start : start + key_bytes]
            if start + key_bytes > branch.end or key_bytes > KEY_BYTES_MAX or (keys and key <= keys[-1]):
                raise CorruptFile(f"branch element at byte {position} breaks the bounds or the order of keys")
            keys.append(key)
            pages.append(page_id)
            position += ELEMENT_BYTES
        highs = [*keys[1:], branch.high]
        children = [
            self._node(page_id, visits, low, high)
            for page_id, low, high in zip(pages, keys, highs, strict=True)
        ]
        children.reverse()
        return children

    def _node(self, page_id: int, visits: _Visits, low: bytes = b"", high: bytes | None = None) -> _Node:
        """The tree page of this id, which nobody may have met before."""
        page_bytes = self.meta.page_bytes
        if not META_PAGES <= page_id < self.meta.high_water:
            raise CorruptFile(f"reference to page {page_id} of {self.meta.high_water}")
        offset = page_id * page_bytes
        own_id, flags, count, overflow = HEADER.unpack_from(self._data, offset)
        if own_id != page_id or flags not in (BRANCH, LEAF):
            raise CorruptFile(f"page {page_id} says it is {own_id} with flags {flags:#x}")
        visits.visit(page_id, overflow + 1)
        end = offset + (overflow + 1) * page_bytes
        if offset + HEADER_BYTES + count * ELEMENT_BYTES > end or (flags == BRANCH and count == 0):
            raise CorruptFile(f"page {page_id} cannot have {count} elements")
        return _Node(offset, end, flags, count, low, high)

    def _inline_node(self, offset: int, end: int) -> _Node:
        if end - offset < HEADER_BYTES:
            raise CorruptFile(f"inline bucket of {end - offset} bytes at {offset}")
        _, flags, count, _ = HEADER.unpack_from(self._data, offset)
        if flags != LEAF or offset + HEADER_BYTES + count * ELEMENT_BYTES > end:
            raise CorruptFile(f"inline bucket at {offset} with flags {flags:#x} and {count} elements")
        return _Node(offset, end, flags, count, b"", None)

    def _check_freelist(self, visits: _Visits) -> None:
        page_id = self.meta.freelist
        if not META_PAGES <= page_id < self.meta.high_water:
            raise CorruptFile(f"the freelist is on page {page_id} of {self.meta.high_water}")
        offset = page_id * self.meta.page_bytes
        own_id, flags, count, overflow = HEADER.unpack_from(self._data, offset)
        if own_id != page_id or flags != FREELIST:
            raise CorruptFile(f"page {page_id} is no freelist but {own_id} with flags {flags:#x}")
        visits.visit(page_id, overflow + 1)
        start = offset + HEADER_BYTES
        if count == _IDS_COUNT_FULL:
            count = int.from_bytes(self._data[start : start + _PAGE_ID_BYTES], "little")
            start += _PAGE_ID_BYTES
        if start + count * _PAGE_ID_BYTES > offset + (overflow + 1) * self.meta.page_bytes:
            raise CorruptFile(f"a freelist of {count} pages does not fit on page {page_id}")
        for position in range(start, start + count * _PAGE_ID_BYTES, _PAGE_ID_BYTES):
            free = int.from_bytes(self._data[position : position + _PAGE_ID_BYTES], "little")
            if not META_PAGES <= free < self.meta.high_water:
                raise CorruptFile(f"page {free} is free but there are only {self.meta.high_water}")
            visits.visit(free, 1)
        lost = visits.first_unvisited()
        if lost is not None:
            raise CorruptFile(f"page {lost} is neither in use nor free")


class _Visits:
    """Which pages a walk has met. A second meeting is damage, and would be an endless walk."""

    def __init__(self, high_water: int) -> None:
        self._met = bytearray(high_water)

    def visit(self, page_id: int, count: int) -> None:
        if page_id + count > len(self._met):
            raise CorruptFile(f"page {page_id} goes on for {count} pages, beyond the end at {len(self._met)}")
        if any(self._met[page_id : page_id + count]):
            raise CorruptFile(f"page {page_id} is referred to twice")
        self._met[page_id : page_id + count] = b"\1" * count

    def first_unvisited(self) -> int | None:
        page_id = self._met.find(0, META_PAGES)
        return None if page_id < 0 else page_id


def _choose_meta(data: bytes | mmap.mmap) -> Meta:
    """The newer of the two metas. If the first is broken, the second is looked for wherever it may be."""
    candidates = [decode_meta(data[:META_BYTES])]
    first = candidates[0]
    if first is not None:
        candidates.append(decode_meta(data[first.page_bytes : first.page_bytes + META_BYTES]))
    else:
        page_bytes = PAGE_BYTES_MIN
        while page_bytes <= PAGE_BYTES_MAX:
            second = decode_meta(data[page_bytes : page_bytes + META_BYTES])
            candidates.append(second if second is not None and second.page_bytes == page_bytes else None)
            page_bytes *= 2
    metas = [meta for meta in candidates if meta is not None]
    if not metas:
        raise CorruptFile("no bbolt database: neither meta page is valid")
    meta = max(metas, key=lambda meta: meta.transaction_id)
    page_bytes = meta.page_bytes
    if page_bytes & (page_bytes - 1) or not PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX:
        raise CorruptFile(f"a page size of {page_bytes}")
    if any(other.page_bytes != page_bytes for other in metas):
        raise CorruptFile("the meta pages differ in page size")
    if meta.high_water * page_bytes > len(data):
        raise CorruptFile(
            f"the database has {meta.high_water * page_bytes} bytes but the file only {len(data)}"
        )
    return meta
