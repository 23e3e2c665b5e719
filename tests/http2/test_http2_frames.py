"""RFC 9113 sections 3 to 6, frame by frame: what is accepted, and the error the text orders for what is
not."""

from __future__ import annotations

import pytest

from etcdpy.http2 import PREFACE, ErrorCode, Limits
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
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Client,
    Frame,
    body,
    check_alive,
    fails_with,
    frame,
    request,
    reset,
    resets_with,
    settings,
    window_update,
)

BLOCK = encode_static(REQUEST)


# 3.4 HTTP/2 Connection Preface


def test_3_4_the_server_preface_is_a_settings_frame_and_comes_first() -> None:
    first = Client(greet=False).read()[0]
    assert (first.kind, first.flags, first.stream_id) == (SETTINGS, 0, 0)


def test_3_4_settings_of_the_preface_are_acknowledged() -> None:
    client = Client(greet=False)
    client.read()
    assert client.send(PREFACE, settings()) == [Frame(SETTINGS, ACK, 0, b"")]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"P", PREFACE[:-1] + b"x", b"\0" * 24])
def test_3_4_an_invalid_preface_is_a_connection_error(data: bytes) -> None:
    client = Client(greet=False)
    client.send(data)
    assert client.code == (ErrorCode.PROTOCOL_ERROR if data != b"P" else None)


@pytest.mark.parametrize(
    "first", [frame(PING, 0, 0, b"8 octets"), request(), frame(SETTINGS, ACK), frame(0xFF)]
)
def test_3_4_the_preface_must_end_with_settings(first: bytes) -> None:
    client = Client(greet=False)
    client.read()
    fails_with(client, ErrorCode.PROTOCOL_ERROR, PREFACE, first)


# 4.1 Frame Format, 4.2 Frame Size


def test_4_1_unknown_types_are_ignored() -> None:
    client = Client()
    assert client.send(frame(0x16, 0xFF, 3, b"whatever")) == []
    check_alive(client)


def test_4_1_undefined_flags_and_the_reserved_bit_are_ignored() -> None:
    client = Client()
    client.send(frame(PING, 0x16, 0, b"12345678"))
    client.send(frame(HEADERS, END_HEADERS | 0x42, 0x80000001, BLOCK))
    assert client.events == [("headers", 1, False)]


def test_4_2_a_frame_of_the_maximum_is_accepted_and_one_octet_more_is_not() -> None:
    client = Client()
    client.send(request(), body(1, b"x" * 16384))
    assert client.events[-1] == ("data", 1, b"x" * 16384, False)
    fails_with(client, ErrorCode.FRAME_SIZE_ERROR, body(1, b"x" * 16385))


def test_4_2_an_oversized_frame_is_refused_before_it_is_here() -> None:
    client = Client()
    fails_with(client, ErrorCode.FRAME_SIZE_ERROR, b"\xff\xff\xff" + frame(DATA, 0, 1)[3:])


def test_4_2_our_maximum_frame_size_is_announced_and_kept_to() -> None:
    client = Client(Limits(frame_bytes_max=20_000), greet=False)
    assert (5).to_bytes(2, "big") + (20_000).to_bytes(4, "big") in client.read()[0].payload
    client.send(PREFACE, settings(), request(), body(1, b"x" * 20_000))
    assert client.events[-1] == ("data", 1, b"x" * 20_000, False)


# 4.3 Field Section Compression and Decompression


@pytest.mark.parametrize(
    "block", [b"\x80", b"\xff\xff\xff\xff\xff\xff\x01", b"\xbe", b"\x00\x85abcde", b"\x00"]
)
def test_4_3_a_block_that_cannot_be_decoded_is_a_compression_error(block: bytes) -> None:
    fails_with(Client(), ErrorCode.COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 1, block))


@pytest.mark.parametrize(
    "between",
    [
        body(1, b"x"),
        request(3),
        frame(PRIORITY, 0, 1, bytes(5)),
        reset(1),
        settings(),
        frame(PING, 0, 0, bytes(8)),
        frame(GOAWAY, 0, 0, bytes(8)),
        window_update(0, 1),
        frame(CONTINUATION, END_HEADERS, 3, BLOCK),
        frame(0x16, 0, 0, b"an extension, section 5.5"),
    ],
)
def test_4_3_nothing_may_stand_between_the_frames_of_a_block(between: bytes) -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, request(flags=0), between)


