"""Limits, filters and orders of a Range (behaviour reference, section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend
from etcdpy.mvcc import Compacted, FutureRevision, Store
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import RangeRequest
from etcdpy.server.ranges import RangeAnswer, read_range
from tests.rpc.fakes import ModelStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["model", "store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Keys a to e: mod revisions 2 to 6 and then again 7 for b; values run against the keys."""
    if request.param == "model":
        store: Any = ModelStore()
        fill(store)
        yield store
        return
    backend = Backend.open(tmp_path / "db")
    store = Store(backend)
    fill(store)
    yield store
    backend.close()


def fill(store: Any) -> None:
    for key, value in [(b"a", b"5"), (b"b", b"4"), (b"c", b"3"), (b"d", b"2"), (b"e", b"1"), (b"b", b"9")]:
        txn = store.begin()
        txn.put(key, value, 11)
        txn.end()


def read(store: ModelStore, **fields: Any) -> RangeAnswer:
    return read_range(store, RangeRequest(**({"key": b"a", "range_end": b"\0"} | fields)))


def keys(answer: RangeAnswer) -> bytes:
    return b"".join(KeyValue.FromString(kv).key for kv in answer.kvs)


def test_without_options_everything_comes_in_key_order(store: ModelStore) -> None:
    answer = read(store)
    assert (keys(answer), answer.count, answer.more, answer.revision) == (b"abcde", 5, False, 7)


@pytest.mark.parametrize(
    ("limit", "expected", "more"), [(2, b"ab", True), (5, b"abcde", False), (-1, b"abcde", False)]
)
def test_a_limit_cuts_and_says_so_but_the_count_is_whole(
    store: ModelStore, limit: int, expected: bytes, more: bool
) -> None:
    answer = read(store, limit=limit)
    assert (keys(answer), answer.count, answer.more) == (expected, 5, more)


def test_count_only_has_no_keys_and_no_more(store: ModelStore) -> None:
    answer = read(store, limit=1, count_only=True)
    assert (answer.kvs, answer.count, answer.more) == ([], 5, False)


def test_the_header_revision_is_the_stores_in_a_historical_read_too(store: ModelStore) -> None:
    answer = read(store, revision=3)
    assert (keys(answer), answer.count, answer.revision) == (b"ab", 2, 7)


def test_a_revision_must_be_in_reach(store: ModelStore) -> None:
    store.compact(4)
    with pytest.raises(FutureRevision):
        read(store, revision=8)
    with pytest.raises(Compacted):
        read(store, revision=3)
    assert keys(read(store, revision=4)) == b"abc"
    assert keys(read(store, revision=-3)) == b"abcde"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"min_mod_revision": 5}, b"bde"),
        ({"max_mod_revision": 5}, b"acd"),
        ({"min_create_revision": 3, "max_create_revision": 4}, b"bc"),
        ({"min_mod_revision": 7, "max_create_revision": 3}, b"b"),
    ],
)
def test_filters_are_inclusive_and_leave_the_count_alone(
    store: ModelStore, bounds: dict[str, int], expected: bytes
) -> None:
    answer = read(store, **bounds)
    assert (keys(answer), answer.count, answer.more) == (expected, 5, False)


def test_filters_come_before_the_limit(store: ModelStore) -> None:
    answer = read(store, min_mod_revision=5, limit=2)
    assert (keys(answer), answer.more) == (b"bd", True)


@pytest.mark.parametrize(
    ("target", "order", "expected"),
    [
        ("KEY", "ASCEND", b"abcde"),
        ("KEY", "DESCEND", b"edcba"),
        ("MOD", "ASCEND", b"acdeb"),
        ("MOD", "DESCEND", b"bedca"),
        ("CREATE", "DESCEND", b"edcba"),
        ("VALUE", "ASCEND", b"edcab"),
        ("VERSION", "DESCEND", b"bacde"),
    ],
)
def test_sorting(store: ModelStore, target: str, order: str, expected: bytes) -> None:
    assert keys(read(store, sort_target=target, sort_order=order)) == expected


