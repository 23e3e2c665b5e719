"""Raw calls by both sides, on real etcd and on us: answers, refusals, and endpoints that are not there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from etcdpy.client import (
    AsyncClient,
    BadEndpoint,
    Client,
    Closed,
    DeadlineExceeded,
    EtcdError,
    InvalidArgument,
    NotSent,
    Settings,
    rpcs,
)
from etcdpy.client.settings import Endpoint, endpoints_of
from etcdpy.proto import rpc_pb2 as pb
from tests.support.server import free_ports

if TYPE_CHECKING:
    from tests.support.server import Server

NOBODY = "127.0.0.1:1"


def test_call_on_the_plain_side(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        put = client.call(rpcs.PUT, pb.PutRequest(key=b"raw", value=b"1"))
        answer = client.call(rpcs.RANGE, pb.RangeRequest(key=b"raw"))
        assert [kv.value for kv in answer.kvs] == [b"1"]
        assert answer.header.revision == put.header.revision


def test_call_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client:
            await client.call(rpcs.PUT, pb.PutRequest(key=b"raw", value=b"2"))
            answer = await client.call(rpcs.RANGE, pb.RangeRequest(key=b"raw"))
            assert [kv.value for kv in answer.kvs] == [b"2"]
            chunks = [one async for one in client.receive(rpcs.SNAPSHOT, pb.SnapshotRequest())]
            assert sum(len(chunk.blob) for chunk in chunks) > 0

    asyncio.run(scenario())


def test_refusal_carries_code_and_text(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        with pytest.raises(InvalidArgument) as caught:
            client.call(rpcs.PUT, pb.PutRequest())
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.text == "etcdserver: key is not provided"
        assert not caught.value.maybe_applied


def test_stream_to_its_end(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        chunks = list(client.receive(rpcs.SNAPSHOT, pb.SnapshotRequest()))
    assert chunks[-1].remaining_bytes == 0


def test_write_goes_to_the_next_endpoint_if_it_was_not_sent(either_server: Server) -> None:
    with Client([NOBODY, either_server.endpoint]) as client:
        before = client.call(rpcs.RANGE, pb.RangeRequest(key=b"x")).header.revision
    with Client([NOBODY, either_server.endpoint]) as client:
        assert client.call(rpcs.PUT, pb.PutRequest(key=b"x")).header.revision == before + 1


def test_one_endpoint_can_be_asked(either_server: Server) -> None:
    with Client([NOBODY, either_server.endpoint]) as client:
        status = client.call(rpcs.STATUS, pb.StatusRequest(), endpoint=either_server.endpoint)
        assert status.version
        with pytest.raises(NotSent):
            client.call(rpcs.STATUS, pb.StatusRequest(), endpoint=NOBODY, timeout=0.2)


@pytest.mark.parametrize("rpc", [rpcs.RANGE, rpcs.PUT])
def test_nobody_there(rpc: rpcs.UnaryRpc[pb.RangeRequest, pb.RangeResponse]) -> None:
    began = time.monotonic()
    with Client([NOBODY, f"127.0.0.1:{free_ports(1)[0]}"]) as client, pytest.raises(NotSent) as caught:
        client.call(rpc, rpc.request(key=b"x"), timeout=0.3)
    assert not caught.value.maybe_applied
    assert time.monotonic() - began < 3


def test_deadline_of_a_write_leaves_its_fate_open(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        client.call(rpcs.RANGE, pb.RangeRequest(key=b"x"))
        with pytest.raises(DeadlineExceeded) as caught:
            client.call(rpcs.LOCK, rpcs.LOCK.request(name=held_lock(client), lease=0), timeout=0.2)
        assert caught.value.maybe_applied


def held_lock(client: Client) -> bytes:
    client.call(rpcs.LOCK, rpcs.LOCK.request(name=b"held"))
    return b"held"


def test_closed_client(either_server: Server) -> None:
    client = Client(either_server.endpoint)
    client.close()
    with pytest.raises(Closed):
        client.call(rpcs.RANGE, pb.RangeRequest(key=b"x"))


@pytest.mark.parametrize(
    ("text", "target", "secure"),
    [
        ("localhost", "localhost:2379", False),
        ("127.0.0.1:1234", "127.0.0.1:1234", False),
        ("http://[::1]:99", "[::1]:99", False),
        ("https://etcd.example:443/", "etcd.example:443", True),
        ("unix:///run/etcd.sock", "unix:/run/etcd.sock", False),
        ("unixs:relative", None, None),
        ("ftp://x", None, None),
        ("http://", None, None),
        ("host:port", None, None),
        ("host:1/path", None, None),
        ("user@host:1", None, None),
    ],
)
def test_endpoint_texts(text: str, target: str | None, secure: bool | None) -> None:
    if target is None:
        with pytest.raises(BadEndpoint):
            Client(text)
        return
    endpoint = Endpoint.parse(text)
    assert (endpoint.target, endpoint.is_secure(None)) == (target, secure)


def test_endpoints_in_one_text() -> None:
    assert endpoints_of(" a:1, b:2,,") == ("a:1", "b:2")
    with pytest.raises(BadEndpoint):
        Settings(endpoints=())


def test_errors_say_when_a_fate_is_unknown() -> None:
    assert str(EtcdError("gone", maybe_applied=True)) == "gone (whether it took effect is not known)"
