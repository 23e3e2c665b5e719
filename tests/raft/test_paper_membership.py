"""Cluster membership: thesis chapter 4, one change at a time and through joint configurations.

Each name says the rule it holds the core to.
"""

from __future__ import annotations

from typing import Any

import pytest

from etcdpy.raft import codec
from etcdpy.raft.errors import IllegalConfChange, MalformedMessage, ProposalDropped
from etcdpy.raft.messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Role,
)
from tests.raft.network import Network, answers, member_with

THREE = (1, 2, 3)
ADD, REMOVE, UPDATE, LEARNER = (
    ConfChangeType.ADD_NODE,
    ConfChangeType.REMOVE_NODE,
    ConfChangeType.UPDATE_NODE,
    ConfChangeType.ADD_LEARNER_NODE,
)


def joint(
    *steps: tuple[ConfChangeType, int], transition: ConfChangeTransition = ConfChangeTransition.AUTO
) -> ConfChangeV2:
    return ConfChangeV2([ConfChangeSingle(*step) for step in steps], transition)


def cluster(**options: Any) -> Network:
    network = Network(THREE, **options)
    network.elect(1)
    return network


def change(network: Network, id_: int, what: ConfChange | ConfChangeV2) -> None:
    network[id_].propose_conf_change(what)
    network.settle()


# ---- 4.1: one at a time


def test_a_server_uses_a_new_configuration_when_its_entry_is_applied() -> None:
    network = cluster()
    network[1].propose_conf_change(ConfChange(ADD, 4))
    network.turn(1)
    assert network[1].conf_state.voters == [1, 2, 3]
    network.settle()
    assert [network[id_].conf_state.voters for id_ in THREE] == [[1, 2, 3, 4]] * 3


def test_a_new_server_is_brought_up_by_the_leader_and_then_votes() -> None:
    network = Network(THREE, strangers=(4,))
    network.elect(1)
    network.propose(1, b"x")
    change(network, 1, ConfChange(ADD, 4))
    assert network[4].conf_state.voters == [1, 2, 3, 4]
    network.isolate(3)
    network.propose(1, b"y")  # three of four
    assert network.members[4].applied_data == [b"y"]  # x came with the snapshot
    assert network.members[1].applied_data == [b"x", b"y"]
    network.isolate(2)
    network.propose(1, b"z")  # two of four
    assert network.members[1].applied_data == [b"x", b"y"]


def test_only_one_change_may_be_under_way() -> None:
    network = cluster()
    network.isolate(1)
    before = network[1].last_index
    network[1].propose_conf_change(ConfChange(ADD, 4))
    network[1].propose_conf_change(ConfChange(ADD, 5))
    network.turn(1)
    types = [entry.type for entry in network.members[1].disk.entries[before:]]
    assert types == [EntryType.CONF_CHANGE, EntryType.NORMAL]
    assert network.members[1].disk.entries[-1].data == b""


def test_two_changes_in_one_proposal_are_one_too_many() -> None:
    network = cluster()
    data = codec.encode_conf_change(ConfChange(ADD, 4))
    entries = [Entry(0, 0, EntryType.CONF_CHANGE, data), Entry(0, 0, EntryType.CONF_CHANGE, data)]
    network[1].step(Message(MessageType.PROP, from_=2, to=1, entries=entries))
    assert [entry.type for entry in network.turn(1).entries] == [EntryType.CONF_CHANGE, EntryType.NORMAL]


def test_a_new_leader_waits_until_what_it_inherited_is_applied() -> None:
    network = cluster()
    network.isolate(1)
    network[2].campaign()
    network[3].forget_leader()
    network[2].forget_leader()
    network.settle()
    assert network[2].role is Role.CANDIDATE or network[2].role is Role.LEADER
    member = member_with(1, (1,), 1, 1, term=1)
    member.node.campaign()
    member.turn()
    member.turn()
    assert member.node.role is Role.LEADER
    member.node.propose_conf_change(ConfChange(ADD, 2))
    assert [entry.type for entry in member.turn().entries] == [EntryType.NORMAL] * 2


