"""Leader election: paper figure 2 and sections 5.1, 5.2, 5.4.1; thesis 3.4, 4.2.3, 6.2 and 9.6.

Each name says the rule it holds the core to.
"""

from __future__ import annotations

import random

import pytest

from etcdpy.raft.errors import ProposalDropped
from etcdpy.raft.messages import ConfChange, ConfChangeType, Message, MessageType, Role
from tests.raft.network import Member, Network, answers, log_of, member_with, role_of

THREE = (1, 2, 3)


def candidate(*, voters: tuple[int, ...] = THREE, term: int = 0) -> Member:
    member = member_with(1, voters, term=term, pre_vote=False)
    member.node.campaign()
    return member


def leader_of_three() -> Network:
    network = Network(THREE)
    network.elect(1)
    return network


# ---- figure 2: rules for all servers


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_if_a_message_contains_a_higher_term_the_receiver_enters_it_and_becomes_follower(role: Role) -> None:
    network = Network(THREE, pre_vote=False)
    if role is Role.LEADER:
        network.elect(1)
    elif role is Role.CANDIDATE:
        network[1].campaign()
    assert network[1].role is role
    network[1].step(Message(MessageType.APP, from_=2, to=1, term=7))
    assert (network[1].term, network[1].role, network[1].leader) == (7, Role.FOLLOWER, 2)


def test_a_request_with_a_stale_term_is_rejected() -> None:
    member = member_with(1, THREE, term=5)
    member.node.step(Message(MessageType.VOTE, from_=2, to=1, term=4, index=9, log_term=4))
    assert answers(member) == []
    assert member.node.vote == 0


def test_a_stale_leader_is_told_the_newer_term() -> None:
    member = member_with(1, THREE, term=5)
    for kind in (MessageType.APP, MessageType.HEARTBEAT):
        member.node.step(Message(kind, from_=2, to=1, term=4))
        assert answers(member) == [Message(MessageType.APP_RESP, to=2, from_=1, term=5)]
    network = leader_of_three()
    network[1].step(Message(MessageType.APP_RESP, to=1, from_=3, term=9))
    assert (network[1].role, network[1].term) == (Role.FOLLOWER, 9)


# ---- 5.2: followers and timeouts


def test_servers_start_as_followers() -> None:
    assert member_with(1, THREE).node.role is Role.FOLLOWER


def test_a_follower_stays_one_as_long_as_it_hears_from_a_leader() -> None:
    member = member_with(1, THREE, term=1)
    for _ in range(50):
        member.node.tick()
        member.node.step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=1))
    assert role_of(member) is Role.FOLLOWER


def test_if_the_election_timeout_elapses_without_a_leader_it_begins_an_election() -> None:
    member = member_with(1, THREE, term=3, pre_vote=False)
    for _ in range(9):
        member.node.tick()
    assert role_of(member) is Role.FOLLOWER
    member.node.tick()
    assert role_of(member) is Role.CANDIDATE


def test_on_conversion_to_candidate_it_increments_its_term_votes_for_itself_and_asks_all_others() -> None:
    member = member_with(1, THREE, 1, 2, term=4, pre_vote=False)
    member.node.campaign()
    assert (member.node.term, member.node.vote) == (5, 1)
    ready = member.turn()
    assert [(m.type, m.to, m.term, m.index, m.log_term) for m in ready.messages] == [
        (MessageType.VOTE, 2, 5, 2, 2),
        (MessageType.VOTE, 3, 5, 2, 2),
    ]
    assert ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.vote) == (5, 1)
    assert ready.must_sync


def test_a_leader_sends_heartbeats_every_heartbeat_interval() -> None:
    network = Network(THREE, heartbeat_ticks=3)
    network.elect(1)
    network.tick(1, 2)
    assert not network[1].has_ready()
    network.tick(1)
    beats = network.turn(1).messages
    assert [(m.type, m.to) for m in beats] == [(MessageType.HEARTBEAT, 2), (MessageType.HEARTBEAT, 3)]


