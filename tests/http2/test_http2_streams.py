"""RFC 9113 section 5 (the life of streams, flow control) and the graceful end of section 6.8."""

from __future__ import annotations

import pytest

from etcdpy.http2 import ErrorCode, Limits, RequestHeaders, prepare_headers
from etcdpy.http2.hpack import encode_static
from tests.http2.wire import (
    ACK,
    ANSWER,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    Client,
    Frame,
    body,
    check_alive,
    data_of,
    fails_with,
    frame,
    request,
    reset,
    resets_with,
    settings,
    window_update,
)

MIB = 1024 * 1024


# 5.1 Stream States


@pytest.mark.parametrize("one", [body(1, b"x"), reset(1), window_update(1, 1)])
def test_5_1_idle_only_headers_and_priority_may_come(one: bytes) -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, one)


@pytest.mark.parametrize("one", [body(1, b"x"), body(1, b"", end=True), request(1, end=True)])
def test_5_1_half_closed_remote_anything_but_reset_update_priority_is_stream_closed(one: bytes) -> None:
    client = Client()
    client.send(request(1, end=True))
    resets_with(client, ErrorCode.STREAM_CLOSED, 1, one)
    assert client.events[-1] == ("reset", 1, ErrorCode.STREAM_CLOSED)


def test_5_1_half_closed_remote_updates_and_reset_are_accepted() -> None:
    client = Client()
    client.send(request(1, end=True))
    assert client.send(window_update(1, 5), reset(1)) == []
    assert client.events[-1] == ("reset", 1, ErrorCode.CANCEL)


@pytest.mark.parametrize("one", [body(1, b"x"), request(1), request(1, end=True)])
def test_5_1_closed_frames_after_end_stream_are_a_connection_error(one: bytes) -> None:
    client = Client(answer=True)
    client.send(request(1, end=True))
    assert client.engine.open_streams == 0
    fails_with(client, ErrorCode.STREAM_CLOSED, one)


@pytest.mark.parametrize("one", [reset(1), window_update(1, 9)])
def test_5_1_closed_reset_and_update_may_still_arrive(one: bytes) -> None:
    client = Client(answer=True)
    client.send(request(1, end=True))
    assert client.send(one) == []
    check_alive(client)


@pytest.mark.parametrize("one", [body(1, b"x"), request(1, end=True)])
def test_5_1_closed_frames_after_the_peers_own_reset_are_a_stream_error(one: bytes) -> None:
    client = Client()
    client.send(request(1), reset(1))
    resets_with(client, ErrorCode.STREAM_CLOSED, 1, one)


@pytest.mark.parametrize("one", [body(1, b"x"), request(1, end=True), reset(1), window_update(1, 1)])
def test_5_1_closed_frames_on_the_way_while_we_reset_are_ignored(one: bytes) -> None:
    client = Client()
    client.send(request(1))
    client.engine.reset_stream(1)
    assert [(f.kind, f.number) for f in client.read()] == [(RST_STREAM, ErrorCode.CANCEL)]
    client.take_events()
    assert client.send(one) == []
    assert client.events == []
    check_alive(client)


def test_5_1_data_ignored_after_our_reset_still_counts_for_the_connection() -> None:
    client = Client(Limits(connection_window_bytes=65_535))
    client.send(request(1))
    client.engine.reset_stream(1)
    client.read()
    answers = client.send(body(1, b"x" * 16_384), body(1, b"x" * 16_384))
    assert sum(one.number for one in answers if one.kind == WINDOW_UPDATE and one.stream_id == 0) == 32_768


# 5.1.1 Stream Identifiers


def test_5_1_1_a_client_may_not_open_even_streams() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, request(2))


def test_5_1_1_a_new_stream_must_be_above_all_before() -> None:
    client = Client()
    client.send(request(5))
    fails_with(client, ErrorCode.PROTOCOL_ERROR, request(3))


def test_5_1_1_skipped_ids_are_known_after_many_that_were_used() -> None:
    client = Client(answer=True)
    client.send(*[request(2 * number + 1, end=True) for number in range(200)])
    client.send(request(405, end=True))
    fails_with(client, ErrorCode.PROTOCOL_ERROR, request(403))