def test_the_next_change_may_follow_once_the_last_is_applied() -> None:
    network = Network((1,), strangers=(2, 3))
    network.elect(1)
    change(network, 1, ConfChange(ADD, 2))
    change(network, 1, ConfChange(ADD, 3))
    assert network[3].conf_state.voters == [1, 2, 3]
    change(network, 1, ConfChange(REMOVE, 2))
    assert network[1].conf_state.voters == [1, 3]


def test_the_quorum_shrinks_with_the_configuration_and_may_commit_what_waited() -> None:
    network = Network((1, 2))
    network.elect(1)
    network[1].propose_conf_change(ConfChange(REMOVE, 2))
    network[1].propose([b"x"])
    network.dropped_types = {MessageType.APP_RESP}
    network.settle()
    assert network[1].commit == 1
    network.heal()
    network[1].step(Message(MessageType.APP_RESP, from_=2, to=1, term=1, index=2))
    network.isolate(2)
    network.settle()  # the removal is committed by both, what follows by 1 alone
    assert network.members[1].applied_data == [b"x"]


def test_a_change_of_node_zero_and_an_update_change_nothing() -> None:
    network = cluster()
    before = network[1].conf_state
    for what in (ConfChange(ADD, 0), ConfChange(REMOVE, 0), ConfChange(UPDATE, 2), ConfChange(REMOVE, 77)):
        change(network, 1, what)
        assert network[1].conf_state == before


def test_a_follower_forwards_a_change() -> None:
    network = cluster()
    change(network, 3, ConfChange(ADD, 4))
    assert network[1].conf_state.voters == [1, 2, 3, 4]


def test_the_last_voter_cannot_be_removed() -> None:
    network = Network((1,))
    network.elect(1)
    change(network, 1, ConfChange(REMOVE, 1))
    assert network[1].conf_state.voters == [1]
    with pytest.raises(IllegalConfChange):
        network[1].apply_conf_change(ConfChange(REMOVE, 1))
    assert network[1].conf_state.voters == [1]


def test_a_change_that_nobody_could_apply_does_not_enter_the_log() -> None:
    network = Network((1,))
    network.elect(1)
    network[1].propose_conf_change(ConfChange(REMOVE, 1))
    assert [entry.type for entry in network.turn(1).entries] == [EntryType.NORMAL]
    network.settle()
    network[1].propose_conf_change(joint(transition=ConfChangeTransition.JOINT_IMPLICIT))
    assert [entry.type for entry in network.turn(1).entries] == [EntryType.NORMAL]


def test_a_change_that_cannot_be_read_is_refused_before_anything_happens() -> None:
    network = cluster()
    bad = Entry(0, 0, EntryType.CONF_CHANGE, b"\xff\xff")
    with pytest.raises(MalformedMessage):
        network[1].step(Message(MessageType.PROP, from_=2, to=1, entries=[Entry(0, 0), bad]))
    assert not network[1].has_ready()


# ---- 4.2.1: learners


def test_a_learner_gets_the_log_but_does_not_count() -> None:
    network = Network((1, 2), learners=(3,))
    network.elect(1)
    network.propose(1, b"x")
    assert network.members[3].applied_data == [b"x"]
    network.isolate(2)
    network.propose(1, b"y")
    assert network[3].last_index == network[1].last_index
    assert network.members[1].applied_data == [b"x"]


def test_a_learner_becomes_voter_and_keeps_its_progress() -> None:
    network = Network((1, 2), learners=(3,))
    network.elect(1)
    network.propose(1, b"x")
    match = network[1].status().progress_by_id[3].match
    assert match > 0
    network[1].apply_conf_change(ConfChange(ADD, 3))
    progress = network[1].status().progress_by_id[3]
    assert (progress.match, progress.is_learner) == (match, False)
    assert network[1].conf_state == ConfState([1, 2, 3])


def test_a_voter_becomes_learner_and_no_longer_campaigns() -> None:
    network = cluster()
    change(network, 1, ConfChange(LEARNER, 3))
    assert network[3].conf_state == ConfState([1, 2], [3])
    network[3].campaign()
    assert network[3].role is Role.FOLLOWER
    before = network[1].conf_state
    change(network, 1, ConfChange(LEARNER, 3))
    assert network[1].conf_state == before


