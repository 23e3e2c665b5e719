"""What `RawNode` promises to the shell that turns its crank."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - keeps the lambda types readable

import pytest

from etcdpy.raft.errors import LogDiverged
from etcdpy.raft.messages import (
    LOCAL_TYPES,
    ConfChange,
    ConfChangeType,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    ReadState,
    Role,
    Snapshot,
    SoftState,
)
from etcdpy.raft.progress import ProgressState
from etcdpy.raft.raw_node import Config, RawNode
from tests.raft.network import Network, answers, fixed, log_of, member_with

THREE = (1, 2, 3)


def leader() -> Network:
    network = Network((1,))
    network.elect(1)
    return network


def test_nothing_happens_by_itself() -> None:
    member = member_with(1, THREE, 1, 1, term=1, vote=2)
    assert not member.node.has_ready()
    ready = member.node.ready()
    assert (ready.soft_state, ready.hard_state, ready.entries, ready.messages, ready.must_sync) == (
        None,
        None,
        [],
        [],
        False,
    )
    member.node.advance(ready)


def test_a_member_starts_with_what_is_on_disk() -> None:
    node = member_with(1, THREE, 1, 2, 2, term=3, vote=2, commit=1).node
    assert (node.id, node.term, node.vote, node.commit, node.applied) == (1, 3, 2, 1, 0)
    assert (node.first_index, node.last_index, node.leader, node.role) == (1, 3, 0, Role.FOLLOWER)
    assert [node.term_at(index) for index in range(5)] == [0, 1, 2, 2, None]


def test_a_member_without_anything_waits_to_be_told() -> None:
    node = RawNode(Config(id=1, randrange=fixed()))
    for _ in range(50):
        node.tick()
    assert not node.has_ready()
    assert (node.conf_state, node.snapshot.index) == (ConfState(), 0)


@pytest.mark.parametrize(
    ("state", "entries"),
    [
        (HardState(1, 0, 3), log_of(1, 1)),
        (HardState(1, 0, 0), log_of(1, first=2)),
        (HardState(), [Entry(1, 1), Entry(1, 3)]),
    ],
)
def test_a_log_that_contradicts_itself_is_refused(state: HardState, entries: list[Entry]) -> None:
    with pytest.raises(LogDiverged):
        RawNode(Config(id=1, randrange=fixed()), hard_state=state, entries=entries)


def test_a_commit_index_below_the_snapshot_is_raised_to_it() -> None:
    node = RawNode(
        Config(id=1, randrange=fixed()),
        hard_state=HardState(2, 0, 3),
        snapshot=Snapshot(5, 2, ConfState([1])),
    )
    assert (node.commit, node.applied, node.first_index) == (5, 5, 6)


def test_there_is_one_ready_at_a_time() -> None:
    network = leader()
    network[1].propose([b"x"])
    ready = network[1].ready()
    assert not network[1].has_ready()
    with pytest.raises(AssertionError):
        network[1].ready()
    with pytest.raises(AssertionError):
        network[1].advance(type(ready)())
    network[1].advance(ready)
    assert network[1].has_ready()


def test_calls_between_ready_and_advance_come_out_with_the_next_ready() -> None:
    network = leader()
    node = network[1]
    node.propose([b"a"])
    ready = node.ready()
    node.propose([b"b"])
    node.tick()
    node.read_index(b"r")
    node.advance(ready)
    following = node.ready()
    assert [entry.data for entry in following.entries] == [b"b"]
    assert [entry.data for entry in following.committed_entries] == [b"a"]
    assert following.read_states == [ReadState(1, b"r")]


def test_states_come_out_only_when_they_change() -> None:
    member = member_with(1, THREE, term=1)
    member.node.step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=1))
    ready = member.turn()
    assert (ready.soft_state, ready.hard_state) == (SoftState(2, Role.FOLLOWER), None)
    member.node.step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=1))
    assert member.turn().soft_state is None
    member.node.step(Message(MessageType.HEARTBEAT, from_=2, to=1, term=2))
    assert member.turn().hard_state == HardState(2, 0, 0)


def test_a_commit_index_alone_need_not_be_synced() -> None:
    network = leader()
    network[1].propose([b"x"])
    assert network.turn(1).must_sync
    ready = network.turn(1)
    assert (ready.hard_state, ready.must_sync) == (HardState(1, 1, 2), False)


def test_a_commit_index_that_covers_a_configuration_change_is_synced() -> None:
    network = leader()
    network[1].propose_conf_change(ConfChange(ConfChangeType.ADD_LEARNER_NODE, 2))
    network.turn(1)
    ready = network.turn(1)
    assert ([entry.type for entry in ready.committed_entries], ready.entries) == ([EntryType.CONF_CHANGE], [])
    assert ready.must_sync
    network[1].propose([b"x"])
    network.turn(1)
    assert not network.turn(1).must_sync


@pytest.mark.parametrize("kind", sorted(LOCAL_TYPES))
def test_local_messages_are_dropped_when_they_come_from_outside(kind: MessageType) -> None:
    member = member_with(1, (1,))
    member.node.step(Message(kind, from_=2, to=1, term=1))
    assert (member.node.has_ready(), member.node.term) == (False, 0)


def test_messages_from_nobody_or_in_our_own_name_are_dropped() -> None:
    member = member_with(1, THREE, term=1)
    for sender in (0, 1):
        member.node.step(Message(MessageType.HEARTBEAT, from_=sender, to=1, term=5))
    assert (member.node.term, member.node.leader) == (1, 0)


def test_answers_from_outside_the_configuration_are_dropped() -> None:
    member = member_with(1, THREE, term=1)
    member.node.step(Message(MessageType.VOTE_RESP, from_=9, to=1, term=5))
    assert member.node.term == 1
    member.node.step(Message(MessageType.HEARTBEAT, from_=9, to=1, term=5))
    assert member.node.leader == 9  # a leader may be one that we have not heard of yet


def test_our_own_proposal_that_went_around_is_taken() -> None:
    network = Network(THREE)
    network.elect(1)
    network[1].step(Message(MessageType.PROP, from_=1, to=1, entries=[Entry(0, 0, EntryType.NORMAL, b"x")]))
    network.settle()
    assert network.members[2].applied_data == [b"x"]


def test_confirmed_reads_may_be_taken_without_waiting_for_the_disk() -> None:
    network = leader()
    network[1].propose([b"x"])
    ready = network[1].ready()
    network[1].read_index(b"r")
    assert network[1].take_read_states() == [ReadState(1, b"r")]
    assert network[1].take_read_states() == []
    network[1].advance(ready)
    assert network[1].ready().read_states == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ConfState([1]), True),
        (ConfState([1], [2]), True),
        (ConfState([1, 2]), False),
        (ConfState([2]), False),
        (ConfState([1], [], [1, 2]), False),
        (ConfState(), False),
    ],
)
def test_a_member_is_alone_if_nobody_else_votes(state: ConfState, expected: bool) -> None:
    assert RawNode(Config(id=1, randrange=fixed()), conf_state=state).is_alone is expected


def test_status_shows_progress_on_a_leader_only() -> None:
    network = Network(THREE, learners=(4,))
    network.elect(1)
    status = network[1].status()
    assert (status.role, status.leader, status.conf_state) == (Role.LEADER, 1, ConfState([1, 2, 3], [4]))
    assert sorted(status.progress_by_id) == [1, 2, 3, 4]
    assert status.progress_by_id[4].is_learner
    assert status.progress_by_id[2].state is ProgressState.REPLICATE
    assert network[2].status().progress_by_id == {}


def test_what_happens_is_told_to_the_trace() -> None:
    told: list[tuple[str, Mapping[str, object]]] = []
    member = member_with(7, (7,), trace=lambda event, facts: told.append((event, facts)))
    told.clear()
    member.node.campaign()
    answers(member)
    assert [event for event, _ in told] == ["became_pre_candidate", "became_candidate", "became_leader"]
    assert told[-1][1] == {"id": 7, "term": 1, "last_index": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {"id": 0},
        {"election_ticks": 1},
        {"heartbeat_ticks": 0},
        {"inflight_messages_max": 0},
        {"message_bytes_max": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        Config(**{"id": 1, "randrange": fixed(), **settings})  # type: ignore[arg-type]


def test_entries_carry_the_bytes_that_go_to_the_log_file_and_to_every_peer() -> None:
    network = Network(THREE)
    network.elect(1)
    network[1].propose([b"a", b"b"])
    ready = network[1].ready()
    assert all(entry.encoded for entry in ready.entries)
    for message in ready.messages:
        assert [entry.encoded for entry in message.entries] == [entry.encoded for entry in ready.entries]
    network[1].advance(ready)


def test_an_append_that_was_built_by_hand_is_encoded_when_it_enters_the_log() -> None:
    member = member_with(1, THREE)
    member.node.step(Message(MessageType.APP, from_=2, to=1, term=1, entries=log_of(1, 1)))
    assert all(entry.encoded for entry in member.turn().entries)


def test_a_learner_alone_with_a_single_voter_gets_everything() -> None:
    network = Network((1,), learners=(2,))
    network.elect(1)
    network.propose(1, b"x")
    assert network.members[2].applied_data == [b"x"]
