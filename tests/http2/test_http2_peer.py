"""Python's `h2` as the client: an independent implementation that is strict about what it reads.

It sends random requests with bodies and trailers, changes its settings, gives windows in small grants, and
resets; the bytes travel in random pieces. It must never see a protocol error, and every exchange that was not
reset must arrive whole.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from etcdpy.http2 import Engine, Limits, RequestHeaders, prepare_headers

h2_connection = pytest.importorskip("h2.connection")
h2_config = pytest.importorskip("h2.config")
h2_events = pytest.importorskip("h2.events")

ANSWER = prepare_headers([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = prepare_headers([("grpc-status", "0")])


class Echo:
    """Sends each request's body back, in one of the ways the engine has."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        limits = Limits(stream_window_bytes=70_000, connection_window_bytes=100_000, write_bytes=30_000)
        self.engine = Engine(self, limits, now=0.0)
        self.bodies: dict[int, list[bytes]] = {}
        self.received: dict[int, tuple[bytes, tuple[tuple[str, str], ...]]] = {}

    def on_headers(self, stream_id: int, headers: RequestHeaders, end_stream: bool) -> None:
        self.bodies[stream_id] = []
        if end_stream:
            self.finish(stream_id, ())

    def on_request(self, stream_id: int, headers: RequestHeaders, data: bytes) -> None:
        self.on_headers(stream_id, headers, False)
        self.on_data(stream_id, data, True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.bodies[stream_id].append(data)
        if end_stream:
            self.finish(stream_id, ())

    def on_trailers(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        self.finish(stream_id, trailers)

    def on_reset(self, stream_id: int, code: int) -> None:
        del self.bodies[stream_id]

    def on_writable(self, stream_id: int) -> None:
        pass

    def finish(self, stream_id: int, trailers: tuple[tuple[str, str], ...]) -> None:
        parts = self.bodies[stream_id]
        self.received[stream_id] = (b"".join(parts), trailers)
        way = self.chance.randrange(3)
        if way == 0:
            self.engine.send_response(stream_id, ANSWER, parts, TRAILERS)
        elif way == 1:
            self.engine.send_headers(stream_id, [(":status", "200"), ("x-number", str(stream_id))])
            for part in parts:
                self.engine.send_data(stream_id, part)
            self.engine.send_headers(
                stream_id, [("grpc-status", "0"), ("x-number", str(stream_id))], end_stream=True
            )
        else:
            self.engine.send_headers(stream_id, ANSWER)
            self.engine.send_data(stream_id, parts, end_stream=True)


class Peer:
    """A client on `h2` that does random things."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.connection: Any = h2_connection.H2Connection(h2_config.H2Configuration(header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.sending: dict[int, tuple[bytes, bool]] = {}
        self.sent: dict[int, tuple[bytes, tuple[tuple[str, str], ...]]] = {}
        self.answers: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.owed: list[tuple[int, int]] = []
        self.unacknowledged = 1

    def begin(self) -> None:
        stream_id = self.connection.get_next_available_stream_id()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{stream_id % 3}"),
            (":authority", "a"),
        ]
        fields += [("grpc-timeout", f"{self.chance.randrange(10**8)}n")] * self.chance.randrange(2)
        size = self.chance.choice([0, 1, 500, 20_000, 150_000])
        body = self.chance.randbytes(size)
        self.connection.send_headers(stream_id, fields)
        self.sending[stream_id] = (body, self.chance.random() < 0.3)
        self.sent[stream_id] = (body, ())
        self.answers[stream_id] = b""

    def push(self) -> None:
        """Send what the windows allow of every body."""
        for stream_id, (body, with_trailers) in list(self.sending.items()):
            room = self.connection.local_flow_control_window(stream_id)
            size = min(room, len(body), 16_000, self.chance.randrange(1, 20_000))
            last = size == len(body)
            if size or last:
                padding = self.chance.choice([None, None, 3]) if size + 10 < room else None
                end = last and not with_trailers
                self.connection.send_data(stream_id, body[:size], end_stream=end, pad_length=padding)
            self.sending[stream_id] = (body[size:], with_trailers)
            if last:
                del self.sending[stream_id]
                if with_trailers:
                    self.connection.send_headers(stream_id, [("sum", "7")], end_stream=True)
                    self.sent[stream_id] = (self.sent[stream_id][0], (("sum", "7"),))

    def disturb(self) -> None:
        what = self.chance.randrange(12)
        if what == 0:
            window, largest = (
                self.chance.choice([0, 10, 1000, 65_535, 2**20]),
                self.chance.choice([16_384, 50_000]),
            )
            self.change({4: window, 5: largest})
        elif what == 1:
            self.change({1: self.chance.choice([0, 100, 4096])})
        elif what == 2 and self.sending:
            stream_id = self.chance.choice(sorted(self.sending))
            self.connection.reset_stream(stream_id, 8)
            del self.sending[stream_id]
            self.reset.add(stream_id)
        elif what == 3:
            self.grant()

    def change(self, values: dict[int, int]) -> None:
        """One at a time: h2 takes an acknowledgement for that of all SETTINGS it sent."""
        if not self.unacknowledged:
            self.connection.update_settings(values)
            self.unacknowledged += 1

    def grant(self) -> None:
        for stream_id, size in self.owed:
            if stream_id not in self.ended and stream_id not in self.reset:
                self.connection.acknowledge_received_data(size, stream_id)
            elif size:
                self.connection.increment_flow_control_window(size)
        self.owed.clear()

    def read(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2_events.DataReceived):
                self.answers[event.stream_id] += event.data
                self.owed.append((event.stream_id, event.flow_controlled_length))
            elif isinstance(event, h2_events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2_events.SettingsAcknowledged):
                self.unacknowledged -= 1
            elif isinstance(event, h2_events.ResponseReceived):
                assert dict(event.headers)[":status"] == "200"
            else:
                assert not isinstance(event, (h2_events.StreamReset, h2_events.ConnectionTerminated)), event


def exchange(peer: Peer, echo: Echo, chance: random.Random) -> None:
    """Bytes both ways, in pieces."""
    data = peer.connection.data_to_send()
    while data:
        size = chance.choice([1, 9, 100, 5000, len(data)])
        echo.engine.receive_data(data[:size], 0.0)
        data = data[size:]
    if chance.random() < 0.2:
        echo.engine.pause()
        assert echo.engine.data_to_send() == b""
        echo.engine.resume()
    answer = echo.engine.data_to_send()
    while answer:
        size = chance.choice([50, 5000, len(answer)])
        peer.read(answer[:size])
        answer = answer[size:]


@pytest.mark.parametrize("seed", range(12))
def test_h2_and_the_engine_understand_each_other(seed: int) -> None:
    chance = random.Random(seed)
    peer, echo = Peer(chance), Echo(chance)
    for _ in range(60):
        if chance.random() < 0.5:
            peer.begin()
        peer.push()
        peer.disturb()
        exchange(peer, echo, chance)
    while peer.unacknowledged:
        exchange(peer, echo, chance)
    peer.change({4: 2**20})
    for _ in range(2000):
        peer.push()
        peer.grant()
        exchange(peer, echo, chance)
        if not peer.sending and peer.ended | peer.reset >= set(peer.sent):
            break
    assert echo.engine.fault is None
    whole = set(peer.sent) - peer.reset
    assert len(whole) > 5
    for stream_id in whole:
        assert echo.received[stream_id] == peer.sent[stream_id]
        assert peer.answers[stream_id] == peer.sent[stream_id][0]
    assert echo.engine.open_streams == 0
    assert echo.engine.queued_bytes == 0
