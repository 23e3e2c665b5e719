"""The checker of histories against a checker that tries every order."""

from __future__ import annotations

from itertools import permutations
from math import inf
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.testing.linearizability import Call, Kind, check_history, is_linearizable

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = b"k"


def call(
    kind: Kind,
    start: int,
    end: float,
    *,
    value: bytes | None = None,
    seen: bytes | None = None,
    expected: bytes | None = None,
) -> Call:
    return Call(0, KEY, kind, value, expected, start, end, seen)


def test_a_stale_read_is_found() -> None:
    calls = [
        call(Kind.PUT, 1, 2, value=b"1"),
        call(Kind.PUT, 3, 4, value=b"2", seen=b"1"),
        call(Kind.READ, 5, 6, seen=b"1"),
    ]
    assert is_linearizable(calls) is False
    calls[2].start = 3
    assert is_linearizable(calls) is True, "the read may have come first"


def test_a_read_beside_a_write_may_see_either() -> None:
    for seen in (b"1", b"2"):
        calls = [
            call(Kind.PUT, 1, 2, value=b"1"),
            call(Kind.PUT, 3, 6, value=b"2", seen=b"1"),
            call(Kind.READ, 4, 5, seen=seen),
        ]
        assert is_linearizable(calls) is True


def test_an_unknown_write_may_have_happened_or_not() -> None:
    unknown = call(Kind.PUT, 1, inf, value=b"1")
    assert is_linearizable([unknown, call(Kind.READ, 3, 4, seen=None)]) is True
    assert is_linearizable([unknown, call(Kind.READ, 3, 4, seen=b"1")]) is True
    back = [unknown, call(Kind.READ, 3, 4, seen=b"1"), call(Kind.READ, 5, 6, seen=None)]
    assert is_linearizable(back) is False


def test_a_lost_write_is_found() -> None:
    calls = [call(Kind.PUT, 1, 2, value=b"1"), call(Kind.READ, 3, 4, seen=None)]
    assert is_linearizable(calls) is False


def test_a_value_from_nowhere_is_found() -> None:
    assert is_linearizable([call(Kind.READ, 1, 2, seen=b"?")]) is False


def test_two_swaps_of_one_value_are_found() -> None:
    calls = [
        call(Kind.SWAP, 1, 4, value=b"1", expected=None, seen=None),
        call(Kind.SWAP, 2, 3, value=b"2", expected=None, seen=None),
    ]
    assert is_linearizable(calls) is False


def test_keys_are_looked_at_one_by_one() -> None:
    good = Call(0, b"a", Kind.PUT, b"1", None, 1, 2, None)
    bad = Call(0, b"b", Kind.READ, None, None, 3, 4, b"1")
    assert check_history([good]) == (None, 0)
    assert check_history([good, bad]) == (b"b", 0)


def test_the_search_gives_up_at_its_bound() -> None:
    calls = [call(Kind.PUT, 1, 9, value=b"%d" % number) for number in range(9)]
    assert is_linearizable(calls, steps_max=5) is None


def test_many_deletes_that_may_have_happened_are_not_many_possibilities() -> None:
    calls = [call(Kind.DELETE, 1, inf) for _ in range(60)]
    calls += [call(Kind.PUT, 10 * step, 10 * step + 1, value=b"%d" % step) for step in range(1, 40)]
    assert is_linearizable([*calls, call(Kind.READ, 1000, 1001, seen=b"39")]) is True
    assert is_linearizable([*calls, call(Kind.READ, 1000, 1001, seen=b"38")]) is False


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    """A few calls on one key, with answers that are often possible."""
    count = draw(st.integers(1, 5))
    values = [b"%d" % number for number in range(count)]
    calls = []
    for number in range(count):
        start = draw(st.integers(0, 20)) * 2
        end: float = start + draw(st.integers(0, 10)) * 2 + 1
        seen = draw(st.sampled_from([None, *values]))
        if draw(st.integers(0, 3)) == 0:
            end, seen = inf, None
        kind = draw(st.sampled_from(list(Kind)))
        value = values[number] if kind in (Kind.PUT, Kind.SWAP) else None
        expected = draw(st.sampled_from([None, *values])) if kind is Kind.SWAP else None
        calls.append(call(kind, start, end, value=value, seen=seen, expected=expected))
    return calls


def by_trying_all(calls: list[Call]) -> bool:
    known = [one for one in calls if one.is_known]
    unknown = [one for one in calls if not one.is_known and one.kind is not Kind.READ]
    for chosen in range(1 << len(unknown)):
        taken = known + [one for bit, one in enumerate(unknown) if chosen >> bit & 1]
        if any(explains(order) for order in permutations(taken)):
            return True
    return False


def explains(order: Sequence[Call]) -> bool:
    state: bytes | None = None
    for position, one in enumerate(order):
        if any(later.end < one.start for later in order[position + 1 :]):
            return False
        fits, state = one.result(state)
        if not fits:
            return False
    return True


@settings(derandomize=True, max_examples=200, deadline=None)
@given(histories())
def test_it_agrees_with_trying_all_orders(calls: list[Call]) -> None:
    assert is_linearizable(calls) is by_trying_all(calls)
