"""etcd's own proxies in front of etcdpy: `etcd gateway`, which passes bytes on, and `etcd grpc-proxy`."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.programs import clean_environment, wheel_program
from tests.support.quorum import eventually
from tests.support.server import Server, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

STOP_SECONDS_MAX = 10.0


@contextmanager
def proxy(directory: Path, name: str, server: Server) -> Iterator[str]:
    """Where a proxy of this kind listens."""
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.Popen(
        [wheel_program("etcd"), name, "start", f"--endpoints={server.endpoint}", f"--listen-addr={listen}"],
        cwd=directory,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield listen
    finally:
        process.kill()
        process.wait(STOP_SECONDS_MAX)


@pytest.mark.parametrize("name", ["gateway", "grpc-proxy"])
def test_a_proxy_of_etcd(candidate: Kind, tmp_path: Path, name: str) -> None:
    with (
        Server(candidate, tmp_path / "server") as server,
        proxy(tmp_path, name, server) as endpoint,
        Client(server.endpoint) as direct,
        Client(endpoint) as client,
    ):
        eventually(lambda: not isinstance(client.outcome(pb.RangeRequest(key=b"k"), 1.0), Refusal))
        stream = client.watch_stream()
        stream.create(key=b"k", range_end=b"l")
        assert stream.wait(lambda: bool(stream.responses))
        client.put(b"k1", b"through")
        assert direct.range(b"k1").kvs[0].value == b"through"
        direct.put(b"k2", b"beside")
        assert client.range(b"k2").kvs[0].value == b"beside"
        put = pb.RequestOp(request_put=pb.PutRequest(key=b"k3"))
        assert client.ask(pb.TxnRequest(success=[put]), pb.TxnResponse).succeeded
        assert stream.wait(lambda: sum(len(one.events) for one in stream.responses) == 3)
        stream.close()
        lease = client.ask(pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse).ID
        eventually(lambda: getattr(client.keep_alive(lease), "TTL", 0) == 60)
        refused = client.outcome(pb.PutRequest())
        assert isinstance(refused, Refusal)
        assert refused.text == "etcdserver: key is not provided"  # grpc-proxy loses the code
