"""A clock that moves when it is told to."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeTimer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """`time`, `call_later` and `call_soon` as a loop has them."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer()
        heapq.heappush(self._timers, (self.now + delay, next(self._order), timer, callback))
        return timer

    def call_soon(self, callback: Callable[[], object]) -> FakeTimer:
        return self.call_later(0.0, callback)

    @property
    def timers(self) -> int:
        """Timers that are still to fire."""
        return sum(not timer.is_cancelled for _, _, timer, _ in self._timers)

    def advance(self, seconds: float) -> None:
        """Let time pass, each timer at its moment."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer, callback = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.is_cancelled:
                callback()
        self.now = end

    def sleep(self, seconds: float) -> None:
        """Time passes while the process stands still: timers fire late."""
        self.now += seconds
        self.advance(0.0)
