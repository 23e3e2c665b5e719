"""Linearizable reads (thesis 6.4) and leadership transfer (thesis 3.10); each name says a rule."""

from __future__ import annotations

from typing import Any

import pytest

from etcdpy.raft.errors import ProposalDropped
from etcdpy.raft.messages import ConfChange, ConfChangeType, Message, MessageType, ReadState, Role
from tests.raft.network import Network, answers, member_with

THREE = (1, 2, 3)


def cluster(**options: Any) -> Network:
    network = Network(THREE, **options)
    network.elect(1)
    return network


# ---- 6.4: read-only queries without a log entry


def test_a_read_is_served_at_the_commit_index_of_the_moment_it_was_asked_for() -> None:
    network = cluster()
    network.propose(1, b"x")
    commit = network[1].commit
    network[1].read_index(b"r1")
    network.turn(1)
    network[1].propose([b"y"])
    network.settle()
    assert network.members[1].reads == [ReadState(commit, b"r1")]
    assert network[1].commit > commit


def test_the_leader_exchanges_heartbeats_with_a_majority_before_it_answers() -> None:
    network = cluster()
    network.isolate(1)
    network[1].read_index(b"r1")
    network.settle()
    assert network.members[1].reads == []
    network.heal()
    network.isolate(3)
    network.tick(1)  # the next heartbeat carries the context again
    network.settle()
    assert network.members[1].reads == [ReadState(1, b"r1")]


def test_an_echo_of_a_newer_read_answers_all_older_ones_in_order() -> None:
    network = cluster()
    network.isolate(1)
    for context in (b"r1", b"r2", b"r3"):
        network[1].read_index(context)
    network.settle()
    network.heal()
    network[1].step(Message(MessageType.HEARTBEAT_RESP, from_=2, to=1, term=1, context=b"r2"))
    network.turn(1)
    assert [read.context for read in network.members[1].reads] == [b"r1", b"r2"]
    network.tick(1)
    network.settle()
    assert [read.context for read in network.members[1].reads] == [b"r1", b"r2", b"r3"]


def test_an_echo_from_a_learner_or_of_an_unknown_context_proves_nothing() -> None:
    network = Network((1, 2), learners=(3,))
    network.elect(1)
    network.isolate(2)
    network[1].read_index(b"r1")
    network.settle()
    network[1].step(Message(MessageType.HEARTBEAT_RESP, from_=2, to=1, term=1, context=b"other"))
    network.settle()
    assert network.members[1].reads == []


def test_a_context_asked_twice_is_answered_once() -> None:
    network = cluster()
    network[1].read_index(b"r1")
    network[1].read_index(b"r1")
    network.settle()
    assert network.members[1].reads == [ReadState(1, b"r1")]


@pytest.mark.parametrize("voters", [(1,), THREE])
def test_a_leader_that_has_not_committed_in_its_term_waits_until_it_has(voters: tuple[int, ...]) -> None:
    network = Network(voters)
    network[1].campaign()
    while network[1].role is not Role.LEADER:
        network.turn_all()
        network.deliver()
    network[1].read_index(b"r1")
    assert network[1].commit == 0
    network.settle()
    assert network.members[1].reads == [ReadState(1, b"r1")]


def test_a_single_voter_answers_at_once() -> None:
    network = Network((1,))
    network.elect(1)
    network[1].read_index(b"r1")
    assert network[1].ready().read_states == [ReadState(1, b"r1")]


def test_a_follower_asks_its_leader_and_serves_the_read_itself() -> None:
    network = cluster()
    network.propose(1, b"x")
    network[3].read_index(b"r1")
    network.settle()
    assert network.members[3].reads == [ReadState(2, b"r1")]
    assert network.members[1].reads == []


def test_a_follower_without_a_leader_loses_the_request() -> None:
    member = member_with(1, THREE)
    member.node.read_index(b"r1")
    assert not member.node.has_ready()


def test_pending_reads_are_forgotten_when_leadership_ends() -> None:
    network = cluster()
    network.isolate(1)
    network[1].read_index(b"r1")
    network.tick(1, 20)
    assert network[1].role is Role.FOLLOWER
    network.settle()
    network.heal()
    for id_ in (2, 3):
        network[id_].forget_leader()
    network.elect(1)
    network.tick(1)
    network.settle()
    assert network.members[1].reads == []


def test_reads_that_wait_for_a_first_commit_are_forgotten_with_the_term() -> None:
    network = cluster()
    network.dropped_types = {MessageType.APP}
    network[2].forget_leader()
    network[3].forget_leader()
    network.elect(2)
    network[2].read_index(b"r1")
    network[2].step(Message(MessageType.HEARTBEAT, from_=3, to=2, term=9))
    network.heal()
    for id_ in (1, 2, 3):
        network[id_].forget_leader()
    network.elect(2)
    assert network.members[2].reads == []


