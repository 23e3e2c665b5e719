"""Simulated time: a queue of things that will happen, in the order of their time.

Nothing waits. The clock jumps to the next event, and events of the same instant keep the order in which they
were asked for, so that a run follows from its seed alone.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class SimClock:
    """Seconds since the start of the simulation, and what is to come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._events)

    def time(self) -> float:
        """The time, for whoever wants a function."""
        return self.now

    def later(self, delay_s: float, handler: Callable[[Any], None], argument: Any = None) -> None:
        """Call `handler(argument)` after a delay."""
        self._count += 1
        heappush(self._events, (self.now + delay_s, self._count, handler, argument))

    def next(self) -> tuple[Callable[[Any], None], Any]:
        """Jump to the next event and take it out."""
        self.now, _, handler, argument = heappop(self._events)
        return handler, argument
