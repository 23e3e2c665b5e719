"""The JSON gateway over WebSocket, on real etcd and on the candidate."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 10.0


def talk(server: Server, path: str, texts: list[str], answers: int, **options: Any) -> list[Any]:
    """Send all texts, then receive; what came is JSON, or the number of how the connection ended."""

    async def conversation() -> list[Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{server.endpoint}{path}", **options) as socket,
        ):
            for text in texts:
                await socket.send_str(text)
            heard: list[Any] = []
            while len(heard) < answers:
                message = await asyncio.wait_for(socket.receive(), SECONDS_MAX)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    heard.append(message.data)
                    break
                heard.append(without_identity(json.loads(message.data)))
            return heard

    return asyncio.run(conversation())


def without_identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_identity(one) for name, one in value.items() if name != "header"}
    return [without_identity(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def key(either_server: Server) -> str:
    with Client(either_server.endpoint) as client:
        client.put(b"foo", b"bar")
    return "Zm9v"


def test_watches(either_server: Server, key: str) -> None:
    create = f'{{"create_request":{{"key":"{key}","start_revision":"2"}}}}'
    first, event, second = talk(
        either_server, "/v3/watch", [create, f'{{"create_request":{{"key":"{key}"}}}}'], 3
    )
    assert first == {"result": {"created": True}}
    both = [event, second]
    assert {"result": {"watch_id": "1", "created": True}} in both
    kv = {"key": key, "create_revision": "2", "mod_revision": "2", "version": "1", "value": "YmFy"}
    assert {"result": {"events": [{"kv": kv}]}} in both


def test_a_request_in_pieces(either_server: Server, key: str) -> None:
    pieces = ['{"create_request":', f'{{"key":"{key}"', "}}"]
    assert talk(either_server, "/v3/watch", pieces, 1) == [{"result": {"created": True}}]


def test_leases_are_kept(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        lease = client.ask(pb.LeaseGrantRequest(ID=77, TTL=60), pb.LeaseGrantResponse)
    assert lease.ID == 77
    texts = ['{"ID":"77"}', '{"ID":"78"}']
    expected = [{"result": {"ID": "77", "TTL": "60"}}, {"result": {"ID": "78"}}]
    assert talk(either_server, "/v3/lease/keepalive", texts, 2) == expected


def test_the_first_protocol_is_chosen(either_server: Server) -> None:
    async def chosen() -> str | None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"http://{either_server.endpoint}/v3/watch", protocols=("Bearer", "no-token")
            ) as socket,
        ):
            return socket.protocol

    assert asyncio.run(chosen()) == "Bearer"


@pytest.fixture
def ours(candidate: Kind, tmp_path: Path) -> Server:
    return Server(candidate, tmp_path, ["--bcrypt-cost=4"])


def test_calls_with_one_request_are_answered(ours: Server) -> None:
    """Real etcd waits for the end of the connection there."""
    with ours as server:
        assert talk(server, "/v3/kv/put", ['{"key":"Zm9v"}'], 2) == [{}, 1000]
        refusal = {"code": 3, "message": "etcdserver: key is not provided"}
        assert talk(server, "/v3/kv/range", ["{}"], 2) == [refusal, 1000]
        (malformed, end) = talk(server, "/v3/watch", ["nonsense"], 2)
        assert (malformed["code"], end) == (3, 1000)
        *blobs, last, code = talk(server, "/v3/maintenance/snapshot", ["{}"], 1000)
        assert all("blob" in line["result"] for line in [*blobs, last])
        assert code == 1000


def test_tokens_of_browsers(ours: Server) -> None:
    with ours as server, Client(server.endpoint) as client:
        client.ask(pb.AuthUserAddRequest(name="root", password="r"), pb.AuthUserAddResponse)
        client.ask(pb.AuthUserGrantRoleRequest(user="root", role="root"), pb.AuthUserGrantRoleResponse)
        client.ask(pb.AuthEnableRequest(), pb.AuthEnableResponse)
        request = pb.AuthenticateRequest(name="root", password="r")
        token = client.ask(request, pb.AuthenticateResponse).token
        put = ['{"key":"Zm9v"}']
        refused = talk(server, "/v3/kv/put", put, 1)
        assert refused == [{"code": 3, "message": "etcdserver: user name is empty"}]
        assert talk(server, "/v3/kv/put", put, 1, protocols=("Bearer", token)) == [{}]
        assert talk(server, "/v3/kv/put", put, 1, headers={"Cookie": f"token={token}"}) == [{}]
        assert talk(server, "/v3/kv/put", put, 1, headers={"Authorization": token}) == [{}]
