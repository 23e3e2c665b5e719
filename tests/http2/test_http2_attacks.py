"""One attack for each named limit: it must end in ENHANCE_YOUR_CALM or a refusal, cost little, and spare
honest clients."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from etcdpy.http2 import PREFACE, ErrorCode, Limits
from etcdpy.http2.hpack import encode_static
from etcdpy.http2.limits import Bucket
from tests.http2.wire import (
    ACK,
    ANSWER,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    Client,
    body,
    check_alive,
    fails_with,
    frame,
    request,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CALM = ErrorCode.ENHANCE_YOUR_CALM
BLOCK = encode_static(REQUEST)
KIB, MIB = 1024, 1024 * 1024


def rounds_until_closed(client: Client, attack: Callable[[int], bytes], most: int) -> int:
    """How many rounds the engine stands; the attack's stream ids are odd and rise."""
    for number in range(most):
        client.send(attack(2 * number + 1))
        if client.engine.closed:
            assert client.code == CALM, client.engine.fault
            return number
    raise AssertionError(f"not closed after {most} rounds")


# Rapid reset


def test_peer_resets_rapid_reset() -> None:
    client = Client()
    limits = Limits()
    stood = rounds_until_closed(client, lambda i: request(i) + reset(i), 5000)
    assert stood == limits.peer_resets_burst
    assert len(client.headers) <= limits.peer_resets_burst + 1


def test_peer_resets_in_one_read_are_counted_as_well() -> None:
    client = Client()
    fails_with(client, CALM, b"".join(request(i) + reset(i) for i in range(1, 10_001, 2)))
    assert len(client.headers) <= Limits().peer_resets_burst + 1


def test_peer_resets_spare_a_client_that_gives_up_now_and_then() -> None:
    client = Client(answer=True)
    for number in range(20_000):
        client.now += 0.01
        client.send(request(4 * number + 1), reset(4 * number + 1), request(4 * number + 3, end=True))
    check_alive(client)


@pytest.mark.parametrize("has_window", [True, False])
def test_peer_resets_of_requests_that_were_answered(has_window: bool) -> None:
    """They are no attack, unless the peer leaves the answer lying."""
    client = Client()
    client.send(settings((4, 1000 if has_window else 0)), window_update(0, MIB))
    stood = 0
    for stream_id in range(1, 6001, 2):
        client.send(request(stream_id))
        client.engine.send_headers(stream_id, ANSWER)
        client.engine.send_data(stream_id, b"yes")
        assert client.read()
        client.send(reset(stream_id))
        if client.engine.closed:
            break
        stood += 1
    assert stood == (3000 if has_window else Limits().peer_resets_burst)
    assert client.code == (None if has_window else CALM)


# MadeYouReset: errors that make us reset while the work goes on


@pytest.mark.parametrize(
    "provocation",
    [
        lambda i: request(i, end=True) + window_update(i, 0),
        lambda i: request(i, end=True) + window_update(i, 2**31 - 1),
        lambda i: request(i, end=True) + body(i, b"x"),
        lambda i: request(i, end=True) + request(i, end=True),
        lambda i: request(i) + request(i),
        lambda i: request(i) + frame(PRIORITY, 0, i, b"1234"),
        lambda i: request(i, fields=[*REQUEST, ("content-length", "1")]) + body(i, b"xx"),
        lambda i: request(i, fields=[*REQUEST, ("connection", "x")]),
        lambda i: request(i) + reset(i) + body(i, b"x"),
    ],
)
def test_our_resets_made_you_reset(provocation: Callable[[int], bytes]) -> None:
    client = Client()
    assert rounds_until_closed(client, provocation, 1000) == Limits().our_resets_burst


def test_our_resets_include_refusals() -> None:
    client = Client(Limits(streams_max=1))
    client.send(request(1))
    assert rounds_until_closed(client, lambda i: request(i + 2), 1000) == Limits().our_resets_burst


# CONTINUATION flood


@pytest.mark.parametrize("piece", [b"", b"\x82", b"\x00" * 100])
def test_continuation_frames_flood_of_small_ones(piece: bytes) -> None:
    client = Client()
    client.send(request(flags=0))
    limit = Limits().continuation_frames_max
    client.send(*[frame(CONTINUATION, 0, 1, piece)] * limit)
    assert not client.engine.closed
    fails_with(client, CALM, frame(CONTINUATION, 0, 1, piece))


