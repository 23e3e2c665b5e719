"""The JSON gateway over WebSocket: calls that go on in both directions, for browsers.

Each text message of the client is a piece of its requests, each of ours one line of the answer. A token comes
as `Authorization`, as the sub-protocol after `Bearer`, or in the cookie `token`, because browsers let nobody
set headers here. In etcd the calls with one request wait for the end of the connection, which is of no use to
anybody; we answer those after their first message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import WSMsgType, web

from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.gateway_call import GatewayCall
from etcdpy.rpc.gateway_json import MalformedJson, Splitter
from etcdpy.rpc.router import Kind

if TYPE_CHECKING:
    from etcdpy.rpc.gateway import Route

BEARER = "Bearer"
COOKIE = "token"
PING_S = 30.0
# How long a client may take to say goodbye as well.
CLOSE_S = 2.0


class Codec(Protocol):
    """What the gateway knows of JSON."""

    message_bytes_max: int

    def read_message(self, route: Route, text: bytes) -> bytes:
        """A request in the form in which services take it; raises RpcError."""

    def write_message(self, route: Route, message: bytes) -> str:
        """A response as JSON."""

    def write_status(self, status: RpcError) -> str:
        """An error as JSON."""


def is_upgrade(request: web.BaseRequest) -> bool:
    """Whether the client asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def token_of(request: web.BaseRequest) -> str | None:
    """The token that comes in one of the ways for browsers, as `Authorization` would have it."""
    names = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if len(names) == 2 and names[0] == BEARER:
        return f"{BEARER} {names[1]}"
    cookie = request.cookies.get(COOKIE)
    return f"{BEARER} {cookie}" if cookie else None


Begin = Callable[[GatewayCall, bytes], None]


class SocketCall:
    """One call on one WebSocket."""

    def __init__(self, codec: Codec, route: Route, call: GatewayCall) -> None:
        self._codec = codec
        self._route = route
        self._call = call
        self._first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._has_sent = False

    async def run(self, request: web.BaseRequest, begin: Begin) -> web.StreamResponse:
        """Answer until one of both has nothing more to say. `begin` hands the call to its service."""
        socket = web.WebSocketResponse(
            protocols=(BEARER,),
            heartbeat=PING_S,
            timeout=CLOSE_S,
            max_msg_size=self._codec.message_bytes_max,
        )
        await socket.prepare(request)
        reader = asyncio.create_task(self._read(socket))
        try:
            if self._route.method.kind is Kind.BIDI_STREAM:
                begin(self._call, b"")
            else:
                waits: list[asyncio.Future[Any]] = [reader, self._first]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if self._first.done():
                    begin(self._call, self._first.result())
            await self._write(socket)
            await socket.close()
        finally:
            self._call.leave()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        return socket

    async def _read(self, socket: web.WebSocketResponse) -> None:
        splitter = Splitter(self._codec.message_bytes_max)
        try:
            async for message in socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                piece = message.data.encode() if message.type is WSMsgType.TEXT else message.data
                for text in splitter.feed(piece):
                    await self._hear(self._codec.read_message(self._route, text))
        except MalformedJson as error:
            self._call.abort(RpcError(Code.INVALID_ARGUMENT, str(error)))
        except RpcError as error:
            self._call.abort(error)
        finally:
            self._call.leave()

    async def _hear(self, data: bytes) -> None:
        if self._route.method.kind is Kind.BIDI_STREAM:
            await self._call.until_readable()
            self._call.hear(data)
        elif not self._first.done():
            self._first.set_result(data)

    async def _write(self, socket: web.WebSocketResponse) -> None:
        call = self._call
        is_whole = self._route.method.kind is Kind.UNARY
        try:
            while True:
                messages = call.take()
                for message in messages:
                    text = self._codec.write_message(self._route, message)
                    await socket.send_str(text if is_whole else f'{{"result":{text}}}')
                    self._has_sent = True
                if messages:
                    call.written(messages)
                elif call.closed:
                    break
                else:
                    await call.news()
            if call.status.code not in (Code.OK, Code.CANCELED):
                text = self._codec.write_status(call.status)
                await socket.send_str(f'{{"error":{text}}}' if self._has_sent else text)
        except (ConnectionError, RuntimeError):
            call.leave()  # the client has gone in the middle of it