def test_5_1_1_the_first_use_closes_idle_streams_below() -> None:
    client = Client()
    client.send(request(5))
    assert client.send(reset(3), window_update(3, 1)) == []


# 5.1.2 Stream Concurrency


def test_5_1_2_more_streams_than_announced_are_refused_and_not_told() -> None:
    client = Client(Limits(streams_max=2), greet=False)
    assert b"\x00\x03\x00\x00\x00\x02" in client.read()[0].payload
    client = Client(Limits(streams_max=2))
    client.send(request(1), request(3, end=True))
    resets_with(client, ErrorCode.REFUSED_STREAM, 5, request(5))
    assert 5 not in client.headers
    client.engine.send_headers(3, ANSWER, end_stream=True)
    client.send(request(7))
    assert client.events[-1] == ("headers", 7, False)


def test_5_1_2_a_refused_block_still_teaches_the_table() -> None:
    client = Client(Limits(streams_max=1))
    literal = b"\x40\x03abc\x03def"
    block = encode_static(REQUEST)
    client.send(request(1), frame(HEADERS, END_HEADERS, 3, block + literal))
    client.send(reset(1), frame(HEADERS, END_HEADERS, 5, block + b"\xbe"))
    assert client.headers[5].get("abc") == "def"


# 5.2 Flow Control: what we may send


def test_5_2_1_data_waits_for_both_windows() -> None:
    client = Client()
    client.send(settings((4, 10)), request(1, end=True), request(3, end=True))
    client.engine.send_data(1, b"a" * 25, end_stream=True)
    client.engine.send_data(3, b"b" * 5, end_stream=True)
    sent = client.read_all()
    assert (data_of(sent, 1), data_of(sent, 3)) == (b"a" * 10, b"b" * 5)
    assert (client.engine.pending_bytes(1), client.engine.queued_bytes) == (15, 15)
    sent = client.send(window_update(1, 20))
    assert (data_of(sent, 1), sent[-1].flags) == (b"a" * 15, END_STREAM)


def test_6_9_1_the_connection_window_is_shared() -> None:
    client = Client()
    client.send(settings((4, MIB)), request(1, end=True), request(3, end=True))
    client.engine.send_data(1, b"a" * 60_000)
    client.engine.send_data(3, b"b" * 60_000)
    sent = client.read_all()
    assert len(data_of(sent, 1)) + len(data_of(sent, 3)) == 65_535
    assert data_of(sent, 3), "the second stream is not starved"
    sent = client.send(window_update(0, MIB))
    assert client.engine.queued_bytes == 0


@pytest.mark.parametrize(("stream_id", "where"), [(0, "connection"), (1, "stream")])
def test_6_9_1_a_window_above_the_maximum_is_a_flow_control_error(stream_id: int, where: str) -> None:
    client = Client()
    client.send(request(1))
    if where == "stream":
        resets_with(client, ErrorCode.FLOW_CONTROL_ERROR, 1, window_update(1, 2**31 - 1))
    else:
        fails_with(client, ErrorCode.FLOW_CONTROL_ERROR, window_update(0, 2**31 - 1))


def test_6_9_2_a_new_initial_window_moves_open_streams_even_below_zero() -> None:
    client = Client()
    client.send(request(1, end=True))
    client.engine.send_data(1, b"a" * 100)
    assert len(data_of(client.read(), 1)) == 100
    client.send(settings((4, 50)))
    client.engine.send_data(1, b"b" * 30)
    assert client.read() == []
    assert client.send(window_update(1, 50)) == []  # now exactly 0
    assert data_of(client.send(window_update(1, 10)), 1) == b"b" * 10
    assert data_of(client.send(settings((4, 60))), 1) == b"b" * 10


def test_6_9_2_an_overflow_by_a_new_initial_window_is_a_connection_error() -> None:
    client = Client()
    client.send(request(1), window_update(1, 2**31 - 1 - 65_535))
    fails_with(client, ErrorCode.FLOW_CONTROL_ERROR, settings((4, 65_536)))


def test_6_9_end_stream_and_trailers_need_no_window() -> None:
    client = Client()
    client.send(settings((4, 0)), request(1, end=True), request(3, end=True))
    client.engine.send_data(1, b"", end_stream=True)
    client.engine.send_headers(3, ANSWER, end_stream=True)
    assert [(one.kind, one.flags & 1, one.stream_id) for one in client.read()] == [
        (DATA, 1, 1),
        (HEADERS, 1, 3),
    ]