def test_header_block_bytes_flood_of_large_ones() -> None:
    client = Client()
    client.send(request(flags=0))
    client.send(*[frame(CONTINUATION, 0, 1, b"x" * 16_384)] * 3)
    fails_with(client, CALM, frame(CONTINUATION, 0, 1, b"x" * 16_384))


def test_header_block_seconds_block_that_never_ends() -> None:
    client = Client()
    client.send(request(flags=0))
    client.wait(9.0)
    client.send(frame(CONTINUATION, 0, 1, b""))
    client.wait(1.1)
    assert client.code == CALM


# HPACK bombs


def bomb(entry_bytes: int, count: int) -> bytes:
    """One large entry put into the table, then named by one octet each."""
    length = entry_bytes - 127
    value = b"\x7f" + bytes((length & 0x7F | 0x80, length >> 7)) + b"v" * entry_bytes
    return BLOCK + b"\x40\x01x" + value + b"\xbe" * count


def test_header_list_bytes_bomb() -> None:
    client = Client()
    answer = client.send(frame(HEADERS, END_HEADERS, 1, bomb(3000, 10_000)))
    assert [(one.kind, one.number) for one in answer] == [(RST_STREAM, CALM)]
    assert client.events == []
    assert (
        rounds_until_closed(client, lambda i: frame(HEADERS, END_HEADERS, i + 2, bomb(3000, 5000)), 1000)
        < 300
    )


def test_header_fields_count_bomb() -> None:
    client = Client(Limits(header_fields_max=100))
    client.send(frame(HEADERS, END_HEADERS, 1, BLOCK + b"\x00\x01a\x00" * 96))
    assert client.events == [("headers", 1, False)]
    answer = client.send(frame(HEADERS, END_HEADERS, 3, BLOCK + b"\x00\x01a\x00" * 97))
    assert [(one.kind, one.number) for one in answer] == [(RST_STREAM, CALM)]


def test_header_fields_of_a_bomb_are_not_all_read() -> None:
    block = BLOCK + b"\x00\x01a\x00" * 4000
    fails_with(Client(), CALM, frame(HEADERS, END_HEADERS, 1, block))


def test_table_size_updates_are_counted() -> None:
    client = Client()
    client.send(frame(HEADERS, END_HEADERS, 1, b"\x20" * 8 + BLOCK))
    assert client.events == [("headers", 1, False)]
    fails_with(client, ErrorCode.COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 3, b"\x20" * 9 + BLOCK))


def test_header_bombs_take_no_memory() -> None:
    client = Client(Limits(our_resets_burst=10_000))
    block = bomb(3000, 13_000)
    client.send(frame(HEADERS, END_HEADERS, 1, block))
    tracemalloc.start()
    try:
        for number in range(20):
            client.send(frame(HEADERS, END_HEADERS, 2 * number + 3, block))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 64 * KIB
    assert peak < 512 * KIB  # decoded it would be 780 MB


def test_a_list_at_the_bound_passes_and_one_octet_more_does_not() -> None:
    size = sum(len(name) + len(value) + 32 for name, value in REQUEST)
    client = Client(Limits(header_list_bytes_max=1000))
    for extra, passes in ((0, True), (1, False)):
        fields = [*REQUEST, ("a", "v" * (1000 - size - 33 + extra))]
        client.send(request(2 * extra + 1, fields=fields))
        assert (2 * extra + 1 in client.headers) == passes


# SETTINGS and PING floods


def test_settings_flood() -> None:
    client = Client()
    # The one of the preface counts.
    assert rounds_until_closed(client, lambda i: settings((4, i)), 1000) == Limits().settings_burst - 1


def test_settings_acknowledgements_and_pongs_nobody_asked_for() -> None:
    for one in (frame(SETTINGS, ACK), frame(PING, ACK, 0, bytes(8))):
        client = Client()
        assert rounds_until_closed(client, lambda _, one=one: one, 1000) == Limits().empty_frames_burst


def test_ping_flood_gets_strikes() -> None:
    client = Client()
    client.send(request(1))
    ping = frame(PING, 0, 0, bytes(8))
    for _ in range(1 + Limits().ping_strikes_max):
        assert len(client.send(ping)) == 1
    answer = client.send(ping)
    assert client.code == CALM
    assert [one.kind for one in answer] == [PING, GOAWAY], "answered before it is judged"
    assert answer[-1].payload[8:] == b"too_many_pings"


