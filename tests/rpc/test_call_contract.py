"""What `etcdpy.rpc.call` promises, on our engine and on grpcio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method, Router
from tests.rpc.fakes import FakeMember
from tests.rpc.harness import RECEIVE_BYTES_MAX, Client, run_async, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.call import Call

pytestmark = pytest.mark.usefixtures("transport")

PATH = "/test.Service/Method"


def router(kind: Kind, handler: Callable[[Call, bytes], None]) -> Router:
    return Router(FakeMember(), [Method(PATH, kind, handler)])


@run_async
async def test_a_unary_call_is_answered_later_from_a_callback() -> None:
    def handle(call: Call, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(call.reply, data[::-1])

    async with serving(router(Kind.UNARY, handle)) as client:
        assert await client.call(PATH, b"abc") == b"cba"
        assert await client.call(PATH, b"") == b""


@run_async
async def test_a_call_carries_path_metadata_peer_and_deadline() -> None:
    seen: list[Call] = []

    def handle(call: Call, data: bytes) -> None:
        seen.append(call)
        call.reply(b"")

    async with serving(router(Kind.UNARY, handle)) as client:
        metadata = (("token", "t1"), ("token", "t2"), ("x-bin", b"\xff"))
        await client.call(PATH, metadata=metadata, timeout=30)
        await client.call(PATH)
    first, second = seen
    assert first.path == PATH
    assert first.metadata["token"] == "t1"
    assert "x-bin" not in first.metadata
    assert first.peer.startswith("127.0.0.1:")
    assert first.deadline is not None
    assert 0 < first.deadline - asyncio.get_running_loop().time() <= 31
    assert second.deadline is None


@run_async
async def test_only_the_first_end_of_a_call_counts() -> None:
    def handle(call: Call, data: bytes) -> None:
        call.fail(RpcError(Code.ABORTED, "first"))
        call.fail(RpcError(Code.INTERNAL, "second"))
        call.reply(b"third")
        assert call.closed

    async with serving(router(Kind.UNARY, handle)) as client:
        assert await client.refusal(PATH) == (10, "first")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/test.Service/Other", "unknown method Other for service test.Service"),
        ("/test.Other/Method", "unknown service test.Other"),
        ("/etcdserverpb.KV/Range", "unknown service etcdserverpb.KV"),
    ],
)
def test_unknown_paths(path: str, message: str) -> None:
    @run_async
    async def ask() -> None:
        async with serving(router(Kind.UNARY, lambda call, data: call.reply(b""))) as client:
            assert await client.refusal(path) == (12, message)

    ask()


@run_async
async def test_a_message_above_the_limit_is_refused_in_the_words_of_etcd() -> None:
    async with serving(router(Kind.UNARY, lambda call, data: call.reply(b"ok"))) as client:
        assert await client.call(PATH, b"x" * RECEIVE_BYTES_MAX) == b"ok"
        with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
            await client.call(PATH, b"x" * (RECEIVE_BYTES_MAX + 1))
        text = f"grpc: received message larger than max ({RECEIVE_BYTES_MAX + 1} vs. {RECEIVE_BYTES_MAX})"
        assert caught.value.args == (8, text)


@run_async
async def test_a_call_without_its_request_is_refused() -> None:
    async with serving(router(Kind.UNARY, lambda call, data: call.reply(b"ok"))) as client:
        call = client.open(PATH)
        await call.done_writing()
        assert (await call.code()).value[0] == int(Code.INTERNAL)


@run_async
async def test_messages_of_a_server_stream_come_in_order_before_the_status() -> None:
    def handle(call: Call, data: bytes) -> None:
        for number in range(20):
            call.send(bytes((number,)))
        call.send_parts([b"a", b"b"])
        call.finish()
        call.send(b"too late")

    async with serving(router(Kind.SERVER_STREAM, handle)) as client:
        call = client.channel.unary_stream(PATH)(b"")
        assert [message async for message in call] == [*(bytes((n,)) for n in range(20)), b"ab"]


@run_async
async def test_a_stream_in_both_directions_until_the_client_closes_its_half() -> None:
    def handle(call: Call, data: bytes) -> None:
        assert data == b""
        call.on_message = lambda message: call.send(message.upper())

        def end() -> None:
            call.send(b"bye")
            call.finish()

        call.on_half_close = end

    async with serving(router(Kind.BIDI_STREAM, handle)) as client:
        call = client.open(PATH)
        for word in (b"one", b"two"):
            await call.write(word)
            assert await call.read() == word.upper()
        await call.done_writing()
        assert await call.read() == b"bye"
        assert (await call.code()).value[0] == 0


@run_async
async def test_the_service_hears_of_a_client_that_leaves() -> None:
    began, left = asyncio.Event(), asyncio.Event()
    calls: list[Call] = []

    def handle(call: Call, data: bytes) -> None:
        calls.append(call)
        began.set()

        def leave() -> None:
            assert call.closed
            call.reply(b"goes nowhere")
            left.set()

        call.on_cancel = leave

    async with serving(router(Kind.UNARY, handle)) as client:
        call = client.channel.unary_unary(PATH)(b"")
        await began.wait()
        call.cancel()
        await left.wait()


@run_async
async def test_the_deadline_ends_the_call_and_the_service_hears_of_it() -> None:
    left = asyncio.Event()

    def handle(call: Call, data: bytes) -> None:
        call.on_cancel = left.set

    async with serving(router(Kind.UNARY, handle)) as client:
        code, _ = await client.refusal(PATH, timeout=0.2)
        assert code == 4
        await left.wait()


@run_async
async def test_a_call_that_was_answered_is_not_cancelled() -> None:
    cancelled: list[int] = []

    def handle(call: Call, data: bytes) -> None:
        call.on_cancel = lambda: cancelled.append(1)
        call.reply(b"")

    async with serving(router(Kind.UNARY, handle)) as client:
        await client.call(PATH, timeout=30)
    assert cancelled == []


@run_async
async def test_reading_pauses_and_resumes() -> None:
    calls: list[Call] = []
    heard: list[bytes] = []
    second = asyncio.Event()

    def handle(call: Call, data: bytes) -> None:
        calls.append(call)

        def hear(message: bytes) -> None:
            heard.append(message)
            if len(heard) == 1:
                call.pause_reading()
                call.send(b"paused")
            else:
                second.set()

        call.on_message = hear

    async with serving(router(Kind.BIDI_STREAM, handle)) as client:
        call = client.open(PATH)
        await call.write(b"1")
        await call.read()
        await call.write(b"2")
        await answered_by_another_call(client)
        assert heard == [b"1"]
        calls[0].resume_reading()
        await second.wait()
        assert heard == [b"1", b"2"]
        call.cancel()


async def answered_by_another_call(client: Client) -> None:
    """A round trip on the same connection: what was sent before it has arrived."""
    with pytest.raises(Exception, match="unknown"):
        await client.call("/test.Service/Other")


@run_async
async def test_a_client_that_does_not_read_leaves_bytes_pending_until_it_does() -> None:
    calls: list[Call] = []
    writable = asyncio.Event()
    total = 64 * 1024 * 1024

    def handle(call: Call, data: bytes) -> None:
        calls.append(call)
        call.on_writable = writable.set
        for _ in range(64):
            call.send(b"x" * (total // 64))

    async with serving(router(Kind.SERVER_STREAM, handle)) as client:
        call = client.channel.unary_stream(PATH)(b"")
        first = await call.read()
        assert len(first) == total // 64
        assert not writable.is_set()
        assert calls[0].pending_bytes > total // 2
        for _ in range(63):
            await call.read()
        await writable.wait()
        assert calls[0].pending_bytes == 0
        call.cancel()


@run_async
async def test_a_stream_can_be_ended_over_the_head_of_its_service() -> None:
    calls: list[Call] = []
    heard: list[str] = []

    def handle(call: Call, data: bytes) -> None:
        calls.append(call)
        call.on_cancel = lambda: heard.append("cancel")
        call.send(b"begun")

    async with serving(router(Kind.BIDI_STREAM, handle)) as client:
        call = client.open(PATH)
        assert await call.read() == b"begun"
        calls[0].abort(RpcError(Code.UNAVAILABLE, "gone"))
        calls[0].abort(RpcError(Code.UNAVAILABLE, "again"))
        assert ((await call.code()).value[0], await call.details()) == (14, "gone")
        assert heard == ["cancel"]
