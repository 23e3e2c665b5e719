"""When watchers hear: at once, but not more often than they can read in a burst."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.server.deliveries import PAUSE_S_MAX, PAUSE_S_PER_RESPONSE, RESPONSE_S, Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable


class Hub:
    """A hub with some watchers of everything."""

    def __init__(self, watchers: int) -> None:
        self.watchers = watchers
        self.collected_revisions = 0
        self.delivered_responses = 0
        self.heard: list[int] = []

    def flush(self) -> None:
        self.heard.append(self.collected_revisions)
        self.collected_revisions = 0
        self.delivered_responses += self.watchers


class Place:
    """A member, its clock, and a timer that is rung by hand."""

    def __init__(self, watchers: int) -> None:
        self.now = 100.0
        self.planned: list[tuple[float, Callable[[], None]]] = []
        self.hub = Hub(watchers)
        member: Any = SimpleNamespace(state=SimpleNamespace(hub=self.hub), clock=lambda: self.now)
        self.deliveries = Deliveries(member, self)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.planned.append((self.now + delay_s, callback))

    def apply(self, revisions: int) -> None:
        self.hub.collected_revisions += revisions
        self.deliveries.deliver()

    def ring(self) -> float:
        """How long the one timer took."""
        ((at, callback),) = self.planned
        self.planned.clear()
        waited, self.now = at - self.now, at
        callback()
        return waited


def test_watchers_that_can_keep_up_hear_at_once() -> None:
    """Just slower than they could read: one revision at a time, or a few together now and then."""
    place = Place(1000)
    for number in range(20):
        place.now += 1000 * RESPONSE_S * 1.1 * (1 + number % 3)
        place.apply(1 + number % 3)
    assert len(place.hub.heard) == 20
    assert not place.planned


def test_a_burst_is_told_at_once_and_what_follows_together() -> None:
    place = Place(100)
    place.apply(1)
    place.apply(1)  # no time has passed
    assert place.hub.heard == [1, 1]
    for _ in range(12):
        place.apply(1)
    assert place.hub.heard == [1, 1]
    assert place.ring() == pytest.approx(100 * PAUSE_S_PER_RESPONSE)
    assert place.hub.heard == [1, 1, 12]
    # It goes on for as long as more come in each pause than could be read in it one by one.
    place.apply(1)
    place.ring()
    assert place.hub.heard == [1, 1, 12, 1]
    place.apply(1)
    assert place.hub.heard == [1, 1, 12, 1, 1]


def test_the_pause_is_bounded_and_ends_by_itself() -> None:
    place = Place(1_000_000)
    place.apply(1)
    place.now += 0.001
    place.apply(1)
    place.apply(1)
    assert place.ring() == pytest.approx(PAUSE_S_MAX)
    place.apply(2)
    place.now += PAUSE_S_MAX
    assert place.hub.heard == [1, 1, 1]
    place.ring()
    assert place.hub.heard == [1, 1, 1, 2]


def test_few_watchers_wait_for_hardly_anything() -> None:
    place = Place(1)
    place.apply(1)
    place.apply(1)
    place.apply(1)
    assert place.ring() < 0.0001
