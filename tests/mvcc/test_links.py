"""Older revisions are found in few steps, and directories from before the links become like those with."""

from __future__ import annotations

import random
import shutil
import tempfile
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc import Store, relink
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.links import depth_of, entry_at
from etcdpy.mvcc.revision import REVISION_BYTES, main_of
from tests.support.store_rows import comparable, plain_entry

if TYPE_CHECKING:
    from tests.mvcc.conftest import Disk

# Syncs cost nothing in memory.
MEMORY = Path("/dev/shm")
VERSIONS = 3000
# The numbers up to twelve added up: a version number has twelve bits.
STEPS_MAX = 78


class CountingRows:
    """Counts how often a row is looked up."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.gets = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def get(self, bucket: int, key: bytes) -> bytes | None:
        self.gets += 1
        return self._backend.get(bucket, key)


@pytest.mark.parametrize("deletes_every", [0, 1, 7])
def test_any_revision_of_a_key_is_few_steps_away(disk: Disk, deletes_every: int) -> None:
    changes: list[int] = []
    while len(changes) < VERSIONS:
        is_delete = deletes_every and len(changes) % (deletes_every + 1) == deletes_every
        event = (disk.delete(b"k") if is_delete else disk.put(b"k"))[0]
        changes.append(event.mod_revision)
        disk.put(b"other")
    newest = disk.backend.get(Bucket.INDEX, b"k")
    assert newest is not None
    assert depth_of(disk.backend, newest) == VERSIONS
    draw = random.Random(1)
    for _ in range(300):
        at = draw.randint(2, disk.store.revision)
        rows = CountingRows(disk.backend)
        entry = entry_at(rows, newest, at)
        assert entry is not None
        assert main_of(entry) == changes[bisect_right(changes, at) - 1]
        assert rows.gets <= STEPS_MAX, f"{rows.gets} steps from {disk.store.revision} back to {at}"


def test_after_a_compaction_the_new_links_still_jump(disk: Disk) -> None:
    for number in range(200):
        disk.put(b"k", b"%d" % number)
    disk.compact(disk.store.revision - 50)
    for number in range(200, 1200):
        disk.put(b"k", b"%d" % number)
    for at in range(disk.store.compact_revision, disk.store.revision + 1):
        found = disk.store.range(b"k", revision=at).kvs
        assert b"%d" % (at - 2) in found[0]
    newest = disk.backend.get(Bucket.INDEX, b"k")
    assert newest is not None
    rows = CountingRows(disk.backend)
    entry_at(rows, newest, disk.store.compact_revision + 3)
    assert rows.gets <= STEPS_MAX


def as_before_links(origin: Backend, place: Path) -> None:
    """Write what a store without links would hold."""
    old = Backend.open(place, map_bytes=1 << 28)
    for bucket in Bucket:
        if bucket not in (Bucket.INDEX, Bucket.LINKS):
            for key, value in origin.items(bucket):
                old.put(bucket, key, value)
    for key, entry in origin.items(Bucket.INDEX):
        old.put(Bucket.INDEX, key, plain_entry(entry))
    records = {row[:REVISION_BYTES]: data for row, data in origin.items(Bucket.KEY)}
    for revision, row in origin.items(Bucket.LINKS):
        entry = plain_entry(row)
        key = key_of(records[revision])
        prefix = len(key).to_bytes(2, "big") + key if len(key) < 440 else b"\xff\xff" + key[:32]
        old.put(Bucket.HISTORY, prefix + entry[:REVISION_BYTES], entry[REVISION_BYTES:])
    old.close()


KEYS = st.sampled_from([b"a", b"a", b"b", b"c" * 600])
OPERATIONS = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "delete"]), KEYS), max_size=40)


def do(store: Store, operations: list[tuple[str, bytes]]) -> None:
    for kind, key in operations:
        txn = store.begin()
        if kind == "put":
            txn.put(key, b"v")
        else:
            txn.delete_range(key)
        txn.end()


class Died(Exception):
    """Instead of a process that is gone."""


@pytest.mark.patches
@settings(max_examples=30, deadline=None, derandomize=True)
@given(OPERATIONS, st.integers(0, 12), OPERATIONS, st.integers(0, 12))
def test_an_old_directory_is_converted_whenever_it_dies(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, bytes]],
    compact_back: int,
    after: list[tuple[str, bytes]],
    dies_at: int,
) -> None:
    place = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else tmp_path_factory.getbasetemp()))
    origin = Store(Backend.open(place / "origin", map_bytes=1 << 28))
    do(origin, before)
    if origin.revision > compact_back:
        origin.compact(origin.revision - compact_back)
        while origin.compact_step():
            pass
    as_before_links(origin.backend, place / "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relink, "ROWS", 2)
        patch.setattr(relink, "OPERATIONS_MAX", 2)
        converted = open_dying(place / "old", dies_at)
    assert not list(converted.backend.items(Bucket.HISTORY))
    assert comparable(converted.backend) == comparable(origin.backend)
    do(origin, after)
    do(converted, after)
    assert comparable(converted.backend) == comparable(origin.backend)
    for at in range(max(origin.compact_revision, 1), origin.revision + 1):
        assert converted.range(b"\0", b"\0", revision=at).kvs == origin.range(b"\0", b"\0", revision=at).kvs
    assert converted.hash_kv() == origin.hash_kv()
    for store in (origin, converted):
        store.backend.abandon()
    shutil.rmtree(place)


def open_dying(path: Path, dies_at: int) -> Store:
    """Open a store that dies before one of its flushes, and then once more."""
    backend = Backend.open(path, map_bytes=1 << 28)
    flush, left = backend.flush_sync, dies_at

    def flush_sync() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Died
        flush()

    backend.flush_sync = flush_sync  # type: ignore[method-assign]
    try:
        store = Store(backend)
    except Died:
        backend.abandon()
        return Store(Backend.open(path, map_bytes=1 << 28))
    backend.flush_sync = flush  # type: ignore[method-assign]
    return store
