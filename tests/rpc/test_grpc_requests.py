"""The gRPC layer on the wire: how a request is read, and what is refused in which words."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.http2 import ErrorCode, Limits
from etcdpy.rpc.grpc import parse_timeout
from etcdpy.rpc.router import Kind
from tests.http2 import wire
from tests.rpc.grpc_wire import PATH, RECEIVE_BYTES_MAX, Wire, packed, router_of

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call

GZIP = ("grpc-encoding", "gzip")


class Service:
    """Remembers its calls and what it was told; answers unary calls with what they said."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.heard: list[bytes] = []
        self.ends: list[str] = []

    def echo(self, call: Call, data: bytes) -> None:
        self.calls.append(call)
        call.reply(data)

    def hold(self, call: Call, data: bytes) -> None:
        """Begin, and say nothing yet."""
        self.calls.append(call)
        call.on_message = self.heard.append
        call.on_half_close = lambda: self.ends.append("half-close")
        call.on_cancel = lambda: self.ends.append("cancel")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def unary(service: Service) -> Wire:
    return Wire(router_of(Kind.UNARY, service.echo))


@pytest.fixture
def bidi(service: Service) -> Wire:
    return Wire(router_of(Kind.BIDI_STREAM, service.hold))


def test_a_unary_call(unary: Wire) -> None:
    answer = unary.call(b"hello")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"hello"]
    assert answer.status == (0, "")
    assert answer.is_ended
    assert (answer.reset, unary.layer.calls, unary.engine.open_streams) == (None, {}, 0)


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 7])
def test_a_message_may_come_in_any_pieces(unary: Wire, step: int) -> None:
    stream_id = unary.open()
    unary.body(stream_id, packed(b"hello"), end=True, step=step)
    assert unary.answer(stream_id).messages == [b"hello"]


def test_a_message_is_answered_before_the_client_has_closed_its_half(unary: Wire) -> None:
    stream_id = unary.open()
    unary.body(stream_id, packed(b"hello"))
    answer = unary.answer(stream_id)
    assert (answer.messages, answer.is_ended) == ([b"hello"], True)
    assert answer.reset == ErrorCode.NO_ERROR
    unary.body(stream_id, packed(b"more"), end=True)
    assert unary.call(b"next").messages == [b"next"]


def test_a_second_message_of_a_unary_call_is_not_looked_at(unary: Wire, service: Service) -> None:
    stream_id = unary.open()
    unary.body(stream_id, packed(b"one") + packed(b"two"), end=True)
    assert unary.answer(stream_id).messages == [b"one"]
    assert len(service.calls) == 1


def test_messages_of_a_stream_in_any_frames(bidi: Wire, service: Service) -> None:
    messages = [b"", b"a", b"", b"x" * 40_000, b"b" * 5]
    data = b"".join(map(packed, messages))
    for step in (3, 11, 16_384):
        stream_id = bidi.open()
        bidi.body(stream_id, data, step=step)
        assert service.heard == messages
        service.heard.clear()
    assert service.ends == []


@pytest.mark.parametrize("how", ["empty data", "with the last message", "trailers"])
def test_half_close_comes_after_the_messages(bidi: Wire, service: Service, how: str) -> None:
    stream_id = bidi.open()
    bidi.body(stream_id, packed(b"last"), end=how == "with the last message")
    if how == "empty data":
        bidi.body(stream_id, b"", end=True)
    elif how == "trailers":
        block = wire.encode_static([("x-sum", "1")])
        bidi.send(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream_id, block))
    assert (service.heard, service.ends) == ([b"last"], ["half-close"])
    service.calls[0].send(b"still open")
    service.calls[0].finish()
    bidi.flush()
    assert bidi.answer(stream_id).messages == [b"still open"]
    assert bidi.answer(stream_id).status == (0, "")


def test_a_stream_that_is_closed_at_once_ends_after_it_began(bidi: Wire, service: Service) -> None:
    bidi.open(end=True)
    assert (len(service.calls), service.ends) == (1, ["half-close"])


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_request_that_ends_within_a_message(cut: int) -> None:
    for kind, code in ((Kind.UNARY, 2), (Kind.BIDI_STREAM, 13)):
        service = Service()
        client = Wire(router_of(kind, service.hold))
        stream_id = client.open()
        client.body(stream_id, packed(b"message")[:cut], end=True)
        assert client.answer(stream_id).status == (code, "unexpected EOF")
        assert service.ends == (["cancel"] if kind is Kind.BIDI_STREAM else [])


