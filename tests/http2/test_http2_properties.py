"""Any cut of any valid stream gives the same; any garbage gives a fault of ours and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.http2 import PREFACE, ConnectionFault, ErrorCode
from etcdpy.http2.hpack import Decoder, Encoder
from tests.http2 import wire
from tests.http2.fuzz_engine import judge
from tests.http2.wire import Client, body, cut_frames, frame, request, reset, window_update

CORPUS = sorted(Path(__file__).parent.joinpath("corpus").iterdir())
PROFILE = settings(derandomize=True, max_examples=200, deadline=None)

VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
NAME = st.sampled_from(["a", "token", "grpc-timeout", "x-trace", "content-type"])
BODY = st.binary(max_size=200)
SPLIT = st.integers(25, 200)


class Script:
    """Draws a valid client's byte stream, one request after another and interleaved."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.encoder = Encoder()
        self.pieces = [PREFACE, wire.settings((4, 1000)), frame(wire.SETTINGS, wire.ACK)]
        self.next_id = 1
        self.open: list[int] = []

    def headers(self, stream_id: int, fields: list[tuple[str, str]], end: bool) -> None:
        block = self.encoder.encode(fields)
        flags = wire.END_STREAM if end else 0
        prefix = suffix = b""
        if self.draw(st.booleans()):
            flags |= wire.PADDED
            suffix = bytes(self.draw(st.integers(0, 20)))
            prefix = bytes((len(suffix),))
        if self.draw(st.booleans()):
            flags |= wire.WITH_PRIORITY
            prefix += b"\0\0\0\0\x10"
        cut = min(len(block), self.draw(SPLIT))
        if cut == len(block):
            flags |= wire.END_HEADERS
        self.pieces.append(frame(wire.HEADERS, flags, stream_id, prefix + block[:cut] + suffix))
        while cut < len(block):
            end_cut = min(len(block), cut + self.draw(SPLIT))
            last = wire.END_HEADERS if end_cut == len(block) else 0
            self.pieces.append(frame(wire.CONTINUATION, last, stream_id, block[cut:end_cut]))
            cut = end_cut

    def begin(self) -> None:
        end = self.draw(st.booleans())
        extra = self.draw(st.lists(st.tuples(NAME, VALUE), max_size=3))
        self.headers(self.next_id, [*wire.REQUEST, *extra], end)
        if not end:
            self.open.append(self.next_id)
        self.next_id += 2

    def data(self) -> None:
        stream_id = self.draw(st.sampled_from(self.open))
        end = self.draw(st.booleans())
        self.pieces.append(body(stream_id, self.draw(BODY), end=end))
        if end:
            self.open.remove(stream_id)

    def trailers(self) -> None:
        stream_id = self.draw(st.sampled_from(self.open))
        self.headers(stream_id, self.draw(st.lists(st.tuples(NAME, VALUE), max_size=2)), True)
        self.open.remove(stream_id)

    def give_up(self) -> None:
        stream_id = self.draw(st.sampled_from(self.open))
        self.pieces.append(reset(stream_id))
        self.open.remove(stream_id)

    def other(self) -> None:
        choices = [
            window_update(0, 1000),
            frame(wire.PRIORITY, 0, self.next_id, bytes(5)),
            frame(0x77, 3, 0, b"extension"),
            wire.settings((1, 100)),
            wire.settings((1, 4096), (4, 70_000)),
        ]
        self.pieces.append(self.draw(st.sampled_from(choices)))


@st.composite
def valid_streams(draw: st.DrawFn) -> bytes:
    script = Script(draw)
    script.begin()
    for _ in range(draw(st.integers(0, 15))):
        steps = [script.begin, script.other]
        if script.open:
            steps += [script.data, script.data, script.trailers, script.give_up]
        draw(st.sampled_from(steps))()
    return b"".join(script.pieces)


def run(pieces: list[bytes]) -> tuple[Client, bytes]:
    client = Client(greet=False, answer=True)
    output = []
    for piece in pieces:
        client.engine.receive_data(piece, 0.0)
        output.append(client.engine.data_to_send())
    while client.engine.wants_write:
        output.append(client.engine.data_to_send())
    return client, b"".join(output)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@PROFILE
