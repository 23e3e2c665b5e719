"""The deadlines of all calls of a port, on one timer.

A timer for each call would cost more than many calls do. Instead there is a wheel: a ring of slots of time,
each a set of calls, and a hand that goes round with the clock. Calls that end in time, as nearly all do, are
put in and taken out and the hand never meets them. What lies further ahead than one round waits in a set
of its own, which is looked through once a round. A call may live up to one slot longer than its client
allowed, never shorter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


SLOT_S = 0.01
SLOTS = 1024
_MASK = SLOTS - 1


class Clock(Protocol):
    """What we need of an event loop."""

    def time(self) -> float:
        """Seconds that never run backwards."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call once, later."""


class Timer(Protocol):
    """A call that was arranged."""

    def cancel(self) -> None:
        """Do not."""


class Expiring(Protocol):
    """What can be told that its time is over."""

    deadline: float | None

    def expire(self) -> None:
        """The deadline has passed."""


class Deadlines:
    """Calls by the slot of their deadline; nothing ticks while no call has one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wheel: tuple[set[Expiring], ...] = tuple(set() for _ in range(SLOTS))
        self._far: set[Expiring] = set()
        self._hand = 0
        """The first slot whose end has not come; meaningless while no timer runs."""
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return sum(map(len, self._wheel)) + len(self._far)

    def add(self, call: Expiring) -> None:
        """Watch over a call with a deadline."""
        if self._timer is None:
            # One slot back, for the clock may have gone on since the deadline was reckoned.
            self._hand = int(self._clock.time() / SLOT_S) - 1
            self._timer = self._clock.call_later(SLOT_S, self._turn)
        self._put(call)

    def _put(self, call: Expiring) -> None:
        assert call.deadline is not None, "only calls with a deadline come here"
        slot = int(call.deadline / SLOT_S)
        assert slot >= self._hand, (slot, self._hand)
        if slot - self._hand < SLOTS:
            self._wheel[slot & _MASK].add(call)
        else:
            self._far.add(call)

    def discard(self, call: Expiring) -> None:
        """The call has ended by itself."""
        assert call.deadline is not None, "only calls with a deadline come here"
        self._wheel[int(call.deadline / SLOT_S) & _MASK].discard(call)
        if self._far:
            self._far.discard(call)

    def _turn(self) -> None:
        """Move the hand to the present, and end what it passes."""
        now = int(self._clock.time() / SLOT_S)
        if now - self._hand > SLOTS:
            self._leap(now)
        while self._hand < now:
            calls = self._wheel[self._hand & _MASK]
            self._hand += 1
            if calls:
                due = list(calls)
                calls.clear()
                for call in due:
                    call.expire()
            if not self._hand & _MASK:
                self._begin_round()
        if self._timer is not None:
            self._timer = self._clock.call_later(SLOT_S, self._turn)

    def _begin_round(self) -> None:
        """What has come near enough goes into the wheel; with nothing left to watch over, the hand rests."""
        far, self._far = self._far, set()
        for call in far:
            self._put(call)
        if not len(self):
            self._timer = None

    def _leap(self, now: int) -> None:
        """The process slept for more than a round: every slot counts again from now."""
        calls = self._far.union(*self._wheel)
        self._far.clear()
        for slot in self._wheel:
            slot.clear()
        self._hand = now
        for call in calls:
            assert call.deadline is not None, "only calls with a deadline come here"
            if int(call.deadline / SLOT_S) < now:
                call.expire()
            else:
                self._put(call)

    def close(self) -> None:
        """Forget everything."""
        for calls in self._wheel:
            calls.clear()
        self._far.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
