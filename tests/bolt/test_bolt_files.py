"""Written databases come back as they were, in every shape of bucket, page and file."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.bolt import (
    Buckets,
    CorruptFile,
    NoSuchBucket,
    Reader,
    Source,
    check_digest,
    measure,
    read_status,
    stream_pages,
    with_digest,
    write_file,
    write_snapshot,
)
from etcdpy.bolt.page import BRANCH, FREELIST, HEADER, decode_meta, encode_meta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Content = dict[bytes, dict[bytes, bytes]]

keys = st.binary(min_size=1, max_size=40) | st.integers(1, 1 << 62).map(
    lambda number: number.to_bytes(8, "big") + b"_" * 9
)
values = st.binary(max_size=80) | st.integers(0, 20_000).map(bytes)
contents = st.dictionaries(
    st.binary(min_size=1, max_size=12), st.dictionaries(keys, values, max_size=60), max_size=6
)
properties = settings(derandomize=True, max_examples=120, deadline=None)


def sources(content: Content) -> Buckets:
    def source(records: dict[bytes, bytes]) -> Source:
        return lambda: sorted(records.items())

    return {name: source(records) for name, records in content.items()}


def written(content: Content, page_bytes: int = 4096) -> bytes:
    file = io.BytesIO()
    write_file(file, sources(content), page_bytes=page_bytes)
    return file.getvalue()


def read_back(data: bytes) -> Content:
    reader = Reader(data)
    reader.check()
    return {name: dict(reader.items(name)) for name in reader.buckets()}


@properties
@given(contents, st.sampled_from([1024, 4096, 16384]))
def test_what_is_written_is_read(content: Content, page_bytes: int) -> None:
    data = written(content, page_bytes)
    assert len(data) % page_bytes == 0
    assert read_back(data) == content
    reader = Reader(data)
    assert reader.buckets() == sorted(content)
    for name in content:
        assert [key for key, _ in reader.items(name)] == sorted(content[name])


@properties
@given(contents, st.sampled_from([1024, 4096]))
def test_a_stream_is_the_file(content: Content, page_bytes: int) -> None:
    layout = measure(sources(content), page_bytes=page_bytes)
    data = b"".join(stream_pages(sources(content), layout))
    assert len(data) == layout.size_bytes
    assert data == written(content, page_bytes)


def many(count: int, value_bytes: int = 100) -> dict[bytes, bytes]:
    return {number.to_bytes(8, "big") + b"_" + bytes(8): bytes(value_bytes) for number in range(1, count + 1)}


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 27 * 116, 27 * 116 + 1, 27 * 117 + 1, 12_000])
def test_trees_of_every_height(count: int) -> None:
    content = {b"key": many(count)}
    assert read_back(written(content)) == content


def test_small_pages_make_high_trees() -> None:
    content = {b"key": many(20_000, 5), b"meta": {b"a": b"b"}}
    data = written(content, 1024)
    assert read_back(data) == content


def test_keys_larger_than_a_page() -> None:
    content = {b"authUsers": {bytes((letter,)) * 30_000: b"user" for letter in range(65, 90)}}
    assert read_back(written(content)) == content


@pytest.mark.parametrize("value_bytes", [980, 1_024, 4_000, 4_047, 4_048, 4_064, 4_100, 100_000, 3_000_000])
def test_values_around_and_beyond_a_page(value_bytes: int) -> None:
    content = {b"key": {b"a" * 17: bytes(value_bytes), b"b" * 17: b"small"}}
    data = written(content)
    assert read_back(data) == content


def test_a_small_bucket_is_inline_up_to_a_quarter_page() -> None:
    """Page header and element take 32 of the 1024 bytes, the key one."""
    inline, separate = written({b"b": {b"k": bytes(991)}}), written({b"b": {b"k": bytes(992)}})
    assert (len(inline), len(separate)) == (3 * 4096, 4 * 4096)


def test_an_empty_database_and_empty_buckets() -> None:
    assert read_back(written({})) == {}
    assert read_back(written({b"a": {}, b"b": {}})) == {b"a": {}, b"b": {}}


def test_memory_does_not_grow_with_the_data() -> None:
    """However much comes, pages are given out as soon as they are full."""
    taken = 0

    def counting() -> Iterator[tuple[bytes, bytes]]:
        nonlocal taken
        for record in many(5_000, 500).items():
            taken += 1
            yield record

    buckets: Buckets = {b"key": counting}
    layout = measure(buckets)
    taken = given_out = 0
    for page in stream_pages(buckets, layout):
        given_out += len(page)
        assert taken * 500 < given_out + 2 * 4096
    assert taken == 5_000


def test_records_out_of_order_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="after"):
        write_file(io.BytesIO(), {b"key": lambda: [(b"b", b""), (b"a", b"")]})
    with pytest.raises(AssertionError, match="after"):
        write_file(io.BytesIO(), {b"key": lambda: [(b"", b"")]})


def test_sources_that_change_are_our_own_mistake() -> None:
    layout = measure({b"key": lambda: many(10).items()})
    with pytest.raises(AssertionError, match="measured"):
        list(stream_pages({b"key": lambda: many(500).items()}, layout))


def test_an_unknown_bucket() -> None:
    with pytest.raises(NoSuchBucket, match="key"):
        Reader(written({b"meta": {}})).items(b"key")


@pytest.mark.parametrize("page_bytes", [1024, 4096, 65536])
@pytest.mark.parametrize("broken", [0, 1])
def test_one_meta_may_be_broken(page_bytes: int, broken: int) -> None:
    content = {b"key": many(30)}
    data = bytearray(written(content, page_bytes))
    data[broken * page_bytes + 40] ^= 1
    assert read_back(bytes(data)) == content
    data[(1 - broken) * page_bytes + 40] ^= 1
    with pytest.raises(CorruptFile, match="neither meta page"):
        Reader(bytes(data))


def test_a_longer_file_is_the_same_database() -> None:
    content = {b"key": many(30)}
    assert read_back(written(content) + b"x" * 5_000) == content
    with pytest.raises(CorruptFile, match="the file only"):
        Reader(written(content)[:-1])


def test_a_stored_freelist_is_accounted_for() -> None:
    """Hand-made: a freelist on a page of its own names the pages nobody uses; one too few is found."""
    plain = written({b"key": many(200)})
    meta = decode_meta(plain[:4096])
    assert meta is not None
    end = meta.high_water

    def with_freelist(*free: int) -> bytes:
        changed = meta._replace(freelist=end, high_water=end + 3, transaction_id=10)
        page = HEADER.pack(end, FREELIST, len(free), 0) + b"".join(one.to_bytes(8, "little") for one in free)
        metas = encode_meta(0, changed) + encode_meta(1, changed._replace(transaction_id=9))
        return metas + plain[2 * 4096 :] + page.ljust(3 * 4096, b"\0")

    Reader(with_freelist(end + 1, end + 2)).check()
    for free, text in (
        ((end + 1,), f"page {end + 2} is neither"),
        ((end + 1, end + 1), f"page {end + 1} is referred to twice"),
        ((end + 1, end + 3), "there are only"),
        ((end + 1, 5), "page 5 is referred to twice"),
    ):
        with pytest.raises(CorruptFile, match=text):
            Reader(with_freelist(*free)).check()


# Garbage


def exhaust(data: bytes) -> None:
    """Everything the reader can do."""
    reader = Reader(data)
    try:
        reader.check()
    except CorruptFile:
        pass
    for name in reader.buckets():
        for _ in reader.items(name):
            pass
    read_status(reader)


@properties
@given(st.binary(max_size=3 * 1024))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(CorruptFile):
        exhaust(garbage)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    content = {b"key": many(120, 30), b"lease": many(10, 1), b"meta": {b"a": b"b"}}
    damaged = bytearray(written(content, 1024))
    for _ in range(data.draw(st.integers(1, 6))):
        # Most bytes are content; aim at the heads of pages, where the structure is.
        page = data.draw(st.integers(2, len(damaged) // 1024 - 1))
        position = page * 1024 + data.draw(st.integers(0, 70))
        damaged[position] = data.draw(st.sampled_from([0, 1, 2, 3, 5, 16, 127, 255]))
    try:
        exhaust(bytes(damaged))
    except CorruptFile:
        pass


def test_branches_in_a_circle_end() -> None:
    """The first reference of the root is turned to every page. Only those below it may make a tree again."""
    data = written({b"key": many(400, 40)}, 1024)
    pages = len(data) // 1024
    branches = [page for page in range(2, pages) if data[page * 1024 + 8] == BRANCH]
    for target in range(pages + 2):
        damaged = bytearray(data)
        damaged[branches[-1] * 1024 + 24 : branches[-1] * 1024 + 32] = target.to_bytes(8, "little")
        refused = False
        try:
            exhaust(bytes(damaged))
        except CorruptFile:
            refused = True
        assert refused or 2 <= target <= branches[0]
        assert not (refused and target == branches[0])


# Snapshot files


def test_a_snapshot_is_the_database_and_its_digest(tmp_path: Path) -> None:
    content = {b"key": many(300), b"meta": {b"storageVersion": b"3.6.0"}}
    path = tmp_path / "snapshot.db"
    with path.open("wb") as file:
        layout = write_snapshot(file, sources(content))
    data = path.read_bytes()
    assert data == written(content) + hashlib.sha256(written(content)).digest()
    assert b"".join(with_digest([b"a", b"b"])) == b"ab" + hashlib.sha256(b"ab").digest()
    assert check_digest(path) == layout.size_bytes
    with Reader.open(path) as reader:
        status = read_status(reader)
    assert (status.revision, status.total_keys, status.total_size) == (300, 301, layout.size_bytes)
    assert status.version == "3.6.0"


def test_a_wrong_or_missing_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    data = written({b"key": many(3)})
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match="snapshot missing hash but --skip-hash-check=false"):
        check_digest(path)
    path.write_bytes(data + bytes(32))
    with pytest.raises(CorruptFile, match=r"expected sha256 \[0 0 0 .*\], got \[\d+ "):
        check_digest(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.write_bytes(b"")
    with pytest.raises(CorruptFile, match=r"empty\.db"):
        Reader.open(path)
    with pytest.raises(CorruptFile):
        check_digest(path)
