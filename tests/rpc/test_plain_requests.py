"""HTTP/2 requests that are not gRPC: what aiohttp is made to see of them, and what becomes of its answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.http2 import ErrorCode, Limits
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.plain_requests import ResponseReader
from etcdpy.rpc.port import Http1Session
from etcdpy.rpc.router import Kind
from tests.http2 import wire
from tests.rpc.grpc_wire import Answer, Wire, router_of

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class FakeAiohttp(asyncio.Protocol):
    """Keeps what it hears; the test speaks for it."""

    def __init__(self) -> None:
        self.heard = b""
        self.events: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")


class Door:
    """Opens sessions, and knows which are open."""

    def __init__(self) -> None:
        self.protocols: list[FakeAiohttp] = []
        self.sessions: set[Http1Session] = set()

    def open(self) -> Http1Session:
        protocol = FakeAiohttp()
        self.protocols.append(protocol)
        session = Http1Session(protocol)
        self.sessions.add(session)
        return session

    def close(self, session: Http1Session) -> None:
        self.sessions.remove(session)


class Site:
    """A client, and the HTTP/1.1 side of its requests."""

    def __init__(self, *, window: int = 2**31 - 1 - 65_535, limits: Limits | None = None) -> None:
        self.door = Door()
        router = router_of(Kind.UNARY, lambda call, data: call.reply(b""))
        self.wire = Wire(router, window=window, limits=limits, http1=self.door)
        self.wire.layer.serves_plain = True

    def ask(self, *fields: tuple[str, str], method: str = "GET", path: str = "/x", end: bool = True) -> int:
        return self.wire.open(*fields, path=path, method=method, content_type=None, end=end)

    @property
    def http1(self) -> FakeAiohttp:
        return self.door.protocols[-1]

    def write(self, data: bytes) -> None:
        self.http1.transport.write(data)
        self.wire.flush()

    def close(self) -> None:
        self.http1.transport.close()
        self.wire.flush()

    def answer(self, stream_id: int = 1) -> Answer:
        return self.wire.answer(stream_id)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_request_without_a_body(site: Site) -> None:
    site.ask(("accept", "*/*"), path="/health?serializable=true")
    assert site.http1.heard == (
        b"GET /health?serializable=true HTTP/1.1\r\nHost: node\r\naccept: */*\r\nConnection: close\r\n\r\n"
    )


def test_a_body_of_unknown_length_is_chunked(site: Site) -> None:
    stream_id = site.ask(method="POST", end=False)
    assert b"Transfer-Encoding: chunked\r\n" in site.http1.heard
    site.http1.heard = b""
    site.wire.body(stream_id, b"some")
    site.wire.body(stream_id, b"thing else", end=True)
    assert site.http1.heard == b"4\r\nsome\r\na\r\nthing else\r\n0\r\n\r\n"


def test_a_body_of_known_length_goes_as_it_is(site: Site) -> None:
    stream_id = site.ask(("content-length", "5"), method="PUT", end=False)
    assert b"Content-Length: 5\r\n" in site.http1.heard
    assert b"chunked" not in site.http1.heard
    site.http1.heard = b""
    site.wire.body(stream_id, b"12")
    site.wire.body(stream_id, b"345")
    site.wire.body(stream_id, b"", end=True)
    assert site.http1.heard == b"12345"


def test_trailers_of_a_request_end_its_body(site: Site) -> None:
    stream_id = site.ask(method="POST", end=False)
    site.http1.heard = b""
    block = wire.encode_static([("x-sum", "1")])
    site.wire.send(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream_id, block))
    assert site.http1.heard == b"0\r\n\r\n"


def test_an_answer(site: Site) -> None:
    site.ask()
    site.write(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello")
    assert not site.answer().is_ended
    site.close()
    assert site.answer().headers == {
        ":status": "200",
        "content-type": "text/plain",
        "content-length": "5",
    }
    assert (bytes(site.answer().data), site.answer().is_ended) == (b"hello", True)
    site.wire.advance(0.0)
    assert (site.http1.events, site.door.sessions) == (["lost"], set())


def test_an_answer_without_a_body(site: Site) -> None:
    site.ask(method="HEAD")
    site.write(OK + b"Content-Length: 5\r\n\r\n")
    site.close()
    assert (site.answer().headers["content-length"], site.answer().data) == ("5", b"")
    assert site.answer().is_ended


def test_an_answer_in_chunks_is_sent_as_it_comes(site: Site) -> None:
    site.ask()
    site.write(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert bytes(site.answer().data) == b"hello"
    assert "transfer-encoding" not in site.answer().headers
    site.write(b"6\r\n world\r\n0\r\n\r\n")
    site.close()
    assert (bytes(site.answer().data), site.answer().is_ended) == (b"hello world", True)


@pytest.mark.parametrize(
    "said",
    [b"", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe"],
)
def test_an_answer_that_breaks_off_resets_the_stream(site: Site, said: bytes) -> None:
    site.ask()
    if said:
        site.write(said)
    site.close()
    assert site.answer().reset == ErrorCode.INTERNAL_ERROR
    assert site.wire.engine.open_streams == 0


def test_an_abort_resets_the_stream(site: Site) -> None:
    site.ask()
    site.write(OK + b"Content-Length: 5\r\n\r\nhe")
    site.http1.transport.abort()
    site.wire.flush()
    site.wire.advance(0.0)
    assert site.answer().reset == ErrorCode.INTERNAL_ERROR
    assert not site.door.sessions


@pytest.mark.parametrize("when", ["asked", "answering", "closed"])
def test_a_client_that_leaves(site: Site, when: str) -> None:
    stream_id = site.ask()
    if when != "asked":
        site.write(OK + b"Content-Length: 100000\r\n\r\n" + bytes(1000))
    if when == "closed":
        site.http1.transport.close()
    site.wire.reset(stream_id)
    site.wire.advance(0.0)
    assert site.http1.events == ["lost"]
    assert not site.door.sessions
    site.http1.transport.write(b"nobody hears")
    site.http1.transport.close()
    site.wire.advance(0.0)
    assert site.http1.events == ["lost"]


def test_a_connection_that_breaks(site: Site) -> None:
    for _ in range(3):
        site.ask()
    site.wire.engine.connection_lost()
    assert [protocol.events for protocol in site.door.protocols] == [["lost"]] * 3
    assert not site.door.sessions


def test_a_slow_client_slows_its_answer_down() -> None:
    site = Site(window=0)
    stream_id = site.ask()
    size = 65_535 + 3 * WRITABLE_BYTES
    site.write(OK + b"Content-Length: %d\r\n\r\n" % size + bytes(65_535))
    site.write(bytes(2 * WRITABLE_BYTES))
    site.write(bytes(WRITABLE_BYTES))
    assert site.http1.events[-1] == "pause"
    assert site.http1.events.count("pause") == site.http1.events.count("resume") + 1
    site.wire.give_window(0, size)
    assert site.http1.events[-1] == "resume"
    site.close()
    assert len(site.answer(stream_id).data) == size


def test_a_slow_handler_slows_its_client_down() -> None:
    limits = Limits(stream_window_bytes=100_000, writable_bytes=WRITABLE_BYTES)
    site = Site(limits=limits)
    stream_id = site.ask(method="POST", end=False)
    site.http1.transport.pause_reading()
    for _ in range(10):
        site.wire.body(stream_id, bytes(10_000))
    updates = [one for one in site.wire.control if one.kind == wire.WINDOW_UPDATE and one.stream_id]
    assert not updates
    site.http1.transport.resume_reading()
    site.wire.flush()
    assert [one.number for one in site.wire.control if one.kind == wire.WINDOW_UPDATE and one.stream_id] == [
        100_000
    ]


def test_calls_and_other_requests_share_a_connection(site: Site) -> None:
    site.ask()
    assert site.wire.call().status == (0, "")
    site.write(OK + b"Content-Length: 0\r\n\r\n")
    site.close()
    assert site.answer().is_ended


def test_what_resembles_grpc_is_refused_as_grpc(site: Site) -> None:
    answer = site.wire.call(content_type="application/grpc-web")
    assert answer.trailers[":status"] == "415"
    assert not site.door.protocols


def read(pieces: list[bytes]) -> tuple[list[tuple[str, str]] | None, bytes, bool]:
    reader = ResponseReader()
    heads = []
    body = b""
    for piece in pieces:
        head, found = reader.feed(piece)
        if head is not None:
            heads.append(head)
        body += b"".join(found)
    assert len(heads) <= 1
    return (heads[0] if heads else None), body, reader.is_complete


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 60), max_size=40),
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_responses_in_any_cut(chunks: list[bytes], chunked: bool, greeted: bool, cuts: list[int]) -> None:
    body = b"".join(chunks)
    if chunked:
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        response = OK + b"Transfer-Encoding: chunked\r\n\r\n" + framed
    else:
        response = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if greeted:
        response = b"HTTP/1.1 100 Continue\r\n\r\n" + response
    pieces = []
    for cut in cuts:
        pieces.append(response[:cut])
        response = response[cut:]
    head, found, is_complete = read([piece for piece in [*pieces, response] if piece])
    assert head is not None
    assert head[:2] == [(":status", "200"), ("content-type", "text/plain")]
    assert (found, is_complete) == (body, True)