def test_a_unary_call_without_its_request(unary: Wire) -> None:
    stream_id = unary.open(end=True)
    assert unary.answer(stream_id).status == (13, "grpc: the request message is missing")
    stream_id = unary.open()
    unary.body(stream_id, b"", end=True)
    assert unary.answer(stream_id).is_trailers_only


# Refusals, in the words of grpc-go.


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/test.Service/Other", "unknown method Other for service test.Service"),
        ("/test.Service/", "unknown method  for service test.Service"),
        ("/test.Other/Method", "unknown service test.Other"),
        ("/a/b/c", "unknown service a/b"),
        ("//x", "unknown service%20"),
        ("/", 'malformed method name: "/"'),
        ("/noslash", 'malformed method name: "/noslash"'),
        ("/se%C3%A9/m", "unknown service se%25C3%25A9"),
    ],
)
def test_unknown_paths(unary: Wire, path: str, text: str) -> None:
    answer = unary.call(path=path)
    assert answer.is_trailers_only
    assert answer.trailers[":status"] == "200"
    assert answer.status == (12, text)


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "post"])
def test_another_method_than_post(unary: Wire, method: str) -> None:
    answer = unary.call(method=method)
    text = f'Received a HEADERS frame with :method "{method}" which should be POST'
    assert answer.trailers[":status"] == "405"
    assert answer.status == (13, text)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/grpc-web", ""])
def test_another_content_type(unary: Wire, content_type: str) -> None:
    answer = unary.call(content_type=content_type)
    assert answer.trailers[":status"] == "415"
    assert answer.status == (3, f'invalid gRPC request content-type "{content_type}"')


def test_no_content_type(unary: Wire) -> None:
    stream_id = unary.open(content_type=None)
    assert unary.answer(stream_id).trailers[":status"] == "415"


@pytest.mark.parametrize(
    "content_type", ["application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC"]
)
def test_content_types_of_grpc(unary: Wire, content_type: str) -> None:
    assert unary.call(b"x", content_type=content_type).messages == [b"x"]


def test_bytes_after_a_refusal_are_ignored(unary: Wire) -> None:
    stream_id = unary.open(content_type="text/plain")
    unary.body(stream_id, b"anything at all" * 1000)
    assert unary.answer(stream_id).reset == ErrorCode.NO_ERROR
    assert unary.call(b"x").messages == [b"x"]


# Time.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0S", 0.0),
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("250m", 0.25),
        ("7u", 7e-6),
        ("99999999n", 0.099999999),
        ("99999999H", 99999999 * 3600.0),
        ("", None),
        ("S", None),
        ("1", None),
        ("1s", None),
        ("-1S", None),
        ("+1S", None),
        ("1.5S", None),
        ("123456789n", None),
        ("1S ", None),
        ("\u0661S", None),
    ],
)
def test_timeouts(text: str, seconds: float | None) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


def test_a_malformed_timeout(unary: Wire) -> None:
    answer = unary.call(b"", ("grpc-timeout", "18f6n"))
    assert answer.trailers[":status"] == "400"
    assert answer.status == (13, 'malformed grpc-timeout: "18f6n"')


def test_a_call_whose_time_is_over_before_it_begins(unary: Wire, service: Service) -> None:
    assert unary.call(b"", ("grpc-timeout", "0m")).status == (4, "context deadline exceeded")
    assert service.calls == []
    assert unary.layer.calls == {}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_deadline_ends_a_call_and_its_service_hears_of_it(kind: Kind) -> None:
    service = Service()
    client = Wire(router_of(kind, service.hold))
    stream_id = client.open(("grpc-timeout", "1500m"))
    client.body(stream_id, packed(b""), end=kind is not Kind.BIDI_STREAM)
    assert service.calls[0].deadline == pytest.approx(client.clock.time() + 1.5)
    client.advance(1.49)
    assert not service.calls[0].closed
    client.advance(0.05)
    assert client.answer(stream_id).status == (4, "context deadline exceeded")
    assert service.ends == ["cancel"]
    assert (client.layer.calls, len(client.deadlines)) == ({}, 0)
    service.calls[0].reply(b"too late")
    client.flush()
    assert client.engine.open_streams == 0


@pytest.mark.parametrize("end", ["reply", "reset", "connection"])
def test_a_call_that_ends_takes_its_deadline_along(end: str) -> None:
    service = Service()
    client = Wire(router_of(Kind.UNARY, service.hold))
    stream_id = client.open(("grpc-timeout", "1H"))
    client.body(stream_id, packed(b""))
    assert len(client.deadlines) == 1
    if end == "reply":
        service.calls[0].reply(b"")
    elif end == "reset":
        client.reset(stream_id)
    else:
        client.engine.connection_lost()
    assert len(client.deadlines) == 0
    assert service.ends == ([] if end == "reply" else ["cancel"])


