"""Compaction cut off after every step, on a store whose contents are known record by record."""

from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Bucket
from etcdpy.mvcc import Compacted, FutureRevision
from etcdpy.mvcc.revision import Revision, decode_revision

if TYPE_CHECKING:
    from tests.mvcc.conftest import Disk

LONG = b"long" * 500


def write_history(disk: "Disk") -> None:
    disk.put(b"a")  # 2
    disk.put(b"b")  # 3
    disk.put(b"a")  # 4
    disk.delete(b"b")  # 5
    disk.put(LONG)  # 6
    disk.put(LONG)  # 7
    disk.put(b"b")  # 8
    disk.put(b"c")  # 9
    disk.delete(b"c")  # 10
    disk.put(b"a")  # 11
    disk.delete(b"\x00", b"\x00")  # 12: a, b, long


def records(disk: "Disk") -> list[Revision]:
    return [decode_revision(key) for key, _ in disk.backend.items(Bucket.KEY)]


@pytest.mark.parametrize(
    ("revision", "kept"),
    [
        (3, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (4, [3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (5, [4, 5, 6, 7, 8, 9, 10, 11]),
        (6, [4, 6, 7, 8, 9, 10, 11]),
        (7, [4, 7, 8, 9, 10, 11]),
        (9, [4, 7, 8, 9, 10, 11]),
        (10, [4, 7, 8, 10, 11]),
        (11, [7, 8, 11]),
        (12, []),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_the_newest_change_of_each_key_stays(
    disk: "Disk", revision: int, kept: list[int], limit: int
) -> None:
    write_history(disk)
    disk.compact(revision, limit)
    tombstones = [Revision(12, sub) for sub in range(3)]
    assert records(disk) == [Revision(main) for main in kept] + tombstones


def test_a_tombstone_goes_with_the_next_compaction_and_so_does_its_index(disk: "Disk") -> None:
    write_history(disk)
    disk.compact(12)
    assert len(list(disk.backend.items(Bucket.INDEX))) == 3
    disk.put(b"z")
    disk.compact(13)
    assert records(disk) == [Revision(13)]
    assert [key for key, _ in disk.backend.items(Bucket.INDEX)] == [b"z"]
    assert list(disk.backend.items(Bucket.LINKS)) == []


@pytest.mark.parametrize("flushed_steps", range(9))
@pytest.mark.parametrize("lost_steps", range(3))
def test_a_crash_after_any_step(disk: "Disk", flushed_steps: int, lost_steps: int) -> None:
    write_history(disk)
    disk.store.compact(11)
    for _ in range(flushed_steps):
        disk.store.compact_step(2)
    disk.backend.flush()
    for _ in range(lost_steps):
        disk.store.compact_step(2)
    store = disk.crash()
    assert store.compact_revision == 11
    assert store.compaction_pending == (store.finished_compact_revision < 11)
    while store.compact_step(1):
        pass
    assert records(disk) == [Revision(7), Revision(8), Revision(11), *(Revision(12, sub) for sub in range(3))]
    assert store.finished_compact_revision == 11
    linked = [decode_revision(row) for row, _ in disk.backend.items(Bucket.LINKS)]
    assert linked == [Revision(12, sub) for sub in range(3)]
    assert not disk.reopen().compaction_pending


def test_writes_go_on_between_the_steps(disk: "Disk") -> None:
    write_history(disk)
    disk.store.compact(12)
    more = True
    while more:
        disk.put(b"b")
        disk.delete(b"b")
        disk.put(b"a")
        more = disk.store.compact_step(1)
    newer = [Revision(main) for main in range(13, disk.store.revision + 1)]
    assert records(disk) == [*(Revision(12, sub) for sub in range(3)), *newer]
    assert disk.store.range(b"a", b"\x00", revision=13).count == 1


def test_which_revisions_can_be_compacted(disk: "Disk") -> None:
    with pytest.raises(Compacted):
        disk.store.compact(-1)
    with pytest.raises(FutureRevision):
        disk.store.compact(2)
    disk.compact(0)
    with pytest.raises(Compacted):
        disk.store.compact(0)
    disk.put(b"a")
    disk.compact(2)
    assert disk.store.range(b"a", revision=2).count == 1
    with pytest.raises(Compacted):
        disk.store.range(b"a", revision=1)


def test_two_compactions_wait_for_each_other(disk: "Disk") -> None:
    write_history(disk)
    disk.store.compact(4)
    disk.store.compact(9)
    assert disk.store.compact_revision == 9
    while disk.store.compact_step(1):
        pass
    assert disk.store.finished_compact_revision == 9
    assert records(disk)[0] == Revision(4)


def test_delete_and_put_in_one_revision_survive_a_compaction_there(disk: "Disk") -> None:
    disk.put(b"a", b"old")
    txn = disk.store.begin()
    txn.delete_range(b"a")
    txn.put(b"a", b"new")
    txn.end()
    disk.compact(3)
    assert disk.store.range(b"a", revision=3).count == 1
    assert records(disk) == [Revision(3, 1)]