def test_ping_interval_is_shorter_while_a_request_runs() -> None:
    ping = frame(PING, 0, 0, bytes(8))
    busy, idle = Client(), Client()
    busy.send(request(1))
    for client in (busy, idle):
        for _ in range(10):
            client.now += 5.0
            client.send(ping)
    assert busy.code is None
    assert idle.code == CALM


def test_ping_strikes_are_forgotten_whenever_we_answered() -> None:
    """gRPC clients ping once a round trip while data flows, to measure the bandwidth."""
    client = Client(answer=True)
    for number in range(3000):
        client.now += 0.001
        assert len(client.send(request(2 * number + 1, end=True), frame(PING, 0, 0, bytes(8)))) == 4
    stream = Client()
    stream.send(request(1))
    stream.engine.send_headers(1, ANSWER)
    for _ in range(3000):
        stream.now += 0.001
        stream.engine.send_data(1, b"event")
        stream.send(frame(PING, 0, 0, bytes(8)), window_update(0, 5), window_update(1, 5))
    assert stream.code is None


def test_ping_burst_holds_where_no_interval_is_asked_for() -> None:
    client = Client(Limits(ping_interval_seconds=0.0, ping_interval_idle_seconds=0.0))
    assert rounds_until_closed(client, lambda _: frame(PING, 0, 0, bytes(8)), 1000) == Limits().ping_burst


# Frames that carry nothing


@pytest.mark.parametrize(
    "one",
    [
        body(1, b""),
        frame(DATA, PADDED, 1, b"\x05" + bytes(5)),
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(0x99, 0, 1, b"?"),
        frame(GOAWAY, 0, 0, bytes(8)),
    ],
)
def test_empty_frames_flood(one: bytes) -> None:
    client = Client()
    client.send(request(1))
    assert rounds_until_closed(client, lambda _: one, 2000) == Limits().empty_frames_burst


def test_empty_data_that_ends_the_request_is_normal() -> None:
    client = Client(answer=True)
    for number in range(3000):
        client.send(request(2 * number + 1), body(2 * number + 1, b"", end=True))
    check_alive(client)


# Zero windows and slow readers


def fill(client: Client, stream_id: int, size: int) -> None:
    client.send(request(stream_id, end=True))
    client.engine.send_headers(stream_id, ANSWER)
    client.engine.send_data(stream_id, b"x" * size, end_stream=True)


def test_queued_bytes_refuse_new_requests_of_a_peer_that_does_not_take_its_answers() -> None:
    client = Client(Limits(queued_bytes_refuse=100_000))
    client.send(settings((4, 0)))
    fill(client, 1, 100_001)
    answer = client.send(request(3, end=True))
    assert [(one.kind, one.number) for one in answer if one.stream_id == 3] == [
        (RST_STREAM, ErrorCode.REFUSED_STREAM)
    ]
    client.send(window_update(1, 50_000))
    assert client.send(request(5, end=True)) == []


def test_a_window_taken_back_stops_a_stream_that_waits_for_its_turn() -> None:
    client = Client()
    client.send(settings((4, 100)))
    client.send(request(1, end=True))
    client.engine.send_data(1, b"x" * 200)
    client.engine.receive_data(settings((4, 0)), 0.0)
    assert [one.kind for one in client.read()] == [SETTINGS]
    assert client.engine.pending_bytes(1) == 200


def test_queued_bytes_max_ends_the_connection() -> None:
    client = Client(Limits(queued_bytes_max=100_000))
    client.send(settings((4, 0)))
    fill(client, 1, 60_000)
    fill(client, 3, 60_000)
    client.read()
    assert client.code == CALM
    assert client.engine.queued_bytes == 0
    assert [event[:2] for event in client.events[-2:]] == [("reset", 1), ("reset", 3)]


def test_stall_seconds_zero_window() -> None:
    client = Client()
    client.send(settings((4, 0)))
    fill(client, 1, MIB)
    for _ in range(59):
        client.wait(1.0)
    assert not client.engine.closed
    client.wait(2.0)
    assert client.code == CALM


def test_stall_progress_bytes_a_byte_at_a_time_is_no_progress() -> None:
    client = Client()
    client.send(settings((4, 0)))
    fill(client, 1, 2 * MIB)
    for _ in range(70):
        client.send(window_update(1, 1))
        client.wait(1.0)
    assert client.code == CALM


