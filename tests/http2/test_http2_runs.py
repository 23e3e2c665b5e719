"""Bodies of many small parts: sent like any other bytes, counted like them, and joined only when sent."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.http2 import ErrorCode, Limits
from etcdpy.http2.runs import PIECE_BYTES, Run
from tests.http2 import wire
from tests.http2.wire import ANSWER, TRAILERS, Client, Frame, request, reset, window_update

MIB = 1024 * 1024
PARTS = [b"p%04d" % number * 200 for number in range(2000)]  # 2 MB
SIZE = sum(map(len, PARTS))


def wide(limits: Limits | None = None, *, stream_window: int = 2**31 - 1) -> Client:
    client = Client(limits)
    client.send(wire.settings((4, stream_window)), window_update(0, 2**31 - 1 - 65_535))
    return client


def answer(client: Client, stream_id: int, head: bytes, parts: list[bytes]) -> None:
    client.engine.send_headers(stream_id, ANSWER)
    assert client.engine.send_run(stream_id, head, parts, sum(map(len, parts)))
    client.engine.send_headers(stream_id, TRAILERS, end_stream=True)


def content(frames: list[Frame], stream_id: int = 1) -> bytes:
    return b"".join(one.payload for one in frames if (one.kind, one.stream_id) == (wire.DATA, stream_id))


@settings(deadline=None)
@given(
    st.binary(max_size=20),
    st.lists(st.binary(max_size=300), min_size=1, max_size=30),
    st.lists(st.integers(1, 500), max_size=60),
)
def test_any_parts_through_any_windows(head: bytes, parts: list[bytes], windows: list[int]) -> None:
    client = wide(stream_window=0)
    client.send(request(1, end=True))
    client.engine.send_headers(1, ANSWER)
    client.engine.send_run(1, head, parts, sum(map(len, parts)))
    client.engine.send_headers(1, TRAILERS, end_stream=True)
    frames = client.read_all()
    for window in windows:
        client.engine.receive_data(window_update(1, window), 0.0)
        frames += client.read_all()
    client.engine.receive_data(window_update(1, 1_000_000), 0.0)
    frames += client.read_all()
    assert content(frames) == head + b"".join(parts)
    assert frames[-1].kind == wire.HEADERS
    assert client.engine.queued_bytes == client.engine.open_streams == 0


@pytest.mark.parametrize(
    "sizes", [[1] * 1000, [1000] * 1000, [0, 0, 5], [300_000], [1] * 999 + [10 * PIECE_BYTES]]
)
def test_pieces_are_what_the_parts_are(sizes: list[int]) -> None:
    parts = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    run, pieces = Run(parts, sum(sizes)), []
    while run.has_more:
        pieces.append(run.take())
    assert b"".join(pieces) == b"".join(parts)
    if len(set(sizes)) == 1:
        assert max(map(len, pieces)) <= max(PIECE_BYTES, sizes[0])
    assert len(pieces) <= sum(sizes) // PIECE_BYTES * 2 + 2


def test_what_waits_is_counted_and_not_joined() -> None:
    client = wide(stream_window=0)
    tracemalloc.start()
    try:
        for stream_id in range(1, 21, 2):
            client.engine.receive_data(request(stream_id, end=True), 0.0)
            answer(client, stream_id, b"head", PARTS)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.engine.queued_bytes == 10 * (SIZE + 4)
    assert client.engine.pending_bytes(1) == SIZE + 4
    assert kept <= peak < 200_000
    client.send(reset(1))
    assert client.engine.queued_bytes == 9 * (SIZE + 4)


def test_a_reader_of_little_is_cut_off_like_any_other() -> None:
    limits = Limits()
    client = wide(stream_window=0)
    client.send(request(1, end=True))
    answer(client, 1, b"", PARTS)
    for _ in range(int(limits.stall_seconds)):
        client.engine.receive_data(window_update(1, 100), client.now)
        client.wait(1.0)
    assert client.code == ErrorCode.ENHANCE_YOUR_CALM


def test_more_than_may_wait_refuses_new_requests_and_then_the_client() -> None:
    client = wide(Limits(queued_bytes_refuse=SIZE, queued_bytes_max=2 * SIZE + 2), stream_window=0)
    client.send(request(1, end=True), request(3, end=True), request(5, end=True))
    answer(client, 1, b"more than refuse", PARTS)
    client.read()
    refused = client.send(request(7, end=True))
    assert [(one.kind, one.number) for one in refused] == [(wire.RST_STREAM, ErrorCode.REFUSED_STREAM)]
    answer(client, 3, b"", PARTS)
    client.read()
    assert client.code == ErrorCode.ENHANCE_YOUR_CALM


def test_others_take_their_turn_and_the_same_parts_serve_many() -> None:
    client = wide()
    client.send(*(request(stream_id, end=True) for stream_id in (1, 3, 5)))
    answer(client, 1, b"one", PARTS)
    answer(client, 3, b"three", PARTS)
    client.engine.send_response(5, ANSWER, [b"quick"], TRAILERS)
    first = client.read()
    assert content(first, 5) == b"quick"
    assert abs(len(content(first, 1)) - len(content(first, 3))) <= 16_384
    frames = first + client.read_all()
    assert content(frames, 1) == b"one" + b"".join(PARTS)
    assert content(frames, 3) == b"three" + b"".join(PARTS)


def test_a_stream_that_is_gone_takes_none() -> None:
    client = wide()
    client.send(request(1, end=True), reset(1))
    assert not client.engine.send_run(1, b"", PARTS, SIZE)
    assert client.engine.queued_bytes == 0