@given(valid_streams(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_a_valid_stream_gives_the_same_events_and_answers(data: bytes, places: list[int]) -> None:
    whole, output = run([data])
    assert whole.code is None, whole.engine.fault
    pieces, output_of_pieces = run(cut(data, places))
    assert pieces.events == whole.events
    assert output_of_pieces == output
    octets, output_of_octets = run([bytes((octet,)) for octet in data])
    assert octets.events == whole.events
    assert output_of_octets == output


def test_every_single_cut_of_one_rich_stream() -> None:
    data = (
        wire.GREETING
        + request(1)
        + body(1, b"abc")
        + frame(wire.DATA, wire.PADDED, 1, b"\x02xy\0\0")
        + request(3, end=True)
        + request(5, flags=0)
        + frame(wire.CONTINUATION, wire.END_HEADERS, 5, b"\x40\x01a\x01b")
        + reset(5)
        + request(1, fields=[("sum", "1")], end=True)
        + frame(wire.PING, 0, 0, b"12345678")
        + frame(wire.GOAWAY, 0, 0, bytes(8) + b"bye")
    )
    whole, output = run([data])
    assert len(whole.events) == 7, whole.events
    for place in range(len(data)):
        client, answers = run([data[:place], data[place:]])
        assert client.events == whole.events
        assert answers == output


@PROFILE
@given(
    valid_streams(),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=5),
    st.integers(0, 255),
)
def test_a_damaged_stream_gives_a_fault_of_ours_or_events(
    data: bytes, damages: list[tuple[int, bytes]], mode: int
) -> None:
    damaged = bytearray(data)
    for place, octets in damages:
        place %= len(damaged) + 1
        damaged[place : place + len(octets)] = octets
    judge(bytes((mode & ~1 | 2,)) + bytes(damaged))
    whole, output = run([bytes(damaged)])
    octets_alone, output_of_octets = run([bytes((octet,)) for octet in damaged])
    assert octets_alone.events == whole.events
    assert output_of_octets == output


@PROFILE
@given(st.binary(max_size=400), st.integers(0, 255))
def test_garbage_gives_a_fault_of_ours(data: bytes, mode: int) -> None:
    judge(bytes((mode,)) + data)


@PROFILE
@given(
    st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=30)),
        max_size=30,
    ),
    st.integers(0, 255),
)
def test_any_frames_in_any_order_keep_the_promises(
    frames: list[tuple[int, int, int, bytes]], mode: int
) -> None:
    data = b"".join(bytes((kind, flags, stream, len(body))) + body for kind, flags, stream, body in frames)
    judge(bytes((mode & ~2 | 1,)) + data)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_corpus_of_the_fuzzer(path: Path) -> None:
    judge(path.read_bytes())


@PROFILE
@given(st.binary(max_size=60))
def test_any_block_decodes_or_is_a_compression_fault(block: bytes) -> None:
    decoder = Decoder(table_bytes=4096, list_bytes_max=10_000, fields_max=100)
    for _ in range(2):
        code = None
        try:
            decoder.decode(block)
        except ConnectionFault as fault:
            code = fault.code
        assert code in (None, ErrorCode.COMPRESSION_ERROR)
        assert decoder.table_bytes <= 4096


@PROFILE
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30_000)), max_size=30),
    st.integers(0, 40_000),
)
def test_answers_arrive_whole_and_never_exceed_a_window(
    answers: list[tuple[int, bool]], grants: list[tuple[int, int]], initial: int
) -> None:
    """Whatever the order of windows: each stream's bytes in order, at the end all of them, never one too
    many."""
    client = Client()
    client.send(wire.settings((4, initial)), *[request(2 * n + 1, end=True) for n in range(len(answers))])
    room = {0: 65_535, **{2 * n + 1: initial for n in range(len(answers))}}
    received = {2 * n + 1: b"" for n in range(len(answers))}
    expected = {2 * n + 1: bytes((65 + n,)) * size for n, (size, _) in enumerate(answers)}
    frames = []
    for n, (size, with_trailers) in enumerate(answers):
        client.engine.send_headers(2 * n + 1, wire.ANSWER)
        parts = [expected[2 * n + 1][: size // 3], expected[2 * n + 1][size // 3 :]]
        client.engine.send_data(2 * n + 1, parts, end_stream=not with_trailers)
        if with_trailers:
            client.engine.send_headers(2 * n + 1, wire.TRAILERS, end_stream=True)
    everything = [(2 * n + 1, 2**30) for n in range(len(answers))] + [(0, 2**30)]
    named = [(2 * stream - 1 if stream else 0, size) for stream, size in grants if stream <= len(answers)]
    for stream_id, size in [(-1, 0), *named, *everything]:
        if stream_id >= 0:
            client.engine.receive_data(window_update(stream_id, size), 0.0)
            room[stream_id] += size
        while client.engine.wants_write:
            frames = cut_frames(client.engine.data_to_send())
            for one in frames:
                if one.kind == wire.DATA:
                    received[one.stream_id] += one.payload
                    room[one.stream_id] -= len(one.payload)
                    room[0] -= len(one.payload)
            assert min(room.values()) >= 0, room
    assert received == expected
    assert client.engine.open_streams == 0
    assert client.engine.queued_bytes == 0
