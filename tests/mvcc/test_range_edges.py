"""The corners of range notation, limits and revisions."""

from typing import TYPE_CHECKING

import pytest

from etcdpy.mvcc import FutureRevision, KeyMeta
from etcdpy.mvcc.key_value import key_of
from etcdpy.mvcc.ranges import Values

if TYPE_CHECKING:
    from tests.mvcc.conftest import Disk

KEYS = [b"\x00", b"\x00\x00", b"a", b"a\x00", b"aa", b"b", b"\xff", b"\xff\xff"]


@pytest.fixture(params=["in memory", "on disk", "both"])
def keys(disk: "Disk", request: pytest.FixtureRequest) -> "Disk":
    for number, key in enumerate(KEYS):
        if number == 4 and request.param == "both":
            disk.backend.flush()
        disk.put(key)
    if request.param == "on disk":
        disk.backend.flush()
    return disk


@pytest.mark.parametrize(
    ("key", "range_end", "expected"),
    [
        (b"a", b"", [b"a"]),
        (b"none", b"", []),
        (b"a", b"b", [b"a", b"a\x00", b"aa"]),
        (b"a", b"a\x00", [b"a"]),
        (b"a", b"a", []),
        (b"b", b"a", []),
        (b"\x00", b"\x00", KEYS),
        (b"b", b"\x00", [b"b", b"\xff", b"\xff\xff"]),
        (b"a\x00", b"\xff\xff", [b"a\x00", b"aa", b"b", b"\xff"]),
        (b"\xff\xff\x00", b"\x00", []),
        (b"\x00", b"\x00\x01", [b"\x00", b"\x00\x00"]),
    ],
)
def test_ranges(keys: "Disk", key: bytes, range_end: bytes, expected: list[bytes]) -> None:
    for revision in (0, keys.store.revision):
        result = keys.store.range(key, range_end, revision=revision)
        assert [key_of(kv) for kv in result.kvs] == expected
        assert result.count == len(expected)
        assert keys.store.range(key, range_end, revision=revision, count_only=True).count == len(expected)
    assert len(keys.delete(key, range_end)) == len(expected)


def test_a_limit_cuts_the_key_values_but_not_the_count(keys: "Disk") -> None:
    for limit in range(1, 10):
        result = keys.store.range(b"\x00", b"\x00", limit=limit)
        assert [key_of(kv) for kv in result.kvs] == KEYS[:limit]
        assert result.count == len(KEYS)


def test_older_revisions(keys: "Disk") -> None:
    for number in range(len(KEYS)):
        result = keys.store.range(b"\x00", b"\x00", revision=number + 2, limit=3)
        assert [key_of(kv) for kv in result.kvs] == KEYS[: number + 1][:3]
        assert (result.count, result.revision) == (number + 1, keys.store.revision)
    with pytest.raises(FutureRevision):
        keys.store.range(b"a", revision=keys.store.revision + 1)
    assert keys.store.range(b"a", revision=-5).count == 1


def test_metas_come_without_values(keys: "Disk") -> None:
    keys.put(b"b", b"x", 9)
    result = keys.store.range(b"aa", b"c", keys_only=True, metas=True)
    assert result.metas == [KeyMeta(6, 6, 1, 0), KeyMeta(7, 10, 2, 9)]


def test_a_transaction_sees_its_writes_and_the_past_as_it_was(keys: "Disk") -> None:
    revision = keys.store.revision
    txn = keys.store.begin()
    assert txn.revision == revision
    txn.put(b"a", b"new")
    txn.delete_range(b"b")
    assert txn.revision == revision + 1
    assert txn.range(b"a", b"c").count == 3
    assert txn.range(b"a", b"c", revision=revision).count == 4
    assert txn.range(b"a", b"c", revision=revision).revision == revision + 1
    with pytest.raises(FutureRevision):
        txn.range(b"a", revision=revision + 1)
    meta = txn.current(b"a")
    assert meta is not None
    assert meta.mod_revision == revision + 1
    txn.end()


def test_a_transaction_without_a_write_leaves_the_revision(keys: "Disk") -> None:
    revision = keys.store.revision
    assert keys.delete(b"nothing") == []
    keys.store.begin()
    assert keys.delete(b"nothing") == []
    assert keys.store.revision == revision


def test_a_key_deleted_and_put_in_one_transaction_begins_anew(keys: "Disk") -> None:
    txn = keys.store.begin()
    txn.delete_range(b"a")
    txn.put(b"a", b"new")
    delete, put = txn.end()
    assert (delete.create, put.create) == (False, True)
    meta = keys.store.current(b"a")
    assert meta == KeyMeta(keys.store.revision, keys.store.revision, 1, 0)
    assert keys.store.range(b"a", revision=keys.store.revision).count == 1
    assert keys.store.previous(put) is None
    assert key_of(keys.store.previous(delete) or b"") == b"a"


def test_a_full_cache_lets_the_older_half_go(disk: "Disk") -> None:
    for number in range(50):
        disk.put(b"%02d" % number, b"v" * 100)
    values = Values(disk.backend, cache_bytes=10_000)
    entries = [entry for _, entry in disk.backend.items(10)]
    expected = disk.store.range(b"\x00", b"\x00").kvs
    for _ in range(3):
        assert [values.read(entry) for entry in entries] == expected
        assert values.read_many(entries[20:30]) == expected[20:30]
        assert values.read_many(entries) == expected


def test_the_previous_value_of_an_event_is_gone_with_its_revision(disk: "Disk") -> None:
    disk.put(b"a", b"1")
    (second,) = disk.put(b"a", b"2")
    (third,) = disk.put(b"a", b"3")
    disk.compact(3)
    assert disk.store.previous(second) is None
    assert disk.store.previous(third) == second.kv


def test_pieces_of_a_large_answer_push_nothing_out_of_the_cache(disk: "Disk") -> None:
    for number in range(50):
        disk.put(b"%02d" % number)
    disk.backend.flush_sync()
    kept = disk.store._values._bytes
    for revision in (0, 30):
        assert len(disk.store.range(b"\x00", b"\x00", is_piece=True, limit=20, revision=revision).kvs) == 20
        assert disk.store._values._bytes == kept
    disk.store.range(b"\x00", b"\x00")
    assert disk.store._values._bytes > kept
