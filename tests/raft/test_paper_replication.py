"""Log replication: paper figure 2, sections 5.3, 5.4.2, 5.5, 6 of the figures and figure 7.

Each name says the rule it holds the core to.
"""

from __future__ import annotations

from typing import Any

import pytest

from etcdpy.raft.errors import LogDiverged, ProposalDropped
from etcdpy.raft.messages import Entry, EntryType, HardState, Message, MessageType, Role
from etcdpy.raft.progress import ProgressState
from tests.raft.network import Disk, Member, Network, answers, log_of, member_with

THREE = (1, 2, 3)


def leader_with(
    *terms: int, term: int | None = None, voters: tuple[int, ...] = THREE, **options: Any
) -> Member:
    """A leader whose election is over; its own empty entry is on its own disk and nowhere else."""
    member = member_with(1, voters, *terms, term=term, pre_vote=False, **options)
    member.node.campaign()
    member.turn()
    for other in voters[1 : len(voters) // 2 + 1]:
        member.node.step(Message(MessageType.VOTE_RESP, from_=other, to=1, term=member.node.term))
    assert member.node.role is Role.LEADER
    return member


def acknowledge(member: Member, from_: int, index: int) -> None:
    member.node.step(Message(MessageType.APP_RESP, from_=from_, to=1, term=member.node.term, index=index))


def append(index: int, log_term: int, *terms: int, term: int, commit: int = 0) -> Message:
    entries = log_of(*terms, first=index + 1)
    return Message(
        MessageType.APP,
        from_=2,
        to=1,
        term=term,
        index=index,
        log_term=log_term,
        entries=entries,
        commit=commit,
    )


# ---- 5.3: the leader


def test_a_new_leader_appends_an_entry_of_its_own_term_and_sends_it_at_once() -> None:
    member = leader_with(1, 1, term=1)
    ready = member.turn()
    assert [(e.index, e.term, e.data) for e in ready.entries] == [(3, 2, b"")]
    assert [(m.type, m.to, m.index, m.log_term) for m in ready.messages] == [
        (MessageType.APP, 2, 2, 1),
        (MessageType.APP, 3, 2, 1),
    ]


def test_a_proposal_is_appended_and_sent_in_parallel_to_all_others() -> None:
    network = Network(THREE)
    network.elect(1)
    network[1].propose([b"a", b"b"])
    ready = network.turn(1)
    assert [e.data for e in ready.entries] == [b"a", b"b"]
    sent = [(m.to, m.index, [e.data for e in m.entries]) for m in ready.messages]
    assert sent == [(2, 1, [b"a", b"b"]), (3, 1, [b"a", b"b"])]


@pytest.mark.parametrize(
    ("size", "acknowledgements", "committed"),
    [
        (1, 0, True),
        (2, 0, False),
        (2, 1, True),
        (3, 0, False),
        (3, 1, True),
        (4, 1, False),
        (5, 1, False),
        (5, 2, True),
    ],
)
def test_an_entry_is_committed_once_a_majority_has_stored_it(
    size: int, acknowledgements: int, committed: bool
) -> None:
    network = Network(range(1, size + 1))
    network.elect(1)
    before = network[1].commit
    for id_ in range(2 + acknowledgements, size + 1):
        network.isolate(id_)
    network.propose(1, b"x")
    assert (network[1].commit > before) is committed


def test_its_own_copy_counts_only_when_it_is_on_disk() -> None:
    member = leader_with()
    acknowledge(member, 2, 1)
    assert member.node.commit == 0
    member.turn()
    assert member.node.commit == 1


def test_a_quorum_of_others_commits_without_its_own_disk() -> None:
    member = leader_with()
    ready = member.node.ready()
    acknowledge(member, 2, 1)
    acknowledge(member, 3, 1)
    assert member.node.commit == 1
    member.node.advance(ready)


def test_a_single_voter_hands_out_nothing_before_it_is_saved() -> None:
    member = member_with(1, (1,))
    member.node.campaign()
    answers(member)
    member.node.propose([b"x"])
    ready = member.node.ready()
    assert ([e.data for e in ready.entries], ready.committed_entries) == ([b"x"], [])
    assert ready.must_sync
    member.node.advance(ready)
    assert [e.data for e in member.node.ready().committed_entries] == [b"x"]


def test_a_leader_never_overwrites_or_deletes_entries_in_its_log() -> None:
    member = leader_with(1, 1, term=1)
    member.node.step(append(0, 0, 2, 2, 2, term=2))
    assert [member.node.term_at(index) for index in (1, 2, 3)] == [1, 1, 2]


def test_the_leader_tells_followers_the_commit_index_in_later_messages() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"x")
    assert {network[id_].commit for id_ in THREE} == {2}
    assert all(network.members[id_].applied_data == [b"x"] for id_ in THREE)


