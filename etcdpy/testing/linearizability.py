"""Is a history of calls on one key linearizable?

The search is that of Wing and Gong, with Lowe's memory of positions already tried: take the calls in some
order that respects their real times, and see whether a register would have answered them all like that. Keys
are independent, so each is searched on its own.

Written values are all different, which keeps the search short. A call whose outcome is unknown has no end: it
may take effect at any time, or never. If nobody ever saw what it wrote, it can be left out (whoever had read
between it and the next write would have seen it); if somebody did, it must have happened before the first of
those answers came back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

STEPS_MAX: Final = 1_000_000


class Kind(IntEnum):
    """What a call does to its key."""

    READ = 0
    PUT = 1
    DELETE = 2
    SWAP = 3
    """Write `value` if the key holds `expected`; either way tell what it held."""


@dataclass(slots=True)
class Call:
    """One call of a client. `seen` is what the key held before, as far as the answer told."""

    client: int
    key: bytes
    kind: Kind
    value: bytes | None = None
    expected: bytes | None = None
    start: int = 0
    end: float = inf
    seen: bytes | None = None

    @property
    def is_known(self) -> bool:
        """Whether the answer came."""
        return self.end != inf

    def result(self, state: bytes | None) -> tuple[bool, bytes | None]:
        """Whether a key in this state would have answered so, and what it holds afterwards."""
        fits = not self.is_known or self.seen == state
        match self.kind:
            case Kind.READ:
                return self.seen == state, state
            case Kind.PUT:
                return fits, self.value
            case Kind.DELETE:
                return fits, None
            case Kind.SWAP:
                return fits, self.value if state == self.expected else state


def check_history(calls: Iterable[Call]) -> tuple[bytes | None, int]:
    """The first key whose calls cannot be put in order (None: all can), and how many keys were too hard."""
    by_key: dict[bytes, list[Call]] = {}
    for call in calls:
        by_key.setdefault(call.key, []).append(call)
    undecided = 0
    for key in sorted(by_key):
        verdict = is_linearizable(by_key[key])
        if verdict is None:
            undecided += 1
        elif not verdict:
            return key, undecided
    return None, undecided


def is_linearizable(calls: list[Call], steps_max: int = STEPS_MAX) -> bool | None:
    """Whether the calls on one key can be put in order; None when that takes too many steps to tell."""
    calls, ends = _bounded(calls)
    required = sum(end != inf for end in ends)
    # Deletes that may or may not have happened are all alike, so they need to be tried in one order only.
    optional = [number for number, end in enumerate(ends) if end == inf]
    order = _Order([call.start for call in calls], ends)
    state: bytes | None = None
    mask = options = 0
    taken: list[tuple[int, bytes | None]] = []
    tried: set[tuple[int, bytes | None]] = set()
    position = order.first
    for _ in range(steps_max):
        if len(taken) - options == required:
            return True
        number = order.call_at(position)
        if number >= 0:
            is_option = ends[number] == inf
            fits, after = calls[number].result(state)
            if is_option and (number != optional[options] or state is None):
                fits = False
            if fits and (mask | 1 << number, after) not in tried:
                mask |= 1 << number
                tried.add((mask, after))
                taken.append((number, state))
                options += is_option
                state = after
                order.lift(number)
                position = order.first
            else:
                position = order.next(position)
        elif taken:
            # Somebody's answer came here, and that call was not placed before it: try something else.
            number, state = taken.pop()
            mask &= ~(1 << number)
            options -= ends[number] == inf
            order.put_back(number)
            position = order.next(order.start_position(number))
        else:
            return False
    return None


def _bounded(calls: list[Call]) -> tuple[list[Call], list[float]]:
    """The calls that matter, and the time by which each must have happened."""
    first_seen: dict[bytes, float] = {}
    for call in calls:
        if call.is_known and call.seen is not None:
            first_seen[call.seen] = min(call.end, first_seen.get(call.seen, inf))
    kept, ends = [], []
    for call in sorted(calls, key=lambda one: one.start):
        end = call.end
        if not call.is_known:
            if call.kind is Kind.READ:
                continue
            if call.kind is not Kind.DELETE:
                if call.value not in first_seen:
                    continue
                end = first_seen[call.value]
        kept.append(call)
        ends.append(end)
    return kept, ends


class _Order:
    """Starts and ends of calls by time, in a list that calls are taken out of and put back into."""

    def __init__(self, starts: list[int], ends: list[float]) -> None:
        events = [(float(start), 1, call) for call, start in enumerate(starts)]
        events += [(end, 0, call) for call, end in enumerate(ends) if end != inf]
        # A value that was seen before its call began: the end comes first, and no order will do.
        events.sort()
        count = len(events)
        self._calls: list[int] = [call if is_start else -1 for _, is_start, call in events] + [-1]
        self._start: list[int] = [0] * len(starts)
        self._end: list[int | None] = [None] * len(starts)
        for position, (_, is_start, call) in enumerate(events):
            if is_start:
                self._start[call] = position
            else:
                self._end[call] = position
        self._next: list[int] = [*range(1, count + 1), count]
        self._previous = list(range(-1, count))
        self.first = 0

    def call_at(self, position: int) -> int:
        """The call that starts here, -1 where one ends."""
        return self._calls[position]

    def next(self, position: int) -> int:
        return self._next[position]

    def start_position(self, call: int) -> int:
        return self._start[call]

    def lift(self, call: int) -> None:
        """Take the call out."""
        self._unlink(self._start[call])
        end = self._end[call]
        if end is not None:
            self._unlink(end)

    def put_back(self, call: int) -> None:
        """Undo the last `lift`."""
        end = self._end[call]
        if end is not None:
            self._link(end)
        self._link(self._start[call])

    def _unlink(self, position: int) -> None:
        before, after = self._previous[position], self._next[position]
        if before < 0:
            self.first = after
        else:
            self._next[before] = after
        self._previous[after] = before

    def _link(self, position: int) -> None:
        before, after = self._previous[position], self._next[position]
        if before < 0:
            self.first = position
        else:
            self._next[before] = position
        self._previous[after] = position
