"""Flags whose effect shows only in a running member."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import lmdb
import pytest

from etcdpy import embed
from etcdpy.backend.memory_lock import find_mappings
from etcdpy.cluster.urls import Url
from etcdpy.lease import LeaseNotFound
from etcdpy.peer.port import local_address_of
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from etcdpy.server import member
from etcdpy.server.config import Config
from etcdpy.server.errors import TooManyRequests
from etcdpy.server.hashing import Hashing
from etcdpy.server.log import Logger
from etcdpy.server.peering import Peering
from etcdpy.wal import files
from tests.support.client import Client, Refusal
from tests.support.inprocess import cluster, configurations, put, run
from tests.support.quorum import eventually
from tests.support.server import Server

if TYPE_CHECKING:
    from etcdpy.server.results import Result
    from tests.support.programs import Kind


@pytest.mark.parametrize("reuse", [True, False])
def test_socket_reuse_port(tmp_path: Path, reuse: bool) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, socket_reuse_port=reuse)
        server = await embed.start(config, Logger.silent())
        client_port = int(server.client_urls[0].rpartition(":")[2])
        try:
            for port in (client_port, config.listen_peer_urls[0].port):
                with socket.socket() as other:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    if reuse:
                        other.bind(("127.0.0.1", port))
                    else:
                        with pytest.raises(OSError, match="in use"):
                            other.bind(("127.0.0.1", port))
        finally:
            await server.stop()

    run(scenario())


@pytest.mark.parametrize("lock", [True, False])
def test_memory_mlock(tmp_path: Path, lock: bool) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, memory_mlock=lock)
        server = await embed.start(config, Logger.silent())
        try:
            database = config.data_dir / "member" / "snap" / "db"
            assert find_mappings(database)
            assert is_locked(database) is lock
        finally:
            await server.stop()

    run(scenario())


def is_locked(path: Path) -> bool:
    """Whether the kernel keeps the mapping's pages (`lo` among its flags)."""
    is_ours = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if line[0].isdigit() or line[0] in "abcdef":
                is_ours = line.rstrip().endswith(str(path))
            elif is_ours and line.startswith("VmFlags:"):
                return "lo" in line.split()
    raise AssertionError(f"{path} is not mapped")


def test_bootstrap_defrag_threshold_megabytes(tmp_path: Path) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1)
        server = await embed.start(config, Logger.silent())
        for number in range(40):
            await put(server, b"key-%d" % number, bytes(100_000))
        await server.stop()  # and now they are in the file
        server = await embed.start(config, Logger.silent())
        request = pb.DeleteRangeRequest(key=b"\0", range_end=b"\0")
        server.member.propose_own("delete_range", request)
        await put(server, b"a", b"")
        revision = server.member.state.store.revision
        server.member.propose_own("compaction", pb.CompactionRequest(revision=revision))
        await put(server, b"b", b"")
        while server.member.state.store.compaction_pending:
            await put(server, b"c", b"")
        await server.stop()
        database = config.data_dir / "member" / "snap" / "db"
        large = database.stat().st_size
        assert large > 2_000_000
        for threshold_mb, is_done in ((1000, False), (1, True)):
            config.bootstrap_defrag_threshold_megabytes = threshold_mb
            server = await embed.start(config, Logger.silent())
            await server.stop()
            assert (database.stat().st_size < large / 2) is is_done

    run(scenario())


@pytest.mark.cluster
def test_warning_apply_duration(candidate: Kind, tmp_path: Path) -> None:
    with Server(candidate, tmp_path, ["--warning-apply-duration=1ns"]) as server:
        with Client(server.endpoint) as client:
            client.put(b"a", b"1")
        assert '"apply request took too long"' in server.log_tail()
        assert '"expected-duration":"1ns"' in server.log_tail()


@pytest.mark.cluster
@pytest.mark.parametrize("gate", [True, False])
def test_health_during_a_defragmentation(candidate: Kind, tmp_path: Path, gate: bool) -> None:
    flag = f"--feature-gates=StopGRPCServiceOnDefrag={str(gate).lower()}"
    with (
        Server(candidate, tmp_path, [flag]) as server,
        Client(server.endpoint) as client,
        grpc.insecure_channel(server.endpoint) as channel,
    ):
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )(HealthCheckRequest())
        assert next(watch).status == HealthCheckResponse.SERVING
        client.call(pb.DefragmentRequest())
        if gate:
            assert next(watch).status == HealthCheckResponse.NOT_SERVING
            assert next(watch).status == HealthCheckResponse.SERVING
        else:
            client.call(pb.StatusRequest())
        watch.cancel()


