"""The deadlines of all calls of a port, on one timer.

A timer for each call would cost more than many calls do. Calls whose deadlines fall into the same
slot of time share a set; the timer looks at the slots that have passed. A call may so live up to
one slot longer than its client allowed, never shorter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

SLOT_S = 0.01


class Expiring(Protocol):
    """What can be told that its time is over."""

    deadline: float | None

    def expire(self) -> None:
        """The deadline has passed."""


class Deadlines:
    """Calls by the slot of their deadline; costs nothing while no call has one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Expiring]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, call: Expiring) -> None:
        """Watch over a call with a deadline."""
        slot = _slot_of(call)
        calls = self._slots.get(slot)
        if calls is None:
            calls = self._slots[slot] = set()
            self._arm()
        calls.add(call)

    def discard(self, call: Expiring) -> None:
        """The call has ended by itself."""
        calls = self._slots.get(_slot_of(call))
        if calls is not None:
            calls.discard(call)

    def _arm(self) -> None:
        if self._timer is None and self._slots:
            self._timer = self._loop.call_later(SLOT_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = int(self._loop.time() / SLOT_S)
        due = [slot for slot in self._slots if slot < now]
        for slot in sorted(due):
            for call in list(self._slots.pop(slot)):
                call.expire()
        self._arm()

    def close(self) -> None:
        """Forget everything."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _slot_of(call: Expiring) -> int:
    assert call.deadline is not None, "only calls with a deadline come here"
    return int(call.deadline / SLOT_S)
