"""Writing a bbolt file that the Go server opens, as one stream of pages.

Records come sorted, so each tree is built from its leaves up: a page that is full is given out at once and
only its first key and its number are kept, in the page above. Memory is one unfinished page for each level,
whatever the size of the data. The metas stand first in the file but are known last, so there are two ways to
write. Into a file, they are written last. Into a stream, the same walk is made twice: once only to count,
then to give out. Sources that are read from one snapshot of a database are the same both times.

Pages are filled to nine tenths, as bbolt does for records that come in order, so that the first updates need
not split them. No freelist is stored: like etcd's own files, a reader finds the free pages by itself, and
here are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from struct import pack
from typing import TYPE_CHECKING, Final, NamedTuple

from etcdpy.bolt.page import (
    BRANCH,
    BUCKET_FLAG,
    BUCKET_HEADER,
    ELEMENT_BYTES,
    HEADER,
    HEADER_BYTES,
    INLINE_ROOT,
    KEY_BYTES_MAX,
    LEAF,
    META_PAGES,
    NO_FREELIST,
    PAGE_BYTES,
    PAGE_BYTES_MIN,
    VALUE_BYTES_MAX,
    Meta,
    encode_meta,
)

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Buckets", "Layout", "Source", "measure", "stream_pages", "write_file"]

Source = Callable[[], Iterable[tuple[bytes, bytes]]]
Buckets = Mapping[bytes, Source]

_TRANSACTION_ID: Final = 2  # the newer meta is on page 0, where bbolt's own copies have it
_PAGE_BYTES_MAX: Final = 1 << 16  # keeps the number of elements of a page far below what its header can count
# A full branch gives out all but its newest child, so that what remains and the next make two; hence three to
# split.
_SPLIT_CHILDREN_MIN: Final = 3


class Layout(NamedTuple):
    """What the metas say: the page of the root, and the first page that is not used."""

    root: int
    high_water: int
    page_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.high_water * self.page_bytes


def write_file(file: BinaryIO, buckets: Buckets, *, page_bytes: int = PAGE_BYTES) -> Layout:
    """Write a database into an empty file that can seek."""
    build = _Build(page_bytes, encode=True)
    file.seek(META_PAGES * page_bytes)
    file.writelines(build.walk(buckets))
    file.seek(0)
    file.write(_encode_metas(build.layout))
    return build.layout


def measure(buckets: Buckets, *, page_bytes: int = PAGE_BYTES) -> Layout:
    """What the database will be. Walks through all records but builds no pages."""
    build = _Build(page_bytes, encode=False)
    for _ in build.walk(buckets):
        pass
    return build.layout


def stream_pages(buckets: Buckets, layout: Layout) -> Iterator[bytes]:
    """The bytes of the database in order, one or more pages at a time; `layout` is what `measure` said."""
    yield _encode_metas(layout)
    build = _Build(layout.page_bytes, encode=True)
    yield from build.walk(buckets)
    assert build.layout == layout, f"measured {layout}, then written {build.layout}"


def _encode_metas(layout: Layout) -> bytes:
    newer = Meta(layout.page_bytes, layout.root, NO_FREELIST, layout.high_water, _TRANSACTION_ID)
    return encode_meta(0, newer) + encode_meta(1, newer._replace(transaction_id=_TRANSACTION_ID - 1))


class _Build:
    """One walk: gives numbers to pages and, unless it only counts, their bytes."""

    def __init__(self, page_bytes: int, *, encode: bool) -> None:
        assert PAGE_BYTES_MIN <= page_bytes <= _PAGE_BYTES_MAX, f"a page size of {page_bytes}"
        assert page_bytes & (page_bytes - 1) == 0, f"a page size of {page_bytes}"
        self.page_bytes = page_bytes
        self.ready: list[bytes] = []
        self._encode = encode
        self._next_page = META_PAGES
        self._root = 0

    @property
    def layout(self) -> Layout:
        assert self._root, "the walk is not finished"
        return Layout(self._root, self._next_page, self.page_bytes)

    def walk(self, buckets: Buckets) -> Iterator[bytes]:
        ready = self.ready
        root = _Tree(self, BUCKET_FLAG)
        for name in sorted(buckets):
            tree = _Tree(self, 0)
            for key, value in buckets[name]():
                tree.add(key, value)
                if ready:
                    yield from ready
                    ready.clear()
            root.add(name, tree.finish_bucket())
            yield from ready
            ready.clear()
        self._root = root.finish()
        yield from ready
        ready.clear()

    def put_leaf(self, flags: int, keys: list[bytes], values: list[bytes], content_bytes: int) -> int:
        page_id, overflow = self._take_pages(content_bytes)
        if self._encode:
            self._put(_encode_leaf(page_id, overflow, flags, keys, values), overflow)
        return page_id

    def put_branch(self, children: list[tuple[bytes, int]], content_bytes: int) -> int:
        page_id, overflow = self._take_pages(content_bytes)
        if self._encode:
            self._put(_encode_branch(page_id, overflow, children), overflow)
        return page_id

    def _take_pages(self, content_bytes: int) -> tuple[int, int]:
        page_id = self._next_page
        overflow = (HEADER_BYTES + content_bytes - 1) // self.page_bytes
        self._next_page += overflow + 1
        return page_id, overflow

    def _put(self, image: bytes, overflow: int) -> None:
        full_bytes = (overflow + 1) * self.page_bytes
        assert len(image) <= full_bytes, f"{len(image)} bytes for {overflow + 1} pages"
        self.ready.append(image.ljust(full_bytes, b"\0"))


class _Tree:
    """One tree under construction: the leaf that is being filled, and above it one unfinished branch per
    level.
    """

    def __init__(self, build: _Build, flags: int) -> None:
        self._build = build
        self._flags = flags
        self._fill_bytes = build.page_bytes * 9 // 10 - HEADER_BYTES
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._leaf_bytes = 0
        self._previous = b""
        self._levels: list[_Level] = []

    def add(self, key: bytes, value: bytes) -> None:
        """Keys come in ascending order."""
        assert self._previous < key, f"key {key!r} after {self._previous!r}"
        assert len(key) <= KEY_BYTES_MAX, f"a key of {len(key)} bytes"
        assert len(value) <= VALUE_BYTES_MAX, f"a value of {len(value)} bytes"
        needed = ELEMENT_BYTES + len(key) + len(value)
        if self._leaf_bytes + needed > self._fill_bytes and self._keys:
            self._finish_leaf()
        self._keys.append(key)
        self._values.append(value)
        self._leaf_bytes += needed
        self._previous = key

    def finish_bucket(self) -> bytes:
        """The value that stands for this tree in the root: its page, or, when it is small, its only leaf."""
        if not self._levels and HEADER_BYTES + self._leaf_bytes <= self._build.page_bytes // 4:
            return BUCKET_HEADER.pack(INLINE_ROOT, 0) + _encode_leaf(
                0, 0, self._flags, self._keys, self._values
            )
        return BUCKET_HEADER.pack(self.finish(), 0)

    def finish(self) -> int:
        """Give out what is unfinished; the page of the root."""
        self._finish_leaf()
        height = 0
        while height < len(self._levels) - 1 or len(self._levels[height].children) > 1:
            self._finish_branch(height)
            height += 1
        return self._levels[height].children[0][1]

    def _finish_leaf(self) -> None:
        page_id = self._build.put_leaf(self._flags, self._keys, self._values, self._leaf_bytes)
        self._add_child(0, self._keys[0] if self._keys else b"", page_id)
        self._keys, self._values, self._leaf_bytes = [], [], 0

    def _add_child(self, height: int, key: bytes, page_id: int) -> None:
        if height == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[height]
        needed = ELEMENT_BYTES + len(key)
        if level.content_bytes + needed > self._fill_bytes and len(level.children) >= _SPLIT_CHILDREN_MIN:
            newest = level.pop()
            self._finish_branch(height)
            level.push(*newest)
        level.push(key, page_id)

    def _finish_branch(self, height: int) -> None:
        level = self._levels[height]
        page_id = self._build.put_branch(level.children, level.content_bytes)
        first_key = level.children[0][0]
        level.clear()
        self._add_child(height + 1, first_key, page_id)


class _Level:
    """The unfinished branch of one level."""

    def __init__(self) -> None:
        self.children: list[tuple[bytes, int]] = []
        self.content_bytes = 0

    def push(self, key: bytes, page_id: int) -> None:
        self.children.append((key, page_id))
        self.content_bytes += ELEMENT_BYTES + len(key)

    def pop(self) -> tuple[bytes, int]:
        child = self.children.pop()
        self.content_bytes -= ELEMENT_BYTES + len(child[0])
        return child

    def clear(self) -> None:
        self.children = []
        self.content_bytes = 0


def _encode_leaf(page_id: int, overflow: int, flags: int, keys: list[bytes], values: list[bytes]) -> bytes:
    table: list[int] = []
    parts = [HEADER.pack(page_id, LEAF, len(keys), overflow), b""]
    distance = len(keys) * ELEMENT_BYTES
    for key, value in zip(keys, values, strict=True):
        key_bytes, value_bytes = len(key), len(value)
        table += (flags, distance, key_bytes, value_bytes)
        distance += key_bytes + value_bytes - ELEMENT_BYTES
        parts += (key, value)
    parts[1] = pack(f"<{len(table)}I", *table)
    return b"".join(parts)


def _encode_branch(page_id: int, overflow: int, children: list[tuple[bytes, int]]) -> bytes:
    parts = [HEADER.pack(page_id, BRANCH, len(children), overflow)]
    distance = len(children) * ELEMENT_BYTES
    for key, child in children:
        parts.append(pack("<IIQ", distance, len(key), child))
        distance += len(key) - ELEMENT_BYTES
    parts += [key for key, _ in children]
    return b"".join(parts)