def test_equal_blocks_with_other_timeouts_are_other_calls(unary: Wire, service: Service) -> None:
    for seconds in (5, 7, 5):
        unary.call(b"", ("grpc-timeout", f"{seconds}S"), ("token", "t"))
    now = unary.clock.time()
    assert [call.deadline for call in service.calls] == [now + 5, now + 7, now + 5]
    assert unary.call(b"").messages == [b""]
    assert service.calls[-1].deadline is None


# Metadata.


def test_metadata_is_the_first_value_of_each_name(unary: Wire, service: Service) -> None:
    unary.call(b"", ("token", "one"), ("token", "two"), ("x-empty", ""))
    metadata = service.calls[0].metadata
    assert (metadata["token"], metadata["x-empty"]) == ("one", "")
    assert "grpc-timeout" not in metadata
    assert (service.calls[0].path, service.calls[0].peer) == (PATH, "client:1")


def test_metadata_is_utf8_and_other_bytes_stay_visible(unary: Wire, service: Service) -> None:
    latin1 = "Grüße, 世界".encode().decode("latin-1")
    unary.call(b"", ("x-word", latin1), ("x-bad", "\xff\xfe"))
    metadata = service.calls[0].metadata
    assert metadata["x-word"] == "Grüße, 世界"
    assert metadata["x-bad"] == "\udcff\udcfe"


def test_binary_metadata_is_left_out(unary: Wire, service: Service) -> None:
    unary.call(b"", ("x-bin", "AAE="), ("y-bin", "X()X"))
    assert not {"x-bin", "y-bin"} & service.calls[0].metadata.keys()


def test_many_different_metadata_do_not_pile_up(unary: Wire) -> None:
    for number in range(1500):
        assert unary.call(b"x", ("x-number", str(number))).messages == [b"x"]
    assert 0 < len(unary.port.routes) <= 1024
    unary.port.routes.clear()
    unary.call(b"x", ("x-large", "x" * 5000))
    assert not unary.port.routes


# Compression.


@pytest.mark.parametrize("message", [b"", b"hello", b"a" * RECEIVE_BYTES_MAX])
def test_gzip(unary: Wire, message: bytes) -> None:
    stream_id = unary.open(GZIP)
    unary.body(stream_id, packed(gzip.compress(message), 1), end=True)
    assert unary.answer(stream_id).messages == [message]


def test_gzip_is_a_choice_for_each_message(bidi: Wire, service: Service) -> None:
    stream_id = bidi.open(GZIP)
    for message, flag in ((b"one", 0), (gzip.compress(b"two"), 1), (b"three", 0)):
        bidi.body(stream_id, packed(message, flag))
    assert service.heard == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ([], packed(b"", 1), (13, "grpc: compressed flag set with identity or empty encoding")),
        (
            [("grpc-encoding", "identity")],
            packed(b"", 1),
            (13, "grpc: compressed flag set with identity or empty encoding"),
        ),
        ([], packed(b"", 2), (13, "grpc: received unexpected payload format 2")),
        (
            [("grpc-encoding", "snappy")],
            packed(b""),
            (12, 'grpc: Decompressor is not installed for grpc-encoding "snappy"'),
        ),
        (
            [GZIP],
            packed(gzip.compress(b"hello")[:-9], 1),
            (13, "grpc: failed to decompress the received message: unexpected EOF"),
        ),
        (
            [GZIP],
            packed(gzip.compress(bytes(RECEIVE_BYTES_MAX + 1)), 1),
            (8, f"grpc: received message after decompression larger than max {RECEIVE_BYTES_MAX}"),
        ),
    ],
    ids=["no encoding", "identity", "flag", "unknown", "cut short", "bomb"],
)
def test_compression_that_cannot_be_undone(
    unary: Wire, fields: list[tuple[str, str]], body: bytes, status: tuple[int, str]
) -> None:
    stream_id = unary.open(*fields)
    unary.body(stream_id, body, end=True)
    assert unary.answer(stream_id).status == status


def test_compression_that_is_not_gzip(unary: Wire) -> None:
    stream_id = unary.open(GZIP)
    unary.body(stream_id, packed(b"not gzip", 1), end=True)
    code, text = unary.answer(stream_id).status
    assert code == 13
    assert text.startswith("grpc: failed to decompress the received message: ")


# Size.


def test_a_message_of_just_the_limit(unary: Wire) -> None:
    assert unary.call(b"x" * RECEIVE_BYTES_MAX).messages == [b"x" * RECEIVE_BYTES_MAX]


