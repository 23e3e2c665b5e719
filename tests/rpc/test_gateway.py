"""The JSON gateway on the client port: routes, headers, errors, and streams in both directions."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from etcdpy.auth import InvalidAuthToken
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.gateway import HTTP_STATUS, Gateway, metadata_of
from etcdpy.rpc.gateway_call import GatewayCall
from etcdpy.rpc.gateway_routes import ROUTES
from etcdpy.rpc.services import Health, make_router
from etcdpy.rpc.services.lease import WAITING_RENEWALS_MAX
from etcdpy.server.errors import NotSupported
from tests.rpc.fakes import FakeMember, FakeSnapshot
from tests.rpc.listening import Peer, client_port, on_both_loops, port_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECEIVE_BYTES_MAX = 1_572_864 + 512 * 1024


def b64(data: bytes) -> str:
    return b64encode(data).decode()


KEY = b64(b"key")


@dataclass
class HttpAnswer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def fields(self) -> Any:
        return json.loads(self.body)


class HttpPeer(Peer):
    """An HTTP/1.1 client that can read an answer while it still sends."""

    def begin(self, path: str, body: str | None = "{}", method: str = "POST", **headers: str) -> None:
        """Send a request; without a body it is chunked and goes on."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is None:
            lines.append("Transfer-Encoding: chunked")
        else:
            lines.append(f"Content-Length: {len(body.encode())}")
        self.say("\r\n".join([*lines, "", body or ""]).encode())

    def chunk(self, text: str) -> None:
        self.say(b"%x\r\n%b\r\n" % (len(text.encode()), text.encode()))

    async def head(self) -> HttpAnswer:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        pairs = (line.partition(": ") for line in lines[1:] if line)
        return HttpAnswer(int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs})

    async def piece(self) -> str:
        """The next chunk; empty at the end."""
        size = int((await self.reader.readline()).decode(), 16)
        data = await self.hear(size)
        await self.hear(2)
        return data.decode()

    async def whole(self) -> HttpAnswer:
        answer = await self.head()
        if "content-length" in answer.headers:
            answer.body = (await self.hear(int(answer.headers["content-length"]))).decode()
        else:
            while piece := await self.piece():
                answer.body += piece
        return answer

    async def ask(self, path: str, body: str = "{}", method: str = "POST", **headers: str) -> HttpAnswer:
        self.begin(path, body, method, **headers)
        return await self.whole()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@on_both_loops
