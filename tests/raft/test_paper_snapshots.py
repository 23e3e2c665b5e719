"""Log compaction: paper section 7 and figure 13, thesis 5.1. Each name says the rule it holds the core to."""

from __future__ import annotations

import pytest

from etcdpy.raft.messages import ConfState, HardState, Message, MessageType, Role, Snapshot
from etcdpy.raft.progress import ProgressState
from tests.raft.network import Disk, Member, Network, answers, log_of, member_with

THREE = (1, 2, 3)


def snapshot_message(
    index: int, term: int, *, voters: tuple[int, ...] = THREE, message_term: int = 9
) -> Message:
    return Message(
        MessageType.SNAP,
        from_=2,
        to=1,
        term=message_term,
        snapshot=Snapshot(index, term, ConfState(list(voters)), b"store"),
    )


def network_behind() -> Network:
    """3 was away while 1 and 2 went on and compacted their logs."""
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"a")
    network.isolate(3)
    for data in (b"b", b"c", b"d"):
        network.propose(1, data)
    for id_ in (1, 2):
        network.members[id_].make_snapshot()
        network[id_].compact(network[id_].applied)
    return network


# ---- taking one


def test_a_server_compacts_only_what_is_applied_and_keeps_the_last_index_and_term() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"a", b"b", b"c")
    member = network.members[1]
    snapshot = member.make_snapshot(3)
    assert (snapshot.index, snapshot.term, snapshot.conf_state) == (3, 1, ConfState([1, 2, 3]))
    member.node.compact(3)
    assert (member.node.first_index, member.node.last_index) == (4, 4)
    assert [member.node.term_at(index) for index in (2, 3, 4, 5)] == [None, 1, 1, None]
    network.propose(1, b"d")
    assert network.members[3].applied_data == [b"a", b"b", b"c", b"d"]


def test_compacting_twice_or_with_an_older_snapshot_changes_nothing() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"a", b"b")
    member = network.members[1]
    newest = member.make_snapshot(3)
    member.node.compact(2)
    member.node.compact(1)
    assert member.node.create_snapshot(2, ConfState([9])) is newest
    assert (member.node.first_index, member.node.snapshot) == (3, newest)


def test_compacting_what_no_snapshot_covers_is_our_own_bug() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"a", b"b")
    with pytest.raises(AssertionError):
        network[1].compact(2)
    with pytest.raises(AssertionError):
        network[1].create_snapshot(9, ConfState([1]))


def test_a_member_restarts_from_its_snapshot_and_what_follows() -> None:
    network = Network(THREE)
    network.elect(1)
    network.propose(1, b"a", b"b", b"c")
    member = network.members[1]
    member.make_snapshot(2)
    member.restart()
    answers(member)
    assert member.applied_data == [b"b", b"c"]
    assert (member.node.applied, member.node.first_index) == (4, 3)


def test_what_the_store_has_already_is_not_handed_out_again() -> None:
    member = member_with(1, (1,), 1, 1, 1, 1, term=1, commit=3)
    node = type(member.node)(
        member.config,
        hard_state=HardState(1, 0, 3),
        snapshot=member.disk.snapshot,
        entries=log_of(1, 1, 1, 1),
        applied=2,
        conf_state=ConfState([1, 2]),
    )
    assert [entry.index for entry in node.ready().committed_entries] == [3]
    assert node.conf_state == ConfState([1, 2])


def test_a_store_ahead_of_the_saved_commit_index_is_given_those_entries_again() -> None:
    member = member_with(1, (1,), 1, 1, 1, term=1, commit=1)
    node = type(member.node)(
        member.config,
        hard_state=HardState(1, 0, 1),
        snapshot=member.disk.snapshot,
        entries=log_of(1, 1, 1),
        applied=3,
    )
    assert (node.applied, node.commit) == (1, 1)


# ---- sending one


def test_a_leader_sends_a_snapshot_when_it_no_longer_has_the_next_entry() -> None:
    network = network_behind()
    network.heal()
    network.tick(1)
    network.settle()
    assert network[3].last_index == network[1].last_index
    assert network[3].first_index == 6
    network.propose(1, b"e")
    assert network.members[3].applied_data == [b"e"]


def test_no_snapshot_is_sent_to_a_member_that_does_not_answer() -> None:
    network = network_behind()
    for _ in range(25):
        network.tick(1)
        network.settle()
    network[1].report_unreachable(3)
    network.propose(1, b"e")
    assert MessageType.SNAP not in {message.type for message in network.lost}
    progress = network[1].status().progress_by_id[3]
    assert (progress.state, progress.next, progress.is_active) == (ProgressState.PROBE, 3, False)


def leader_sending_a_snapshot() -> Network:
    network = network_behind()
    network.heal()
    network.dropped_types = {MessageType.SNAP}
    network.tick(1)
    network.settle()
    progress = network[1].status().progress_by_id[3]
    assert (progress.state, progress.pending_snapshot, progress.next) == (ProgressState.SNAPSHOT, 5, 6)
    return network


def test_while_a_snapshot_is_under_way_nothing_else_is_sent_but_heartbeats() -> None:
    network = leader_sending_a_snapshot()
    network[1].propose([b"e"])
    network.tick(1)
    assert {m.type for m in network.turn(1).messages if m.to == 3} == {MessageType.HEARTBEAT}


def test_after_a_snapshot_arrived_the_leader_waits_for_an_answer_before_it_sends_more() -> None:
    network = leader_sending_a_snapshot()
    network[1].report_snapshot(3, True)
    progress = network[1].status().progress_by_id[3]
    assert (progress.state, progress.next, progress.is_paused) == (ProgressState.PROBE, 6, True)


