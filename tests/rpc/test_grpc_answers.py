"""The gRPC layer on the wire: how calls are answered, and how both sides are slowed down."""

from __future__ import annotations

import gzip
import inspect
import pkgutil
import tracemalloc
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.http2 import ErrorCode, Limits
from etcdpy.rpc import services
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.grpc import BATCH_BYTES, STATUS_MESSAGE_BYTES_MAX, percent_encode
from etcdpy.rpc.router import Kind, Method, Router
from etcdpy.rpc.serving import limits_of
from etcdpy.server.config import Config
from tests.http2 import wire
from tests.rpc.grpc_wire import PATH, WINDOW_DEFAULT, NoMember, Wire, packed, router_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.call import Call

MIB = 1024 * 1024


class Service:
    """Begins a call, and leaves it to the test to go on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.heard: list[bytes] = []
        self.events: list[str] = []

    def begin(self, call: Call, data: bytes) -> None:
        self.calls.append(call)
        call.on_message = self.heard.append
        call.on_half_close = lambda: self.events.append("half-close")
        call.on_cancel = lambda: self.events.append("cancel")
        call.on_writable = lambda: self.events.append("writable")

    @property
    def call(self) -> Call:
        return self.calls[-1]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def stream(service: Service) -> Wire:
    """A client whose call is under way on stream 1."""
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin))
    assert client.open() == 1
    return client


# Streams of messages.


def test_messages_come_in_order_before_the_status(stream: Wire, service: Service) -> None:
    service.call.send(b"one")
    service.call.send(b"")
    service.call.send_parts([b"th", b"r", b"", b"ee"])
    service.call.finish()
    stream.flush()
    answer = stream.answer(1)
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"one", b"", b"three"]
    assert answer.status == (0, "")


def test_each_message_is_on_its_way_when_it_is_sent(stream: Wire, service: Service) -> None:
    for number in range(3):
        before = stream.wrote
        service.call.send(bytes((number,)))
        assert stream.wrote > before, "nobody asked for a flush"
        stream.flush()
        assert len(stream.answer(1).messages) == number + 1


def test_a_stream_that_says_nothing_has_headers_and_status(stream: Wire, service: Service) -> None:
    service.call.finish()
    stream.flush()
    assert stream.answer(1).headers[":status"] == "200"
    assert (stream.answer(1).messages, stream.answer(1).status) == ([], (0, ""))


def test_a_status_after_messages_stands_in_trailers(stream: Wire, service: Service) -> None:
    service.call.send(b"one")
    service.call.fail(RpcError(Code.DATA_LOSS, "gone"))
    stream.flush()
    answer = stream.answer(1)
    assert (answer.messages, answer.status) == ([b"one"], (15, "gone"))
    assert answer.trailers.keys() == {"grpc-status", "grpc-message"}


def test_a_status_without_messages_is_trailers_only(stream: Wire, service: Service) -> None:
    service.call.fail(RpcError(Code.ABORTED, "no"))
    stream.flush()
    answer = stream.answer(1)
    assert answer.is_trailers_only
    assert answer.trailers == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": "10",
        "grpc-message": "no",
    }


@pytest.mark.parametrize("first", ["reply", "finish", "fail", "abort"])
def test_only_the_first_end_counts(service: Service, first: str) -> None:
    client = Wire(router_of(Kind.UNARY, service.begin))
    client.open()
    client.body(1, packed(b""), end=True)
    call = service.call
    ends: dict[str, Callable[[], None]] = {
        "reply": lambda: call.reply(b"answer"),
        "finish": call.finish,
        "fail": lambda: call.fail(RpcError(Code.ABORTED, "first")),
        "abort": lambda: call.abort(RpcError(Code.ABORTED, "first")),
    }
    ends[first]()
    client.flush()
    before = bytes(client.answer(1).data), client.answer(1).status
    assert call.closed
    for end in ends.values():
        end()
    call.send(b"too late")
    call.pause_reading()
    call.resume_reading()
    client.flush()
    assert (bytes(client.answer(1).data), client.answer(1).status) == before
    assert service.events == (["cancel"] if first == "abort" else [])
    assert (client.layer.calls, client.engine.open_streams, call.pending_bytes) == ({}, 0, 0)


def test_an_answer_before_the_end_of_the_request_resets_it(stream: Wire, service: Service) -> None:
    service.call.finish()
    stream.flush()
    assert stream.answer(1).reset == ErrorCode.NO_ERROR
    stream.body(1, packed(b"ignored"), end=True)
    assert service.heard == []
    assert stream.open() == 3


# The client leaves.


def test_a_client_that_resets_its_call(stream: Wire, service: Service) -> None:
    stream.reset(1)
    assert service.events == ["cancel"]
    assert service.call.closed
    assert stream.layer.calls == {}
    service.call.send(b"nobody hears")
    service.call.finish()
    stream.flush()
    assert not stream.answer(1).headers


def test_a_client_that_leaves_in_the_middle_of_an_answer_frees_it(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), window=0)
    client.open()
    service.call.send(b"x" * 10 * MIB)
    client.flush()
    assert service.call.pending_bytes > 9 * MIB
    client.reset(1)
    assert (client.engine.queued_bytes, service.call.pending_bytes) == (0, 0)
    assert service.events == ["cancel"]


def test_a_connection_that_breaks_cancels_every_call(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin))
    for _ in range(5):
        client.open(("grpc-timeout", "1H"))
    service.calls[0].finish()
    client.flush()
    client.engine.connection_lost()
    assert service.events == ["cancel"] * 4
    assert all(call.closed for call in service.calls)
    assert (client.layer.calls, len(client.deadlines)) == ({}, 0)


# Status messages.


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        ("plain text, with ~ and \"'", "plain text, with ~ and \"'"),
        ("100%", "100%25"),
        ("line\r\nline\t\0", "line%0D%0Aline%09%00"),
        ("é世", "%C3%A9%E4%B8%96"),
        (" both ", "%20both%20"),
        ("  ", "%20%20"),
        ("", ""),
        ("\udcff", "?"),
    ],
)
def test_percent_encoding(message: str, encoded: str) -> None:
    assert percent_encode(message) == encoded


@given(st.text(max_size=300))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_status_message_arrives(message: str) -> None:
    client = Wire(router_of(Kind.UNARY, lambda call, data: call.fail(RpcError(Code.ABORTED, message))))
    _, encoded = client.call().status
    assert encoded.isascii()
    assert unquote_to_bytes(encoded) == message.encode("utf-8", "replace")


def test_a_long_status_message_is_cut() -> None:
    for letter in ("x", "é", "\n"):
        text = letter * 3 * STATUS_MESSAGE_BYTES_MAX
        error = RpcError(Code.ABORTED, text)
        client = Wire(router_of(Kind.UNARY, lambda call, data, error=error: call.fail(error)))  # type: ignore[misc]
        _, encoded = client.call().status
        whole = unquote_to_bytes(encoded)
        assert text.encode().startswith(whole)
        assert STATUS_MESSAGE_BYTES_MAX - 12 <= len(encoded) <= STATUS_MESSAGE_BYTES_MAX
        whole.decode()


# Slow readers.


def test_what_does_not_fit_the_window_is_pending_until_it_does(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), window=0)
    client.open()
    service.call.send(b"x" * 200_000)
    client.flush()
    assert service.call.pending_bytes == 200_005 - WINDOW_DEFAULT
    client.give_window(0, 100_000)
    assert service.call.pending_bytes == 200_005 - WINDOW_DEFAULT - 100_000
    assert service.events == []
    client.give_window(0, 10_000)
    assert service.call.pending_bytes < WRITABLE_BYTES
    assert service.events == ["writable"]
    client.give_window(0, 100_000)
    assert (service.call.pending_bytes, service.events) == (0, ["writable"])
    assert client.answer(1).messages == [b"x" * 200_000]


def test_few_pending_bytes_are_nothing_to_tell_of(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), window=0)
    client.open()
    service.call.send(b"x" * (WINDOW_DEFAULT - 5))
    client.flush()
    service.events.clear()
    service.call.send(b"x" * (WRITABLE_BYTES - 5))
    client.flush()
    assert service.call.pending_bytes == WRITABLE_BYTES
    client.give_window(0, MIB)
    assert (service.call.pending_bytes, service.events) == (0, [])


def test_writable_comes_once_for_each_time_it_was_not(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), window=0)
    client.open()
    service.call.send(b"x" * (WINDOW_DEFAULT - 5))
    for _ in range(3):
        service.events.clear()
        service.call.send(b"x" * 2 * WRITABLE_BYTES)
        client.flush()
        for _ in range(2 * WRITABLE_BYTES // 1024 + 1):
            client.give_window(0, 1024)
        assert service.events == ["writable"]


def test_a_service_may_go_on_within_on_writable(service: Service) -> None:
    total, sent = 8 * MIB, 0
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin))
    client.open()
    call = service.call

    def pump() -> None:
        nonlocal sent
        while sent < total and call.pending_bytes < 2 * WRITABLE_BYTES:
            call.send(b"x" * 10_000)
            sent += 10_000
        if sent >= total:
            call.finish()

    call.on_writable = pump
    pump()
    client.flush()
    answer = client.answer(1)
    assert answer.status == (0, "")
    assert sum(map(len, answer.messages)) == sent >= total


def test_an_ended_call_is_not_told_that_it_may_write(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), window=0)
    client.open()
    service.call.send(b"x" * 500_000)
    service.call.finish()
    client.flush()
    client.give_window(0, MIB)
    assert service.events == []
    assert client.answer(1).status == (0, "")


def test_a_paused_transport_counts_as_pending(stream: Wire, service: Service) -> None:
    stream.engine.pause()
    service.call.send(b"x" * 100_000)
    assert stream.engine.data_to_send() == b""
    assert service.call.pending_bytes == 100_005
    stream.engine.resume()
    stream.flush()
    assert (service.call.pending_bytes, service.events) == (0, ["writable"])


def test_services_stop_above_the_bound_at_which_they_are_woken() -> None:
    limits = {}
    for module in pkgutil.iter_modules(services.__path__, services.__name__ + "."):
        for name, value in vars(import_module(module.name)).items():
            if "PENDING_BYTES_MAX" in name:
                limits[module.name, name] = value
    assert len(limits) >= 3, limits
    # What is still batched counts as pending, but the engine cannot tell that it is gone.
    assert all(value - BATCH_BYTES > WRITABLE_BYTES for value in limits.values()), limits
    assert limits_of(Config()).writable_bytes == WRITABLE_BYTES


# Large answers.


def large_and_small(size: int) -> Router:
    blob = bytes(size)

    def small(call: Call, data: bytes) -> None:
        call.reply(b"small")

    methods = [
        Method(PATH, Kind.UNARY, lambda call, data: call.reply(blob)),
        Method("/test.Service/Small", Kind.UNARY, small),
    ]
    return Router(NoMember(), methods)  # type: ignore[arg-type]  # enough of a member


def test_a_large_answer_waits_once_and_blocks_nobody() -> None:
    size = 100 * MIB
    client = Wire(large_and_small(size))
    tracemalloc.start()
    try:
        client.send(client.headers_frame(1, [], end=False) + wire.body(1, packed(b""), end=True))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(client.answer(1).data) == size + 5
    # What the client keeps of it here, and a few writes on the way.
    assert peak < 2.3 * size


def test_a_large_answer_is_not_copied_while_it_waits() -> None:
    size = 100 * MIB
    client = Wire(large_and_small(size))
    client.engine.pause()
    tracemalloc.start()
    try:
        client.send(client.headers_frame(1, [], end=False) + wire.body(1, packed(b""), end=True))
        client.engine.resume()
        taken = 0
        while data := client.engine.data_to_send():
            taken += len(data)
            assert len(data) <= 2 * Limits().write_bytes
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert taken > size
    assert peak < 3 * MIB


def test_a_small_answer_overtakes_a_large_one() -> None:
    client = Wire(large_and_small(100 * MIB))
    client.engine.pause()
    client.send(client.headers_frame(1, []) + wire.body(1, packed(b""), end=True))
    client.engine.resume()
    for number in range(20):
        client.take(client.engine.data_to_send())
        stream_id = 3 + 2 * number
        ask = client.headers_frame(stream_id, [], "/test.Service/Small") + wire.body(
            stream_id, packed(b""), end=True
        )
        client.engine.receive_data(ask, client.clock.time())
        client.take(client.engine.data_to_send())
        client.take(client.engine.data_to_send())
        assert client.answer(stream_id).messages == [b"small"]
    assert not client.answer(1).is_ended


def test_a_large_answer_through_small_windows_and_frames() -> None:
    size = 3 * MIB
    client = Wire(large_and_small(size), window=0, stream_window=30_000)
    client.open()
    client.body(1, packed(b""), end=True)
    while not client.answer(1).is_ended:
        client.give_window(0, 7001)
        client.give_window(1, 7001)
    assert client.answer(1).messages == [bytes(size)]


# Pausing the client.


def test_a_paused_call_hears_nothing_until_it_resumes(stream: Wire, service: Service) -> None:
    stream.body(1, packed(b"one"))
    service.call.pause_reading()
    stream.body(1, packed(b"two") + packed(b"three")[:6])
    stream.body(1, packed(b"three")[6:] + packed(b"four"))
    assert service.heard == [b"one"]
    service.call.resume_reading()
    assert service.heard == [b"one", b"two", b"three", b"four"]


def test_a_call_may_pause_and_resume_within_each_message(stream: Wire, service: Service) -> None:
    call = service.call

    def hear(message: bytes) -> None:
        service.heard.append(message)
        call.pause_reading()
        call.pause_reading()
        if len(service.heard) % 2:
            call.resume_reading()

    call.on_message = hear
    stream.body(1, b"".join(packed(bytes((number,))) for number in range(6)))
    assert service.heard == [b"\0", b"\1"]
    call.resume_reading()
    assert service.heard == [b"\0", b"\1", b"\2", b"\3"]
    call.resume_reading()
    assert len(service.heard) == 6


def test_the_half_close_waits_for_the_messages_before_it(stream: Wire, service: Service) -> None:
    service.call.pause_reading()
    stream.body(1, packed(b"one") + packed(b"two"), end=True)
    assert (service.heard, service.events) == ([], [])
    service.call.resume_reading()
    assert (service.heard, service.events) == ([b"one", b"two"], ["half-close"])


def test_the_half_close_is_told_once(stream: Wire, service: Service) -> None:
    stream.body(1, packed(b"one"), end=True)
    for _ in range(2):
        service.call.pause_reading()
        service.call.resume_reading()
    assert service.events == ["half-close"]


def test_a_request_cut_short_is_found_out_after_the_pause(stream: Wire, service: Service) -> None:
    service.call.pause_reading()
    stream.body(1, packed(b"one") + packed(b"two")[:3], end=True)
    assert not stream.answer(1).is_ended
    service.call.resume_reading()
    stream.flush()
    assert service.heard == [b"one"]
    assert stream.answer(1).status == (13, "unexpected EOF")


def test_a_call_that_ends_while_paused(stream: Wire, service: Service) -> None:
    service.call.pause_reading()
    stream.body(1, packed(b"one"))
    service.call.finish()
    service.call.resume_reading()
    assert service.heard == []


def test_a_paused_client_is_held_by_its_window(service: Service) -> None:
    window = 100_000
    limits = Limits(stream_window_bytes=window, writable_bytes=WRITABLE_BYTES)
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), limits=limits)
    client.open()
    service.call.pause_reading()
    for _ in range(10):
        client.body(1, packed(b"x" * 9_995))
    assert not [one for one in client.control if one.kind == wire.WINDOW_UPDATE and one.stream_id == 1]
    service.call.resume_reading()
    client.flush()
    assert len(service.heard) == 10
    given = [one.number for one in client.control if one.kind == wire.WINDOW_UPDATE and one.stream_id == 1]
    assert given == [window]
    # And if it does not stop there, the stream ends, not the connection.
    service.call.pause_reading()
    for _ in range(11):
        client.body(1, packed(b"x" * 9_995))
    assert client.answer(1).reset == ErrorCode.FLOW_CONTROL_ERROR
    assert service.events == ["cancel"]
    assert not client.engine.closed


def test_what_a_paused_client_compressed_stays_compressed(service: Service) -> None:
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin))
    client.open(("grpc-encoding", "gzip"))
    service.call.pause_reading()
    bomb = packed(gzip.compress(bytes(100_000)), 1)
    tracemalloc.start()
    try:
        for _ in range(1000):
            client.body(1, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 1000 * len(bomb) + 100_000
    service.call.on_message = lambda message: service.heard.append(message[:1])
    service.call.resume_reading()
    assert len(service.heard) == 1000


# Keepalive.


def pings(client: Wire, count: int) -> None:
    for _ in range(count):
        client.send(wire.frame(wire.PING, 0, 0, b"8 octets"))


def test_a_client_that_pings_too_often_is_sent_away(stream: Wire, service: Service) -> None:
    pings(stream, 4)
    goaway = stream.control[-1]
    assert goaway.kind == wire.GOAWAY
    assert int.from_bytes(goaway.payload[4:8], "big") == ErrorCode.ENHANCE_YOUR_CALM
    assert goaway.payload[8:] == b"too_many_pings"
    assert service.events == ["cancel"]


def test_a_client_that_pings_as_often_as_it_may(stream: Wire) -> None:
    for _ in range(20):
        stream.clock.advance(5.1)
        pings(stream, 1)
    assert not stream.engine.closed


def test_the_flags_of_keepalive_reach_the_engine() -> None:
    config = Config(
        data_dir=Path("x"),
        grpc_keepalive_min_time_s=1.0,
        grpc_keepalive_interval_s=60.0,
        grpc_keepalive_timeout_s=3.0,
        max_concurrent_streams=7,
    )
    limits = limits_of(config)
    assert (limits.ping_interval_seconds, limits.keepalive_seconds) == (1.0, 60.0)
    assert (limits.keepalive_timeout_seconds, limits.streams_max) == (3.0, 7)
    assert limits_of(Config()).streams_max == Limits().streams_max


def test_more_calls_than_allowed_are_refused(service: Service) -> None:
    limits = Limits(streams_max=3, writable_bytes=WRITABLE_BYTES)
    client = Wire(router_of(Kind.BIDI_STREAM, service.begin), limits=limits)
    for _ in range(4):
        client.open()
    assert client.answer(7).reset == ErrorCode.REFUSED_STREAM
    assert len(service.calls) == len(client.layer.calls) == 3
    service.calls[0].finish()
    client.open()
    assert len(service.calls) == 4


def test_every_public_method_of_a_call_is_in_the_contract() -> None:
    """The engine's call has nothing that services could lean on and the reference lacks."""
    from etcdpy.rpc.grpc import EngineCall

    own = {name for name, _ in inspect.getmembers(EngineCall) if not name.startswith("_")}
    inner = {
        "buffer",
        "expire",
        "feed",
        "flush_batch",
        "half_close",
        "leave",
        "paused",
        "route",
        "stream_id",
        "take",
    }
    promised = {name for name, _ in inspect.getmembers(EngineCall.__base__) if not name.startswith("_")}
    assert own - promised == inner
