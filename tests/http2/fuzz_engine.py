"""One input for the engine, judged: for atheris, for the corpus test and for the property tests.

    python tests/http2/fuzz_engine.py tests/http2/corpus -max_total_time=120

The first octet of an input chooses how it is read: as raw bytes or as a list of frames whose lengths are
always right, after a greeting or without, with answers or without, in which cuts. Whatever follows, `judge`
holds the engine to its promises: no exception but our own closing, events in an order a handler may rely on,
bounded memory, answers that are whole frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from etcdpy.http2 import Limits
from tests.http2.wire import ANSWER, GOAWAY, GREETING, SETTINGS, Client, cut_frames, frame

FUZZ_LIMITS = Limits(stream_window_bytes=40_000, connection_window_bytes=70_000, streams_max=20)
STREAM_IDS = (0, 1, 3, 5, 2, 7, 2**31 - 1, 9)


class Judge(Client):
    """A client that checks the order of what it is told."""

    def __init__(self, *, greet: bool, answer: bool) -> None:
        self.phase: dict[int, str] = {}
        super().__init__(FUZZ_LIMITS, greet=False, answer=answer)
        self.output = bytearray()
        if greet:
            self.feed(GREETING)

    def _expect(self, stream_id: int, *phases: str) -> None:
        phase = self.phase.get(stream_id, "new")
        assert phase in phases, f"stream {stream_id} was {phase}"

    def on_headers(self, stream_id: int, headers: object, end_stream: bool) -> None:
        self._expect(stream_id, "new")
        assert stream_id & 1
        self.phase[stream_id] = "whole" if end_stream else "body"
        super().on_headers(stream_id, headers, end_stream)  # type: ignore[arg-type]  # only seen by its own class

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self._expect(stream_id, "body")
        if end_stream:
            self.phase[stream_id] = "whole"
        super().on_data(stream_id, data, end_stream)

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        self._expect(stream_id, "body")
        self.phase[stream_id] = "whole"
        super().on_trailers(stream_id, trailers)

    def on_reset(self, stream_id: int, code: int) -> None:
        self._expect(stream_id, "body", "whole")
        assert not self.engine.is_open(stream_id)
        self.phase[stream_id] = "reset"
        super().on_reset(stream_id, code)

    def on_writable(self, stream_id: int) -> None:
        self._expect(stream_id, "body", "whole")

    def feed(self, data: bytes) -> None:
        self.engine.receive_data(data, self.now)
        self.output += self.engine.data_to_send()


def expand(data: bytes) -> bytes:
    """Frames from four octets each (type, flags, stream, length) and their payload."""
    pieces = []
    position = 0
    while position + 4 <= len(data):
        kind, flags, stream, length = data[position : position + 4]
        payload = data[position + 4 : position + 4 + length]
        stream_id = STREAM_IDS[stream] if stream < len(STREAM_IDS) else stream
        pieces.append(frame(kind if kind > 200 else kind % 10, flags, stream_id, payload))
        position += 4 + length
    return b"".join(pieces)


def judge(data: bytes) -> Judge:
    """Run one input through an engine and check all promises."""
    mode = data[0] if data else 0
    rest = expand(data[1:]) if mode & 1 else data[1:]
    client = Judge(greet=not mode & 2, answer=bool(mode & 4))
    step = (len(rest) + 1, 1, 7, 100)[mode >> 3 & 3]
    for start in range(0, len(rest), step):
        client.feed(rest[start : start + step])
        client.now += 0.001
    for stream_id in client.phase:
        if mode & 32 and client.engine.is_open(stream_id):
            client.engine.send_headers(stream_id, ANSWER)
            if mode & 128:
                client.engine.send_run(stream_id, b"head", [b"z" * 100] * 500, 50_000)
            client.engine.send_data(stream_id, b"z" * 50_000, end_stream=not mode & 64)
    client.now += 3.0
    client.engine.tick(client.now)
    while client.engine.wants_write:
        client.output += client.engine.data_to_send()
    check_end(client)
    return client


def check_end(client: Judge) -> None:
    engine = client.engine
    sent = cut_frames(bytes(client.output))
    assert sent[0].kind == SETTINGS
    assert engine.closed == (sent[-1].kind == GOAWAY), engine.fault
    assert len([one for one in sent if one.kind == GOAWAY]) <= 1
    alive = {
        stream_id
        for stream_id, phase in client.phase.items()
        if phase != "reset" and engine.is_open(stream_id)
    }
    assert not (alive and engine.closed)
    assert len(alive) <= FUZZ_LIMITS.streams_max
    engine.connection_lost()
    assert engine.open_streams == 0
    assert engine.queued_bytes == 0
    assert all(client.phase[stream_id] == "reset" for stream_id in alive)


def main() -> None:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # no stubs, and only for this

    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: judge(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