def test_the_leader_retries_append_entries_after_a_loss() -> None:
    network = Network(THREE)
    network.elect(1)
    network.dropped_types = {MessageType.APP}
    network.propose(1, b"x")
    network.heal()
    network.tick(1)
    network.settle()
    assert network[2].commit == 2


# ---- 5.4.2: committing entries from previous terms


def test_only_entries_of_the_current_term_are_committed_by_counting_replicas() -> None:
    member = leader_with(1, 2, term=2)
    member.turn()
    for index in (1, 2):
        acknowledge(member, 2, index)
        assert member.node.commit == 0
    acknowledge(member, 2, 3)
    assert member.node.commit == 3  # and everything before it, indirectly


def test_figure_8_an_old_entry_on_a_majority_may_still_be_overwritten_so_it_is_not_committed() -> None:
    network = Network((1, 2, 3, 4, 5), pre_vote=False, message_bytes_max=1)
    # (b): S1 led term 2 and reached S2 only; then S5 led term 3, voted for by S3 and S4, and reached nobody.
    for id_, terms, term, vote in (
        (1, (1, 2), 2, 1),
        (2, (1, 2), 2, 1),
        (3, (1,), 3, 5),
        (4, (1,), 3, 5),
        (5, (1, 3), 3, 5),
    ):
        network.members[id_].disk = Disk(
            HardState(term, vote, 1), network.members[id_].disk.snapshot, log_of(*terms)
        )
        network.members[id_].restart()
    network.isolate(5)
    network[1].campaign()
    network.settle()
    assert network.leaders() == []  # term 3 was S5's
    # (c): S1 leads term 4. It copies the entry of term 2 to a majority, but none of its own.
    network.lose = lambda m: any(entry.term == 4 for entry in m.entries) and network[m.to].term_at(2) == 2
    network.elect(1)
    assert [network[id_].term_at(2) for id_ in (1, 2, 3, 4)] == [2, 2, 2, 2]
    assert network[1].status().progress_by_id[3].match == network[1].status().progress_by_id[4].match == 2
    assert network[1].commit == 1
    # (d): S5 can still be elected, by S2, S3 and S4, and overwrites that entry.
    network.heal()
    network.isolate(1)
    for id_ in (2, 3, 4):
        network.tick(id_, 10)  # they have not heard from S1 for an election timeout
    network[5].campaign()
    network.settle()
    network.elect(5)
    assert [network[id_].term_at(2) for id_ in (2, 3, 4, 5)] == [3, 3, 3, 3]
    assert network[5].commit == 3


# ---- figure 2: AppendEntries receiver


def test_reply_false_if_the_log_has_no_entry_at_prev_index_with_prev_term() -> None:
    member = member_with(1, THREE, 1, 2, term=2)
    for index, log_term in ((3, 2), (2, 1), (1, 2)):
        member.node.step(append(index, log_term, term=3))
        (answer,) = answers(member)
        assert (answer.type, answer.reject, answer.index) == (MessageType.APP_RESP, True, index)


@pytest.mark.parametrize(
    ("index", "log_term", "terms", "expected"),
    [
        (2, 2, (), (1, 2)),
        (0, 0, (1, 2), (1, 2)),
        (0, 0, (1,), (1, 2)),
        (2, 2, (3,), (1, 2, 3)),
        (1, 1, (3, 4), (1, 3, 4)),
        (0, 0, (3, 4), (3, 4)),
        (0, 0, (1, 2, 3), (1, 2, 3)),
    ],
)
def test_a_conflicting_entry_and_all_that_follow_it_are_deleted_and_new_ones_appended(
    index: int, log_term: int, terms: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    member = member_with(1, THREE, 1, 2, term=2)
    member.node.step(append(index, log_term, *terms, term=4))
    answers(member)
    assert tuple(entry.term for entry in member.disk.entries) == expected
    assert tuple(member.node.term_at(i + 1) for i in range(member.node.last_index)) == expected


def test_entries_that_agree_are_not_written_again() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1)
    member.node.step(append(0, 0, 1, 1, term=1))
    ready = member.node.ready()
    assert ready.entries == []
    assert member.node.last_index == 3


@pytest.mark.parametrize(
    ("terms", "leader_commit", "expected"), [((), 1, 1), ((), 9, 1), ((1,), 1, 1), ((1,), 2, 2), ((1,), 9, 2)]
)
def test_commit_index_is_set_to_the_lesser_of_leader_commit_and_last_new_entry(
    terms: tuple[int, ...], leader_commit: int, expected: int
) -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1)
    member.node.step(append(1, 1, *terms, term=1, commit=leader_commit))
    assert member.node.commit == expected