@pytest.mark.parametrize(
    ("size", "grants", "rejects", "expected"),
    [
        (1, 0, 0, Role.LEADER),
        (3, 0, 0, Role.CANDIDATE),
        (3, 1, 0, Role.LEADER),
        (3, 0, 1, Role.CANDIDATE),
        (3, 0, 2, Role.FOLLOWER),
        (4, 1, 0, Role.CANDIDATE),
        (4, 2, 0, Role.LEADER),
        (4, 1, 2, Role.FOLLOWER),
        (5, 1, 2, Role.CANDIDATE),
        (5, 2, 2, Role.LEADER),
        (5, 1, 3, Role.FOLLOWER),
    ],
)
def test_a_candidate_wins_with_votes_from_a_majority(
    size: int, grants: int, rejects: int, expected: Role
) -> None:
    member = candidate(voters=tuple(range(1, size + 1)))
    member.turn()  # its own vote is on disk now
    for other in range(2, 2 + grants + rejects):
        member.node.step(
            Message(MessageType.VOTE_RESP, from_=other, to=1, term=1, reject=other >= 2 + grants)
        )
    assert role_of(member) is expected


def test_a_voter_is_counted_once() -> None:
    member = candidate(voters=(1, 2, 3, 4, 5))
    member.turn()
    for reject in (False, False, True):
        member.node.step(Message(MessageType.VOTE_RESP, from_=2, to=1, term=1, reject=reject))
    assert role_of(member) is Role.CANDIDATE
    member.node.step(Message(MessageType.VOTE_RESP, from_=3, to=1, term=1))
    assert role_of(member) is Role.LEADER


def test_its_own_vote_counts_only_when_it_is_on_disk() -> None:
    member = candidate()
    member.node.step(Message(MessageType.VOTE_RESP, from_=2, to=1, term=1))
    assert role_of(member) is Role.CANDIDATE
    member.turn()
    assert role_of(member) is Role.LEADER


def test_a_vote_cast_while_a_save_is_under_way_is_not_counted_with_that_save() -> None:
    member = member_with(1, (1,), pre_vote=False)
    member.node.step(Message(MessageType.HEARTBEAT, from_=9, to=1, term=1))
    ready = member.node.ready()
    member.node.campaign()
    member.node.advance(ready)
    assert role_of(member) is Role.CANDIDATE
    member.turn()
    assert role_of(member) is Role.LEADER


@pytest.mark.parametrize("term", [1, 4])
def test_a_candidate_that_hears_from_a_leader_of_its_term_or_later_becomes_follower(term: int) -> None:
    for kind in (MessageType.APP, MessageType.HEARTBEAT):
        member = candidate()
        member.node.step(Message(kind, from_=3, to=1, term=term))
        assert (member.node.role, member.node.leader, member.node.term) == (Role.FOLLOWER, 3, term)


def test_if_the_election_timeout_elapses_again_a_candidate_starts_a_new_election() -> None:
    member = candidate(term=2)
    answers(member)
    for _ in range(10):
        member.node.tick()
    assert (member.node.role, member.node.term) == (Role.CANDIDATE, 4)
    assert [m.term for m in answers(member)] == [4, 4]


def test_election_timeouts_are_chosen_randomly_from_a_fixed_interval() -> None:
    seen = set()
    source = random.Random(1)
    for _ in range(300):
        member = member_with(1, THREE, randrange=source.randrange)
        ticks = 0
        while role_of(member) is Role.FOLLOWER:
            member.node.tick()
            ticks += 1
        seen.add(ticks)
    assert seen == set(range(10, 20))


def test_the_timeout_is_redrawn_for_each_election() -> None:
    drawn: list[int] = []

    def randrange(n: int) -> int:
        drawn.append(n)
        return len(drawn) % n

    member = member_with(1, THREE, pre_vote=False, randrange=randrange)
    before = len(drawn)
    member.node.campaign()
    member.node.campaign()
    assert drawn[before:] == [10, 10]