# 6.1 DATA


def test_6_1_data_on_stream_0_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, body(0, b"x"))


def test_6_1_padding_is_taken_away() -> None:
    client = Client()
    client.send(request(), frame(DATA, PADDED | END_STREAM, 1, b"\x03abc\0\0\0"))
    assert client.events[-1] == ("data", 1, b"abc", True)


@pytest.mark.parametrize("payload", [b"\x03ab", b"\x01", b"\xff" + bytes(254)])
def test_6_1_padding_of_the_length_of_the_payload_is_a_protocol_error(payload: bytes) -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, request(), frame(DATA, PADDED, 1, payload))


def test_6_1_a_padded_frame_without_the_length_is_a_frame_size_error() -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, request(), frame(DATA, PADDED, 1, b""))


# 6.2 HEADERS


def test_6_2_headers_on_stream_0_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, request(0))


def test_6_2_padding_and_priority_are_taken_away() -> None:
    client = Client()
    payload = b"\x04" + b"\x80\0\0\x01\xff" + BLOCK + bytes(4)
    client.send(frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, payload))
    assert client.headers[1].path == "/kv"


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [
        (PADDED, b"\x05abcd", ErrorCode.PROTOCOL_ERROR),
        (PADDED, b"", ErrorCode.FRAME_SIZE_ERROR),
        (WITH_PRIORITY, b"\0\0\0\0", ErrorCode.FRAME_SIZE_ERROR),
        (PADDED | WITH_PRIORITY, b"\x01\0\0\0\0\0", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_6_2_wrong_padding_or_priority(flags: int, payload: bytes, code: ErrorCode) -> None:
    fails_with(Client(), code, frame(HEADERS, END_HEADERS | flags, 1, payload))


def test_5_3_2_priority_signals_are_ignored_even_if_a_stream_depends_on_itself() -> None:
    client = Client()
    client.send(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0\0\x01\x10" + BLOCK))
    assert client.send(frame(PRIORITY, 0, 1, b"\0\0\0\x01\x10")) == []
    assert client.engine.is_open(1)


# 6.3 PRIORITY


def test_6_3_priority_on_stream_0_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, frame(PRIORITY, 0, 0, bytes(5)))


def test_6_3_priority_of_a_wrong_size_is_a_stream_error() -> None:
    client = Client()
    client.send(request())
    resets_with(client, ErrorCode.FRAME_SIZE_ERROR, 1, frame(PRIORITY, 0, 1, bytes(4)))


def test_6_3_priority_is_allowed_in_every_state() -> None:
    client = Client(answer=True)
    client.send(request(1, end=True), request(3), reset(3))
    for stream_id in (1, 3, 5, 2):
        assert client.send(frame(PRIORITY, 0, stream_id, bytes(5))) == []
    check_alive(client)


# 6.4 RST_STREAM


def test_6_4_a_reset_ends_the_stream() -> None:
    client = Client()
    assert client.send(request(), reset(1, ErrorCode.CANCEL)) == []
    assert client.events[-1] == ("reset", 1, ErrorCode.CANCEL)
    assert not client.engine.send_headers(1, ANSWER)


def test_6_4_reset_of_stream_0_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, reset(0))


def test_6_4_reset_of_an_idle_stream_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, reset(1))


def test_6_4_reset_of_a_wrong_size_is_a_frame_size_error() -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, request(), frame(RST_STREAM, 0, 1, bytes(3)))


# 6.5 SETTINGS


def test_6_5_settings_on_a_stream_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, frame(SETTINGS, 0, 1))