def test_committed_entries_are_handed_out_in_order_and_once() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1)
    member.node.step(append(3, 1, 1, term=1, commit=2))
    answers(member)
    member.node.step(append(4, 1, 1, term=1, commit=5))
    answers(member)
    assert [entry.index for entry in member.applied] == [1, 2, 3, 4, 5]


def test_an_append_below_the_commit_index_is_answered_with_the_commit_index() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1, commit=2)
    member.node.step(append(1, 1, 1, term=1))
    assert answers(member) == [Message(MessageType.APP_RESP, from_=1, to=2, term=1, index=2)]


def test_a_commit_index_beyond_the_log_stops_the_member_because_it_lost_its_data() -> None:
    member = member_with(1, THREE, 1, 1, term=1)
    with pytest.raises(LogDiverged):
        member.node.step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=1, commit=3))


def test_a_conflict_with_a_committed_entry_stops_the_member() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1, commit=1)
    member.node.step(append(1, 1, 1, 1, term=1, commit=3))
    member.node.step(append(3, 1, 2, term=2))
    with pytest.raises(LogDiverged):
        Member(member.config, Disk(HardState(1, 0, 9), entries=log_of(1, 1)))


def test_an_acknowledgement_promises_only_what_its_ready_saves() -> None:
    member = member_with(1, THREE)
    member.node.step(append(0, 0, 1, 1, term=1))
    ready = member.node.ready()
    assert [e.index for e in ready.entries] == [1, 2]
    assert [(m.type, m.index) for m in ready.messages] == [(MessageType.APP_RESP, 2)]
    assert ready.must_sync
    member.node.step(append(2, 1, 1, term=1))
    member.node.advance(ready)
    ready = member.node.ready()
    assert [e.index for e in ready.entries] == [3]


def test_entries_replaced_while_they_were_saved_are_saved_again() -> None:
    member = member_with(1, THREE)
    member.node.step(append(0, 0, 1, 1, 1, term=1))
    ready = member.node.ready()
    member.disk.save(ready)
    member.node.step(append(1, 1, 2, term=2))
    member.node.advance(ready)
    second = member.node.ready()
    assert [(e.index, e.term) for e in second.entries] == [(1, 1), (2, 2)]
    member.disk.save(second)
    assert [e.term for e in member.disk.entries] == [1, 2]


# ---- 5.3: bringing logs into agreement, with hints by term


FIGURE_7_LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FIGURE_7_FOLLOWERS = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FIGURE_7_FOLLOWERS)
def test_figure_7_the_leader_brings_every_kind_of_follower_into_agreement(name: str) -> None:
    network = Network(THREE, pre_vote=False)
    for id_, terms, term in ((1, FIGURE_7_LEADER, 7), (2, FIGURE_7_FOLLOWERS[name], 7), (3, (), 7)):
        network.members[id_].disk.entries = log_of(*terms)
        network.members[id_].disk.hard_state.term = term
        network.members[id_].restart()
    network[1].campaign()
    network.settle()
    assert network.leaders() == [1]
    network.propose(1, b"x")
    expected = [*FIGURE_7_LEADER, 8, 8]
    assert network.terms(1) == network.terms(2) == network.terms(3) == expected
    assert {network[id_].commit for id_ in THREE} == {12}


@pytest.mark.parametrize(
    ("own", "index", "log_term", "hint", "hint_term"),
    [
        ((1, 1, 1, 4, 4, 5, 5, 6, 6), 10, 6, 9, 6),
        ((1, 1, 1, 4), 10, 6, 4, 4),
        ((1, 1, 1, 4, 4, 4, 4), 10, 6, 7, 4),
        ((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), 10, 6, 10, 3),
        ((1, 3, 3, 3, 5, 5, 5, 5), 8, 4, 4, 3),
        ((), 10, 6, 0, 0),
        ((5, 5), 2, 4, 0, 0),
    ],
)
def test_a_rejection_skips_all_entries_of_terms_the_leader_cannot_have_there(
    own: tuple[int, ...], index: int, log_term: int, hint: int, hint_term: int
) -> None:
    member = member_with(1, THREE, *own, term=7)
    member.node.step(append(index, log_term, term=8))
    (answer,) = answers(member)
    assert (answer.reject_hint, answer.log_term, answer.index) == (hint, hint_term, index)


