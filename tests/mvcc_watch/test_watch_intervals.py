"""The interval index against a list of intervals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.mvcc.watch_intervals import IntervalIndex

keys = st.binary(max_size=2).map(lambda key: bytes(byte % 4 * 85 for byte in key))
intervals = st.tuples(keys, keys.map(lambda end: end or b"\0"))


def contains(interval: tuple[bytes, bytes], key: bytes) -> bool:
    start, end = interval
    return start <= key and (end == b"\0" or key < end)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.booleans(), intervals), max_size=60), st.lists(keys, max_size=10))
def test_same_answers_as_a_list(steps: list[tuple[bool, tuple[bytes, bytes]]], probes: list[bytes]) -> None:
    index: IntervalIndex[tuple[bytes, bytes]] = IntervalIndex()
    present: set[tuple[bytes, bytes]] = set()
    for is_add, interval in steps:
        if is_add and interval not in present:
            index.add(*interval, interval)
            present.add(interval)
        elif not is_add and interval in present:
            index.remove(*interval)
            present.remove(interval)
        assert len(index) == len(present)
        assert index.get(*interval) == (interval if interval in present else None)
        for key in [*probes, interval[0], interval[1], interval[0] + b"\0"]:
            expected = {other for other in present if contains(other, key)}
            found = index.containing(key)
            assert len(found) == len(expected)
            assert set(found) == expected


def test_answers_come_by_start_then_end() -> None:
    index: IntervalIndex[str] = IntervalIndex()
    index.add(b"b", b"d", "b-d")
    index.add(b"a", b"\0", "a-")
    index.add(b"b", b"c", "b-c")
    index.add(b"a", b"z", "a-z")
    assert index.containing(b"b") == ["a-z", "a-", "b-c", "b-d"]
    assert index.containing(b"zz") == ["a-"]
    assert index.containing(b"") == []


def test_sorted_arrival_of_thousands_does_not_degenerate() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for number in range(5000):
        prefix = b"/service/%05d/" % number
        index.add(prefix, prefix[:-1] + b"0", number)
    assert index.containing(b"/service/03000/x") == [3000]
    for number in range(0, 5000, 2):
        prefix = b"/service/%05d/" % number
        index.remove(prefix, prefix[:-1] + b"0")
    assert index.containing(b"/service/03000/x") == []
    assert index.containing(b"/service/03001/x") == [3001]