def test_4_2_data_is_cut_to_the_peers_maximum_frame_size() -> None:
    client = Client()
    client.send(settings((4, MIB), (5, 20_000)), window_update(0, MIB), request(1, end=True))
    client.engine.send_data(1, [b"a" * 15_000, b"b" * 30_000, b"c"], end_stream=True)
    sent = client.read_all()
    assert [len(one.payload) for one in sent] == [20_000, 20_000, 5_001]
    assert [one.flags for one in sent] == [0, 0, END_STREAM]
    assert data_of(sent, 1) == b"a" * 15_000 + b"b" * 30_000 + b"c"


def test_4_2_however_large_the_peers_frames_ours_leave_room_for_others() -> None:
    client = Client()
    client.send(settings((4, MIB), (5, 2**24 - 1)), window_update(0, MIB), request(1, end=True))
    client.engine.send_data(1, b"a" * MIB, end_stream=True)
    assert max(len(one.payload) for one in client.read_all()) == 65_536


def test_4_3_a_block_longer_than_a_frame_is_continued() -> None:
    client = Client()
    client.send(request(1, end=True))
    # Noise that Huffman coding cannot shrink below two frames.
    value = "".join(chr(33 + number * 7 % 90) for number in range(40_000))
    client.engine.send_headers(1, [(":status", "200"), ("long", value)], end_stream=True)
    sent = client.read()
    assert [one.kind for one in sent[:2]] == [HEADERS, CONTINUATION]
    assert all(len(one.payload) <= 16_384 for one in sent)
    assert [one.flags for one in sent[:-1]] == [END_STREAM] + [0] * (len(sent) - 2)
    assert sent[-1].flags == END_HEADERS


# 5.2 Flow Control: what we take


def test_6_9_windows_are_given_back_as_data_is_taken() -> None:
    limits = Limits(connection_window_bytes=256 * 1024, stream_window_bytes=64 * 1024)
    client = Client(limits)
    client.send(request(1))
    returned = {0: 0, 1: 0}
    for _ in range(100):
        for one in client.send(body(1, b"x" * 16_384)):
            returned[one.stream_id] += one.number
    assert 100 * 16_384 - returned[0] < 64 * 1024
    assert 100 * 16_384 - returned[1] < 16 * 1024


def test_6_9_1_data_beyond_the_stream_window_is_a_stream_error() -> None:
    client = Client()
    client.send(request(1))
    client.engine.hold(1)
    count = 4 * MIB // 16_384
    for _ in range(count):
        client.send(body(1, b"x" * 16_384))
    resets_with(client, ErrorCode.FLOW_CONTROL_ERROR, 1, body(1, b"x"))


def test_6_9_1_data_beyond_the_connection_window_is_a_connection_error() -> None:
    client = Client(Limits(connection_window_bytes=65_535, frame_bytes_max=100_000))
    fails_with(client, ErrorCode.FLOW_CONTROL_ERROR, request(1), body(1, b"x" * 65_536))


