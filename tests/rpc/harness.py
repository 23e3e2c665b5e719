"""A server of the services, and a client that speaks raw bytes to it.

There are two servers: our engine, and grpcio as the reference. A module that asks for the fixture `transport`
(`pytestmark = pytest.mark.usefixtures("transport")`) runs every test on both, and they must answer alike.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from grpc import aio

from etcdpy.http2 import Limits
from etcdpy.rpc.call import WRITABLE_BYTES
from etcdpy.rpc.connection import Connection
from etcdpy.rpc.deadlines import Deadlines
from etcdpy.rpc.port import Port, PortLimits, Speaks
from etcdpy.rpc.services import Health, make_router
from tests.rpc.grpc_wire import NoHttp1
from tests.support.grpcio_adapter import make_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from etcdpy.rpc.router import Router
    from tests.rpc.fakes import FakeMember

RECEIVE_BYTES_MAX = 2 * 1024 * 1024
CONNECTIONS_MAX = 100
# Nothing here takes a second; a test that waits longer is stuck.
PATIENCE_S = 20.0

ENGINE, GRPCIO = "engine", "grpcio"


class Chosen:
    """The server of the test that runs now; the fixture `transport` sets it."""

    transport = ENGINE


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
    open_port = {ENGINE: engine_port, GRPCIO: grpcio_port}[Chosen.transport]
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with (
        open_port(router) as number,
        aio.insecure_channel(f"127.0.0.1:{number}", options=options) as channel,
    ):
        yield Client(channel)


@asynccontextmanager
async def engine_port(router: Router) -> AsyncIterator[int]:
    """Our own server; its port number."""
    async with listening(make_port(router)) as number:
        yield number


def make_port(router: Router, http2_limits: Limits | None = None, **limits: Any) -> Port:
    """What connections of our own server share."""
    loop = asyncio.get_running_loop()
    values = {"connections_max": CONNECTIONS_MAX, "receive_bytes_max": RECEIVE_BYTES_MAX} | limits
    return Port(
        router,
        Deadlines(loop),
        http2_limits or Limits(writable_bytes=WRITABLE_BYTES),
        PortLimits(**values),
        NoHttp1(),
        loop,
    )


@asynccontextmanager
async def listening(port: Port) -> AsyncIterator[int]:
    server = await port.loop.create_server(lambda: Connection(port, Speaks.ALL), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await port.close(0.0)
        port.deadlines.close()
        await server.wait_closed()


@asynccontextmanager
async def grpcio_port(router: Router) -> AsyncIterator[int]:
    """The reference; its port number."""
    server = make_server(router, RECEIVE_BYTES_MAX)
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield number
    finally:
        await server.stop(None)


@asynccontextmanager
async def serving_member(member: FakeMember) -> AsyncIterator[Client]:
    async with serving(make_router(member, Health())) as client:
        yield client