def test_a_deposed_leader_cannot_serve_a_stale_read() -> None:
    network = cluster(check_quorum=False)
    network.isolate(1)
    network[2].campaign()
    network.settle()
    network.propose(2, b"new")
    network[1].read_index(b"r1")
    network.settle()
    network.heal()
    network.tick(1)
    network.settle()
    assert network[1].role is Role.FOLLOWER
    assert network.members[1].reads == []


# ---- 3.10: leadership transfer


def test_the_leader_hands_over_to_an_up_to_date_member_at_once() -> None:
    network = cluster()
    network[1].transfer_leader(2)
    assert [(m.type, m.to) for m in network.turn(1).messages] == [(MessageType.TIMEOUT_NOW, 2)]
    network[2].step(Message(MessageType.TIMEOUT_NOW, from_=1, to=2, term=1))
    network.settle()
    assert network.leaders() == [2]
    assert network[2].term == 2


def test_the_transferee_campaigns_without_a_pre_vote_and_past_the_leader_lease() -> None:
    network = cluster()
    network[2].step(Message(MessageType.TIMEOUT_NOW, from_=1, to=2, term=1))
    assert {(m.type, m.context) for m in network.turn(2).messages} == {
        (MessageType.VOTE, b"CampaignTransfer")
    }


def test_the_leader_first_brings_the_target_up_to_date() -> None:
    network = cluster()
    network.isolate(3)
    network.propose(1, b"x")
    network.heal()
    network[1].transfer_leader(3)
    assert MessageType.TIMEOUT_NOW not in {m.type for m in network.turn(1).messages}
    network.tick(1)
    network.settle()
    assert network.leaders() == [3]
    assert network.members[3].applied_data == [b"x"]


def test_the_prior_leader_stops_accepting_proposals_until_the_transfer_ends() -> None:
    network = cluster()
    network.isolate(3)
    network[1].transfer_leader(3)
    assert network[1].status().transferee == 3
    with pytest.raises(ProposalDropped):
        network[1].propose([b"x"])
    network[1].step(Message(MessageType.PROP, from_=2, to=1, entries=[]))


def test_if_it_does_not_complete_within_an_election_timeout_it_is_aborted() -> None:
    network = cluster()
    network.isolate(3)
    network[1].transfer_leader(3)
    for _ in range(10):
        network.tick(1)
        network.settle()
    assert (network[1].role, network[1].status().transferee) == (Role.LEADER, 0)
    network.propose(1, b"x")
    assert network.members[2].applied_data == [b"x"]


def test_a_leader_that_loses_its_term_forgets_the_transfer() -> None:
    network = cluster()
    network.isolate(3)
    network[1].transfer_leader(3)
    network[1].step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=9))
    assert network[1].status().transferee == 0


def test_a_second_transfer_replaces_the_first_and_repeating_one_changes_nothing() -> None:
    network = cluster()
    network.isolate(3)
    network[1].transfer_leader(3)
    network.turn(1)
    network[1].transfer_leader(3)
    assert not network[1].has_ready()
    network[1].transfer_leader(2)
    network.settle()
    assert network.leaders() == [2]


@pytest.mark.parametrize("to", [1, 4, 77])
def test_nothing_is_transferred_to_itself_a_learner_or_a_stranger(to: int) -> None:
    network = Network(THREE, learners=(4,))
    network.elect(1)
    network[1].transfer_leader(to)
    assert not network[1].has_ready()
    network.propose(1, b"x")


def test_a_follower_passes_the_request_on() -> None:
    network = cluster()
    network[2].transfer_leader(3)
    network.settle()
    assert network.leaders() == [3]
    member = member_with(1, THREE)
    member.node.transfer_leader(2)
    assert answers(member) == []


def test_a_transfer_to_a_member_that_is_removed_is_aborted() -> None:
    network = cluster()
    network.isolate(3)
    network[1].propose_conf_change(ConfChange(ConfChangeType.REMOVE_NODE, 3))
    network[1].transfer_leader(3)
    network.settle()
    assert network[1].status().transferee == 0


def test_a_removed_or_learning_member_ignores_timeout_now() -> None:
    member = member_with(4, THREE, term=1, learners=(4,))
    member.node.step(Message(MessageType.TIMEOUT_NOW, from_=1, to=4, term=1))
    assert (member.node.role, member.node.term) == (Role.FOLLOWER, 1)


def test_a_candidate_ignores_timeout_now() -> None:
    member = member_with(1, THREE, pre_vote=False)
    member.node.campaign()
    member.node.step(Message(MessageType.TIMEOUT_NOW, from_=2, to=1, term=1))
    assert (member.node.role, member.node.term) == (Role.CANDIDATE, 1)