def test_6_9_1_padding_counts() -> None:
    client = Client()
    client.send(request(1))
    client.engine.hold(1)
    padded = frame(DATA, 0x8, 1, b"\xff" + b"x" + bytes(255))
    client.send(padded * (4 * MIB // 257))
    assert client.engine.is_open(1)
    resets_with(client, ErrorCode.FLOW_CONTROL_ERROR, 1, padded)


def test_5_2_2_a_held_stream_gets_its_window_back_on_release() -> None:
    client = Client(Limits(stream_window_bytes=65_536))
    client.send(request(1))
    client.engine.hold(1)
    assert client.send(*[body(1, b"x" * 16_384)] * 3) == []
    client.engine.release(1)
    client.engine.hold(1)
    client.engine.release(1)  # nothing is left to give back
    assert [(one.stream_id, one.number) for one in client.read()] == [(1, 3 * 16_384)]


# 5.4 Error Handling


def test_5_4_1_goaway_names_the_last_stream_and_every_open_one_is_told() -> None:
    client = Client()
    client.send(request(1), request(7, end=True))
    client.engine.send_headers(1, ANSWER)
    client.read()
    last = client.send(frame(0x5, 0, 1))[-1]
    assert int.from_bytes(last.payload[:4], "big") == 7
    assert client.events[-2:] == [
        ("reset", 1, ErrorCode.PROTOCOL_ERROR),
        ("reset", 7, ErrorCode.PROTOCOL_ERROR),
    ]
    assert not client.engine.send_data(1, b"late")
    assert not client.engine.send_response(7, ANSWER, [b""], TRAILERS)
    assert client.read() == []


def test_a_lost_connection_tells_every_open_stream() -> None:
    client = Client()
    client.send(request(1), request(3))
    client.engine.send_headers(1, ANSWER)
    client.engine.connection_lost()
    assert client.events[-2:] == [("reset", 1, ErrorCode.CANCEL), ("reset", 3, ErrorCode.CANCEL)]
    assert client.engine.data_to_send() == b""


# 6.8 GOAWAY: graceful shutdown


def test_6_8_graceful_shutdown_announces_waits_a_round_trip_and_drains() -> None:
    client = Client()
    client.send(request(1, end=True))
    client.engine.shutdown(client.now)
    goaway, ping = client.read()
    assert (goaway.kind, goaway.payload[:8]) == (GOAWAY, b"\x7f\xff\xff\xff\0\0\0\0")
    assert (ping.kind, ping.flags) == (PING, 0)
    client.send(request(3, end=True))  # was on its way: still served
    (goaway,) = client.send(frame(PING, ACK, 0, ping.payload))
    assert goaway.payload[:8] == b"\0\0\0\x03\0\0\0\0"
    assert client.send(request(5, end=True)) == []  # knows from GOAWAY that it is not served
    assert [event[1] for event in client.events] == [1, 3]
    assert not client.engine.drained
    for stream_id in (1, 3):
        assert client.engine.send_response(stream_id, ANSWER, [b"x"], TRAILERS)
    client.engine.pause()
    client.read()
    assert not client.engine.drained, "the answers are not written yet"
    client.engine.resume()
    assert len(client.read()) == 6
    assert client.engine.drained
    assert not client.engine.closed


def test_6_8_graceful_shutdown_does_not_wait_for_a_silent_peer() -> None:
    client = Client()
    client.engine.shutdown(client.now)
    client.read()
    assert [one.kind for one in client.wait(5.0)] == [GOAWAY]
    assert client.engine.drained


def test_close_ends_the_connection_by_our_own_will() -> None:
    client = Client()
    client.send(request(1))
    client.engine.close(ErrorCode.INTERNAL_ERROR, "going down")
    (goaway,) = client.read()
    assert goaway.payload == b"\0\0\0\x01" + b"\0\0\0\x02" + b"going down"
    assert client.events[-1] == ("reset", 1, ErrorCode.INTERNAL_ERROR)
    assert client.engine.closed
    assert client.engine.fault is None
    client.engine.shutdown(0.0)
    client.engine.tick(1000.0)
    assert client.read() == []


def test_shutdown_twice_is_shutdown_once() -> None:
    client = Client()
    client.engine.shutdown(0.0)
    assert len(client.read()) == 2
    client.engine.shutdown(0.0)
    assert client.read() == []


def test_what_is_asked_of_a_stream_that_is_gone_is_answered_with_no() -> None:
    engine = Client().engine
    engine.hold(1)
    engine.release(1)
    assert not engine.reset_stream(1)
    assert not engine.send_headers(1, ANSWER)
    assert not engine.send_data(1, b"x")
    assert not engine.send_response(1, ANSWER, [b"x"], TRAILERS)
    assert engine.pending_bytes(1) == 0


# 8.1 An answer that ends first


def test_8_1_an_answer_before_the_end_of_the_request_resets_it_with_no_error() -> None:
    client = Client()
    client.send(request(1), request(3), request(5))
    client.engine.send_response(1, ANSWER, [b"x"], TRAILERS)
    client.engine.send_headers(3, ANSWER, end_stream=True)
    client.engine.send_headers(5, ANSWER)
    client.engine.send_data(5, b"", end_stream=True)
    resets = [(one.stream_id, one.number) for one in client.read() if one.kind == RST_STREAM]
    assert resets == [(1, 0), (3, 0), (5, 0)]
    assert client.send(body(1, b"late"), body(3, b"late", end=True), reset(5)) == []
    check_alive(client)


# The order of an answer's parts


def test_trailers_wait_for_the_data_before_them() -> None:
    client = Client()
    client.send(settings((4, 5)), request(1, end=True))
    client.engine.send_response(1, ANSWER, [b"12345", b"6789"], TRAILERS)
    assert [(one.kind, one.payload) for one in client.read_all()][1:] == [(DATA, b"12345")]
    sent = client.send(window_update(1, 100))
    assert [(one.kind, one.flags & 1) for one in sent] == [(DATA, 0), (HEADERS, 1)]
    assert client.engine.open_streams == 0


def test_a_whole_answer_cannot_follow_data_of_another() -> None:
    client = Client()
    client.send(settings((4, 0)), request(1, end=True))
    client.engine.send_data(1, b"x" * 10)
    client.engine.receive_data(settings((4, 1000)), 0.0)
    with pytest.raises(AssertionError, match="headers after data on stream 1"):
        client.engine.send_response(1, ANSWER, [b"y"], TRAILERS)


def test_a_reset_drops_what_is_queued() -> None:
    client = Client()
    client.send(settings((4, 0)), request(1, end=True), request(3, end=True))
    client.engine.send_data(1, b"x" * 1000)
    client.engine.send_data(3, b"y" * 1000)
    client.send(reset(1))
    client.engine.reset_stream(3)
    assert client.engine.queued_bytes == 0
    client.read()
    assert client.send(window_update(0, 5)) == []


def test_a_reset_of_a_stream_that_waits_for_its_turn_takes_it_out_of_the_round() -> None:
    client = Client()
    client.send(request(1, end=True), request(3, end=True))
    client.engine.send_data(1, [b"x" * 20_000, b"y"])
    client.engine.send_data(1, b"z")
    client.engine.send_data(3, b"w" * 20_000)
    client.engine.receive_data(reset(1), 0.0)
    assert {one.stream_id for one in client.read_all()} == {3}


class Closer(Client):
    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        super().on_headers(stream_id, headers, end_stream)
        self.engine.close()


def test_a_handler_may_close_while_frames_are_still_read() -> None:
    client = Closer()
    client.send(request(1), request(3), b"\xff\xff\xff" + bytes(6))
    assert client.events == [("headers", 1, False), ("reset", 1, ErrorCode.NO_ERROR)]
    assert client.engine.fault is None


def test_a_choked_stream_hears_on_writable_once() -> None:
    client = Client(Limits(writable_bytes=1000))
    client.send(settings((4, 0)), request(1, end=True))
    client.engine.send_data(1, b"x" * 3000)
    client.send(window_update(1, 1500))
    assert ("writable", 1) not in client.events
    client.send(window_update(1, 600))
    client.send(window_update(1, 600))
    assert client.events.count(("writable", 1)) == 1


def test_table_size_update_of_the_peer_precedes_the_next_block_prepared_or_not() -> None:
    for fields in (ANSWER, [(":status", "200")]):
        client = Client()
        assert client.send(settings((1, 0)))[0].kind == SETTINGS
        client.send(request(1, end=True), request(3, end=True))
        client.engine.send_headers(1, fields, end_stream=True)
        client.engine.send_response(3, ANSWER, [b"x"], TRAILERS)
        first, second = (
            one.payload for one in client.read() if one.stream_id and one.flags == END_HEADERS | END_STREAM
        )
        assert first == b"\x20\x88"
        assert second == TRAILERS.block


def test_prepared_blocks_do_not_touch_the_table() -> None:
    prepared = prepare_headers([(":status", "200"), ("content-type", "application/grpc"), ("x", "y")])
    assert prepared.block[0] == 0x88
    assert not any(octet & 0xC0 == 0x40 for octet in prepared.block[:2])
    assert repr(prepared.block) in repr(prepared)
    client = Client()
    client.send(request(1, end=True))
    client.engine.send_headers(1, prepared, end_stream=True)
    assert client.read() == [Frame(HEADERS, END_HEADERS | END_STREAM, 1, prepared.block)]
