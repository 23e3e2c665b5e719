"""What a store knows when it is opened, and how little it reads for it."""

from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Bucket
from etcdpy.mvcc import CorruptStore, Store
from etcdpy.mvcc.imports import import_records
from etcdpy.mvcc.revision import encode_revision
from etcdpy.proto.kv_pb2 import KeyValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mvcc.conftest import Disk


def test_an_empty_store_is_at_revision_1(disk: "Disk") -> None:
    assert (disk.store.revision, disk.store.compact_revision) == (1, -1)


def test_the_first_write_is_at_revision_2(disk: "Disk") -> None:
    assert disk.put(b"a")[0].mod_revision == 2


def test_the_revision_is_that_of_the_last_record(disk: "Disk") -> None:
    disk.put(b"a")
    disk.delete(b"a")
    assert disk.reopen().revision == 3


def test_a_compaction_older_etcds_finished_counts_for_the_revision(disk: "Disk") -> None:
    """They remove the tombstone that would have told it."""
    disk.backend.put(Bucket.META, b"finishedCompactRev", encode_revision(7))
    store = Store(disk.backend)
    assert (store.revision, store.compact_revision) == (7, 7)
    assert not store.compaction_pending


@pytest.mark.patches
def test_opening_reads_no_keys(disk: "Disk", monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        disk.put(b"key%d" % number, b"v", 0 if number else 77)
    disk.reopen()
    read: list[int] = []
    pieces = type(disk.backend).pieces

    def count(backend: object, *arguments: object) -> "Iterator[list[tuple[bytes, bytes]]]":
        for rows in pieces(backend, *arguments):  # type: ignore[arg-type]
            read.append(len(rows))
            yield rows

    monkeypatch.setattr(type(disk.backend), "pieces", count)
    store = Store(disk.backend)
    assert store.revision == 1001
    assert list(store.attached_leases()) == [(77, b"key0")]
    # One segment of the count, one attached key.
    assert sum(read) == 2


def test_a_compacted_revision_of_odd_length_is_corrupt(disk: "Disk") -> None:
    disk.backend.put(Bucket.META, b"finishedCompactRev", b"short")
    with pytest.raises(CorruptStore):
        Store(disk.backend)


def test_an_index_entry_without_its_record_is_corrupt(disk: "Disk") -> None:
    disk.put(b"a")
    disk.backend.delete(Bucket.KEY, encode_revision(2))
    with pytest.raises(CorruptStore):
        disk.store.range(b"a")
    with pytest.raises(CorruptStore):
        disk.store.range(b"a", b"b")


def imported(disk: "Disk", *rows: tuple[bytes, bytes]) -> Store:
    import_records(disk.backend, rows, {6})
    return Store(disk.backend)


def test_importing_starts_from_the_version_of_the_first_record(disk: "Disk") -> None:
    kv = KeyValue(key=b"a", create_revision=3, mod_revision=9, version=5, value=b"x", lease=6)
    store = imported(disk, (encode_revision(9), kv.SerializeToString()))
    assert list(store.attached_leases()) == [(6, b"a")]
    (event,) = disk.put(b"a")
    kv = KeyValue.FromString(event.kv)
    assert (kv.create_revision, kv.mod_revision, kv.version) == (3, 2, 6)


def test_importing_a_bucket_that_begins_with_a_tombstone(disk: "Disk") -> None:
    store = imported(disk, (encode_revision(5) + b"t", KeyValue(key=b"a").SerializeToString()))
    assert store.revision == 5
    assert store.range(b"a").count == 0


def test_the_empty_record_of_a_raised_revision(disk: "Disk") -> None:
    live = KeyValue(key=b"a", create_revision=2, mod_revision=2, version=1).SerializeToString()
    disk.store = imported(disk, (encode_revision(2), live), (encode_revision(1000), b""))
    assert disk.store.revision == 1000
    assert disk.store.range(b"\x00", b"\x00").count == 1
    disk.compact(1000)
    assert disk.store.hash_kv(1000)
    assert disk.reopen().revision == 1000


def test_importing_refuses_garbage(disk: "Disk") -> None:
    with pytest.raises(CorruptStore):
        imported(disk, (encode_revision(2), b"\x0a\x01a\xff"))
    with pytest.raises(CorruptStore):
        imported(disk, (b"x", b"\x0a\x01a"))
