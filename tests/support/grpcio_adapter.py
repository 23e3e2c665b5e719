"""The services on `grpc.aio`: the reference for our own engine.

One generic handler takes every path as a stream of bytes in both directions, because that is what all kinds
of calls are on the wire, and a pair of tasks moves the messages: one reads, one writes. It is slow and
obviously right; it must behave as `etcdpy.rpc.call` says to the letter, since tests compare the engine with
it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from etcdpy.rpc.call import WRITABLE_BYTES, Call
from etcdpy.rpc.errors import CALLER_DEADLINE, Code, RpcError, message_too_large
from etcdpy.rpc.router import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etcdpy.rpc.router import Method, Router

# grpcio would refuse larger messages in its own words; it lets them pass and we refuse them in etcd's.
_NO_LIMIT = -1
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OK = RpcError(Code.OK, "")


class AdapterCall(Call):
    """A call on a servicer context of grpcio."""

    __slots__ = ("_is_choked", "_outgoing", "_outgoing_bytes", "_readable", "_status", "_wake")

    def __init__(self, path: str, metadata: Mapping[str, str], peer: str, deadline: float | None) -> None:
        super().__init__(path, metadata, peer, deadline)
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._is_choked = False
        self._status: RpcError | None = None
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()

    def reply(self, message: bytes) -> None:
        """Send the only message and end."""
        self.send(message)
        self.finish()

    def send(self, message: bytes) -> None:
        """Queue one message for the writer."""
        if self._status is None:
            self._outgoing.append(message)
            self._outgoing_bytes += len(message)
            self._is_choked = self._is_choked or self._outgoing_bytes > WRITABLE_BYTES
            self._wake.set()

    def finish(self) -> None:
        """End with OK once the queue is empty."""
        self._end(_OK)

    def fail(self, error: RpcError) -> None:
        """End with a status once the queue is empty."""
        self._end(error)

    def _end(self, status: RpcError) -> None:
        if self._status is None:
            self._status = status
            self._wake.set()

    def pause_reading(self) -> None:
        """Stop the reader before its next message."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Let the reader go on."""
        self._readable.set()

    @property
    def pending_bytes(self) -> int:
        """Bytes in the queue and in the hands of grpcio."""
        return self._outgoing_bytes

    @property
    def closed(self) -> bool:
        """Whether a status is fixed."""
        return self._status is not None

    def leave(self) -> None:
        """The client is gone."""
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self.abort(RpcError(Code.CANCELED, "context canceled"))

    async def until_readable(self) -> None:
        """Wait while reading is paused."""
        await self._readable.wait()

    async def write_all(self, context: aio.ServicerContext[bytes, bytes]) -> RpcError:
        """Carry messages to grpcio until the call has ended; its status."""
        while True:
            while self._outgoing:
                message = self._outgoing.popleft()
                await context.write(message)
                self._outgoing_bytes -= len(message)
                if self._is_choked and self._outgoing_bytes <= WRITABLE_BYTES:
                    self._is_choked = False
                    if self.on_writable is not None and not self.closed:
                        self.on_writable()
            if self._status is not None:
                return self._status
            self._wake.clear()
            await self._wake.wait()


class _Handler:
    """Takes every call, known or not; a `grpc.GenericRpcHandler` by its shape."""

    def __init__(self, router: Router, receive_bytes_max: int) -> None:
        self._router = router
        self._receive_bytes_max = receive_bytes_max

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """One behaviour for all paths."""
        path = details.method

        async def serve(_: object, context: aio.ServicerContext[bytes, bytes]) -> None:
            await self._serve(path, context)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _serve(self, path: str, context: aio.ServicerContext[bytes, bytes]) -> None:
        loop = asyncio.get_running_loop()
        remaining: Any = context.time_remaining()  # None without a deadline, whatever its stub says
        deadline = None if remaining is None else loop.time() + remaining
        peer = context.peer().removeprefix("ipv4:")
        call = AdapterCall(path, _metadata(context.invocation_metadata()), peer, deadline)
        timer = None if deadline is None else loop.call_at(deadline, call.abort, CALLER_DEADLINE)
        reader = loop.create_task(self._read(path, call, context))
        try:
            status = await call.write_all(context)
        except (asyncio.CancelledError, aio.BaseError, asyncio.InvalidStateError):
            call.leave()
            raise
        finally:
            reader.cancel()
            if timer is not None:
                timer.cancel()
        if status.code is not Code.OK:
            context.set_code(_STATUS_CODES[int(status.code)])
            context.set_details(status.message)

    async def _read(self, path: str, call: AdapterCall, context: aio.ServicerContext[bytes, bytes]) -> None:
        method = self._router.method(path)
        if method is None:
            call.fail(self._router.unknown(path))
            return
        if method.kind is Kind.BIDI_STREAM:
            await self._read_stream(method, call, context)
            return
        data = await self._next_message(call, context)
        if data is None:
            call.fail(RpcError(Code.INTERNAL, "grpc: the request message is missing"))
        elif not call.closed:
            self._router.start(method, call, data)

    async def _read_stream(
        self, method: Method, call: AdapterCall, context: aio.ServicerContext[bytes, bytes]
    ) -> None:
        self._router.start(method, call)
        while True:
            await call.until_readable()
            data = await self._next_message(call, context)
            if call.closed:
                return
            if data is None:
                if call.on_half_close is not None:
                    call.on_half_close()
                return
            if call.on_message is not None:
                call.on_message(data)

    async def _next_message(
        self, call: AdapterCall, context: aio.ServicerContext[bytes, bytes]
    ) -> bytes | None:
        message: object = await context.read()
        if not isinstance(message, bytes):
            return None  # grpcio's mark for the client's half-close
        if len(message) > self._receive_bytes_max:
            call.abort(message_too_large(len(message), self._receive_bytes_max))
        return message


def _metadata(pairs: Any) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for name, value in pairs or ():
        if isinstance(value, str):
            metadata.setdefault(name, value)
    return metadata


def make_server(router: Router, receive_bytes_max: int) -> aio.Server:
    """A server to which ports can be added; `receive_bytes_max` bounds one message."""
    options = [
        ("grpc.max_receive_message_length", _NO_LIMIT),
        ("grpc.max_send_message_length", _NO_LIMIT),
        ("grpc.so_reuseport", 0),
    ]
    server = aio.server(options=options)
    handler: Any = _Handler(router, receive_bytes_max)
    server.add_generic_rpc_handlers((handler,))
    return server