def test_a_sorted_range_is_limited_after_sorting(store: ModelStore) -> None:
    answer = read(store, sort_target="MOD", sort_order="DESCEND", limit=2)
    assert (keys(answer), answer.more) == (b"be", True)


def test_a_target_without_order_sorts_what_the_limit_left_in_key_order(store: ModelStore) -> None:
    # Three are read (limit and one), sorted by value c < a < b, and then cut to two.
    answer = read(store, sort_target="VALUE", limit=2)
    assert (keys(answer), answer.more, answer.count) == (b"ca", True, 5)


@pytest.mark.parametrize("target", ["KEY", "VALUE", "MOD"])
def test_keys_only_leaves_out_values_and_nothing_else(store: ModelStore, target: str) -> None:
    answer = read(store, keys_only=True, sort_target=target, sort_order="DESCEND")
    found = [KeyValue.FromString(kv) for kv in answer.kvs]
    assert len(found) == 5
    assert all(not kv.value and kv.mod_revision and kv.version and kv.lease == 11 for kv in found)
    assert keys(answer) == {"KEY": b"edcba", "VALUE": b"bacde", "MOD": b"bedca"}[target]


def expected_answer(store: ModelStore, request: RangeRequest) -> tuple[list[bytes], bool]:
    """What the reference says, done in the slowest way."""
    found = [KeyValue.FromString(kv) for kv in store.range(request.key, request.range_end).kvs]
    bounded = [
        kv
        for kv in found
        if (not request.min_mod_revision or kv.mod_revision >= request.min_mod_revision)
        and (not request.max_mod_revision or kv.mod_revision <= request.max_mod_revision)
        and (not request.min_create_revision or kv.create_revision >= request.min_create_revision)
        and (not request.max_create_revision or kv.create_revision <= request.max_create_revision)
    ]
    if bounded == found and request.sort_order == RangeRequest.NONE and request.limit > 0:
        filters = (
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        )
        if not any(filters):
            bounded = bounded[: request.limit + 1]
    names = {0: "key", 1: "version", 2: "create_revision", 3: "mod_revision", 4: "value"}
    name = names[request.sort_target]
    if request.sort_target or request.sort_order:
        bounded.sort(key=lambda kv: getattr(kv, name), reverse=request.sort_order == RangeRequest.DESCEND)
    more = 0 < request.limit < len(bounded)
    return [kv.key for kv in (bounded[: request.limit] if more else bounded)], more


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    puts=st.lists(st.tuples(st.sampled_from(b"abcdef"), st.binary(max_size=2)), max_size=12),
    limit=st.integers(-1, 7),
    order=st.integers(0, 2),
    target=st.sampled_from([0, 2, 3]),  # the others have ties, whose order is nobody's promise
    bounds=st.lists(st.sampled_from([0, 0, 2, 3, 5, 8]), min_size=4, max_size=4),
)
def test_every_combination_agrees_with_the_slow_way(
    puts: list[tuple[int, bytes]], limit: int, order: int, target: int, bounds: list[int]
) -> None:
    store = ModelStore()
    for key, value in puts:
        store.begin().put(bytes((key,)), value)
        store.end()
    request = RangeRequest(key=b"b", range_end=b"\0", limit=limit)
    request.sort_order, request.sort_target = order, target  # type: ignore[assignment]
    request.min_mod_revision, request.max_mod_revision = bounds[0], bounds[1]
    request.min_create_revision, request.max_create_revision = bounds[2], bounds[3]
    answer = read_range(store, request)
    found = [KeyValue.FromString(kv).key for kv in answer.kvs]
    assert (found, answer.more) == expected_answer(store, request)
    assert answer.count == store.range(b"b", b"\0", count_only=True).count
