"""A client for the tests that can do wrong: it sends any frame, keeps what the engine tells, and reads its
answers.

Frames are built and cut here on their own, not with the engine's code, so that both would have to be wrong
alike.
"""

from __future__ import annotations

from typing import NamedTuple

from etcdpy.http2 import PREFACE, Engine, ErrorCode, Limits, RequestHeaders, prepare_headers
from etcdpy.http2.hpack import encode_static

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/kv"), (":authority", "node")]
ANSWER = prepare_headers([(":status", "200")])
TRAILERS = prepare_headers([("grpc-status", "0")])

Event = tuple[object, ...]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def number(self) -> int:
        """The 32 bits of RST_STREAM or WINDOW_UPDATE."""
        assert len(self.payload) == 4, self
        return int.from_bytes(self.payload, "big")


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def cut_frames(data: bytes) -> list[Frame]:
    frames = []
    while data:
        length = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + length, "half a frame"
        frames.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return frames


def request(
    stream_id: int = 1,
    *,
    end: bool = False,
    fields: list[tuple[str, str]] | None = None,
    flags: int = END_HEADERS,
) -> bytes:
    block = encode_static(REQUEST if fields is None else fields)
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream_id, block)


def body(stream_id: int = 1, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


def reset(stream_id: int = 1, code: int = ErrorCode.CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs))


GREETING = PREFACE + settings() + frame(SETTINGS, ACK)


class Client:
    """The peer and the handler of one engine."""

    def __init__(self, limits: Limits | None = None, *, greet: bool = True, answer: bool = False) -> None:
        self.events: list[Event] = []
        self.headers: dict[int, RequestHeaders] = {}
        self.answer = answer
        self.now = 0.0
        self.engine = Engine(self, limits, now=0.0)
        if greet:
            self.send(GREETING)
            assert not self.engine.closed

    # What the engine tells.

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        self.headers[stream_id] = headers
        self.events.append(("headers", stream_id, end_stream))
        self._answer(stream_id, end_stream)

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        self.on_headers(stream_id, headers, False)
        self.on_data(stream_id, data, True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        assert isinstance(data, bytes)
        self.events.append(("data", stream_id, data, end_stream))
        self._answer(stream_id, end_stream)

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        self.events.append(("trailers", stream_id, trailers))
        self._answer(stream_id, True)

    def on_reset(self, stream_id: int, code: int) -> None:
        self.events.append(("reset", stream_id, code))

    def on_writable(self, stream_id: int) -> None:
        self.events.append(("writable", stream_id))

    def _answer(self, stream_id: int, end_stream: bool) -> None:
        if self.answer and end_stream:
            self.engine.send_response(stream_id, ANSWER, [b"yes"], TRAILERS)

    # What the test does.

    def send(self, *frames: bytes) -> list[Frame]:
        """Send, and give what the engine sends back at once."""
        self.engine.receive_data(b"".join(frames), self.now)
        return self.read()

    def read(self) -> list[Frame]:
        return cut_frames(self.engine.data_to_send())

    def read_all(self) -> list[Frame]:
        """As many writes as the engine has bytes for."""
        frames = []
        while self.engine.wants_write:
            frames += self.read()
        return frames

    def wait(self, seconds: float) -> list[Frame]:
        self.now += seconds
        self.engine.tick(self.now)
        return self.read()

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    @property
    def code(self) -> ErrorCode | None:
        """Why the connection was closed."""
        assert self.engine.closed == (self.engine.fault is not None)
        return None if self.engine.fault is None else self.engine.fault.code


def fails_with(client: Client, code: ErrorCode, *frames: bytes) -> None:
    """The frames end the connection: GOAWAY with this code is the last frame, and all streams are told."""
    open_before = client.engine.open_streams
    client.take_events()
    answer = client.send(*frames)
    assert client.code == code, client.engine.fault
    assert str(client.engine.fault).startswith(code.name)
    assert answer[-1].kind == GOAWAY
    assert int.from_bytes(answer[-1].payload[4:8], "big") == code
    assert client.engine.open_streams == 0
    assert len([event for event in client.events if event[0] == "reset"]) >= min(1, open_before)
    count = len(client.events)
    assert client.send(request(2**31 - 1)) == []
    assert len(client.events) == count, "something was told after the end"


def resets_with(client: Client, code: ErrorCode, stream_id: int, *frames: bytes) -> None:
    """The frames end the stream and nothing else."""
    answer = [one for one in client.send(*frames) if one.kind != WINDOW_UPDATE]
    assert client.code is None, client.engine.fault
    assert [(one.kind, one.stream_id, one.number) for one in answer] == [(RST_STREAM, stream_id, code)]
    assert not client.engine.is_open(stream_id)
    check_alive(client)


def check_alive(client: Client) -> None:
    """The connection still answers."""
    payload = b"8 octets"
    answer = client.send(frame(PING, 0, 0, payload))
    assert answer == [Frame(PING, ACK, 0, payload)], client.engine.fault


def data_of(frames: list[Frame], stream_id: int) -> bytes:
    return b"".join(one.payload for one in frames if one.kind == DATA and one.stream_id == stream_id)