@pytest.mark.parametrize(
    ("own", "hint", "hint_term", "probe_at"),
    [
        ((1, 3, 3, 3, 5, 5, 5, 5), 6, 2, 1),
        ((1, 3, 3, 3, 5, 5, 5, 5), 6, 4, 4),
        ((1, 1, 1, 4), 2, 1, 2),
        ((1, 1, 1, 4), 0, 0, 0),
    ],
)
def test_the_leader_skips_all_its_entries_of_terms_the_follower_cannot_have_there(
    own: tuple[int, ...], hint: int, hint_term: int, probe_at: int
) -> None:
    member = leader_with(*own, term=max(own))
    probe = next(m for m in member.turn().messages if m.to == 2 and m.type is MessageType.APP)
    member.node.step(
        Message(
            MessageType.APP_RESP,
            from_=2,
            to=1,
            term=member.node.term,
            index=probe.index,
            reject=True,
            reject_hint=hint,
            log_term=hint_term,
        )
    )
    (again,) = [m for m in member.turn().messages if m.to == 2]
    assert (again.index, again.log_term) == (probe_at, member.node.term_at(probe_at) or 0)


def test_next_index_starts_just_after_the_leaders_last_entry_and_match_at_zero() -> None:
    member = leader_with(1, 1, 1, term=1)
    for id_ in (2, 3):
        progress = member.node.status().progress_by_id[id_]
        assert (progress.match, progress.next, progress.state) == (0, 4, ProgressState.PROBE)


def test_a_late_rejection_changes_nothing() -> None:
    member = leader_with(1, 1, term=1)
    answers(member)
    acknowledge(member, 2, 3)
    answers(member)
    before = member.node.status().progress_by_id[2]
    member.node.step(
        Message(MessageType.APP_RESP, from_=2, to=1, term=2, index=2, reject=True, reject_hint=1, log_term=1)
    )
    assert member.node.status().progress_by_id[2] == before
    assert not member.node.has_ready()


def test_a_hint_below_what_is_known_to_match_is_not_followed() -> None:
    member = leader_with(1, 1, 1, term=1)
    answers(member)
    acknowledge(member, 2, 2)
    member.node.propose([b"x"])
    answers(member)
    member.node.report_unreachable(2)
    probe = member.node.status().progress_by_id[2]
    member.node.step(Message(MessageType.APP_RESP, from_=2, to=1, term=2, index=probe.next - 1, reject=True))
    assert member.node.status().progress_by_id[2].next == probe.match + 1


def test_while_probing_only_the_answer_to_the_probe_counts_as_a_rejection() -> None:
    member = leader_with(1, 1, 1, term=1)
    answers(member)
    before = member.node.status().progress_by_id[2]
    assert before.state is ProgressState.PROBE
    member.node.step(Message(MessageType.APP_RESP, from_=2, to=1, term=2, index=1, reject=True))
    assert member.node.status().progress_by_id[2].next == before.next
    assert not member.node.has_ready()


def test_a_repeated_acknowledgement_or_one_beyond_our_log_changes_nothing() -> None:
    member = leader_with()
    answers(member)
    acknowledge(member, 2, 1)
    answers(member)
    commit = member.node.commit
    acknowledge(member, 2, 1)
    acknowledge(member, 2, 0)
    acknowledge(member, 3, 99)
    assert answers(member) == []
    assert (member.node.commit, member.node.status().progress_by_id[3].match) == (commit, 0)


# ---- 5.5: crashes; messages are idempotent


def test_a_repeated_append_has_no_effect_but_the_answer() -> None:
    member = member_with(1, THREE)
    for _ in range(2):
        member.node.step(append(0, 0, 1, 1, term=1))
        assert [m.index for m in answers(member)] == [2]
    assert (member.node.last_index, member.node.commit) == (2, 0)


def test_what_was_acknowledged_survives_a_restart() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"x")
    for id_ in THREE:
        network.members[id_].restart()
    network.elect(2)
    assert all(network.members[id_].applied_data == [b"x"] for id_ in THREE)


# ---- proposals


def test_a_follower_forwards_proposals_to_its_leader() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(3, b"x", b"y")
    assert network.members[2].applied_data == [b"x", b"y"]


def test_without_a_leader_proposals_are_dropped() -> None:
    member = member_with(1, THREE)
    with pytest.raises(ProposalDropped):
        member.node.propose([b"x"])
    member.node.step(Message(MessageType.PROP, from_=2, to=1, entries=log_of(0)))
    assert answers(member) == []


def test_a_forwarded_proposal_keeps_its_type_and_data_and_gets_term_and_index() -> None:
    member = leader_with()
    answers(member)
    member.node.step(
        Message(MessageType.PROP, from_=3, to=1, entries=[Entry(0, 0, EntryType.NORMAL, b"a"), Entry(0, 0)])
    )
    assert member.turn().entries == [Entry(1, 2, EntryType.NORMAL, b"a"), Entry(1, 3)]