def test_a_leader_never_campaigns_and_a_stranger_or_learner_neither() -> None:
    network = leader_of_three()
    network[1].campaign()
    assert (network[1].role, network[1].term) == (Role.LEADER, 1)
    for member in (member_with(1, (2, 3)), member_with(1, (2, 3), learners=(1,)), member_with(1, ())):
        for _ in range(40):
            member.node.tick()
        assert (member.node.role, member.node.term) == (Role.FOLLOWER, 0)


def test_a_member_with_an_unapplied_configuration_change_does_not_campaign() -> None:
    network = leader_of_three()
    network[1].propose_conf_change(ConfChange(ConfChangeType.ADD_NODE, 4))
    network.turn(1)
    network.deliver()
    network.turn(2)
    network.deliver()
    network.turn(1)  # committed at 1, told to 2
    network.deliver()
    assert network[2].commit > network[2].applied
    network[2].campaign()
    assert role_of(network.members[2]) is Role.FOLLOWER
    network.turn(2)
    network[2].campaign()
    assert role_of(network.members[2]) is Role.PRE_CANDIDATE


# ---- figure 2: RequestVote receiver


@pytest.mark.parametrize(
    ("vote", "candidate_id", "granted"),
    [(0, 1, True), (0, 2, True), (1, 1, True), (2, 2, True), (1, 2, False), (2, 1, False)],
)
def test_votes_are_given_first_come_first_served_one_for_each_term(
    vote: int, candidate_id: int, granted: bool
) -> None:
    member = member_with(3, THREE, term=1, vote=vote)
    member.node.step(Message(MessageType.VOTE, from_=candidate_id, to=3, term=1))
    assert answers(member) == [
        Message(MessageType.VOTE_RESP, from_=3, to=candidate_id, term=1, reject=not granted)
    ]


@pytest.mark.parametrize(
    ("own", "last_term", "last_index", "granted"),
    [
        ((1,), 1, 1, True),
        ((1,), 1, 2, True),
        ((1, 1), 1, 1, False),
        ((1,), 2, 1, True),
        ((1, 1), 2, 1, True),
        ((2,), 1, 1, False),
        ((2,), 1, 9, False),
        ((2, 2), 1, 9, False),
    ],
)
def test_the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(
    own: tuple[int, ...], last_term: int, last_index: int, granted: bool
) -> None:
    for kind in (MessageType.VOTE, MessageType.PRE_VOTE):
        member = member_with(1, THREE, *own, term=2)
        member.node.step(Message(kind, from_=2, to=1, term=3, index=last_index, log_term=last_term))
        (answer,) = answers(member)
        assert answer.reject is not granted


def test_a_granted_vote_is_saved_before_it_is_sent() -> None:
    member = member_with(1, THREE)
    member.node.step(Message(MessageType.VOTE, from_=2, to=1, term=1))
    ready = member.node.ready()
    assert ready.hard_state is not None
    assert (ready.hard_state.vote, ready.must_sync) == (2, True)
    assert [m.type for m in ready.messages] == [MessageType.VOTE_RESP]


def test_a_vote_survives_a_restart() -> None:
    member = member_with(1, THREE)
    member.node.step(Message(MessageType.VOTE, from_=2, to=1, term=1))
    answers(member)
    member.restart()
    member.node.step(Message(MessageType.VOTE, from_=3, to=1, term=1))
    assert [m.reject for m in answers(member)] == [True]


def test_granting_a_vote_resets_the_election_timeout_but_granting_a_pre_vote_does_not() -> None:
    for kind, expected in ((MessageType.VOTE, Role.FOLLOWER), (MessageType.PRE_VOTE, Role.PRE_CANDIDATE)):
        member = member_with(1, THREE, term=1)
        for _ in range(9):
            member.node.tick()
        member.node.step(Message(kind, from_=2, to=1, term=1 if kind is MessageType.VOTE else 2))
        member.node.tick()
        assert role_of(member) is expected


