"""Sequences of configuration changes: what they make of a configuration, or that they may not be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.raft.errors import IllegalConfChange
from etcdpy.raft.messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
)
from etcdpy.raft.raw_node import RawNode
from tests.raft.network import member_with

_KINDS = {"+": ConfChangeType.ADD_NODE, "-": ConfChangeType.REMOVE_NODE, "~": ConfChangeType.ADD_LEARNER_NODE,
          "=": ConfChangeType.UPDATE_NODE}  # fmt: skip


def node(state: ConfState) -> RawNode:
    member = member_with(1, ())
    return RawNode(member.config, conf_state=state)


def change(text: str) -> ConfChange | ConfChangeV2:
    """`+1` is a simple change, `auto +1 -2`, `implicit ...` and `explicit ...` are joint ones, `leave`
    leaves.
    """
    words = text.split()
    steps = [ConfChangeSingle(_KINDS[word[0]], int(word[1:])) for word in words if word[0] in _KINDS]
    if words == ["leave"]:
        return ConfChangeV2()
    if words[0] in ("auto", "implicit", "explicit"):
        names = {"auto": "AUTO", "implicit": "JOINT_IMPLICIT", "explicit": "JOINT_EXPLICIT"}
        return ConfChangeV2(steps, ConfChangeTransition[names[words[0]]])
    return ConfChange(steps[0].type, steps[0].node_id)


@pytest.mark.parametrize(
    ("before", "steps", "after"),
    [
        # Simple changes, and that repeating one changes nothing.
        (ConfState(), ["+1"], ConfState([1])),
        (ConfState([1]), ["+2", "+2", "~3", "~3"], ConfState([1, 2], [3])),
        (ConfState([1, 2]), ["-2", "-2"], ConfState([1])),
        (ConfState([1], [2]), ["+2"], ConfState([1, 2])),
        (ConfState([1, 2]), ["~2"], ConfState([1], [2])),
        (ConfState([1], [2]), ["-2"], ConfState([1])),
        (ConfState([1, 2]), ["=2", "=9", "+0", "-0", "~0"], ConfState([1, 2])),
        (ConfState(), ["+0"], ConfState()),
        # Joint ones.
        (ConfState([1]), ["auto +2 +3"], ConfState([1, 2, 3], [], [1], [], True)),
        (ConfState([1]), ["implicit +2"], ConfState([1, 2], [], [1], [], True)),
        (ConfState([1]), ["explicit +2"], ConfState([1, 2], [], [1])),
        (ConfState([1]), ["explicit +2", "leave"], ConfState([1, 2])),
        (ConfState([1, 2, 3]), ["auto -1 -2 +4 ~5"], ConfState([3, 4], [5], [1, 2, 3], [], True)),
        (ConfState([1, 2, 3]), ["auto -1 -2 +4 ~5", "leave"], ConfState([3, 4], [5])),
        (ConfState([1, 2]), ["explicit ~2"], ConfState([1], [], [1, 2], [2])),
        (ConfState([1, 2]), ["explicit ~2", "leave"], ConfState([1], [2])),
        (ConfState([1, 2]), ["explicit ~2 +2"], ConfState([1, 2], [], [1, 2])),
        (ConfState([1, 2]), ["explicit ~2 -2", "leave"], ConfState([1])),
        (ConfState([1], [2]), ["auto +2 ~2", "leave"], ConfState([1], [2])),
        (ConfState([1], [2]), ["explicit -2 +3"], ConfState([1, 3], [], [1])),
        # One step needs no joint configuration, and neither does none.
        (ConfState([1]), ["auto +2"], ConfState([1, 2])),
    ],
)
def test_changes(before: ConfState, steps: list[str], after: ConfState) -> None:
    raft = node(before)
    for step in steps:
        raft.apply_conf_change(change(step))
    assert raft.conf_state == after


@pytest.mark.parametrize(
    ("before", "step"),
    [
        (ConfState([1]), "-1"),
        (ConfState([1]), "~1"),
        (ConfState([1]), "auto -1 ~2"),
        (ConfState([1]), "leave"),
        (ConfState(), "auto +1 +2"),
        (ConfState([1, 2], [], [1]), "+3"),
        (ConfState([1, 2], [], [1]), "auto +3 +4"),
        (ConfState([1, 2], [], [1]), "explicit +3"),
    ],
)
def test_a_change_that_is_not_possible_is_refused_and_changes_nothing(before: ConfState, step: str) -> None:
    raft = node(before)
    with pytest.raises(IllegalConfChange):
        raft.apply_conf_change(change(step))
    assert raft.conf_state == before


_STEPS = st.lists(
    st.builds(ConfChangeSingle, st.sampled_from(ConfChangeType), st.integers(0, 6)), min_size=1, max_size=5
)
_CHANGES = st.lists(st.builds(ConfChangeV2, _STEPS, st.sampled_from(ConfChangeTransition)), max_size=6)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(_CHANGES)
def test_any_majority_before_a_change_meets_any_majority_after_it(changes: list[ConfChangeV2]) -> None:
    raft = node(ConfState([1, 2, 3]))
    for one in changes:
        before = raft.conf_state
        try:
            after = raft.apply_conf_change(one)
        except IllegalConfChange:
            assert raft.conf_state == before
            after = before
        if after.voters_outgoing:
            assert after.voters_outgoing == before.voters or before.voters_outgoing
            raft.apply_conf_change(ConfChangeV2())
        else:
            assert len(set(before.voters) ^ set(after.voters)) <= 1
