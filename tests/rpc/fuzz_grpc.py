"""One input for the gRPC layer, judged: for atheris and for the corpus test.

    python tests/rpc/fuzz_grpc.py tests/rpc/corpus -max_total_time=120

An input is a program for a client, a clock and three services (unary, server stream, both ways): one octet
chooses what happens, the next ones with what. The engine below always gets valid frames, for its own garbage
has its own fuzzer. `judge` holds the layer to the contract of `etcdpy.rpc.call`, and compares what
services of streams have heard with what a few obvious lines make of the same bytes.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from etcdpy.http2 import Limits
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method, Router
from tests.rpc.grpc_wire import RECEIVE_BYTES_MAX, NoMember, Wire, packed

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.grpc import EngineCall

BUFFERED_BYTES_MAX = 20_000
LIMITS = Limits(
    stream_window_bytes=60_000,
    streams_max=12,
    writable_bytes=2_000,
    peer_resets_burst=10**6,
    our_resets_burst=10**6,
    empty_frames_burst=10**6,
)
PATHS = ("/f.S/Unary", "/f.S/Server", "/f.S/Both", "/f.S/None", "/g.S/Both", "/", "/f.S/Ünär")
ENCODINGS = (None, "gzip", "identity", "snappy", "")
TIMEOUTS = (None, "1S", "50m", "0n", "99999999H", "1", "-1S", "1n")
CONTENT_TYPES = ("application/grpc", "application/grpc+proto", "text/plain", "Application/GRPC", "")


class Heard:
    """What one call has told its service, in order."""

    def __init__(self, judge: Judge, call: Call, kind: Kind) -> None:
        self.judge = judge
        self.call = call
        self.kind = kind
        self.messages: list[bytes] = []
        self.is_paused = False
        self.half_closes = 0
        self.cancels = 0
        self.has_ended = False
        if kind is Kind.BIDI_STREAM:
            call.on_message = self.message
            call.on_half_close = self.half_close
        call.on_cancel = self.cancel
        call.on_writable = self.writable

    def message(self, message: bytes) -> None:
        assert not self.is_paused, "heard while paused"
        assert not self.half_closes, "heard after the end"
        assert not self.call.closed
        self.messages.append(message)
        if message[:1] == b"p":
            self.is_paused = True
            self.call.pause_reading()
        elif message[:1] == b"e":
            self.call.send(message * 3)
        elif message[:1] == b"f":
            self.end(lambda: self.call.finish())

    def half_close(self) -> None:
        self.half_closes += 1
        assert self.half_closes == 1
        assert not self.is_paused
        assert not self.call.closed

    def cancel(self) -> None:
        self.cancels += 1
        assert self.cancels == 1, "cancelled twice"
        assert self.call.closed
        assert not self.has_ended, "cancelled after its own end"
        self.call.send(b"nobody hears")

    def writable(self) -> None:
        assert not self.call.closed
        if self.judge.generous:
            self.call.send(b"more")

    def end(self, action: Any) -> None:
        if not self.call.closed:
            self.has_ended = True
        action()
        assert self.call.closed


class Judge:
    """The client, the services, and the program that moves them."""

    def __init__(self, program: bytes) -> None:
        self.program = program
        self.position = 0
        self.generous = bool(self.take() & 1)
        member: Any = NoMember()
        kinds = (Kind.UNARY, Kind.SERVER_STREAM, Kind.BIDI_STREAM)
        methods = [Method(path, kind, self.begin(kind)) for path, kind in zip(PATHS, kinds, strict=False)]
        window = (0, 5_000, 2**31 - 1 - 65_535)[self.take() % 3]
        self.wire = Wire(
            Router(member, methods), limits=LIMITS, window=window, buffered_bytes_max=BUFFERED_BYTES_MAX
        )
        self.heard: list[Heard] = []
        self.bodies: dict[int, bytearray] = {}
        self.streams: list[int] = []
        self.actions = (
            self.open_call,
            self.send_raw,
            self.send_message,
            self.send_message,
            self.send_compressed,
            self.end_request,
            self.reset,
            self.serve,
            self.serve,
            self.resume,
            self.give_window,
            self.wait,
            self.stop_transport,
        )

    def begin(self, kind: Kind) -> Any:
        def start(call: Call, data: bytes) -> None:
            heard = Heard(self, call, kind)
            self.heard.append(heard)
            if data[:1] == b"r":
                heard.end(lambda: call.reply(data))
            elif data[:1] == b"l":
                heard.end(lambda: call.reply_parts(b"head", [data] * 40, 40 * len(data)))

        return start

    # Reading the program.

    def take(self) -> int:
        position, self.position = self.position, self.position + 1
        return self.program[position] if position < len(self.program) else 0

    def choose(self, options: tuple[Any, ...] | list[Any]) -> Any:
        return options[self.take() % len(options)]

    def octets(self) -> bytes:
        count = self.take()
        found = self.program[self.position : self.position + count]
        self.position += count
        return found

    def run(self) -> None:
        while self.position < len(self.program) and not self.wire.engine.closed:
            self.choose(self.actions)()
            self.wire.flush()
            self.check()

    # The client.

    def open_call(self) -> None:
        fields = [("x", self.octets()[:20].decode("latin-1").replace("\r", "").replace("\n", ""))]
        encoding, timeout = self.choose(ENCODINGS), self.choose(TIMEOUTS)
        if encoding is not None:
            fields.append(("grpc-encoding", encoding))
        if timeout is not None:
            fields.append(("grpc-timeout", timeout))
        path = self.choose(PATHS)
        mode = self.take()
        stream_id = self.wire.open(
            *fields,
            path=path.encode().decode("latin-1"),
            method="GET" if mode & 4 else "POST",
            content_type=self.choose(CONTENT_TYPES) if mode & 2 else "application/grpc",
            end=bool(mode & 1),
        )
        self.streams.append(stream_id)
        call = self.wire.layer.calls.get(stream_id)
        if call is not None and path == PATHS[2] and not mode & 1:
            self.bodies[stream_id] = bytearray()

    def send(self, data: bytes, *, end: bool = False) -> None:
        if not self.streams:
            return
        stream_id = self.choose(self.streams)
        if not self.wire.engine.is_open(stream_id):
            return
        if stream_id in self.bodies and stream_id in self.wire.layer.calls:
            self.bodies[stream_id] += data
        self.wire.body(stream_id, data, end=end, step=1 + self.take() * 64)

    def send_raw(self) -> None:
        self.send(self.octets())

    def send_message(self) -> None:
        self.send(packed(self.octets() * self.choose((1, 1, 50))))

    def send_compressed(self) -> None:
        self.send(packed(gzip.compress(self.octets() * self.choose((1, 1000)), mtime=0), 1))

    def end_request(self) -> None:
        self.send(b"", end=True)

    def reset(self) -> None:
        if self.streams:
            self.wire.reset(self.choose(self.streams))

    def give_window(self) -> None:
        stream_id = self.choose([0, *self.streams])
        if stream_id == 0 or self.wire.engine.is_open(stream_id):
            self.wire.give_window(stream_id, 1 + self.take() * 100)

    def wait(self) -> None:
        self.wire.advance(self.take() / 100)

    def stop_transport(self) -> None:
        if self.take() & 1:
            self.wire.engine.pause()
        else:
            self.wire.engine.resume()

    # The services.

    def serve(self) -> None:
        if not self.heard:
            return
        heard = self.choose(self.heard)
        call = heard.call
        match self.take() % 6:
            case 0:
                call.send(self.octets() * 30)
            case 1:
                call.send_parts([self.octets(), b"", self.octets()])
            case 2:
                heard.end(call.finish)
            case 3:
                error = RpcError(Code.ABORTED, self.octets().decode("utf-8", "replace"))
                heard.end(lambda: call.fail(error))
            case 4:
                heard.is_paused = heard.is_paused or not call.closed
                call.pause_reading()
            case _:
                call.abort(RpcError(Code.UNAVAILABLE, "over its head"))

    def resume(self) -> None:
        for heard in self.heard:
            heard.is_paused = False
            heard.call.resume_reading()

    # The verdict.

    def check(self) -> None:
        layer, engine = self.wire.layer, self.wire.engine
        open_calls = list(layer.calls.values())
        assert all(not call.closed for call in open_calls)
        assert len(self.wire.deadlines) == sum(call.deadline is not None for call in open_calls)
        buffered = sum(len(call.buffer or b"") for call in open_calls)
        assert layer.buffered_bytes == buffered <= BUFFERED_BYTES_MAX
        assert engine.open_streams <= LIMITS.streams_max
        for heard in self.heard:
            assert heard.call.closed == (heard.call not in open_calls)
            assert heard.call.closed == bool(heard.has_ended or heard.cancels)
        for stream_id, body in self.bodies.items():
            self.compare(layer.calls.get(stream_id), bytes(body))

    def compare(self, call: EngineCall | None, body: bytes) -> None:
        """What a stream's service has heard, beside the same bytes read at leisure."""
        if call is None:
            return
        (heard,) = [one for one in self.heard if one.call is call]
        expected = messages_of(body, call.route.encoding)
        if heard.is_paused:
            assert heard.messages == expected[: len(heard.messages)]
        else:
            assert heard.messages == expected

    def end(self) -> None:
        for answer in self.wire.answers.values():
            if answer.is_ended and answer.trailers:
                assert 0 <= answer.status[0] <= 16
                assert answer.trailers["grpc-message"].isascii()
        self.wire.engine.connection_lost()
        self.check()
        assert not self.wire.layer.calls
        assert (len(self.wire.deadlines), self.wire.layer.buffered_bytes) == (0, 0)
        assert all(heard.call.closed for heard in self.heard)


def messages_of(body: bytes, encoding: str) -> list[bytes]:
    """Whole messages at the beginning of a body, up to the first that is at fault."""
    messages = []
    while len(body) >= 5:
        flag, size = body[0], int.from_bytes(body[1:5], "big")
        if len(body) < 5 + size:
            break
        message, body = body[5 : 5 + size], body[5 + size :]
        if flag:
            try:
                message = gzip.decompress(message) if flag == 1 and encoding == "gzip" else b""
            except (OSError, EOFError, zlib.error):
                break
        messages.append(message)
    return messages


def judge(program: bytes) -> Judge:
    """Run one program and check all promises."""
    found = Judge(program)
    found.run()
    found.end()
    return found


def main() -> None:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # no stubs, and only for this

    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: judge(data) and None)
    atheris.Fuzz()


assert RECEIVE_BYTES_MAX > BUFFERED_BYTES_MAX

if __name__ == "__main__":
    main()
