"""Microseconds that one unary gRPC call costs in the HTTP/2 engine alone.

    python -m benchmarks.micro.http2_engine [calls]

The requests use the dynamic table as a client's do, so the first call teaches and the next ones are a few
bytes. Each figure is the best of several runs: calls that arrive one by one, and fifty in one read.
"""

import sys
import time

from etcdpy.http2 import PREFACE, Engine, Limits, RequestHeaders, prepare_headers
from etcdpy.http2.frames import encode_frame, encode_window_update
from etcdpy.http2.hpack import Encoder

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Put"),
    (":authority", "127.0.0.1:2379"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-go/1.62.1"),
    ("te", "trailers"),
]
ANSWER = prepare_headers([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = prepare_headers([("grpc-status", "0"), ("grpc-message", "")])
MESSAGE = b"\0\0\0\1\0" + b"k" * 300
REPLY = b"\0\0\0\0\x1c" + b"r" * 28


class Echo:
    """Answers every request when it is complete."""

    def __init__(self) -> None:
        self.engine: Engine
        self.calls = 0

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        pass

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        self.on_data(stream_id, data, True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self.calls += 1
            self.engine.send_response(stream_id, ANSWER, [REPLY], TRAILERS)

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        pass

    def on_reset(self, stream_id: int, code: int) -> None:
        raise AssertionError(f"stream {stream_id} was reset with {code}")

    def on_writable(self, stream_id: int) -> None:
        pass


def connect() -> Echo:
    echo = Echo()
    echo.engine = Engine(echo, Limits(), now=0.0)
    echo.engine.receive_data(
        PREFACE + encode_frame(4, 0, 0, b"") + encode_frame(4, 1, 0, b"") + encode_window_update(0, 2**30),
        0.0,
    )
    echo.engine.data_to_send()
    return echo


def requests(count: int, timeouts: bool) -> list[bytes]:
    """Frames of `count` calls; with `timeouts` each has another deadline, as calls with a context have."""
    encoder = Encoder()
    calls = []
    for number in range(count):
        fields = [*REQUEST, ("grpc-timeout", f"{4_000_000 + number}u")] if timeouts else REQUEST
        stream_id = 2 * number + 1
        calls.append(
            encode_frame(1, 4, stream_id, encoder.encode(fields)) + encode_frame(0, 1, stream_id, MESSAGE)
        )
    return calls


def measure(reads: list[bytes], calls: int) -> float:
    best = float("inf")
    for _ in range(5):
        echo = connect()
        receive = echo.engine.receive_data
        send = echo.engine.data_to_send
        start = time.process_time()
        for data in reads:
            receive(data, 1.0)
            send()
        best = min(best, time.process_time() - start)
        assert echo.calls == calls, (echo.calls, echo.engine.fault)
    return best / calls * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for timeouts in (False, True):
        calls = requests(count, timeouts)
        joined = [b"".join(calls[start : start + 50]) for start in range(0, count, 50)]
        kind = "with a new deadline each" if timeouts else "with equal headers"
        one, many = measure(calls, count), measure(joined, count)
        print(f"unary calls {kind}: {one:.2f} us one by one, {many:.2f} us in fifties")


if __name__ == "__main__":
    main()
