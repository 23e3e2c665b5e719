"""RFC 9113 section 8: which requests are well-formed. A malformed one is a stream error (section 8.1.1) and
is not delivered."""

from __future__ import annotations

import pytest

from etcdpy.http2 import ErrorCode
from etcdpy.http2.hpack import encode_static
from tests.http2.wire import (
    END_HEADERS,
    HEADERS,
    REQUEST,
    Client,
    body,
    fails_with,
    frame,
    request,
    resets_with,
)

Fields = list[tuple[str, str]]
METHOD, SCHEME, PATH, AUTHORITY = REQUEST


def is_malformed(fields: Fields) -> None:
    client = Client()
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, request(1, fields=fields))
    assert client.events == []


def deliver(fields: Fields, *, end: bool = False) -> Client:
    client = Client()
    assert client.send(request(1, fields=fields, end=end)) == []
    assert client.events == [("headers", 1, end)]
    return client


def test_8_3_1_a_request_is_delivered_with_its_parts() -> None:
    headers = deliver([*REQUEST, ("te", "trailers"), ("a", "1"), ("a", "2")]).headers[1]
    assert (headers.method, headers.scheme, headers.authority, headers.path) == (
        "POST",
        "http",
        "node",
        "/kv",
    )
    assert headers.fields == (("te", "trailers"), ("a", "1"), ("a", "2"))
    assert headers.get("a") == "1"
    assert headers.get("b") is None


# 8.1 HTTP Message Framing


def test_8_1_trailers_end_the_request() -> None:
    client = Client()
    client.send(request(1), body(1, b"x"), request(1, fields=[("sum", "7")], end=True))
    assert client.events[1:] == [("data", 1, b"x", False), ("trailers", 1, (("sum", "7"),))]


def test_8_1_a_second_block_without_end_stream_is_malformed() -> None:
    client = Client()
    client.send(request(1))
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, request(1, fields=[("sum", "7")]))


@pytest.mark.parametrize("field", [(":path", "/"), (":status", "200"), ("connection", "close"), ("Sum", "7")])
def test_8_1_trailers_have_regular_fields_only(field: tuple[str, str]) -> None:
    client = Client()
    client.send(request(1))
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, request(1, fields=[field], end=True))


def test_8_1_trailers_too_large_are_a_stream_error() -> None:
    client = Client()
    client.send(request(1))
    fields = [(f"a{number}", "") for number in range(257)]
    resets_with(client, ErrorCode.ENHANCE_YOUR_CALM, 1, request(1, fields=fields, end=True))


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abcd", b"e"], [b"abcde"], [b""], [b"ab", b"cdefg"]])
def test_8_1_1_content_length_must_be_the_length(pieces: list[bytes]) -> None:
    client = Client()
    client.send(request(1, fields=[*REQUEST, ("content-length", "4")]))
    frames = [body(1, piece) for piece in pieces[:-1]] + [body(1, pieces[-1], end=True)]
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, *frames)
    assert not any(event[-1] is True for event in client.events)


def test_8_1_1_content_length_without_content_is_malformed_unless_zero() -> None:
    client = Client()
    resets_with(
        client, ErrorCode.PROTOCOL_ERROR, 1, request(1, fields=[*REQUEST, ("content-length", "1")], end=True)
    )
    deliver([*REQUEST, ("content-length", "0")], end=True)


def test_8_1_1_content_length_holds_with_trailers_too() -> None:
    client = Client()
    client.send(request(1, fields=[*REQUEST, ("content-length", "4")]), body(1, b"abc"))
    resets_with(client, ErrorCode.PROTOCOL_ERROR, 1, request(1, fields=[("a", "b")], end=True))


def test_8_1_1_a_right_content_length_is_accepted() -> None:
    client = deliver([*REQUEST, ("content-length", "4"), ("content-length", "4")])
    client.send(body(1, b"ab"), body(1, b"cd", end=True))
    assert client.events[-1] == ("data", 1, b"cd", True)


@pytest.mark.parametrize("value", ["", "-1", "+4", "4 ", "4,4", "0x4", "9" * 30, "\u00b2"])
def test_8_1_1_content_length_must_be_a_number(value: str) -> None:
    is_malformed([*REQUEST, ("content-length", value)])


def test_8_1_1_two_different_content_lengths_are_malformed() -> None:
    is_malformed([*REQUEST, ("content-length", "4"), ("content-length", "5")])


# 8.2 HTTP Fields


@pytest.mark.parametrize(
    "name", ["Abc", "a b", "a\tb", "a\x00b", "a\x7fb", "a\xe4b", "a:b", "", " a", "a\r\nb"]
)
def test_8_2_1_names_are_lower_case_tokens(name: str) -> None:
    is_malformed([*REQUEST, (name, "x")])