def test_a_learner_answers_vote_requests_because_it_may_be_a_voter_without_knowing() -> None:
    member = member_with(3, (1, 2), learners=(3,))
    member.node.step(Message(MessageType.VOTE, from_=1, to=3, term=1))
    assert [m.reject for m in answers(member)] == [False]


def test_at_most_one_leader_is_elected_in_a_term_with_a_split_vote() -> None:
    network = Network((1, 2, 3, 4), pre_vote=False)
    network[1].campaign()
    network[2].campaign()
    network.turn(1)
    network.turn(2)
    network.deliver(lambda m: (m.from_, m.to) in {(1, 3), (2, 4)})
    network.in_flight.clear()
    network.settle()
    assert network.leaders() == []
    assert {network[id_].term for id_ in (1, 2, 3, 4)} == {1}
    network.tick(1, 12)
    network.settle()
    assert network.leaders() == [1]
    assert network[1].term == 2


# ---- thesis 9.6: pre-vote


def test_a_pre_vote_changes_neither_the_term_nor_the_vote_of_anybody() -> None:
    network = Network(THREE)
    network[1].campaign()
    network.turn(1)
    network.deliver()
    assert [(network[id_].term, network[id_].vote) for id_ in THREE] == [(0, 0)] * 3
    assert network[1].role is Role.PRE_CANDIDATE


def test_a_pre_candidate_begins_the_real_election_only_with_a_majority_of_pre_votes() -> None:
    member = member_with(1, (1, 2, 3, 4, 5))
    member.node.campaign()
    ready = member.turn()
    assert {(m.type, m.term) for m in ready.messages} == {(MessageType.PRE_VOTE, 1)}
    member.node.step(Message(MessageType.PRE_VOTE_RESP, from_=2, to=1, term=1))
    assert (member.node.role, member.node.term) == (Role.PRE_CANDIDATE, 0)
    member.node.step(Message(MessageType.PRE_VOTE_RESP, from_=3, to=1, term=1))
    assert (member.node.role, member.node.term) == (Role.CANDIDATE, 1)
    assert {(m.type, m.term) for m in member.turn().messages} == {(MessageType.VOTE, 1)}


def test_a_refused_pre_candidate_returns_to_follower_in_its_old_term() -> None:
    member = member_with(1, THREE, term=4)
    member.node.campaign()
    member.turn()
    for other in (2, 3):
        member.node.step(Message(MessageType.PRE_VOTE_RESP, from_=other, to=1, term=4, reject=True))
    assert (member.node.role, member.node.term) == (Role.FOLLOWER, 4)


def test_a_partitioned_member_does_not_disrupt_the_leader_when_it_returns() -> None:
    network = leader_of_three()
    network.isolate(3)
    for _ in range(100):
        network.tick(3)
        network.settle()
    assert network[3].term == 1
    network.propose(1, b"x")
    network.heal()
    network.tick(1)
    network.settle()
    assert network.leaders() == [1]
    assert network[1].term == 1
    assert network[3].last_index == network[1].last_index


def test_without_pre_vote_it_does_disrupt_but_only_once_a_quorum_may_vote() -> None:
    network = Network(THREE, pre_vote=False)
    network.elect(1)
    network.isolate(3)
    for _ in range(60):
        network.tick(3)
        network.settle()
    assert network[3].term > 1
    network.heal()
    network.tick(1)
    network.settle()  # the leader's heartbeat meets the higher term
    assert network[1].role is Role.FOLLOWER


def test_a_pre_vote_from_an_older_term_is_refused_with_our_term() -> None:
    member = member_with(1, THREE, term=7)
    member.node.step(Message(MessageType.PRE_VOTE, from_=2, to=1, term=3, index=50, log_term=2))
    assert answers(member) == [Message(MessageType.PRE_VOTE_RESP, from_=1, to=2, term=7, reject=True)]


def test_a_pre_vote_is_granted_by_others_who_campaign_too() -> None:
    network = Network(THREE)
    network[1].campaign()
    network[2].campaign()
    network.settle()
    assert len(network.leaders()) == 1


