"""HashKV values that real etcd 3.6.5 gives for the same history, and the rules around them."""

from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Bucket
from etcdpy.mvcc import Compacted, FutureRevision, HashKV

if TYPE_CHECKING:
    from tests.mvcc.conftest import Disk

HASH_BY_REVISION = {1: 1084519789, 2: 3305255506, 3: 2020292994, 4: 3153096970, 5: 1967179850}
AFTER_COMPACTION_AT_4 = 2007788419


@pytest.fixture
def history(disk: "Disk") -> "Disk":
    disk.put(b"foo", b"bar")
    disk.put(b"foo", b"baz")
    disk.delete(b"foo")
    disk.put(b"a", b"1")
    return disk


def test_an_empty_store(disk: "Disk") -> None:
    assert disk.store.hash_kv() == HashKV(HASH_BY_REVISION[1], -1, 1)


def test_every_revision_of_a_history(history: "Disk") -> None:
    for revision, value in HASH_BY_REVISION.items():
        assert history.store.hash_kv(revision) == HashKV(value, -1, revision)
    assert history.store.hash_kv() == HashKV(HASH_BY_REVISION[5], -1, 5)


def test_a_negative_revision_hashes_only_the_name(history: "Disk") -> None:
    assert history.store.hash_kv(-3).hash == HASH_BY_REVISION[1]


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_after_a_compaction_at_a_deletion(history: "Disk", limit: int) -> None:
    history.compact(4, limit)
    assert history.store.hash_kv(5) == HashKV(AFTER_COMPACTION_AT_4, 4, 5)
    with pytest.raises(Compacted):
        history.store.hash_kv(3)
    with pytest.raises(FutureRevision):
        history.store.hash_kv(6)


def test_the_same_while_the_compaction_is_not_finished(history: "Disk") -> None:
    history.store.compact(4)
    assert history.store.hash_kv(5).hash == AFTER_COMPACTION_AT_4
    history.store.compact_step(1)
    assert history.store.hash_kv(5).hash == AFTER_COMPACTION_AT_4


def test_the_hash_of_a_compaction_is_remembered_until_restart(history: "Disk") -> None:
    history.compact(4)
    assert history.store.hash_kv(4) == HashKV(HASH_BY_REVISION[4], -1, 4)
    # Computed anew it leaves out the tombstone at the compacted revision, and nothing else is left.
    assert history.reopen().hash_kv(4) == HashKV(HASH_BY_REVISION[1], 4, 4)


def test_the_last_ten_compactions_are_remembered(disk: "Disk") -> None:
    for revision in range(2, 14):
        disk.put(b"a")
        disk.compact(revision)
    assert disk.store.hash_kv(4).compact_revision == 3
    with pytest.raises(Compacted):
        disk.store.hash_kv(3)


def test_a_compaction_behind_another_one_takes_no_hash(history: "Disk") -> None:
    history.store.compact(3)
    history.store.compact(4)
    while history.store.compact_step(1):
        pass
    assert history.store.hash_kv(3).compact_revision == -1
    assert history.store.hash_kv(4).compact_revision == 4


def test_an_empty_keep_set_leaves_nothing_out(disk: "Disk") -> None:
    """etcd skips superseded records only if something is kept; members that differ here raise an alarm."""
    disk.put(b"a", b"1")
    disk.put(b"a", b"2")
    disk.delete(b"a")
    disk.put(b"b", b"1")
    disk.delete(b"b")
    everything = disk.store.hash_kv(4).hash
    disk.store.compact(3)
    assert disk.store.hash_kv(4).hash == everything
    disk.store.compact_step(1)
    assert disk.store.hash_kv(4).hash != everything


def test_members_at_different_points_of_a_compaction_agree(history: "Disk") -> None:
    for number in range(20):
        history.put(b"key%d" % (number % 3), b"%d" % number)
        if number % 5 == 0:
            history.delete(b"key%d" % (number % 2))
    history.store.compact(20)
    expected = history.store.hash_kv(22)
    while history.store.compact_step(1):
        assert history.store.hash_kv(22) == expected


def test_the_steps_of_a_job_see_one_state(history: "Disk") -> None:
    expected = history.store.hash_kv(5)
    history.backend.flush()
    with history.backend.view() as view:
        job = history.store.hash_kv_job(view, 5)
        job.step()
        history.put(b"later")
        history.compact(6)
        history.backend.flush()
        while job.step():
            pass
        assert job.result == expected


def test_hash_covers_etcds_buckets_but_not_the_position_of_the_member(history: "Disk") -> None:
    before = history.store.hash()
    history.backend.set_consistent(12, 3)
    assert history.store.hash() == before
    history.backend.put(Bucket.MEMBERS, b"1", b"{}")
    changed = history.store.hash()
    assert changed != before
    history.backend.put(Bucket.INDEX, b"ours", b"only")
    assert history.store.hash() == changed