def test_after_a_snapshot_failed_the_leader_tries_again_after_the_next_heartbeat_response() -> None:
    network = leader_sending_a_snapshot()
    network[1].report_snapshot(3, False)
    progress = network[1].status().progress_by_id[3]
    assert (progress.state, progress.next, progress.is_paused) == (ProgressState.PROBE, 3, True)
    network.heal()
    network.tick(1)
    network.settle()
    assert network[3].last_index == network[1].last_index


def test_an_acknowledgement_ends_the_snapshot_state_even_if_the_transport_never_reports() -> None:
    network = leader_sending_a_snapshot()
    network[1].step(Message(MessageType.APP_RESP, from_=3, to=1, term=1, index=5))
    assert network[1].status().progress_by_id[3].state is ProgressState.REPLICATE


def test_an_acknowledgement_of_less_than_the_log_begins_with_does_not() -> None:
    network = leader_sending_a_snapshot()
    network[1].step(Message(MessageType.APP_RESP, from_=3, to=1, term=1, index=3))
    assert network[1].status().progress_by_id[3].state is ProgressState.SNAPSHOT


def test_a_report_about_a_member_that_gets_no_snapshot_changes_nothing() -> None:
    network = Network(THREE)
    network.elect(1)
    before = network[1].status()
    network[1].report_snapshot(3, True)
    network[1].report_snapshot(9, False)
    network[2].report_snapshot(1, False)
    network[2].report_unreachable(1)
    network[1].report_unreachable(9)
    assert network[1].status() == before


# ---- receiving one


def test_a_snapshot_with_new_information_replaces_the_entire_log() -> None:
    member = member_with(1, THREE, 1, 2, 2, term=2)
    member.node.step(snapshot_message(11, 5, voters=(1, 2, 3, 4)))
    ready = member.node.ready()
    assert ready.snapshot is not None
    assert (ready.snapshot.index, ready.snapshot.data, ready.must_sync) == (11, b"store", True)
    assert ready.hard_state == HardState(9, 0, 11)
    assert ready.messages == [Message(MessageType.APP_RESP, from_=1, to=2, term=9, index=11)]
    member.node.advance(ready)
    node = member.node
    assert (node.first_index, node.last_index, node.commit, node.applied) == (12, 11, 11, 11)
    assert (node.term_at(11), node.conf_state) == (5, ConfState([1, 2, 3, 4]))


def test_a_snapshot_of_what_is_committed_already_is_ignored() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1, commit=3)
    answers(member)
    member.node.step(snapshot_message(3, 1))
    assert answers(member) == [Message(MessageType.APP_RESP, from_=1, to=2, term=9, index=3)]
    assert (member.node.first_index, member.node.last_index) == (1, 3)


def test_if_the_log_has_the_snapshots_last_entry_it_is_kept_and_only_the_commit_index_moves() -> None:
    member = member_with(1, THREE, 1, 1, 1, 1, term=1)
    member.node.step(snapshot_message(3, 1))
    ready = member.turn()
    assert ready.snapshot is None
    assert (member.node.commit, member.node.last_index, ready.messages[0].index) == (3, 4, 3)


def test_a_snapshot_that_does_not_name_us_is_ignored() -> None:
    member = member_with(1, (1, 2, 3))
    member.node.step(snapshot_message(11, 5, voters=(2, 3)))
    assert answers(member) == [Message(MessageType.APP_RESP, from_=1, to=2, term=9, index=0)]
    assert member.node.last_index == 0


def test_until_the_snapshot_is_saved_the_member_does_not_campaign() -> None:
    member = member_with(1, THREE)
    member.node.step(snapshot_message(11, 5))
    member.node.campaign()
    assert member.node.role is Role.FOLLOWER
    answers(member)
    member.node.campaign()
    assert member.node.role is not Role.FOLLOWER


def test_a_newer_snapshot_that_arrives_during_the_save_is_handed_out_next() -> None:
    member = member_with(1, THREE)
    member.node.step(snapshot_message(11, 5))
    ready = member.node.ready()
    member.node.step(snapshot_message(20, 6))
    member.node.advance(ready)
    ready = member.node.ready()
    assert ready.snapshot is not None
    assert ready.snapshot.index == 20
    member.node.advance(ready)
    assert (member.node.applied, member.node.first_index, member.node.has_ready()) == (20, 21, False)


def test_a_snapshot_that_arrives_while_entries_are_applied_does_not_disturb_them() -> None:
    member = member_with(1, THREE, 1, 1, 1, term=1, commit=3)
    ready = member.node.ready()
    assert len(ready.committed_entries) == 3
    member.node.step(snapshot_message(11, 5))
    member.node.advance(ready)
    assert (member.node.applied, member.node.commit) == (3, 11)
    ready = member.turn()
    assert ready.snapshot is not None
    assert member.node.applied == 11


def test_entries_that_follow_a_snapshot_are_saved_with_it() -> None:
    member = member_with(1, THREE)
    member.node.step(snapshot_message(11, 5))
    member.node.step(
        Message(
            MessageType.APP,
            from_=2,
            to=1,
            term=9,
            index=11,
            log_term=5,
            entries=log_of(6, first=12),
            commit=12,
        )
    )
    ready = member.turn()
    assert ready.snapshot is not None
    assert [entry.index for entry in ready.entries] == [12]
    assert ready.committed_entries == []  # first the snapshot
    assert [entry.index for entry in member.turn().committed_entries] == [12]


def test_a_member_without_anything_joins_by_a_snapshot() -> None:
    member = Member(member_with(1, THREE).config, Disk())
    for _ in range(100):
        member.node.tick()
    assert (member.node.term, member.node.role) == (0, Role.FOLLOWER)
    member.node.step(snapshot_message(11, 5))
    answers(member)
    assert (member.node.term, member.node.last_index, member.node.conf_state.voters) == (9, 11, [1, 2, 3])
