"""A gRPC client that can do wrong, on the engine and the gRPC layer in memory: no socket, no loop, and a
clock that is moved by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from etcdpy.http2 import PREFACE, Engine, Limits
from etcdpy.http2.hpack import Decoder, encode_static
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.deadlines import Deadlines
from etcdpy.rpc.grpc import GrpcLayer
from etcdpy.rpc.port import Http1Door, Http1Session, Port, PortLimits
from etcdpy.rpc.router import Kind, Method, Router
from tests.http2 import wire
from tests.rpc.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from etcdpy.rpc.call import Call

PATH = "/test.Service/Method"
RECEIVE_BYTES_MAX = 100_000
LARGE_WINDOW = 2**31 - 1 - 65_535
WINDOW_DEFAULT = 65_535


def packed(message: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def unpacked(data: bytes | bytearray, *, is_whole: bool = True) -> list[bytes]:
    """Messages of a body; unless more is to come, it must end with one."""
    messages = []
    start = 0
    while len(data) - start >= 5:
        end = start + 5 + int.from_bytes(data[start + 1 : start + 5], "big")
        assert data[start] == 0
        if end > len(data):
            break
        messages.append(bytes(data[start + 5 : end]))
        start = end
    assert start == len(data) or not is_whole, "half a message"
    return messages


class NoHttp1:
    """Nobody to ask for anything but gRPC."""

    def open(self) -> Http1Session:
        raise AssertionError("nothing here speaks HTTP/1.1")

    def close(self, session: Http1Session) -> None: ...


class NoMember:
    """Enough of a member for the router; the methods of these tests ask for no more."""

    is_capable = True
    is_learner = False
    leader_id = 1
    state = SimpleNamespace(auth=SimpleNamespace(is_enabled=False))


def router_of(kind: Kind, handler: Callable[[Call, bytes], None]) -> Router:
    member: Any = NoMember()
    return Router(member, [Method(PATH, kind, handler)])


@dataclass
class Answer:
    """What came back on a stream."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    is_ended: bool = False
    reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        return unpacked(self.data)

    @property
    def is_trailers_only(self) -> bool:
        return not self.headers and bool(self.trailers)

    @property
    def status(self) -> tuple[int, str]:
        return int(self.trailers["grpc-status"]), self.trailers["grpc-message"]


class Wire:
    """One connection. `flush` moves what the engine has to say into `answers`."""

    def __init__(
        self,
        router: Router,
        *,
        limits: Limits | None = None,
        window: int = LARGE_WINDOW,
        stream_window: int = 2**31 - 1,
        frame_bytes_max: int = 16_384,
        buffered_bytes_max: int = 64 * 1024 * 1024,
        http1: Http1Door | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.deadlines = Deadlines(self.clock)
        self.wrote = 0
        limits = limits or Limits(writable_bytes=WRITABLE_BYTES)
        loop: Any = self.clock
        port_limits = PortLimits(
            connections_max=1, receive_bytes_max=RECEIVE_BYTES_MAX, buffered_bytes_max=buffered_bytes_max
        )
        self.port = Port(router, self.deadlines, limits, port_limits, http1 or NoHttp1(), loop)
        self.layer = GrpcLayer(self.port, "client:1", self._wrote)
        self.engine = self.layer.engine = Engine(self.layer, limits, now=self.clock.time())
        self.answers: dict[int, Answer] = {}
        self.control: list[wire.Frame] = []
        self._decoder = Decoder(table_bytes=4096, list_bytes_max=1 << 20, fields_max=1000)
        self._next_id = 1
        first = wire.settings((4, stream_window), (5, frame_bytes_max))
        self.send(PREFACE + first + wire.frame(wire.SETTINGS, wire.ACK))
        if window:
            self.send(wire.window_update(0, window))
        self.control.clear()

    def _wrote(self) -> None:
        self.wrote += 1

    # What the client does.

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.engine.receive_data(piece, self.clock.time())
        self.flush()

    def open(
        self,
        *fields: tuple[str, str],
        path: str = PATH,
        method: str = "POST",
        content_type: str | None = "application/grpc",
        end: bool = False,
    ) -> int:
        """Headers of a call; its stream."""
        stream_id = self._next_id
        self._next_id += 2
        self.send(self.headers_frame(stream_id, fields, path, method, content_type, end))
        return stream_id

    @staticmethod
    def headers_frame(
        stream_id: int,
        fields: Iterable[tuple[str, str]],
        path: str = PATH,
        method: str = "POST",
        content_type: str | None = "application/grpc",
        end: bool = False,
    ) -> bytes:
        pairs = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "node")]
        if content_type is not None:
            pairs.append(("content-type", content_type))
        pairs += [("te", "trailers"), *fields]
        flags = wire.END_HEADERS | (wire.END_STREAM if end else 0)
        return wire.frame(wire.HEADERS, flags, stream_id, encode_static(pairs))

    def body(self, stream_id: int, data: bytes, *, end: bool = False, step: int = 16_384) -> None:
        """DATA in frames of at most `step` bytes."""
        pieces = [data[start : start + step] for start in range(0, len(data), step)] or [b""]
        for number, piece in enumerate(pieces):
            self.send(wire.body(stream_id, piece, end=end and number == len(pieces) - 1))

    def call(self, message: bytes = b"", *fields: tuple[str, str], **options: str) -> Answer:
        """A whole request with one message; its answer."""
        stream_id = self.open(*fields, **options)  # type: ignore[arg-type]  # only texts are given here
        self.body(stream_id, packed(message), end=True)
        return self.answer(stream_id)

    def reset(self, stream_id: int) -> None:
        self.send(wire.reset(stream_id))

    def give_window(self, stream_id: int, count: int) -> None:
        self.send(wire.window_update(stream_id, count))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.flush()

    # What the client hears.

    def answer(self, stream_id: int) -> Answer:
        return self.answers.setdefault(stream_id, Answer())

    def flush(self) -> None:
        """Take everything the engine can send, as a connection does at the end of a turn."""
        while True:
            self.layer.flush_batches()
            data = self.engine.data_to_send()
            if not data:
                return
            self.take(data)

    def take(self, data: bytes) -> None:
        for one in wire.cut_frames(data):
            answer = self.answer(one.stream_id)
            if one.kind == wire.HEADERS:
                assert one.flags & wire.END_HEADERS
                fields = self._decoder.decode(one.payload)
                assert fields is not None
                pairs = {name: value for name, value, *_ in fields}
                ended = bool(one.flags & wire.END_STREAM)
                assert not answer.is_ended
                answer.is_ended = ended
                if ended:
                    answer.trailers = pairs
                else:
                    assert not answer.headers, "headers twice"
                    answer.headers = pairs
            elif one.kind == wire.DATA:
                assert answer.headers, "data before headers"
                assert not answer.is_ended
                answer.data += one.payload
                answer.is_ended = bool(one.flags & wire.END_STREAM)
            elif one.kind == wire.RST_STREAM:
                answer.reset = one.number
            else:
                self.control.append(one)
