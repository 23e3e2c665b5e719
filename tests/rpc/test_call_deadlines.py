"""The wheel of deadlines, with a clock that is moved by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.rpc.deadlines import SLOT_S, SLOTS, Deadlines
from tests.rpc.clocks import FakeClock

ROUND_S = SLOT_S * SLOTS


class FakeCall:
    def __init__(self, clock: FakeClock, deadlines: Deadlines, timeout_s: float) -> None:
        self.deadline: float | None = clock.time() + timeout_s
        self.expired_at: float | None = None
        self.clock = clock
        deadlines.add(self)

    def expire(self) -> None:
        assert self.expired_at is None, "expired twice"
        self.expired_at = self.clock.time()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def deadlines(clock: FakeClock) -> Deadlines:
    return Deadlines(clock)


@pytest.mark.parametrize(
    "timeout_s", [1e-9, SLOT_S, 0.5, ROUND_S - SLOT_S, ROUND_S, ROUND_S + 3, 3 * ROUND_S, 200.0]
)
def test_a_call_expires_after_its_deadline_and_within_two_slots(
    clock: FakeClock, deadlines: Deadlines, timeout_s: float
) -> None:
    call = FakeCall(clock, deadlines, timeout_s)
    clock.advance(max(0.0, timeout_s - SLOT_S / 2))
    assert call.expired_at is None
    clock.advance(3 * SLOT_S)
    assert call.expired_at is not None
    assert call.deadline is not None
    assert 0 <= call.expired_at - call.deadline <= 2 * SLOT_S
    assert len(deadlines) == 0


@pytest.mark.parametrize("timeout_s", [0.5, 10 * ROUND_S])
def test_a_call_that_ended_is_forgotten_at_once(
    clock: FakeClock, deadlines: Deadlines, timeout_s: float
) -> None:
    call = FakeCall(clock, deadlines, timeout_s)
    assert len(deadlines) == 1
    deadlines.discard(call)
    assert len(deadlines) == 0
    clock.advance(2 * timeout_s)
    assert call.expired_at is None


def test_a_call_that_came_near_is_forgotten_too(clock: FakeClock, deadlines: Deadlines) -> None:
    call = FakeCall(clock, deadlines, 1.5 * ROUND_S)
    clock.advance(1.2 * ROUND_S)
    deadlines.discard(call)
    assert len(deadlines) == 0


def test_nothing_ticks_without_calls(clock: FakeClock, deadlines: Deadlines) -> None:
    assert clock.timers == 0
    deadlines.discard(FakeCall(clock, deadlines, 0.5))
    assert clock.timers == 1
    clock.advance(ROUND_S)
    assert clock.timers == 0
    call = FakeCall(clock, deadlines, 0.5)
    clock.advance(1.0)
    assert call.expired_at is not None


@pytest.mark.parametrize("pause_s", [1.0, 2 * ROUND_S, 86_400.0])
def test_a_process_that_slept_ends_what_is_overdue_and_nothing_else(
    clock: FakeClock, deadlines: Deadlines, pause_s: float
) -> None:
    due = FakeCall(clock, deadlines, pause_s / 2)
    later = FakeCall(clock, deadlines, pause_s + 5.0)
    far = FakeCall(clock, deadlines, pause_s + 5 * ROUND_S)
    clock.sleep(pause_s)
    clock.advance(2 * SLOT_S)
    assert due.expired_at is not None
    assert later.expired_at is None
    clock.advance(5.0)
    assert later.expired_at is not None
    assert far.expired_at is None
    clock.advance(5 * ROUND_S)
    assert far.expired_at is not None


def test_a_call_may_end_others_while_it_expires(clock: FakeClock, deadlines: Deadlines) -> None:
    second = FakeCall(clock, deadlines, 0.1)

    class Ending(FakeCall):
        def expire(self) -> None:
            super().expire()
            deadlines.discard(second)

    first = Ending(clock, deadlines, 0.05)
    clock.advance(1.0)
    assert first.expired_at is not None
    assert second.expired_at is None


def test_closing_forgets_everything(clock: FakeClock, deadlines: Deadlines) -> None:
    calls = [FakeCall(clock, deadlines, timeout_s) for timeout_s in (0.1, 5.0, 500.0)]
    deadlines.close()
    assert (len(deadlines), clock.timers) == (0, 0)
    clock.advance(1000.0)
    assert [call.expired_at for call in calls] == [None] * 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "discard", "advance", "sleep"]),
            st.floats(0.0, 3 * ROUND_S, allow_nan=False),
        ),
        max_size=16,
    )
)
@settings(derandomize=True, max_examples=100, deadline=None)
def test_no_call_is_early_late_or_lost(steps: list[tuple[str, float]]) -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    living: list[FakeCall] = []
    for step, seconds in steps:
        if step == "add":
            living.append(FakeCall(clock, deadlines, seconds))
        elif step == "discard" and living:
            deadlines.discard(living.pop(int(seconds) % len(living)))
        elif step == "advance":
            clock.advance(seconds)
        elif step == "sleep":
            clock.sleep(seconds)
            clock.advance(2 * SLOT_S)
        for call in [call for call in living if call.expired_at is not None]:
            assert call.deadline is not None
            assert call.expired_at >= call.deadline
            living.remove(call)
        for call in living:
            assert call.deadline is not None
            assert call.deadline > clock.time() - 3 * SLOT_S, "should have expired"
        assert len(deadlines) == len(living)