async def test_write_and_read(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/kv/put", f'{{"key":"{KEY}","value":"{KEY}"}}')
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["grpc-metadata-content-type"] == "application/grpc"
        assert answer.fields["header"]["revision"] == "2"
        for path in ("/v3/kv/range", "/v3beta/kv/range"):
            answer = await peer.ask(path, f'{{"key":"{KEY}"}}')
            (kv,) = answer.fields["kvs"]
            assert kv == {
                "key": KEY,
                "create_revision": "2",
                "mod_revision": "2",
                "version": "1",
                "value": KEY,
            }
        peer.close()


@on_both_loops
async def test_every_method_has_its_path(tmp_path: Path) -> None:
    member = port_member()
    router = make_router(member, Health())  # type: ignore[arg-type]
    served = set(ROUTES)
    assert set(router.paths) - served == {
        "/etcdserverpb.KV/RangeStream",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    }
    paths = Gateway(router, RECEIVE_BYTES_MAX).paths
    assert len(paths) == len(set(paths)) == len(served) + 3
    async with client_port(tmp_path, member=member) as listeners:
        for path in paths:
            peer = await HttpPeer.connect(listeners.urls[0])
            answer = await peer.ask(path, "{x")
            assert (answer.status, answer.fields["code"]) == (400, 3), path
            answer = await peer.ask(path, "{}", Grpc_Timeout="50m")
            assert answer.headers["content-type"] == "application/json", path
            assert answer.status != 404 or "Not Found" not in answer.body, path
            peer.close()


@on_both_loops
async def test_paths_and_methods_that_are_not_there(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        for path in ("/v3/", "/v3/kv", "/v3/kv/range/", "/v3/KV/range", "/v3beta/x", "/v3/v3/kv/range"):
            answer = await peer.ask(path)
            assert (answer.status, answer.body) == (404, '{"code":5,"message":"Not Found"}')
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            answer = await peer.ask("/v3/kv/range", "{}", method)
            assert (answer.status, answer.body) == (501, '{"code":12,"message":"Method Not Allowed"}')
        answer = await peer.ask("/v3/kv/range", "", "OPTIONS")
        assert (answer.status, answer.body) == (200, "")
        assert (await peer.ask("/v3")).status == 301
        for path in ("/v3alpha/kv/range", "/v2/keys"):
            assert (await peer.ask(path)).body == "404 page not found\n"
        peer.close()


@on_both_loops
async def test_the_gateway_can_be_switched_off(tmp_path: Path) -> None:
    async with client_port(tmp_path, enable_grpc_gateway=False) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/kv/range", f'{{"key":"{KEY}"}}')
        assert (answer.status, answer.body) == (404, "404 page not found\n")
        peer.close()


@on_both_loops
async def test_errors(tmp_path: Path) -> None:
    member = port_member()
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/kv/put", "{}")
        assert answer.body == '{"code":3,"message":"etcdserver: key is not provided"}'
        assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
        assert "grpc-metadata-content-type" not in answer.headers
        put = f'{{"key":"{KEY}"}}'
        member.propose_error = InvalidAuthToken()
        answer = await peer.ask("/v3/kv/put", put)
        assert (answer.status, answer.fields["code"]) == (401, 16)
        assert answer.headers["www-authenticate"] == "etcdserver: invalid auth token"
        member.propose_error = NotSupported("é")
        answer = await peer.ask("/v3/kv/put", put)
        assert (answer.status, answer.fields["message"]) == (501, "etcdserver: not supported: é")
        large = b64(bytes(RECEIVE_BYTES_MAX + 1))
        answer = await peer.ask("/v3/kv/put", f'{{"key":"{KEY}","value":"{large}"}}')
        assert (answer.status, answer.fields["code"]) == (429, 8)
        assert answer.fields["message"].startswith("grpc: received message larger than max (")
        peer.close()
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/kv/put", " " * (2 * RECEIVE_BYTES_MAX + 1))
        assert (answer.status, answer.fields["code"]) == (429, 8)
        peer.abort()


def test_every_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(Code)


def test_headers_become_metadata() -> None:
    headers = CIMultiDict(
        [
            ("Authorization", "token"),
            ("Authorization", "second"),
            ("Grpc-Metadata-HasLeader", "true"),
            ("Grpc-Metadata-token", "mine"),
            ("Accept", "*/*"),
            ("Grpc-Timeout", "5S"),
            ("X-Own", "nothing"),
            ("Token", "nothing"),
            ("hasleader", "true"),
        ]
    )
    assert metadata_of(CIMultiDictProxy(headers)) == {
        "authorization": "token",
        "grpcgateway-authorization": "token",
        "hasleader": "true",
        "token": "mine",
        "grpcgateway-accept": "*/*",
    }


@on_both_loops
async def test_metadata_and_timeouts_count(tmp_path: Path) -> None:
    member = port_member()
    member.leader_id = 0
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        body = f'{{"key":"{KEY}"}}'
        answer = await peer.ask("/v3/kv/range", body, Grpc_Metadata_hasleader="true")
        assert (answer.status, answer.fields["message"]) == (503, "etcdserver: no leader")
        answer = await peer.ask("/v3/watch", body, Grpc_Metadata_hasleader="true")
        assert (answer.status, answer.body) == (503, '{"code":14,"message":"etcdserver: no leader"}')
        member.is_holding = True
        answer = await peer.ask("/v3/kv/range", body, Grpc_Timeout="50m")
        assert (answer.status, answer.body) == (504, '{"code":4,"message":"context deadline exceeded"}')
        answer = await peer.ask("/v3/kv/put", body, Grpc_Timeout="0n")
        assert (answer.status, member.proposals) == (504, [])
        answer = await peer.ask("/v3/kv/range", body, Grpc_Timeout="soon")
        assert answer.body == '{"code":3,"message":"invalid grpc-timeout: soon"}'
        peer.close()


@on_both_loops
async def test_watch_hears_while_it_speaks(tmp_path: Path) -> None:
    member = port_member()
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/watch", None)
        peer.chunk(f'{{"create_request":{{"key":"{KEY}","watch_id":"7"}}}}')
        head = await peer.head()
        assert (head.status, head.headers["transfer-encoding"]) == (200, "chunked")
        assert head.headers["grpc-metadata-content-type"] == "application/grpc"
        created = json.loads(await peer.piece())["result"]
        assert (created["created"], created["watch_id"]) == (True, "7")
        member.write(b"key", b"one")
        event = json.loads(await peer.piece())["result"]["events"][0]
        assert event == {
            "kv": {
                "key": KEY,
                "create_revision": "2",
                "mod_revision": "2",
                "version": "1",
                "value": b64(b"one"),
            }
        }
        member.delete(b"key")
        assert json.loads(await peer.piece())["result"]["events"][0]["type"] == "DELETE"
        peer.chunk('{"cancel_re')
        peer.chunk('quest":{"watch_id":7}}{"progress_request":{}}')
        assert json.loads(await peer.piece())["result"]["canceled"] is True
        peer.say(b"0\r\n\r\n")  # its half is over, the watch is not
        member.write(b"key", b"two")
        assert member.state.hub.synced_watchers == 0
        peer.abort()


@on_both_loops
async def test_a_watch_ends_with_its_connection(tmp_path: Path) -> None:
    member = port_member()
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/watch", f'{{"create_request":{{"key":"{KEY}"}}}}')
        await peer.head()
        assert "created" in await peer.piece()
        assert member.state.hub.synced_watchers == 1
        peer.abort()
        await until(lambda: member.state.hub.synced_watchers == 0)


@on_both_loops
async def test_a_slow_reader_of_a_watch_holds_it_up(tmp_path: Path) -> None:
    member = port_member()
    hub = member.state.hub
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/watch", f'{{"create_request":{{"key":"{KEY}"}}}}')
        await peer.head()
        await peer.piece()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        written = 0
        while not hub.slow_watchers:
            member.write(b"key", bytes(500_000))
            written += 1
            await asyncio.sleep(0)
            assert written < 200, "nothing holds the watch up"
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        heard = ""
        while heard.count("mod_revision") < written:
            heard += await peer.piece()
            hub.catch_up()
        revisions = [
            int(event["kv"]["mod_revision"])
            for line in heard.splitlines()
            for event in json.loads(line)["result"]["events"]
        ]
        assert revisions == list(range(2, written + 2))
        peer.abort()


@on_both_loops
async def test_what_comes_first_must_be_a_message(tmp_path: Path) -> None:
    async with client_port(tmp_path) as listeners:
        for body in ("{x}", "x", '{"ID":', '{"ID":"x"}'):
            peer = await HttpPeer.connect(listeners.urls[0])
            answer = await peer.ask("/v3/lease/keepalive", body)
            assert (answer.status, answer.fields["code"]) == (400, 3)
            assert answer.headers["content-type"] == "application/json"
            peer.close()


@on_both_loops
async def test_what_comes_later_only_ends_the_request(tmp_path: Path) -> None:
    member = port_member()
    member.state.lessor.grant(7, 60)
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        for body in ('{"ID":7}x', '{"ID":7}{"ID":', '{"ID":7}{"ID":[]}', '{"ID":7}'):
            answer = await peer.ask("/v3/lease/keepalive", body)
            assert answer.status == 200
            assert answer.fields["result"]["TTL"] == "60"
        answer = await peer.ask("/v3/lease/keepalive", "")
        assert (answer.status, answer.body) == (200, "")
        many = WAITING_RENEWALS_MAX * 3
        answer = await peer.ask("/v3/lease/keepalive", '{"ID":7}' * many)
        assert len(answer.body.splitlines()) == many
        peer.close()


@on_both_loops
async def test_a_stream_that_fails(tmp_path: Path) -> None:
    member = port_member()
    member.state.lessor.grant(7, 60)
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/lease/keepalive", None)
        peer.chunk('{"ID":7}')
        assert (await peer.head()).status == 200
        assert "result" in await peer.piece()
        member.other_error = NotSupported("that")
        peer.chunk('{"ID":7}')
        assert await peer.piece() == '{"error":{"code":12,"message":"etcdserver: not supported: that"}}\n'
        assert await peer.piece() == ""
        peer.close()
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/maintenance/snapshot")
        assert (answer.status, answer.body) == (
            501,
            '{"code":12,"message":"etcdserver: not supported: that"}',
        )
        peer.close()


@on_both_loops
async def test_a_snapshot_is_read_as_fast_as_it_is_taken(tmp_path: Path) -> None:
    member = port_member()
    content = bytes(range(256)) * 4096 * 12
    member.snapshot = FakeSnapshot(content)
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/maintenance/snapshot")
        answer = await peer.whole()
        results = [json.loads(line)["result"] for line in answer.body.splitlines()]
        assert "".join(result["blob"] for result in results[:1]).startswith(b64(content[:300]))
        assert results[-1].get("remaining_bytes") is None
        assert len(results) == len(content) // (32 * 1024) + 1
        assert member.snapshot.is_closed
        peer.close()
        member.snapshot = FakeSnapshot(content)
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/maintenance/snapshot")
        await peer.head()
        assert member.snapshot.position < len(content)
        peer.abort()
        await until(lambda: member.snapshot.is_closed)


@on_both_loops
async def test_who_leaves_while_waiting_for_a_lock_loses_its_place(tmp_path: Path) -> None:
    member = port_member()
    for lease in (1, 2):
        member.state.lessor.grant(lease, 60)
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        answer = await peer.ask("/v3/lock/lock", f'{{"name":"{KEY}","lease":1}}')
        assert answer.fields["key"] == b64(b"key/1")
        waiting = await HttpPeer.connect(listeners.urls[0])
        waiting.begin("/v3/lock/lock", f'{{"name":"{KEY}","lease":2}}')
        await until(lambda: member.state.hub.synced_watchers == 1)
        waiting.abort()
        await until(lambda: found(member, b"key/2") is None)
        assert found(member, b"key/1") is not None
        peer.close()


def found(member: FakeMember, key: bytes) -> KeyValue | None:
    data = member.state.store.get(key)
    return None if data is None else KeyValue.FromString(data)


@on_both_loops
async def test_the_port_stops_although_somebody_watches(tmp_path: Path) -> None:
    member = port_member()
    async with client_port(tmp_path, member=member) as listeners:
        peer = await HttpPeer.connect(listeners.urls[0])
        peer.begin("/v3/watch", f'{{"create_request":{{"key":"{KEY}"}}}}')
        await peer.head()
        await peer.piece()
        Peer.open.remove(peer)
        await listeners.stop()
        await peer.rest()
        assert member.state.hub.synced_watchers == 0
        Peer.open.append(peer)


class TestCall:
    """What every `Call` promises, of this one."""

    def _call(self) -> GatewayCall:
        return GatewayCall("/x", {}, "", None)

    @pytest.mark.parametrize("end", ["reply", "finish", "fail", "leave"])
    def test_it_ends_once(self, end: str) -> None:
        async def main() -> None:
            call = self._call()
            left = []
            call.on_cancel = lambda: left.append(1)
            arguments = {"reply": [b"a"], "fail": [RpcError(Code.UNKNOWN, "x")]}.get(end, [])
            getattr(call, end)(*arguments)
            assert call.closed
            status = call.status
            call.send(b"late")
            call.finish()
            call.leave()
            assert call.status is status
            assert call.take() == ([b"a"] if end == "reply" else [])
            assert len(left) == (end == "leave")

        asyncio.run(main())

    def test_it_wakes_the_service_when_the_client_has_read(self) -> None:
        async def main() -> None:
            call = self._call()
            woken = []
            call.on_writable = lambda: woken.append(call.pending_bytes)
            call.send(bytes(10_000))
            call.written(call.take())
            assert (woken, call.pending_bytes) == ([], 0)
            for _ in range(5):
                call.send(bytes(10_000))
            taken = call.take()
            assert call.pending_bytes == 50_000
            call.written(taken[:1])
            assert woken == []
            call.written(taken[1:])
            assert woken == [0]

        asyncio.run(main())