def test_a_leader_takes_on_only_so_many_uncommitted_bytes() -> None:
    member = leader_with(uncommitted_bytes_max=10)
    answers(member)
    member.node.propose([b"x" * 50])  # the first is never refused
    with pytest.raises(ProposalDropped):
        member.node.propose([b"y"])
    member.node.step(Message(MessageType.PROP, from_=2, to=1, entries=[Entry(0, 0, EntryType.NORMAL, b"z")]))
    member.node.propose([b""])  # nor what adds nothing
    assert member.node.last_index == 3
    answers(member)
    acknowledge(member, 2, member.node.last_index)
    answers(member)
    member.node.propose([b"y"])


def test_entries_inherited_from_an_earlier_leader_do_not_count_as_taken_on() -> None:
    member = leader_with(1, 1, term=1, uncommitted_bytes_max=10)
    member.node.propose([b"x" * 8])
    answers(member)
    acknowledge(member, 2, member.node.last_index)
    answers(member)
    member.node.propose([b"x" * 10])


# ---- how much is sent at once


def test_an_append_message_carries_at_least_one_entry_and_then_no_more_than_its_limit() -> None:
    member = leader_with(message_bytes_max=100)
    answers(member)
    acknowledge(member, 2, 1)
    answers(member)
    member.node.propose([b"x" * 80, b"x" * 30, b"x" * 30, b"x" * 200, b"x"])
    sizes = [len(m.entries) for m in answers(member) if m.to == 2]
    assert sizes == [1]
    acknowledge(member, 2, 2)
    assert [len(m.entries) for m in answers(member) if m.to == 2] == [2, 1, 1]


def test_while_probing_one_message_is_out_at_a_time() -> None:
    member = leader_with()
    answers(member)
    for _ in range(3):
        member.node.propose([b"x"])
    assert [m for m in answers(member) if m.to == 2] == []
    acknowledge(member, 2, 1)
    assert [len(m.entries) for m in answers(member) if m.to == 2] == [3]


@pytest.mark.parametrize("limits", [{"inflight_messages_max": 3}, {"inflight_bytes_max": 30}])
def test_a_full_window_pauses_sending_until_an_acknowledgement(limits: dict[str, Any]) -> None:
    member = leader_with(**limits)
    answers(member)
    acknowledge(member, 2, 1)
    answers(member)
    for _ in range(6):
        member.node.propose([b"x" * 10])
    assert [m.index for m in answers(member) if m.to == 2] == [1, 2, 3]
    assert member.node.status().progress_by_id[2].is_paused
    acknowledge(member, 2, 2)
    (resumed,) = [m for m in answers(member) if m.to == 2 and m.entries]
    assert (resumed.index, len(resumed.entries)) == (4, 3)


def test_a_full_window_is_reopened_for_an_empty_append_by_a_heartbeat_response() -> None:
    member = leader_with(inflight_messages_max=1)
    answers(member)
    acknowledge(member, 2, 1)
    answers(member)
    member.node.propose([b"x"])
    member.node.propose([b"y"])
    answers(member)
    member.node.step(Message(MessageType.HEARTBEAT_RESP, from_=2, to=1, term=1))
    assert [(m.index, len(m.entries)) for m in answers(member) if m.to == 2] == [(2, 0)]


def test_lost_messages_make_the_leader_probe_again() -> None:
    member = leader_with()
    answers(member)
    acknowledge(member, 2, 1)
    answers(member)
    member.node.propose([b"x"])
    answers(member)
    member.node.report_unreachable(2)
    progress = member.node.status().progress_by_id[2]
    assert (progress.state, progress.next) == (ProgressState.PROBE, 2)


def test_committed_entries_come_out_in_batches_of_limited_size() -> None:
    member = member_with(1, (1,), *([1] * 10), term=1, commit=10, committed_bytes_max=30)
    sizes = []
    while member.node.has_ready():
        sizes.append(len(member.turn().committed_entries))
    assert sizes == [3, 3, 3, 1]


def test_a_caught_up_follower_learns_the_commit_index_by_an_empty_append() -> None:
    network = Network(THREE)
    network.elect(1)
    network[1].propose([b"x"])
    network.turn(1)
    network.deliver()
    network.turn(2)
    network.deliver()  # 2's acknowledgement commits
    sent = network.turn(1).messages
    assert [(m.to, m.commit, len(m.entries)) for m in sent] == [(2, 2, 0), (3, 2, 0)]