def test_a_member_of_higher_term_but_shorter_log_cannot_win_yet_brings_its_term() -> None:
    network = Network(THREE, pre_vote=True)
    network.members[3].disk.hard_state.term = 9
    network.members[3].restart()
    for id_ in (1, 2):
        network.members[id_].disk.entries = log_of(1)
        network.members[id_].disk.hard_state.term = 1
        network.members[id_].restart()
    network[3].campaign()
    network.settle()
    assert network.leaders() == []
    network[1].campaign()
    network.settle()  # 3 refuses by its term, which 1 takes on
    network[1].campaign()
    network.settle()
    assert network.leaders() == [1]
    assert network[1].term == 10


# ---- thesis 4.2.3 and 6.2: leader stickiness, CheckQuorum


@pytest.mark.parametrize("kind", [MessageType.VOTE, MessageType.PRE_VOTE])
def test_if_a_server_hears_from_a_leader_within_the_election_timeout_it_ignores_vote_requests(
    kind: MessageType,
) -> None:
    network = leader_of_three()
    network[2].step(Message(kind, from_=3, to=2, term=5, index=99, log_term=4))
    assert (network[2].term, network[2].has_ready()) == (1, False)
    network.tick(2, 10)
    network[2].step(Message(kind, from_=3, to=2, term=5, index=99, log_term=4))
    assert network[2].has_ready()


def test_a_leader_that_asked_for_the_campaign_is_not_in_its_way() -> None:
    network = leader_of_three()
    network[2].step(
        Message(MessageType.VOTE, from_=3, to=2, term=5, index=99, log_term=4, context=b"CampaignTransfer")
    )
    assert (network[2].term, network[2].vote) == (5, 3)


def test_a_leader_without_a_quorum_for_an_election_timeout_steps_down() -> None:
    network = leader_of_three()
    network.isolate(1)
    network.tick(1, 10)
    assert network[1].role is Role.LEADER  # the round in which it still heard from somebody
    network.tick(1, 9)
    assert network[1].role is Role.LEADER
    network.tick(1)
    assert (network[1].role, network[1].leader, network[1].term) == (Role.FOLLOWER, 0, 1)


def test_a_leader_that_hears_from_a_quorum_stays() -> None:
    network = leader_of_three()
    network.isolate(3)
    for _ in range(60):
        network.tick(1)
        network.settle()
    assert network.leaders() == [1]


def test_without_check_quorum_a_leader_stays_for_good() -> None:
    network = Network(THREE, check_quorum=False)
    network.elect(1)
    network.isolate(1)
    network.tick(1, 200)
    assert network[1].role is Role.LEADER


def test_a_learner_does_not_count_for_the_quorum_of_check_quorum() -> None:
    network = Network((1, 2), learners=(3,))
    network.elect(1)
    network.isolate(2)
    for _ in range(25):
        network.tick(1)
        network.settle()
    assert network[1].role is Role.FOLLOWER


def test_a_candidate_takes_no_proposals() -> None:
    member = candidate()
    with pytest.raises(ProposalDropped):
        member.node.propose([b"x"])
    member.node.step(Message(MessageType.PROP, from_=2, to=1, entries=log_of(0)))
    assert member.node.last_index == 0


def test_forget_leader_lets_a_follower_grant_a_pre_vote_before_its_lease_ends() -> None:
    network = leader_of_three()
    network[2].forget_leader()
    assert network[2].leader == 0
    network[3].forget_leader()
    network[3].campaign()
    network.isolate(1)
    network.settle()
    assert network[3].role is Role.LEADER


def test_a_term_below_that_of_the_log_is_repaired_after_a_torn_save() -> None:
    member = member_with(1, THREE, 1, 3, term=2, vote=2)
    assert (member.node.term, member.node.vote) == (3, 0)
    (ready,) = [member.turn()]
    assert ready.hard_state is not None
    assert ready.hard_state.term == 3