def test_a_message_above_the_limit_is_refused_by_its_prefix(unary: Wire) -> None:
    size = RECEIVE_BYTES_MAX + 1
    stream_id = unary.open()
    unary.body(stream_id, b"\0" + size.to_bytes(4, "big"))
    answer = unary.answer(stream_id)
    text = f"grpc: received message larger than max ({size} vs. {RECEIVE_BYTES_MAX})"
    assert (answer.status, answer.reset) == ((8, text), ErrorCode.NO_ERROR)
    unary.body(stream_id, b"x" * 50_000)
    assert unary.call(b"next").messages == [b"next"]


def test_a_small_message_above_the_limit_in_one_frame() -> None:
    client = Wire(router_of(Kind.UNARY, Service().echo), limits=Limits(frame_bytes_max=1 << 20))
    stream_id = client.open()
    client.body(stream_id, packed(b"x" * (RECEIVE_BYTES_MAX + 1)), end=True, step=1 << 20)
    assert client.answer(stream_id).status[0] == 8


def test_a_message_above_the_limit_within_a_stream(bidi: Wire, service: Service) -> None:
    stream_id = bidi.open()
    size = RECEIVE_BYTES_MAX + 1
    bidi.body(stream_id, packed(b"fits") + b"\0" + size.to_bytes(4, "big"))
    assert (service.heard, service.ends) == ([b"fits"], ["cancel"])
    assert bidi.answer(stream_id).status[0] == 8


def test_unfinished_requests_are_bounded_together(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.hold), buffered_bytes_max=1_000_000)
    half = b"\0" + (90_000).to_bytes(4, "big") + bytes(89_995)
    streams = [client.open() for _ in range(12)]
    for stream_id in streams:
        client.body(stream_id, half)
    refused = [stream_id for stream_id in streams if client.answer(stream_id).is_ended]
    assert refused == streams[11:]
    text = "grpc: too many bytes of unfinished requests on one connection"
    assert client.answer(refused[0]).status == (8, text)
    assert service.ends == ["cancel"]
    # What ends in whatever way makes room.
    client.body(streams[0], bytes(5))
    client.reset(streams[1])
    service.calls[2].finish()
    assert service.heard == [bytes(90_000)]
    for stream_id in [client.open() for _ in range(3)]:
        client.body(stream_id, half)
        assert not client.answer(stream_id).is_ended
    client.engine.connection_lost()
    assert client.layer.buffered_bytes == 0


def test_what_paused_calls_hold_back_is_bounded_too(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.hold), buffered_bytes_max=1_000_000)
    stream_id = client.open()
    service.calls[0].pause_reading()
    for _ in range(10):
        client.body(stream_id, packed(bytes(99_000)))
    assert not client.answer(stream_id).is_ended
    assert client.layer.buffered_bytes == 990_050
    service.calls[0].resume_reading()
    assert (len(service.heard), client.layer.buffered_bytes) == (10, 0)
    service.calls[0].pause_reading()
    for _ in range(11):
        client.body(stream_id, packed(bytes(99_000)))
    assert client.answer(stream_id).status[0] == 8


# Anything.


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0, 1])), max_size=6),
    st.lists(st.integers(1, 40), max_size=30),
    st.booleans(),
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_messages_in_any_cut(messages: list[tuple[bytes, int]], cuts: list[int], ended: bool) -> None:
    service = Service()
    client = Wire(router_of(Kind.BIDI_STREAM, service.hold))
    stream_id = client.open(GZIP)
    data = b"".join(packed(gzip.compress(message) if flag else message, flag) for message, flag in messages)
    for cut in cuts:
        if len(data) <= cut:
            break
        client.body(stream_id, data[:cut])
        data = data[cut:]
    client.body(stream_id, data, end=ended)
    assert service.heard == [message for message, _ in messages]
    assert service.ends == (["half-close"] if ended else [])


@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans(), st.sampled_from(list(Kind)))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_body_is_read_or_refused_and_never_kills_the_connection(
    pieces: list[bytes], ended: bool, kind: Kind
) -> None:
    service = Service()
    client = Wire(router_of(kind, service.hold))
    stream_id = client.open(GZIP)
    for piece in pieces:
        client.body(stream_id, piece)
    if ended:
        client.body(stream_id, b"", end=True)
    assert not client.engine.closed
    answer = client.answer(stream_id)
    assert answer.is_ended == (stream_id not in client.layer.calls)
    if answer.is_ended:
        assert answer.status[0] in (2, 8, 13)
