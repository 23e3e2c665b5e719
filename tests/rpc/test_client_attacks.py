"""Attacks on the client port through the whole stack, each against a named limit. The other clients go on."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.http2 import PREFACE, ErrorCode
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.connection import WRITE_BUFFER_BYTES, Connection
from etcdpy.rpc.port import PortLimits
from etcdpy.rpc.services.watch import PENDING_BYTES_MAX
from tests.http2 import wire
from tests.rpc.grpc_wire import Wire, packed
from tests.rpc.listening import (
    STATUS,
    WATCH,
    GrpcPeer,
    Peer,
    client_port,
    on_both_loops,
    port_member,
)

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.rpc.serving import Listeners
    from tests.rpc.fakes import FakeMember

MIB = 1024 * 1024
RANGE = "/etcdserverpb.KV/Range"


def limits(**values: Any) -> PortLimits:
    return PortLimits(**({"connections_max": 50, "receive_bytes_max": 2 * MIB} | values))


def tighten(listeners: Listeners, **values: Any) -> None:
    """Smaller bounds of the engine for the connections to come, so that no test takes a minute."""
    listeners.port.http2_limits = dataclasses.replace(listeners.port.http2_limits, **values)


async def seconds(count: float, listeners: Listeners) -> None:
    """Let the port believe that time has passed."""
    listeners.port.tick(listeners.port.loop.time() + count)
    await asyncio.sleep(0)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def open_peer(url: str, window: int = 2**31 - 1) -> GrpcPeer:
    peer = await GrpcPeer.connect(url)
    peer.greet(window)
    return peer


async def is_serving(url: str) -> bool:
    """Whether somebody else is answered."""
    peer = await open_peer(url)
    answer = await peer.call()
    peer.abort()
    return answer.status == (0, "")


def connections(listeners: Listeners) -> list[Connection]:
    return [guest for guest in listeners.port.open if isinstance(guest, Connection)]


def queued(listeners: Listeners) -> int:
    return sum(one.queued_bytes for one in connections(listeners))


# Slow beginnings.


@on_both_loops
async def test_slow_preface(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits()) as listeners:
        (url,) = listeners.urls
        for beginning in (b"", PREFACE[:1], PREFACE[:23], PREFACE, PREFACE + wire.settings()[:5]):
            peer = await Peer.connect(url)
            peer.say(beginning)
        await until(lambda: len(listeners.port.open) == 5)
        await asyncio.sleep(0.05)
        await seconds(listeners.port.http2_limits.preface_seconds - 1, listeners)
        assert len(listeners.port.open) == 5
        await seconds(listeners.port.http2_limits.preface_seconds, listeners)
        await until(lambda: not listeners.port.open)


@on_both_loops
async def test_a_header_block_that_is_never_finished(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits()) as listeners:
        peer = await open_peer(listeners.urls[0])
        peer.say(wire.frame(wire.HEADERS, 0, 1, b"\x82"))
        await asyncio.sleep(0.05)
        await seconds(listeners.port.http2_limits.header_block_seconds, listeners)
        assert (await peer.until_goaway())[0] == ErrorCode.ENHANCE_YOUR_CALM


@on_both_loops
async def test_slow_http1_requests(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits()) as listeners:
        (url,) = listeners.urls
        slow = await Peer.connect(url)
        slow.say(b"GET /version HTTP/1.1\r\nHost: x\r\n")
        kept = await Peer.connect(url)
        assert (await kept.http())[0] == 200
        await until(lambda: len(listeners.port.open) == 2)
        await seconds(0.0, listeners)
        await seconds(listeners.port.limits.http1_request_seconds - 1, listeners)
        slow.say(b"X-Still: here\r\n")
        await asyncio.sleep(0.01)
        assert len(listeners.port.open) == 2
        await seconds(listeners.port.limits.http1_request_seconds + 1, listeners)
        assert await slow.rest() == b""
        assert (await kept.http())[0] == 200
        await seconds(0.0, listeners)
        await seconds(listeners.port.limits.http1_idle_seconds + 1, listeners)
        assert await kept.rest() == b""


# Many.


@on_both_loops
async def test_too_many_connections(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits(connections_max=20)) as listeners:
        (url,) = listeners.urls
        grpc = [await open_peer(url) for _ in range(5)]
        http = [await Peer.connect(url) for _ in range(5)]
        for peer in http:
            await peer.http()
        undecided = [await Peer.connect(url) for _ in range(10)]
        await until(lambda: len(listeners.port.open) == 20)
        for _ in range(30):
            peer = await Peer.connect(url)
            assert await peer.rest() == b""
        assert (listeners.port.refused, len(listeners.port.open)) == (30, 20)
        assert (await grpc[0].call()).status == (0, "")
        # Whoever leaves, in whatever state, makes room.
        for peer in (grpc.pop(), http.pop(), undecided.pop()):
            peer.abort()
        await until(lambda: len(listeners.port.open) == 17)
        assert await is_serving(url)


@on_both_loops
async def test_rapid_reset(tmp_path: Path) -> None:
    member = port_member()
    member.is_holding = True
    async with client_port(tmp_path, member=member, limits=limits()) as listeners:
        (url,) = listeners.urls
        tighten(listeners, peer_resets_burst=100, peer_resets_per_second=0.0)
        peer = await open_peer(url)
        body = wire.body(0, packed(b""), end=True)
        for number in range(200):
            stream_id = 2 * number + 1
            peer.say(Wire.headers_frame(stream_id, [], "/etcdserverpb.Lease/LeaseRevoke"))
            peer.say(body[:5] + stream_id.to_bytes(4, "big") + body[9:] + wire.reset(stream_id))
        assert await peer.until_goaway() == (
            ErrorCode.ENHANCE_YOUR_CALM,
            b"too many requests were given up",
        )
        await until(lambda: not listeners.port.open)
        assert len(member.held) <= 101
        member.release()
        member.is_holding = False
        assert await is_serving(url)


@on_both_loops
async def test_huge_numbers_of_streams(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits()) as listeners:
        (url,) = listeners.urls
        streams_max = listeners.port.http2_limits.streams_max
        extra = listeners.port.http2_limits.our_resets_burst // 2
        peer = await open_peer(url)
        gc.collect()
        tracemalloc.start()
        for number in range(streams_max + extra):
            peer.say(Wire.headers_frame(2 * number + 1, [], WATCH))
            if number % 500 == 0:
                await peer.writer.drain()
        last = 2 * (streams_max + extra) - 1
        assert (await peer.answer(last)).reset == ErrorCode.REFUSED_STREAM
        (connection,) = connections(listeners)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert connection.open_streams == connection.open_calls == streams_max
        assert held < streams_max * 4096, held
        assert await is_serving(url)
        peer.abort()
        await until(lambda: not listeners.port.open)
        assert (connection.open_streams, connection.open_calls) == (0, 0)


# Slow readers.


def with_blob(size: int) -> FakeMember:
    member = port_member()
    member.write(b"blob", bytes(size))
    return member


async def narrow(url: str) -> tuple[socket.socket, Any]:
    """A socket that takes next to nothing, and a loop that can send on it."""
    host, _, number = url.removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await loop.sock_connect(raw, (host, int(number)))
    return raw, loop


def ask_for_blob(stream_id: int) -> bytes:
    request = pb.RangeRequest(key=b"blob").SerializeToString()
    return Wire.headers_frame(stream_id, [], RANGE) + wire.body(stream_id, packed(request), end=True)


@on_both_loops
async def test_a_client_that_asks_and_does_not_read(tmp_path: Path) -> None:
    async with client_port(tmp_path, member=with_blob(MIB), limits=limits()) as listeners:
        (url,) = listeners.urls
        refuse = 20 * MIB
        tighten(listeners, queued_bytes_refuse=refuse, stall_seconds=5.0)
        raw, loop = await narrow(url)
        with raw:
            greeting = PREFACE + wire.settings((4, 2**31 - 1)) + wire.window_update(0, 2**31 - 65_536)
            await loop.sock_sendall(raw, greeting + wire.frame(wire.SETTINGS, wire.ACK))
            for number in range(100):
                await loop.sock_sendall(raw, ask_for_blob(2 * number + 1))
            await until(lambda: queued(listeners) > refuse)
            await asyncio.sleep(0.05)
            (connection,) = connections(listeners)
            assert connection.queued_bytes <= refuse + 2 * MIB
            assert await is_serving(url)
            # It is given some time, then cut off, and what it does not even then read is dropped.
            await seconds(1.0, listeners)
            await seconds(5.0, listeners)
            assert connection.queued_bytes > 0
            await seconds(7.0, listeners)
            assert connection.queued_bytes == 0
            await seconds(7.0 + listeners.port.limits.closing_seconds, listeners)
            await until(lambda: not listeners.port.open)


@on_both_loops
async def test_zero_window(tmp_path: Path) -> None:
    async with client_port(tmp_path, member=with_blob(MIB), limits=limits()) as listeners:
        (url,) = listeners.urls
        tighten(listeners, queued_bytes_refuse=8 * MIB, stall_seconds=5.0)
        peer = await open_peer(url, window=0)
        for number in range(50):
            peer.say(ask_for_blob(2 * number + 1))
        assert (await peer.answer(99)).reset == ErrorCode.REFUSED_STREAM
        (connection,) = connections(listeners)
        assert connection.queued_bytes <= 10 * MIB
        await seconds(1.0, listeners)
        await seconds(7.0, listeners)
        code, text = await peer.until_goaway()
        assert (code, text[-10:]) == (ErrorCode.ENHANCE_YOUR_CALM, b"were taken")
        await until(lambda: not listeners.port.open)


@on_both_loops
async def test_a_trickle_of_window_is_no_progress(tmp_path: Path) -> None:
    async with client_port(tmp_path, member=with_blob(2 * MIB), limits=limits()) as listeners:
        tighten(listeners, stall_seconds=5.0)
        peer = await open_peer(listeners.urls[0], window=0)
        peer.say(ask_for_blob(1))
        await until(lambda: queued(listeners) > MIB)
        base = listeners.port.loop.time()
        for second in range(7):
            peer.say(wire.window_update(1, 1))
            await asyncio.sleep(0.005)
            listeners.port.tick(base + second)
            if second == 4:
                assert queued(listeners) > MIB
        await until(lambda: not listeners.port.open)


@on_both_loops
async def test_a_watcher_that_does_not_read(tmp_path: Path) -> None:
    member = port_member()
    async with client_port(tmp_path, member=member, limits=limits()) as listeners:
        peer = await open_peer(listeners.urls[0], window=100)
        stream_id = peer.begin(WATCH)
        create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a"))
        peer.say(wire.body(stream_id, packed(create.SerializeToString())))
        created = await peer.messages(stream_id, 1)
        for number in range(200):
            member.write(b"a", bytes((number,)) * 50_000)
            if number % 20 == 0:
                await asyncio.sleep(0)
        (connection,) = connections(listeners)
        assert PENDING_BYTES_MAX < connection.queued_bytes < PENDING_BYTES_MAX + 200_000
        # Once it reads again, nothing is missing.
        peer.say(wire.window_update(stream_id, 2**31 - 1 - 65_535))
        values = []
        while len(values) < 200:
            member.state.hub.catch_up()
            messages = await peer.messages(stream_id, len(created) + 1)
            created = messages
            values = [
                event.kv.value[0]
                for message in messages
                for event in pb.WatchResponse.FromString(message).events
            ]
        assert values == list(range(200))


@on_both_loops
async def test_requests_that_never_end(tmp_path: Path) -> None:
    bound = 4 * MIB
    async with client_port(tmp_path, limits=limits(buffered_bytes_max=bound)) as listeners:
        (url,) = listeners.urls
        peer = await open_peer(url)
        half = b"\0" + MIB.to_bytes(4, "big") + bytes(500_000)
        streams = [peer.begin("/etcdserverpb.KV/Put") for _ in range(20)]
        for stream_id in streams:
            for start in range(0, len(half), 16_384):
                peer.say(wire.body(stream_id, half[start : start + 16_384]))
            await peer.writer.drain()
        assert (await peer.answer(streams[-1])).status[0] == 8
        assert await is_serving(url)
        (connection,) = [one for one in connections(listeners) if one.open_calls]
        assert connection.open_calls == bound // len(half)


@on_both_loops
async def test_what_is_closed_and_not_read_is_dropped(tmp_path: Path) -> None:
    """A connection that we have ended must not linger because its last bytes find no reader."""
    async with client_port(tmp_path, member=with_blob(MIB), limits=limits()) as listeners:
        raw, loop = await narrow(listeners.urls[0])
        with raw:
            greeting = PREFACE + wire.settings((4, 2**31 - 1)) + wire.window_update(0, 2**31 - 65_536)
            await loop.sock_sendall(raw, greeting + wire.frame(wire.SETTINGS, wire.ACK))
            for number in range(20):
                await loop.sock_sendall(raw, ask_for_blob(2 * number + 1))
            await until(lambda: queued(listeners) > MIB)
            await loop.sock_sendall(raw, wire.frame(wire.PING, 0, 1, bytes(8)))
            await until(lambda: not queued(listeners))
            await seconds(listeners.port.limits.closing_seconds + 1, listeners)
            await until(lambda: not listeners.port.open)


@pytest.mark.parametrize("flood", ["settings", "ping", "empty data", "continuation"])
def test_floods(tmp_path: Path, flood: str) -> None:
    @on_both_loops
    async def run() -> None:
        async with client_port(tmp_path, limits=limits()) as listeners:
            (url,) = listeners.urls
            peer = await open_peer(url)
            peer.say(Wire.headers_frame(1, [], WATCH))
            frames = {
                "settings": wire.settings((4, 65_535)),
                "ping": wire.frame(wire.PING, 0, 0, bytes(8)),
                "empty data": wire.body(1),
                "continuation": wire.frame(wire.HEADERS, 0, 3, b"\x82")
                + wire.frame(wire.CONTINUATION, 0, 3, b"\x86") * 1000,
            }
            peer.say(frames[flood] * (1 if flood == "continuation" else 5000))
            assert (await peer.until_goaway())[0] == ErrorCode.ENHANCE_YOUR_CALM
            await until(lambda: not connections(listeners))
            assert await is_serving(url)

    run("uvloop")  # type: ignore[call-arg]  # the decorator adds the name


@on_both_loops
async def test_answers_that_nobody_reads_to_frames_that_cost_nothing(tmp_path: Path) -> None:
    """PINGs and SETTINGS are answered, so a client that sends and does not read makes us keep answers."""
    async with client_port(tmp_path, limits=limits()) as listeners:
        tighten(listeners, ping_burst=10**9, ping_strikes_max=10**9)
        raw, loop = await narrow(listeners.urls[0])
        with raw:
            await loop.sock_sendall(raw, PREFACE + wire.settings() + wire.frame(wire.SETTINGS, wire.ACK))
            pings = wire.frame(wire.PING, 0, 0, bytes(8)) * 10_000
            bound = listeners.port.http2_limits.control_bytes_max + WRITE_BUFFER_BYTES
            with pytest.raises((ConnectionError, TimeoutError)):
                await asyncio.wait_for(send_often(raw, pings, 20 * bound // len(pings)), 1.0)
        await seconds(listeners.port.limits.closing_seconds + 6, listeners)
        await until(lambda: not connections(listeners))
        assert await is_serving(listeners.urls[0])


async def send_often(raw: socket.socket, data: bytes, count: int) -> None:
    for _ in range(count):
        await asyncio.get_running_loop().sock_sendall(raw, data)


@on_both_loops
async def test_garbage_of_every_kind_leaves_the_others_alone(tmp_path: Path) -> None:
    async with client_port(tmp_path, limits=limits()) as listeners:
        (url,) = listeners.urls
        other = await open_peer(url)
        for garbage in (
            b"\0" * 1000,
            b"\xff" * 1000,
            PREFACE + b"\xff" * 1000,
            PREFACE + wire.settings() + b"\0" * 1000,
            PREFACE + wire.settings() + wire.frame(wire.HEADERS, wire.END_HEADERS, 1, b"\xff" * 50),
            b"POST /v3/kv/range HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000,
            b"GET /" + b"x" * 100_000,
        ):
            peer = await Peer.connect(url)
            peer.say(garbage)
            if peer.writer.can_write_eof():
                peer.writer.write_eof()
            await peer.rest()
            peer.abort()
            assert (await other.call(STATUS)).status == (0, "")
        await seconds(0.0, listeners)
        await seconds(1.0, listeners)
        await until(lambda: len(listeners.port.open) == 1)