@pytest.mark.parametrize("value", ["a\x00b", "a\nb", "a\rb", " a", "a ", "\ta", "a\t", "a\r\n", " "])
def test_8_2_1_values_have_no_line_ends_and_no_spaces_around(value: str) -> None:
    is_malformed([*REQUEST, ("x", value)])


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "\xe4\xff", "\xa0a\x85", '"', "a\x01b"])
def test_8_2_1_other_values_are_delivered_as_they_are(value: str) -> None:
    assert deliver([*REQUEST, ("x", value)]).headers[1].get("x") == value


@pytest.mark.parametrize(
    "name", ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"]
)
def test_8_2_2_connection_specific_fields_are_malformed(name: str) -> None:
    is_malformed([*REQUEST, (name, "x")])


@pytest.mark.parametrize("value", ["gzip", "trailers, gzip", "Trailers", ""])
def test_8_2_2_te_may_say_only_trailers(value: str) -> None:
    is_malformed([*REQUEST, ("te", value)])


# 8.3 HTTP Control Data


def test_8_3_pseudo_fields_come_first() -> None:
    is_malformed([METHOD, SCHEME, PATH, ("a", "b"), AUTHORITY])


@pytest.mark.parametrize("name", [":status", ":protocol", ":unknown", ":"])
def test_8_3_other_pseudo_fields_are_malformed(name: str) -> None:
    is_malformed([*REQUEST[:3], (name, "200")])


@pytest.mark.parametrize("left_out", [METHOD, SCHEME, PATH])
def test_8_3_1_method_scheme_and_path_must_be_there(left_out: tuple[str, str]) -> None:
    is_malformed([field for field in REQUEST if field != left_out])


@pytest.mark.parametrize("field", REQUEST)
def test_8_3_1_each_may_be_there_once(field: tuple[str, str]) -> None:
    is_malformed([*REQUEST, field])


@pytest.mark.parametrize("path", ["", "kv", "*", "http://x/"])
def test_8_3_1_the_path_starts_with_a_slash(path: str) -> None:
    is_malformed([METHOD, SCHEME, (":path", path)])


def test_8_3_1_options_may_ask_for_the_whole_server() -> None:
    assert deliver([(":method", "OPTIONS"), SCHEME, (":path", "*")]).headers[1].path == "*"


def test_8_3_1_host_and_authority_must_not_differ() -> None:
    is_malformed([*REQUEST, ("host", "other")])
    is_malformed([*REQUEST, ("host", "other"), ("host", "node")])
    headers = deliver([*REQUEST, ("host", "node"), ("content-length", "0")]).headers[1]
    assert (headers.authority, headers.fields) == ("node", (("host", "node"), ("content-length", "0")))
    assert deliver([*REQUEST[:3], ("host", "node")]).headers[1].authority == ""


def test_8_3_1_grpc_clients_of_etcd_send_strange_authorities() -> None:
    fields = [*REQUEST[:3], (":authority", "#initially=[http://127.0.0.1:2379]")]
    assert deliver(fields).headers[1].authority.startswith("#")


# 8.5 The CONNECT Method


def test_8_5_connect_has_an_authority_and_nothing_else() -> None:
    assert deliver([(":method", "CONNECT"), AUTHORITY]).headers[1].method == "CONNECT"
    is_malformed([(":method", "CONNECT"), AUTHORITY, SCHEME])
    is_malformed([(":method", "CONNECT"), AUTHORITY, PATH])
    is_malformed([(":method", "CONNECT")])


# Equal blocks share one object, but only as long as they mean the same.


def test_equal_blocks_are_delivered_as_one_object() -> None:
    client = Client()
    client.send(request(1), request(3), request(5, fields=[*REQUEST, ("a", "b")]))
    assert client.headers[1] is client.headers[3]
    assert client.headers[5] is not client.headers[1]
    assert "POST http://node/kv" in repr(client.headers[1])


def test_equal_blocks_mean_something_else_once_the_table_changed() -> None:
    client = Client()
    block = encode_static(REQUEST)
    for number, wire in enumerate(
        (b"\x40\x01a\x011", b"\xbe", b"\xbe", b"\x40\x01a\x012", b"\xbe", b"\x20\x3f\xe1\x1f")
    ):
        client.send(
            frame(HEADERS, END_HEADERS, 2 * number + 1, wire + block if wire[0] == 0x20 else block + wire)
        )
    assert [client.headers[stream_id].get("a") for stream_id in (1, 3, 5, 7, 9, 11)] == [
        "1",
        "1",
        "1",
        "2",
        "2",
        None,
    ]
    assert client.headers[3] is client.headers[5]
    fails_with(client, ErrorCode.COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 13, block + b"\xbe"))


def test_what_is_remembered_of_blocks_is_bounded() -> None:
    client = Client()
    for number in range(1000):
        client.send(request(2 * number + 1, end=True, fields=[*REQUEST, ("a", str(number))]))
    client.send(request(2001, end=True, fields=[*REQUEST, ("a", "0")]))
    assert client.headers[2001] is not client.headers[1]
    assert client.headers[2001].get("a") == "0"
