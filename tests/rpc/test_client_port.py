"""One port for everything: the first bytes decide, on every kind of listener."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from etcdpy.cluster.urls import Url
from etcdpy.http2 import PREFACE, ErrorCode
from etcdpy.rpc.port import PortLimits
from tests.http2 import wire
from tests.rpc.listening import (
    GrpcPeer,
    LogRecorder,
    Peer,
    client_port,
    on_both_loops,
    port_member,
)

if TYPE_CHECKING:
    from pathlib import Path

GET_VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@on_both_loops
async def test_grpc_and_http1_on_one_port(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        (url,) = listeners.urls
        grpc = await GrpcPeer.connect(url)
        grpc.greet()
        assert (await grpc.call()).status == (0, "")
        http = await Peer.connect(url)
        status, body = await http.http()
        assert (status, json.loads(body)["etcdcluster"]) == (200, "3.6.0")
        status, body = await http.http(GET_HEALTH)
        assert (status, json.loads(body)) == (200, {"health": "true", "reason": ""})
        assert len(listeners.port.open) == 2
        http.close()
        grpc.close()


@on_both_loops
async def test_the_first_bytes_may_come_one_by_one(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        (url,) = listeners.urls
        for first, rest in ((PREFACE, wire.settings()), (GET_VERSION, b"")):
            peer = await Peer.connect(url)
            for byte in first:
                peer.say(bytes((byte,)))
                await peer.writer.drain()
                await asyncio.sleep(0)
            peer.say(rest)
            answer = await peer.hear(9)
            assert answer.startswith(b"HTTP/1.1") == (first is GET_VERSION)
            peer.close()


@on_both_loops
async def test_what_begins_like_the_preface_and_is_not(tmp_path: Path) -> None:
    """`PRI` is what HTTP/2 begins with; `PRI * HTTP/1.1` and other words on P are HTTP/1.1."""
    async with client_port(tmp_path) as listeners:
        (url,) = listeners.urls
        for request, status in (
            (b"PUT /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
            (b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ):
            peer = await Peer.connect(url)
            peer.say(request)
            assert (await peer.reader.readline()).split(b" ")[1] == str(status).encode()
            peer.abort()


@on_both_loops
async def test_http1_connections_are_kept_and_requests_pipelined(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        peer = await Peer.connect(listeners.urls[0])
        for _ in range(3):
            assert (await peer.http())[0] == 200
        peer.say(GET_VERSION + GET_HEALTH + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + GET_VERSION[:20])
        assert [(await peer.http_answer())[0] for _ in range(3)] == [200, 200, 404]
        peer.say(GET_VERSION[20:])
        assert (await peer.http_answer())[0] == 200
        peer.say(b"GET /version HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in await peer.rest()


@on_both_loops
async def test_a_client_that_closes_its_half_gets_its_answer(tmp_path: Path) -> None:
    member = port_member()
    member.is_holding = True
    async with client_port(tmp_path, member=member) as listeners:
        peer = await Peer.connect(listeners.urls[0])
        peer.say(GET_HEALTH)
        peer.writer.write_eof()
        while not member.held:
            await asyncio.sleep(0.001)
        member.release()
        assert b'"health":"true"' in await peer.rest()


@on_both_loops
async def test_a_client_that_is_done_is_gone_at_once(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        for requests in (0, 1, 3):
            peer = await Peer.connect(listeners.urls[0])
            for _ in range(requests):
                await peer.http()
            began = listeners.port.loop.time()
            peer.close()
            while listeners.port.open:
                await asyncio.sleep(0.001)
            assert listeners.port.loop.time() - began < 0.5


@on_both_loops
async def test_an_upgrade_to_h2c_is_not_taken(tmp_path: Path) -> None:
    """curl asks for it; etcd answers in HTTP/1.1."""
    request = (
        GET_VERSION[:-2]
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n"
    )
    async with client_port(tmp_path) as listeners:
        peer = await Peer.connect(listeners.urls[0])
        assert (await peer.http(request))[0] == 200
        peer.close()


@on_both_loops
async def test_without_tls_everything_in_http2_is_for_grpc(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0])
        peer.greet()
        block = wire.encode_static(
            [(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "x")]
        )
        peer.say(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, block))
        answer = await peer.answer(1)
        assert answer.trailers[":status"] == "415"
        assert answer.status == (3, 'invalid gRPC request content-type ""')
        peer.close()


@on_both_loops
async def test_several_listeners_and_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "client.sock"
    path.touch()  # as a killed process leaves it
    urls = (f"unix://{path}", "http://127.0.0.1:0", "http://localhost:0", "http://[::1]:0")
    async with client_port(tmp_path, *urls) as listeners:
        assert len(listeners.urls) == 4
        assert listeners.urls[3].startswith("http://[::1]:")
        for url in listeners.urls:
            grpc = await GrpcPeer.connect(url)
            grpc.greet()
            assert (await grpc.call()).status == (0, "")
            grpc.close()
            http = await Peer.connect(url)
            assert (await http.http())[0] == 200
            http.close()
    assert not path.exists()


@on_both_loops
async def test_a_taken_port_is_known_before_anything_else(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        with pytest.raises(OSError, match="in use"):
            async with client_port(tmp_path, listeners.urls[0]):
                pass


@on_both_loops
async def test_http2_that_breaks_the_rules_is_told_and_closed(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0])
        peer.greet()
        peer.say(wire.frame(wire.PING, 0, 1, bytes(8)))
        assert await peer.until_goaway() == (ErrorCode.PROTOCOL_ERROR, b"PING on a stream")
        assert await peer.rest() == b""
        assert not listeners.port.open


@on_both_loops
async def test_shutdown_ends_idle_and_streaming_connections_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with client_port(tmp_path) as listeners:
        (url,) = listeners.urls
        undecided, idle, http = [await Peer.connect(url) for _ in range(3)]
        idle.say(PREFACE[:5])
        await http.http()
        watching = await GrpcPeer.connect(url)
        watching.greet()
        stream_id = watching.begin("/etcdserverpb.Watch/Watch")
        await watching.call()
        ended = asyncio.ensure_future(watching.until_closed())
        began = loop.time()
        await listeners.stop()
        assert loop.time() - began < 0.9
        assert await ended == (0, b"")
        assert watching.answers[stream_id].status == (14, "etcdserver: server stopped")
        for peer in (undecided, idle, http):
            assert await peer.rest() == b""


@on_both_loops
async def test_shutdown_waits_a_moment_for_calls_under_way(tmp_path: Path) -> None:
    member = port_member()
    member.is_holding = True
    async with client_port(tmp_path, member=member) as listeners:
        (url,) = listeners.urls
        grpc = await GrpcPeer.connect(url)
        grpc.greet()
        stream_id = grpc.ask("/etcdserverpb.Lease/LeaseRevoke", b"")
        http = await Peer.connect(url)
        http.say(GET_HEALTH)
        while len(member.held) < 2:
            await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(listeners.stop())
        await grpc.until_goaway()
        assert not stopping.done()
        member.release()
        answer = await grpc.answer(stream_id)
        assert answer.status[0] == 5  # there is no such lease
        assert b'"health":"true"' in await http.rest()
        await stopping


@on_both_loops
async def test_shutdown_does_not_wait_for_ever(tmp_path: Path) -> None:
    member = port_member()
    member.is_holding = True
    loop = asyncio.get_running_loop()
    async with client_port(tmp_path, member=member) as listeners:
        grpc = await GrpcPeer.connect(listeners.urls[0])
        grpc.greet()
        grpc.ask("/etcdserverpb.Lease/LeaseRevoke", b"")
        while not member.held:
            await asyncio.sleep(0.001)
        began = loop.time()
        await listeners.stop()
        assert 0.9 < loop.time() - began < 3.0
        assert not listeners.port.open
        member.release()


@on_both_loops
async def test_a_warning_tells_that_plain_urls_are_not_protected(tmp_path: Path) -> None:
    log = LogRecorder()
    async with client_port(tmp_path, log=log, client_cert_auth=True):
        assert len(log.lines) == 1
        assert "do not protect this URL" in log.lines[0][0]


def test_port_limits_have_sane_relations() -> None:
    limits = PortLimits(connections_max=1, receive_bytes_max=1)
    assert limits.http1_request_seconds < limits.http1_idle_seconds
    assert limits.closing_seconds < limits.handshake_seconds


@on_both_loops
async def test_listeners_for_http_alone_leave_grpc_alone_to_the_others(tmp_path: Path) -> None:
    http_urls = (Url("http://127.0.0.1:0"),)
    async with client_port(tmp_path, listen_client_http_urls=http_urls) as listeners:
        (url,), (http_url,) = listeners.urls, listeners.http_urls
        grpc = await GrpcPeer.connect(url)
        grpc.greet()
        assert (await grpc.call()).status == (0, "")
        http = await Peer.connect(http_url)
        assert (await http.http())[0] == 200
        http = await Peer.connect(url)
        http.say(GET_VERSION)
        assert await http.rest() == b""
        grpc = await GrpcPeer.connect(http_url)
        grpc.greet()
        assert (await grpc.reader.readline()).startswith(b"HTTP/1.")


@on_both_loops
async def test_what_strangers_send_is_not_in_the_log_and_our_own_faults_are(tmp_path: Path) -> None:
    log = LogRecorder()
    member = port_member()
    async with client_port(tmp_path, log=log, member=member) as listeners:
        for garbage in (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\0\0\0\0", b"GET /x\r\n\r\n"):
            peer = await Peer.connect(listeners.urls[0])
            peer.say(garbage)
            await peer.rest()
        assert not log.said("failed to answer an HTTP request")

        def confirm_read(done: object) -> None:
            raise RuntimeError("a bug")

        member.confirm_read = confirm_read  # type: ignore[method-assign]  # a member that is broken
        peer = await Peer.connect(listeners.urls[0])
        peer.say(GET_HEALTH)
        assert b" 500 " in await peer.reader.readline()
        assert log.said("failed to answer an HTTP request") == [{"error": "RuntimeError('a bug')"}]
