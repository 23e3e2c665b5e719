"""Streams between members: any cut gives the same messages, any garbage gives our fault."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.peer.codec import AppDecoder, AppEncoder, MessageDecoder, MessageEncoder
from etcdpy.peer.errors import MalformedStream
from etcdpy.raft.messages import Entry, Message, MessageType

LOCAL, REMOTE = 7, 9

OLD_HEARTBEAT = bytes.fromhex(
    "08081000180020002800300040004a0a12080a02280010001800500058 00".replace(" ", "")
)
NEW_HEARTBEAT = bytes.fromhex("08081000180020002800300040005000580068 00".replace(" ", ""))


def appends(sizes: list[int], jumps: list[bool]) -> list[Message]:
    """A leader's appends: each continues the last one, unless it jumps back and repeats under a new term."""
    messages, index, term = [], 0, 1
    for size, jump in zip(sizes, jumps, strict=True):
        log_term = term if index else 0
        if jump and index:
            term, index = term + 1, index - 1
            log_term = term - 1
        entries = [Entry(term, index + n + 1, data=bytes([n])) for n in range(size)]
        messages.append(
            Message(
                MessageType.APP,
                to=LOCAL,
                from_=REMOTE,
                term=term,
                log_term=log_term,
                index=index,
                entries=entries,
                commit=index,
            )
        )
        index += size
    return messages


def cuts(data: bytes, places: list[int]) -> Iterator[bytes]:
    start = 0
    for place in sorted({place % (len(data) + 1) for place in places}):
        yield data[start:place]
        start = place
    yield data[start:]


def listed(message: Message) -> tuple[object, ...]:
    return (message.type, message.to, message.from_, message.term, message.log_term, message.index,
            list(message.entries), message.commit)  # fmt: skip


@settings(derandomize=True, deadline=None)
@given(
    shape=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12),
    places=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_a_msgapp_stream_survives_any_cut(shape: list[tuple[int, bool]], places: list[int]) -> None:
    messages = appends([size for size, _ in shape], [jump for _, jump in shape])
    encoder, decoder = AppEncoder(), AppDecoder(LOCAL, REMOTE)
    data = b"".join(encoder.encode(message) + encoder.heartbeat for message in messages)
    decoded = [message for part in cuts(data, places) for message in decoder.feed(part)]
    assert [listed(message) for message in decoded] == [listed(message) for message in messages]


@settings(derandomize=True, deadline=None)
@given(count=st.integers(0, 8), places=st.lists(st.integers(0, 1000), max_size=10))
def test_a_message_stream_survives_any_cut(count: int, places: list[int]) -> None:
    messages = [
        Message(MessageType.HEARTBEAT, to=LOCAL, from_=REMOTE, term=n + 1, context=b"c" * n)
        for n in range(count)
    ]
    encoder, decoder = MessageEncoder(), MessageDecoder()
    data = b"".join(encoder.encode(message) + encoder.heartbeat for message in messages)
    decoded = [message for part in cuts(data, places) for message in decoder.feed(part)]
    assert [(message.term, message.context) for message in decoded] == [
        (n + 1, b"c" * n) for n in range(count)
    ]


def test_an_append_that_continues_travels_without_its_head() -> None:
    first, second = appends([3, 3], [False, False])
    encoder = AppEncoder()
    assert encoder.encode(first)[0] == 2
    assert encoder.encode(second)[0] == 1


@pytest.mark.parametrize("heartbeat", [OLD_HEARTBEAT, NEW_HEARTBEAT, b"\x08\x08"])
def test_link_heartbeats_of_every_release_never_reach_raft(heartbeat: bytes) -> None:
    frame = len(heartbeat).to_bytes(8, "big") + heartbeat
    assert list(MessageDecoder().feed(frame)) == []


@settings(derandomize=True, deadline=None)
@given(garbage=st.binary(max_size=200))
def test_garbage_is_refused_or_waits_for_more(garbage: bytes) -> None:
    for decoder in (MessageDecoder(), AppDecoder(LOCAL, REMOTE)):
        try:
            list(decoder.feed(garbage))
        except MalformedStream:
            continue


def test_a_length_beyond_the_limit_is_refused_at_once() -> None:
    with pytest.raises(MalformedStream):
        list(MessageDecoder().feed((1 << 40).to_bytes(8, "big")))


def test_a_frame_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(MalformedStream):
        list(AppDecoder(LOCAL, REMOTE).feed(b"\x07"))