def test_stall_is_not_seen_in_a_slow_but_steady_reader_nor_in_an_idle_watcher() -> None:
    steady, idle = Client(), Client(Limits(keepalive_seconds=0.0))
    for client in (steady, idle):
        client.send(settings((4, 0)))
    fill(steady, 1, 2 * MIB)
    fill(idle, 1, MIB - 1)
    for _ in range(300):
        steady.send(window_update(1, 4096), window_update(0, 4096))
        steady.wait(1.0)
        idle.wait(100.0)
    check_alive(steady)
    check_alive(idle)


def test_a_paused_transport_takes_nothing_and_answers_wait_in_the_queue() -> None:
    client = Client()
    client.engine.pause()
    client.send(request(1, end=True))
    client.engine.send_response(1, ANSWER, [b"x" * 100], TRAILERS)
    assert client.read() == []
    assert not client.engine.wants_write
    assert client.engine.queued_bytes == 100
    client.engine.resume()
    assert [one.kind for one in client.read_all()] == [HEADERS, DATA, HEADERS]


def test_control_bytes_of_a_peer_that_asks_but_does_not_read() -> None:
    client = Client(Limits(control_bytes_max=10_000))
    client.engine.pause()
    for number in range(5000):
        client.send(request(2 * number + 1, end=True))
        client.engine.send_headers(2 * number + 1, ANSWER, end_stream=True)
        if client.engine.closed:
            break
    assert client.code == CALM
    assert len(client.engine.data_to_send()) < 20_000


def test_control_bytes_count_windows_given_back_to_one_that_does_not_read() -> None:
    client = Client(Limits(control_bytes_max=1000, connection_window_bytes=65_535))
    client.send(request(1))
    client.engine.pause()
    for _ in range(100):
        client.send(body(1, b"x" * 16_384))
    assert client.code == CALM


def test_write_bytes_are_shared_by_small_answers_and_the_rest_waits() -> None:
    client = Client(Limits(write_bytes=50_000))
    client.send(window_update(0, MIB))
    for number in range(100):
        client.send(request(2 * number + 1, end=True))
        client.engine.send_response(2 * number + 1, ANSWER, [b"x" * 1000], TRAILERS)
        assert client.engine.queued_bytes == 0
    client.read()
    for number in range(100, 200):
        client.engine.receive_data(request(2 * number + 1, end=True), 0.0)
        client.engine.send_response(2 * number + 1, ANSWER, [b"x" * 1000], TRAILERS)
    assert client.engine.queued_bytes == 50_000
    sizes = []
    while client.engine.wants_write:
        sizes.append(len(client.engine.data_to_send()))
    assert len(sizes) > 1
    assert client.engine.queued_bytes == client.engine.open_streams == 0


def test_a_large_answer_is_not_copied_and_blocks_nobody() -> None:
    client = Client()
    client.send(settings((4, 2**31 - 1)), window_update(0, 2**31 - 1 - 65_535))
    piece = b"x" * 100_000
    client.send(request(1, end=True), request(3, end=True), request(5, end=True))
    tracemalloc.start()
    try:
        client.engine.send_headers(1, ANSWER)
        client.engine.send_data(1, [piece] * 1000, end_stream=True)  # 100 MB
        sent = 0
        for turn in range(10_000):
            data = client.engine.data_to_send()
            if turn == 3:
                client.engine.send_response(3, ANSWER, [b"quick"], TRAILERS)
                data = client.engine.data_to_send()
                assert b"quick" in data
                client.engine.send_response(5, ANSWER, [b"y" * 20_000], TRAILERS)
                data = client.engine.data_to_send()
                assert data.count(b"y") >= 16_384, (
                    "a stream in the queue waits for one round, not for the answer"
                )
            if not data:
                break
            assert len(data) <= Limits().write_bytes * 1.2
            sent += len(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > 99_000_000
    assert peak < 3 * MIB
    assert client.engine.open_streams == 0


# Time


@pytest.mark.parametrize("begun", [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:-1]])
def test_preface_seconds_slow_preface(begun: bytes) -> None:
    client = Client(greet=False)
    for octet in begun:
        client.wait(0.01)
        client.send(bytes((octet,)))
    client.wait(9.0)
    assert not client.engine.closed
    client.wait(1.1)
    assert client.engine.closed


def test_settings_ack_seconds() -> None:
    client = Client(greet=False)
    client.send(PREFACE, settings())
    client.wait(59.0)
    assert not client.engine.closed
    client.wait(1.1)
    assert client.code == ErrorCode.SETTINGS_TIMEOUT


