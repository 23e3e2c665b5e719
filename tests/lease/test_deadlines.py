"""The queue of deadlines against a dictionary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.lease.deadlines import REBUILD_ENTRIES_MIN, Deadlines

ids = st.integers(1, 6)
steps = st.one_of(
    st.tuples(st.just("schedule"), ids, st.integers(0, 20)),
    st.tuples(st.just("forget"), ids, st.just(0)),
    st.tuples(st.just("pop"), ids, st.integers(0, 20)),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(steps, max_size=200))
def test_same_answers_as_a_dictionary(history: list[tuple[str, int, int]]) -> None:
    deadlines = Deadlines()
    model: dict[int, tuple[int, int]] = {}
    for serial, (verb, lease_id, at) in enumerate(history):
        if verb == "schedule":
            deadlines.schedule(lease_id, at)
            model[lease_id] = (at, serial)
        elif verb == "forget":
            deadlines.forget(lease_id)
            model.pop(lease_id, None)
        else:
            due = min((when, lease) for lease, when in model.items()) if model else None
            expected = due[1] if due is not None and due[0][0] <= at else None
            assert deadlines.pop_due(at) == expected
            model.pop(expected or 0, None)
        assert len(deadlines) == len(model)


def test_void_entries_stay_in_proportion() -> None:
    deadlines = Deadlines()
    deadlines.schedule(1, 1e9)
    for lease_id in range(2, 10_000):
        deadlines.schedule(lease_id, 1e9)
        deadlines.forget(lease_id)
        deadlines.schedule(1, 1e9)
    assert deadlines.entries <= REBUILD_ENTRIES_MIN + 2
    assert deadlines.pop_due(1e9) == 1
    assert deadlines.pop_due(1e9) is None


def test_clear_forgets_everything() -> None:
    deadlines = Deadlines()
    deadlines.schedule(1, 0.0)
    deadlines.clear()
    assert deadlines.pop_due(1.0) is None
    assert len(deadlines) == deadlines.entries == 0