def test_a_learner_can_be_removed() -> None:
    network = Network((1, 2), learners=(3,))
    network.elect(1)
    change(network, 1, ConfChange(REMOVE, 3))
    assert network[1].conf_state == ConfState([1, 2])
    assert 3 not in network[1].status().progress_by_id


# ---- 4.2.2, 4.2.3: removing the leader, disruptive servers


def test_a_removed_leader_goes_on_leading_until_it_is_stopped_but_takes_no_proposals() -> None:
    network = cluster()
    change(network, 1, ConfChange(REMOVE, 1))
    assert network[1].role is Role.LEADER
    assert network[1].conf_state.voters == [2, 3]
    with pytest.raises(ProposalDropped):
        network[1].propose([b"x"])
    network[2].propose([b"y"])
    network.settle()
    assert network.members[2].applied_data == []


def test_entries_proposed_before_its_removal_are_committed_without_the_leader_itself() -> None:
    network = cluster()
    network[1].propose_conf_change(ConfChange(REMOVE, 1))
    network[1].propose([b"x"])
    network.settle()
    assert network.members[2].applied_data == [b"x"]


def test_a_removed_server_cannot_disrupt_the_cluster() -> None:
    network = cluster()
    network.cut((1, 3), (2, 3))
    change(network, 1, ConfChange(REMOVE, 3))
    network.heal()
    for _ in range(50):
        network.tick(3)
        network.settle()
        network.tick(1)
        network.tick(2)
        network.settle()
    assert (network.leaders(), network[1].term) == ([1], 1)


def test_messages_of_a_removed_member_change_nothing() -> None:
    network = cluster()
    change(network, 1, ConfChange(REMOVE, 3))
    before = network[1].status()
    network[1].step(Message(MessageType.APP_RESP, from_=3, to=1, term=9, index=1))
    network[1].step(Message(MessageType.HEARTBEAT_RESP, from_=3, to=1, term=1))
    assert network[1].status() == before


# ---- 4.3: joint consensus


def test_several_changes_at_once_go_through_a_joint_configuration_and_leave_it_by_themselves() -> None:
    network = Network((1,), strangers=(2, 3))
    network.elect(1)
    seen: list[ConfState] = []
    network[1].propose_conf_change(joint((ADD, 2), (ADD, 3)))
    for _ in range(30):
        network.turn_all()
        network.deliver()
        if not seen or seen[-1] != network[1].conf_state:
            seen.append(network[1].conf_state)
    assert seen == [ConfState([1]), ConfState([1, 2, 3], [], [1], [], True), ConfState([1, 2, 3])]
    network.settle()
    assert network[3].conf_state == ConfState([1, 2, 3])


def test_while_joint_both_majorities_are_needed_to_commit() -> None:
    network = Network((1, 2, 3), strangers=(4, 5))
    network.elect(1)
    explicit = ConfChangeTransition.JOINT_EXPLICIT
    change(network, 1, joint((ADD, 4), (ADD, 5), (REMOVE, 2), (REMOVE, 3), transition=explicit))
    assert network[1].conf_state == ConfState([1, 4, 5], [], [1, 2, 3])
    for data, cut_off in ((b"x", (4, 5)), (b"y", (2, 3))):
        for id_ in cut_off:
            network.isolate(id_)
        network.propose(1, data)
        assert data not in network.members[1].applied_data
        network.heal()
        network.tick(1)
        network.settle()
        assert network.members[1].applied_data[-1] == data