def test_keepalive_pings_a_silent_peer_and_gives_it_up() -> None:
    client = Client(Limits(keepalive_seconds=100.0, keepalive_timeout_seconds=20.0))
    assert client.wait(99.0) == []
    (ping,) = client.wait(1.0)
    assert (ping.kind, ping.flags) == (PING, 0)
    client.now += 10.0
    client.send(frame(PING, ACK, 0, ping.payload))
    assert client.wait(90.0) == []
    assert len(client.wait(10.0)) == 1
    assert client.wait(19.0) == []
    client.wait(1.0)
    assert client.engine.closed
    assert client.engine.fault is not None


def test_bucket_refills_with_time_and_never_beyond_its_burst() -> None:
    bucket = Bucket(3, 1.0, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1.0), bucket.take(1.5), bucket.take(2.0)] == [True, False, True]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


# Memory of one connection


def test_streams_max_open_requests_are_cheap() -> None:
    client = Client(Limits(streams_max=2000))
    tracemalloc.start()
    try:
        for number in range(2000):
            client.engine.receive_data(request(2 * number + 1), 0.0)
        client.events.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.engine.open_streams == 2000
    assert kept / 2000 < 1024


def test_an_unfinished_frame_is_all_that_is_kept() -> None:
    client = Client()
    client.send(request(1))
    tracemalloc.start()
    try:
        for _ in range(50):
            whole = body(1, b"x" * 16_384)
            client.engine.receive_data(whole[:9000], 0.0)
            client.engine.receive_data(whole[9000:], 0.0)
            client.events.clear()
        client.engine.receive_data(body(1, b"x" * 16_384)[:-1], 0.0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 40 * KIB


def test_what_is_remembered_of_closed_streams_is_bounded() -> None:
    client = Client(Limits(peer_resets_burst=100_000))
    tracemalloc.start()
    try:
        for number in range(0, 40_000, 3):  # two ids of three are skipped
            client.engine.receive_data(request(2 * number + 1) + reset(2 * number + 1), 0.0)
            client.events.clear()
            client.headers.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.code is None
    assert kept < 512 * KIB


def test_every_limit_is_named_in_these_tests_or_in_those_of_the_rules() -> None:
    """A new limit needs a test; this list is what was looked at."""
    covered = {
        *("streams_max", "header_list_bytes_max", "header_fields_max", "header_block_bytes_max"),
        *("continuation_frames_max", "header_table_bytes", "encoder_table_bytes_max", "frame_bytes_max"),
        *("connection_window_bytes", "stream_window_bytes", "write_bytes", "writable_bytes"),
        *("queued_bytes_refuse", "queued_bytes_max", "control_bytes_max", "stall_bytes_min", "stall_seconds"),
        *("stall_progress_bytes", "preface_seconds", "header_block_seconds", "settings_ack_seconds"),
        *("shutdown_seconds", "peer_resets_burst", "peer_resets_per_second", "our_resets_burst"),
        *("our_resets_per_second", "settings_burst", "settings_per_second", "ping_burst", "ping_per_second"),
        *("empty_frames_burst", "empty_frames_per_second", "ping_interval_seconds"),
        *("ping_interval_idle_seconds", "ping_strikes_max", "keepalive_seconds", "keepalive_timeout_seconds"),
    }
    assert {field.name for field in dataclasses.fields(Limits)} == covered


@pytest.mark.parametrize("size", [0, 100])
def test_header_table_bytes_is_announced_and_kept_to(size: int) -> None:
    client = Client(Limits(header_table_bytes=size), greet=False)
    announced = client.read()[0].payload
    assert b"\0\x01\0\0\0" + bytes((size,)) in [announced[at : at + 6] for at in range(0, len(announced), 6)]
    client = Client(Limits(header_table_bytes=size))  # the greeting acknowledges it
    fails_with(client, ErrorCode.COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 1, BLOCK))
    client = Client(Limits(header_table_bytes=size))
    update = b"\x20" if size == 0 else b"\x3f\x45"
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, update + BLOCK))
    assert client.events == [("headers", 1, True)]


def test_encoder_table_bytes_max_holds_whatever_the_peer_allows() -> None:
    for table in (4096, 2**31):
        client = Client(Limits(encoder_table_bytes_max=0))
        client.send(settings((1, table)), request(1, end=True))
        client.engine.send_headers(1, [("x-new", "field")], end_stream=True)
        block = client.read()[0].payload
        assert block[0] == 0x20, "our table is 0, and we say so"
        assert block[1] & 0xF0 == 0
