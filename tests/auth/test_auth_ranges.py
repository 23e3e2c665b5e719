"""What a set of ranges covers, against a model that asks key by key."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdpy.auth.ranges import KeyRanges, is_valid_range

KEYS = st.lists(st.integers(0, 2), min_size=1, max_size=3).map(bytes)
RANGES = st.tuples(KEYS, st.one_of(st.just(b""), st.just(b"\0"), KEYS))
# Every key that those ranges can tell apart, and some behind all of them.
ALL_KEYS = [bytes(key) for size in (1, 2, 3, 4) for key in product(range(4), repeat=size)]


def holds(of: tuple[bytes, bytes], key: bytes) -> bool:
    start, range_end = of
    if not range_end:
        return key == start
    return start <= key and (range_end == b"\0" or key < range_end)


@given(st.lists(RANGES, max_size=6), RANGES)
def test_a_range_is_covered_when_every_key_of_it_is(
    given_ranges: list[tuple[bytes, bytes]], asked: tuple[bytes, bytes]
) -> None:
    wanted = [key for key in ALL_KEYS if holds(asked, key)]
    if not wanted:
        return
    expected = all(any(holds(one, key) for one in given_ranges) for key in wanted)
    assert KeyRanges(given_ranges).covers(*asked) is expected


@pytest.mark.parametrize(
    ("asked", "is_covered"),
    [((b"c", b"b"), True), ((b"a", b"a"), True), ((b"f", b"f"), False), ((b"z", b"b"), False)],
)
def test_an_empty_range_must_begin_inside(asked: tuple[bytes, bytes], is_covered: bool) -> None:
    assert KeyRanges([(b"a", b"f")]).covers(*asked) is is_covered


def test_ranges_that_touch_are_one() -> None:
    ranges = KeyRanges([(b"c", b"e"), (b"a", b"c"), (b"e", b"")])
    assert ranges.covers(b"a", b"e\0")
    assert not ranges.covers(b"a", b"e\1")


def test_an_open_end_is_no_single_key() -> None:
    """CVE-2026-73499: the permission of one key does not reach to the end of all keys."""
    assert not KeyRanges([(b"k", b"")]).covers(b"k", b"\0")
    assert KeyRanges([(b"k", b"\0")]).covers(b"k", b"\0")
    assert KeyRanges([(b"\0", b"\0")]).covers(b"\0", b"\0")


@pytest.mark.parametrize(
    ("key", "range_end", "is_valid"),
    [
        (b"a", b"", True),
        (b"a", b"b", True),
        (b"b", b"\0", True),
        (b"", b"", False),
        (b"", b"\0", False),
        (b"b", b"a", False),
        (b"a", b"a", False),
    ],
)
def test_what_a_permission_may_be_given_on(key: bytes, range_end: bytes, is_valid: bool) -> None:
    assert is_valid_range(key, range_end) is is_valid