def test_while_joint_both_majorities_are_needed_to_elect() -> None:
    network = Network((1, 2, 3), strangers=(4, 5))
    network.elect(1)
    explicit = ConfChangeTransition.JOINT_EXPLICIT
    change(network, 1, joint((ADD, 4), (ADD, 5), (REMOVE, 2), (REMOVE, 3), transition=explicit))
    network.dropped_types = {MessageType.HEARTBEAT, MessageType.PRE_VOTE}
    for id_ in network.members:
        network.tick(id_, 25)
    network.settle()  # nobody leads any more, and nobody has heard of a leader for long enough
    assert network.leaders() == []
    for cut_off in ((2, 3), (4, 5)):
        network.heal()
        for id_ in cut_off:
            network.isolate(id_)
        network[1].campaign()
        network.settle()
        assert network[1].role is Role.PRE_CANDIDATE
    network.heal()
    network.tick(1, 30)
    network.settle()
    assert network.leaders() == [1]


def test_an_explicit_joint_configuration_is_left_by_a_change_without_steps() -> None:
    network = cluster()
    change(network, 1, joint((REMOVE, 3), transition=ConfChangeTransition.JOINT_EXPLICIT))
    assert network[1].conf_state == ConfState([1, 2], [], [1, 2, 3])
    change(network, 1, ConfChange(ADD, 4))  # not now
    change(network, 1, joint(transition=ConfChangeTransition.JOINT_EXPLICIT))  # cannot be entered twice
    assert network[1].conf_state == ConfState([1, 2], [], [1, 2, 3])
    change(network, 1, ConfChangeV2())
    assert network[1].conf_state == ConfState([1, 2])
    change(network, 1, ConfChangeV2())  # nothing to leave
    assert network[1].conf_state == ConfState([1, 2])
    assert 3 not in network[1].status().progress_by_id


def test_a_single_step_may_ask_for_a_joint_configuration_that_leaves_itself() -> None:
    network = cluster()
    change(network, 1, joint((ADD, 4), transition=ConfChangeTransition.JOINT_IMPLICIT))
    assert network[1].conf_state == ConfState([1, 2, 3, 4])


def test_a_single_step_without_a_wish_needs_no_joint_configuration() -> None:
    network = cluster()
    change(network, 1, joint((ADD, 4)))
    assert network[1].conf_state == ConfState([1, 2, 3, 4])
    change(
        network, 1, joint(transition=ConfChangeTransition.JOINT_EXPLICIT)
    )  # no steps: nothing to enter for
    assert network[1].conf_state == ConfState([1, 2, 3, 4])


def test_a_voter_that_becomes_learner_votes_in_the_old_half_until_the_end() -> None:
    network = cluster()
    change(network, 1, joint((LEARNER, 3), transition=ConfChangeTransition.JOINT_EXPLICIT))
    assert network[1].conf_state == ConfState([1, 2], [], [1, 2, 3], [3])
    assert not network[1].status().progress_by_id[3].is_learner
    change(network, 1, ConfChangeV2())
    assert network[1].conf_state == ConfState([1, 2], [3])
    assert network[1].status().progress_by_id[3].is_learner


def test_a_new_leader_leaves_the_joint_configuration_its_predecessor_entered() -> None:
    network = Network((1, 2, 3), strangers=(4,), check_quorum=False)
    network.elect(1)
    network[1].propose_conf_change(joint((ADD, 4), (REMOVE, 3)))
    while network[2].conf_state.voters_outgoing == []:
        network.turn_all()
        network.deliver()
        network.cuts = set()
        if network[1].conf_state.voters_outgoing:
            network.isolate(1)
            network.in_flight = [m for m in network.in_flight if 1 not in (m.from_, m.to) or m.commit > 1]
    network.elect(2)
    assert network[2].conf_state == ConfState([1, 2, 4])


def test_a_joint_configuration_survives_a_restart_and_a_snapshot() -> None:
    network = cluster()
    change(network, 1, joint((ADD, 4), (REMOVE, 3), transition=ConfChangeTransition.JOINT_EXPLICIT))
    member = network.members[1]
    member.make_snapshot()
    member.restart()
    assert member.node.conf_state == ConfState([1, 2, 4], [], [1, 2, 3])
    answers(member)


def test_a_leader_demoted_to_learner_goes_on_until_another_is_elected() -> None:
    network = cluster()
    change(network, 1, ConfChange(LEARNER, 1))
    assert network[1].role is Role.LEADER
    network.propose(1, b"x")
    assert network.members[2].applied_data == [b"x"]
