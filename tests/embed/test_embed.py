"""A member in the caller's own process: free ports, a directory that goes away, and a real client."""

import asyncio
import gc
import threading
from pathlib import Path

import grpc
import pytest

from etcdpy import embed
from etcdpy.backend import BackendFull
from etcdpy.client import AsyncClient, prefix
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.bootstrap import DataDirectoryError
from etcdpy.server.config import Config
from etcdpy.server.log import Logger


async def call(channel: grpc.aio.Channel, path: str, request: object, response: type) -> object:
    method = channel.unary_unary(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
    return await method(request, timeout=10)


async def put(channel: grpc.aio.Channel, key: bytes, value: bytes) -> pb.PutResponse:
    return await call(channel, "/etcdserverpb.KV/Put", pb.PutRequest(key=key, value=value), pb.PutResponse)


async def get(channel: grpc.aio.Channel, key: bytes) -> pb.RangeResponse:
    return await call(channel, "/etcdserverpb.KV/Range", pb.RangeRequest(key=key), pb.RangeResponse)


def test_a_member_lives_inside_a_test_and_leaves_nothing() -> None:
    async def scenario() -> Path:
        async with embed.member() as etcd:
            target = etcd.client_urls[0].removeprefix("http://")
            async with grpc.aio.insecure_channel(target) as channel:
                await put(channel, b"greeting", b"hello")
                answer = await get(channel, b"greeting")
                assert answer.kvs[0].value == b"hello"
            return etcd.config.data_dir

    threads = set(threading.enumerate())
    data_dir = asyncio.run(scenario())
    assert not data_dir.exists()
    left = [thread for thread in threading.enumerate() if thread not in threads and "etcdpy" in thread.name]
    assert not left
    gc.collect()


def test_a_start_waits_for_no_tick(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = Config.for_test(tmp_path)
        config.heartbeat_interval_ms, config.election_timeout_ms = 60_000, 600_000
        async with asyncio.timeout(30), embed.member(config) as etcd:
            assert etcd.client_urls

    asyncio.run(scenario())


def test_two_members_in_one_process_do_not_meet() -> None:
    async def scenario() -> None:
        async with (
            embed.member() as one,
            embed.member() as two,
            grpc.aio.insecure_channel(one.client_urls[0].removeprefix("http://")) as first,
            grpc.aio.insecure_channel(two.client_urls[0].removeprefix("http://")) as second,
        ):
            await put(first, b"k", b"1")
            assert (await get(second, b"k")).count == 0

    asyncio.run(scenario())


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async def run(check: bool) -> None:
        server = await embed.start(Config.for_test(tmp_path), Logger.silent())
        try:
            async with grpc.aio.insecure_channel(server.client_urls[0].removeprefix("http://")) as channel:
                if check:
                    assert (await get(channel, b"k")).kvs[0].value == b"v"
                else:
                    await put(channel, b"k", b"v")
        finally:
            await server.stop()

    asyncio.run(run(False))
    asyncio.run(run(True))


def test_defragmentation_counts_what_is_not_on_disk_yet(tmp_path: Path) -> None:
    """As etcd's does: who compacts and defragments at once, because there is no space left, gets it back."""

    async def scenario() -> None:
        config = Config.for_test(tmp_path)
        config.backend_batch_interval_s = 600.0
        async with embed.member(config) as etcd, AsyncClient(etcd.client_urls) as client:
            for number in range(8):
                await client.put(f"big/{number}", b"x" * 1_000_000)
            etcd.member.state.backend.flush_sync()
            gone = await client.delete(prefix("big/"))
            await client.compact(gone.header.revision, physical=True)
            assert (await client.status()).db_size > 8_000_000
            await client.defragment()
            assert (await client.status()).db_size < 1_000_000

    asyncio.run(scenario())


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await embed.start(Config.for_test(tmp_path), Logger.silent())
        try:
            with pytest.raises(DataDirectoryError, match="in use by another process"):
                await embed.start(Config.for_test(tmp_path), Logger.silent())
        finally:
            await server.stop()

    asyncio.run(scenario())


@pytest.mark.patches
def test_a_backend_that_cannot_be_written_stops_the_member_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise BackendFull("no space left on device")

    async def fill() -> None:
        server = await embed.start(Config.for_test(tmp_path), Logger.silent())
        try:
            async with grpc.aio.insecure_channel(server.client_urls[0].removeprefix("http://")) as channel:
                with monkeypatch.context() as patched:
                    patched.setattr("etcdpy.backend.backend.write_batch", full)
                    await put(channel, b"k", b"acknowledged")
                    error = await asyncio.wait_for(asyncio.shield(server.failed), 10)
                    assert isinstance(error, BackendFull)
                    with pytest.raises(grpc.aio.AioRpcError, match="server stopped"):
                        await put(channel, b"k", b"refused")
        finally:
            await server.stop()

    async def look() -> None:
        server = await embed.start(Config.for_test(tmp_path), Logger.silent())
        try:
            async with grpc.aio.insecure_channel(server.client_urls[0].removeprefix("http://")) as channel:
                assert (await get(channel, b"k")).kvs[0].value == b"acknowledged"
        finally:
            await server.stop()

    asyncio.run(fill())
    asyncio.run(look())


def test_a_fault_of_our_own_while_applying_stops_the_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("an invariant does not hold")

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = await embed.start(Config.for_test(tmp_path), Logger.silent())
        try:
            async with grpc.aio.insecure_channel(server.client_urls[0].removeprefix("http://")) as channel:
                with monkeypatch.context() as patched:
                    patched.setattr("etcdpy.mvcc.txn.WriteTxn.put", broken)
                    with pytest.raises(grpc.aio.AioRpcError):
                        await put(channel, b"k", b"v")
                    error = await asyncio.wait_for(asyncio.shield(server.failed), 10)
                    assert isinstance(error, AssertionError)
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_a_client_library_with_the_same_messages_can_be_imported() -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="their/rpc.proto", package="etcdserverpb", syntax="proto3")
    file.message_type.add(name="PutRequest")
    pool = descriptor_pool.Default()
    pool.Add(file)
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("etcdserverpb.PutRequest"))
    assert theirs is not pb.PutRequest
