"""A server of the services on the grpcio adapter, and a client that speaks raw bytes to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from grpc import aio

from etcdpy.rpc.grpcio_adapter import make_server
from etcdpy.rpc.services import Health, make_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from etcdpy.rpc.router import Router
    from tests.rpc.fakes import FakeMember

RECEIVE_BYTES_MAX = 2 * 1024 * 1024
# Nothing here takes a second; a test that waits longer is stuck.
PATIENCE_S = 20.0


def run_async(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), PATIENCE_S))

    return run


class Refused(Exception):
    """A status other than OK: (code number, message)."""


class Client:
    """One channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel

    async def call(self, path: str, data: bytes = b"", **options: Any) -> bytes:
        try:
            response: bytes = await self.channel.unary_unary(path)(data, **options)
        except aio.AioRpcError as error:
            raise Refused(error.code().value[0], error.details()) from None
        return response

    async def ask(self, path: str, request: Any, response_type: Any, **options: Any) -> Any:
        return response_type.FromString(await self.call(path, request.SerializeToString(), **options))

    async def refusal(self, path: str, request: Any = None, **options: Any) -> tuple[int, str]:
        data = b"" if request is None else request.SerializeToString()
        try:
            answer = await self.call(path, data, **options)
        except Refused as error:
            return error.args[0], error.args[1]
        raise AssertionError(f"{path} answered {answer!r}")

    async def stream(self, path: str, request: Any) -> list[bytes]:
        """All messages of a server stream."""
        call = self.channel.unary_stream(path)(request.SerializeToString())
        try:
            return [message async for message in call]
        except aio.AioRpcError as error:
            raise Refused(error.code().value[0], error.details()) from None

    def open(self, path: str, **options: Any) -> aio.StreamStreamCall[bytes, bytes]:
        """A stream in both directions."""
        return self.channel.stream_stream(path)(**options)


@asynccontextmanager
async def serving(router: Router) -> AsyncIterator[Client]:
    server = make_server(router, RECEIVE_BYTES_MAX)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            yield Client(channel)
    finally:
        await server.stop(None)


@asynccontextmanager
async def serving_member(member: FakeMember) -> AsyncIterator[Client]:
    async with serving(make_router(member, Health())) as client:
        yield client