@pytest.mark.parametrize("gate", [True, False])
def test_revokes_of_leases_may_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: bool) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, feature_gates=f"PriorityRequest={gate}")
        server = await embed.start(config, Logger.silent())
        try:
            monkeypatch.setattr(member, "UNAPPLIED_ENTRIES_MAX", -1)  # everything is behind
            assert isinstance((await put(server, b"a", b"")).error, TooManyRequests)
            answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            request = pb.LeaseRevokeRequest(ID=7)
            server.member.propose_own("lease_revoke", request, answered.set_result)
            expected = LeaseNotFound if gate else TooManyRequests
            assert isinstance((await answered).error, expected)
        finally:
            await server.stop()

    run(scenario())


@pytest.mark.parametrize(
    ("urls", "address"),
    [
        (("http://127.0.0.1:1",), None),
        (("http://a.example:1", "http://[::1]:1", "http://10.0.0.7:1", "http://10.0.0.8:1"), "10.0.0.7"),
        (("http://0.0.0.0:1", "https://[2001:db8::1]:1"), "2001:db8::1"),
        (("unix://a:1",), None),
    ],
)
def test_set_member_local_addr(urls: tuple[str, ...], address: str | None) -> None:
    config = Config(initial_advertise_peer_urls=tuple(map(Url, urls)))
    assert local_address_of(config) == address


@pytest.mark.parametrize("gate", [True, False])
def test_fast_lease_keep_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: bool) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, feature_gates=f"FastLeaseKeepAlive={gate}")
        server = await embed.start(config, Logger.silent())
        try:
            granted: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            request = pb.LeaseGrantRequest(ID=7, TTL=60)
            server.member.propose_own("lease_grant", request, granted.set_result)
            assert (await granted).error is None
            waits: list[object] = []
            monkeypatch.setattr(server.member, "when_caught_up", waits.append)
            answers: list[int] = []
            peering = Peering(server.member, Hashing(server.member, asyncio.get_running_loop().call_later))
            peering.front = server.front
            for lease in (7, 8):
                data = pb.LeaseKeepAliveRequest(ID=lease).SerializeToString()
                peering.renew_lease(data, lambda status, body: answers.append(status))
            assert answers == ([200] if gate else [])
            assert len(waits) == (1 if gate else 2)
        finally:
            await server.stop()

    run(scenario())


@pytest.mark.cluster
@pytest.mark.parametrize("threshold", ["1ns", "1h"])
def test_warning_unary_request_duration(candidate: Kind, tmp_path: Path, threshold: str) -> None:
    with Server(candidate, tmp_path, [f"--warning-unary-request-duration={threshold}"]) as server:
        with Client(server.endpoint) as client:
            client.put(b"a", b"1")
            refused = client.outcome(pb.RangeRequest())
            assert isinstance(refused, Refusal)

        def lines() -> list[str]:
            return [line for line in server.log_tail().splitlines() if '"request stats"' in line]

        if threshold == "1h":
            assert not lines()
            return
        eventually(lambda: len(lines()) == 2)
        found = [json.loads(line) for line in lines()]
    assert [one["response type"] for one in found] == ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"]
    assert all(one["level"] == "warn" and one["time spent"].endswith("s") for one in found)


@pytest.mark.patches
@pytest.mark.parametrize("gate", [True, False])
def test_set_member_local_addr_is_where_members_call_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: bool
) -> None:
    """Which address that is, the test above says; here it is one of loopback's, which etcd would not take."""
    address = 9 if gate else 11  # closed connections stay in the table for a while
    monkeypatch.setattr("etcdpy.peer.port.local_address_of", lambda _: f"127.0.0.{address}")

    async def scenario() -> None:
        gates = f"SetMemberLocalAddr={str(gate).lower()}"
        async with cluster(tmp_path, size=2, feature_gates=gates):
            assert (f"{address:02X}00007F:" in Path("/proc/net/tcp").read_text()) is gate

    run(scenario())


@pytest.mark.patches
@pytest.mark.parametrize("unsafe", [True, False])
def test_unsafe_no_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsafe: bool) -> None:
    """Neither the log nor the database waits for the disk."""
    logs: list[int] = []
    databases: list[object] = []
    sync, open_database = files._fdatasync, lmdb.open

    def counted_sync(descriptor: int) -> None:
        logs.append(descriptor)
        sync(descriptor)

    def noted_open(path: str, **options: Any) -> lmdb.Environment:
        databases.append(options["sync"])
        return open_database(path, **options)

    monkeypatch.setattr(files, "_fdatasync", counted_sync)
    monkeypatch.setattr(lmdb, "open", noted_open)

    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, unsafe_no_fsync=unsafe)
        server = await embed.start(config, Logger.silent())
        try:
            await put(server, b"a", b"1")
        finally:
            await server.stop()

    run(scenario())
    assert bool(logs) is not unsafe
    assert databases[-1] is not unsafe
