"""raftpb bytes: round trips, the exact bytes that Go's generated code writes, and what garbage does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcdpy.proto import raft_pb2
from etcdpy.raft import codec
from etcdpy.raft.errors import MalformedMessage
from etcdpy.raft.messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

thorough = settings(derandomize=True, max_examples=200, deadline=None)

U64 = st.integers(0, 2**64 - 1)
COUNT = st.one_of(st.integers(0, 300), st.integers(0, codec.NUMBER_MAX - 1))
ID = st.integers(1, 2**64 - 1)
DATA = st.one_of(st.binary(max_size=40), st.just(b"x" * 5000))
ENTRIES = st.builds(Entry, U64, U64, st.sampled_from(EntryType), DATA)
HARD_STATES = st.builds(HardState, U64, U64, U64)
SINGLES = st.builds(ConfChangeSingle, st.sampled_from(ConfChangeType), U64)
CONF_CHANGES = st.builds(ConfChange, st.sampled_from(ConfChangeType), U64, DATA, U64)
CONF_CHANGES_V2 = st.builds(
    ConfChangeV2, st.lists(SINGLES, max_size=4), st.sampled_from(ConfChangeTransition), DATA
)


@st.composite
def conf_states(draw: st.DrawFn) -> ConfState:
    ids = draw(st.lists(ID, min_size=4, max_size=9, unique=True))
    cut = draw(st.integers(1, 3))
    voters, learners = ids[:cut], ids[cut + 1 :]
    if not draw(st.booleans()):
        return ConfState(voters, learners)
    return ConfState(
        voters, learners, [*voters, ids[cut]], draw(st.sampled_from([[], [ids[cut]]])), draw(st.booleans())
    )


SNAPSHOTS = st.builds(Snapshot, COUNT.filter(bool), COUNT, conf_states(), DATA)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(MessageType))
    term, index = draw(COUNT.filter(bool)), draw(COUNT)
    count = 1 if kind in (MessageType.READ_INDEX, MessageType.READ_INDEX_RESP) else draw(st.integers(1, 3))
    entries = draw(st.lists(ENTRIES, min_size=count, max_size=count))
    if kind is MessageType.APP:
        entries = [Entry(term, index + 1 + n, e.type, e.data) for n, e in enumerate(entries)]
    return Message(
        kind,
        to=draw(ID),
        from_=draw(ID),
        term=term,
        log_term=draw(st.integers(0, term)),
        index=index,
        entries=entries,
        commit=draw(U64),
        vote=draw(U64),
        snapshot=draw(SNAPSHOTS) if kind is MessageType.SNAP else None,
        reject=draw(st.booleans()),
        reject_hint=draw(U64),
        context=draw(DATA),
    )


# ---- round trips


@thorough
@given(ENTRIES)
def test_an_entry_comes_back(entry: Entry) -> None:
    assert codec.decode_entry(codec.encode_entry(entry)) == entry
    assert entry.encoded == codec.encode_entry(entry)


@thorough
@given(messages())
def test_a_message_comes_back(message: Message) -> None:
    decoded = codec.decode_message(codec.encode_message(message))
    assert decoded == message
    assert codec.encode_message(decoded) == codec.encode_message(message)


@thorough
@given(HARD_STATES, SNAPSHOTS, CONF_CHANGES, CONF_CHANGES_V2)
def test_states_snapshots_and_changes_come_back(
    state: HardState, snapshot: Snapshot, change: ConfChange, change_v2: ConfChangeV2
) -> None:
    assert codec.decode_hard_state(codec.encode_hard_state(state)) == state
    assert codec.decode_snapshot(codec.encode_snapshot(snapshot)) == snapshot
    assert codec.decode_conf_state(codec.encode_conf_state(snapshot.conf_state)) == snapshot.conf_state
    assert codec.decode_conf_change(codec.encode_conf_change(change)) == change
    assert codec.decode_conf_change_v2(codec.encode_conf_change(change_v2)) == change_v2


@thorough
@given(st.lists(ENTRIES, max_size=12), st.integers(0, 2**63), st.integers(0, 2**40))
def test_a_run_of_entries_is_sealed_as_each_would_be_alone(
    entries: list[Entry], first: int, term: int
) -> None:
    for offset, entry in enumerate(entries[::2]):
        entry.index, entry.term = first + offset, term
    alone = [codec.encode_entry(Entry(e.term, e.index, e.type, e.data)) for e in entries]
    codec.seal(entries)
    assert [entry.encoded for entry in entries] == alone


def test_a_sealed_entry_is_not_encoded_again() -> None:
    entry = Entry(1, 1, EntryType.NORMAL, b"x", encoded=b"kept")
    codec.seal([entry])
    assert codec.encode_entry(entry) == b"kept"


# ---- the exact bytes


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry(0, 0), "080010001800"),
        (Entry(1, 2, EntryType.NORMAL, b"ab"), "08001001180222026162"),
        (Entry(300, 127, EntryType.CONF_CHANGE), "080110ac02187f"),
        (Entry(1, 128, EntryType.CONF_CHANGE_V2), "08021001188001"),
        (Entry(1, 16384, EntryType.NORMAL, b"z"), "0800100118808001" + "22017a"),
    ],
)
def test_every_number_of_an_entry_is_written_and_data_only_if_there_is_any(
    entry: Entry, expected: str
) -> None:
    assert codec.encode_entry(entry).hex() == expected


def test_every_number_of_a_message_is_written_even_if_it_is_zero() -> None:
    message = Message(MessageType.HEARTBEAT, to=2, from_=1, term=3, commit=4)
    expected = "0808100218012003280030004004500058006800"
    assert codec.encode_message(message).hex() == expected
    with_context = Message(MessageType.HEARTBEAT, to=2, from_=1, term=3, commit=4, context=b"c")
    assert codec.encode_message(with_context).hex() == expected[:-4] + "620163" + "6800"


def test_a_hard_state_conf_state_and_change_are_written_whole() -> None:
    assert codec.encode_hard_state(HardState()).hex() == "080010001800"
    assert codec.encode_conf_state(ConfState([1, 2], [3])).hex() == "0801080210032800"
    assert codec.encode_conf_change(ConfChange()).hex() == "080010001800"
    assert codec.encode_conf_change(ConfChangeV2()).hex() == "0800"


@thorough
@given(messages())
def test_protobuf_reads_what_we_write(message: Message) -> None:
    parsed = raft_pb2.Message.FromString(codec.encode_message(message))
    assert (int(parsed.type), parsed.to, parsed.term, parsed.commit) == (
        message.type, message.to, message.term, message.commit,
    )  # fmt: skip
    assert [entry.SerializeToString() for entry in parsed.entries] == [e.encoded for e in message.entries]


# ---- garbage


DECODERS = (
    codec.decode_entry,
    codec.decode_message,
    codec.decode_hard_state,
    codec.decode_conf_state,
    codec.decode_snapshot,
    codec.decode_conf_change,
    codec.decode_conf_change_v2,
)


@thorough
@given(st.binary(max_size=60))
@example(b"\xff")
@example(b"\x08")
def test_garbage_parses_or_raises_malformed_message_and_nothing_else(data: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(data)
        except MalformedMessage:
            pass


@thorough
@given(messages(), st.data())
def test_a_damaged_message_parses_or_raises_malformed_message(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode_message(message))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(encoded), bytes(encoded[:position])):
        try:
            codec.decode_message(damaged)
        except MalformedMessage:
            pass


def test_truncated_bytes_are_malformed() -> None:
    for decode in DECODERS:
        with pytest.raises(MalformedMessage):
            decode(b"\x0a\x05ab")


def app(*entries: Entry, term: int = 5, log_term: int = 3, index: int = 7) -> Message:
    return Message(
        MessageType.APP, to=1, from_=2, term=term, log_term=log_term, index=index, entries=list(entries)
    )


@pytest.mark.parametrize(
    "message",
    [
        app(Entry(4, 9)),
        app(Entry(4, 8), Entry(4, 8)),
        app(Entry(2, 8)),
        app(Entry(6, 8)),
        app(Entry(5, 8), Entry(4, 9)),
        app(term=0),
        app(term=codec.NUMBER_MAX),
        app(index=codec.NUMBER_MAX),
        Message(MessageType.APP, to=1, term=1),
        Message(MessageType.SNAP, to=1, from_=2, term=5),
        Message(MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(0, 0, ConfState([1]))),
        Message(
            MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(codec.NUMBER_MAX, 1, ConfState([1]))
        ),
        Message(MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(5, 1, ConfState([1, 2], [2]))),
        Message(
            MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(5, 1, ConfState([1], [], [2], [3]))
        ),
        Message(
            MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(5, 1, ConfState([1], [], [1], [1]))
        ),
        Message(
            MessageType.SNAP, to=1, from_=2, term=5, snapshot=Snapshot(5, 1, ConfState([1], auto_leave=True))
        ),
        Message(MessageType.PROP, to=1, from_=2),
        Message(MessageType.READ_INDEX, to=1, from_=2),
        Message(MessageType.READ_INDEX_RESP, to=1, from_=2, term=1, entries=[Entry(0, 0), Entry(0, 0)]),
        Message(MessageType.VOTE, to=1, from_=2),
    ],
)
def test_what_no_correct_member_sends_is_malformed(message: Message) -> None:
    with pytest.raises(MalformedMessage):
        codec.decode_message(codec.encode_message(message))


def test_a_sign_of_life_between_connections_passes() -> None:
    assert codec.decode_message(codec.encode_message(Message(MessageType.HEARTBEAT))).to == 0


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (codec.decode_conf_change, b"\x08\x01\x10\x09\x18\x05"),
        (codec.decode_conf_change_v2, b"\x08\x07"),
        (codec.decode_conf_change_v2, b"\x08\x00\x12\x04\x08\x09\x10\x05"),
        (codec.decode_entry, b"\x08\x03\x10\x01\x18\x01"),
    ],
)
def test_an_unknown_kind_is_refused_and_not_taken_for_the_first_one(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with pytest.raises(MalformedMessage):
        decode(data)


def test_a_message_of_an_unknown_kind_becomes_one_that_never_enters() -> None:
    assert codec.decode_message(b"\x08\x63\x10\x01\x18\x02\x20\x01").type is MessageType.HUP


def test_the_change_of_an_entry_is_found_by_its_type() -> None:
    v1, v2 = ConfChange(ConfChangeType.ADD_NODE, 4), ConfChangeV2()
    assert codec.conf_change_of(Entry(1, 1, EntryType.CONF_CHANGE, codec.encode_conf_change(v1))) == v1
    assert codec.conf_change_of(Entry(1, 1, EntryType.CONF_CHANGE_V2)) == v2