@pytest.mark.parametrize(("flags", "payload"), [(ACK, bytes(6)), (0, bytes(5)), (0, bytes(7))])
def test_6_5_settings_of_a_wrong_size_is_a_frame_size_error(flags: int, payload: bytes) -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, frame(SETTINGS, flags, 0, payload))


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (2, 2, ErrorCode.PROTOCOL_ERROR),
        (4, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (5, 16_383, ErrorCode.PROTOCOL_ERROR),
        (5, 2**24, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_6_5_2_values_out_of_range(name: int, value: int, code: ErrorCode) -> None:
    fails_with(Client(), code, settings((name, value)))


@pytest.mark.parametrize(
    ("name", "value"), [(1, 2**32 - 1), (2, 0), (2, 1), (3, 0), (6, 0), (0x16, 7), (8, 9)]
)
def test_6_5_2_values_in_range_and_unknown_settings_are_acknowledged(name: int, value: int) -> None:
    assert Client().send(settings((name, value))) == [Frame(SETTINGS, ACK, 0, b"")]


def test_6_5_3_values_take_effect_in_order_and_before_the_acknowledgement() -> None:
    client = Client()
    client.send(request(end=True))
    client.send(settings((4, 0), (4, 7)))
    client.engine.send_data(1, b"123456789")
    assert [one.payload for one in client.read() if one.kind == DATA] == [b"1234567"]


# 6.6 PUSH_PROMISE


def test_6_6_a_client_cannot_push() -> None:
    fails_with(
        Client(), ErrorCode.PROTOCOL_ERROR, request(), frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + BLOCK)
    )


# 6.7 PING


def test_6_7_a_ping_is_answered_with_its_payload_and_no_answer_is_answered() -> None:
    client = Client()
    assert client.send(frame(PING, 0, 0, b"\x01\x02\x03\x04\x05\x06\x07\x08")) == [
        Frame(PING, ACK, 0, b"\x01\x02\x03\x04\x05\x06\x07\x08")
    ]
    assert client.send(frame(PING, ACK, 0, bytes(8))) == []


def test_6_7_ping_on_a_stream_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, frame(PING, 0, 1, bytes(8)))


@pytest.mark.parametrize("size", [0, 7, 9])
def test_6_7_ping_of_a_wrong_size_is_a_frame_size_error(size: int) -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, frame(PING, 0, 0, bytes(size)))


# 6.8 GOAWAY


def test_6_8_goaway_of_the_client_lets_running_requests_end() -> None:
    client = Client()
    client.send(request(end=True), frame(GOAWAY, 0, 0, bytes(8) + b"bye"))
    assert client.engine.send_headers(1, ANSWER, end_stream=True)
    assert [one.kind for one in client.read()] == [HEADERS]


def test_6_8_goaway_on_a_stream_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, frame(GOAWAY, 0, 1, bytes(8)))


def test_6_8_goaway_of_a_wrong_size_is_a_frame_size_error() -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, frame(GOAWAY, 0, 0, bytes(7)))


# 6.9 WINDOW_UPDATE


def test_6_9_an_increment_of_0_is_an_error_of_the_stream_or_of_the_connection() -> None:
    client = Client()
    client.send(request())
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, window_update(1, 0))
    fails_with(client, ErrorCode.PROTOCOL_ERROR, window_update(0, 0))


def test_6_9_an_update_of_a_wrong_size_is_a_frame_size_error() -> None:
    fails_with(Client(), ErrorCode.FRAME_SIZE_ERROR, frame(WINDOW_UPDATE, 0, 0, bytes(3)))


def test_6_9_an_update_of_an_idle_stream_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, window_update(1, 1))


# 6.10 CONTINUATION


def test_6_10_a_block_may_come_in_pieces_and_empty_ones() -> None:
    client = Client()
    pieces = [BLOCK[:1], b"", BLOCK[1:7], BLOCK[7:]]
    client.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
    for piece in pieces[1:-1]:
        client.send(frame(CONTINUATION, 0, 1, piece))
    assert client.events == []
    client.send(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
    assert client.events == [("headers", 1, True)]
    assert client.headers[1].path == "/kv"


def test_6_10_a_continuation_without_headers_is_a_protocol_error() -> None:
    fails_with(Client(), ErrorCode.PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1, BLOCK))
    client = Client()
    client.send(request())
    fails_with(client, ErrorCode.PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1, BLOCK))
