"""The asyncio side's channels: those of `grpc.aio`, bound to the loop that runs when the first is made."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message

    from etcdpy.client.caller import Metadata
    from etcdpy.client.rpcs import DownRpc, DuplexRpc, UnaryRpc
    from etcdpy.client.settings import Endpoint, Settings

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
T = TypeVar("T")


class AsyncDuplex(Generic[Request, Response]):
    """A call with streams both ways."""

    def __init__(self, method: Any, metadata: Metadata, timeout: float | None) -> None:
        self._outgoing: asyncio.Queue[Request | None] = asyncio.Queue()
        self._is_cancelled = False
        self._call = method(self._requests(), metadata=metadata, timeout=timeout)

    async def _requests(self) -> AsyncIterator[Request]:
        while (request := await self._outgoing.get()) is not None:
            yield request

    def send(self, request: Request) -> None:
        self._outgoing.put_nowait(request)

    async def responses(self) -> AsyncIterator[Response]:
        try:
            async for response in self._call:
                yield response
        except asyncio.CancelledError:
            # That is also how `grpc.aio` says that we have ended the call ourselves.
            task = asyncio.current_task()
            if not self._is_cancelled or (task is not None and task.cancelling()):
                raise

    def cancel(self) -> None:
        self._is_cancelled = True
        self._call.cancel()
        # The task that reads our requests for grpcio waits for one more, if the call had ended already.
        self._outgoing.put_nowait(None)


class AsyncSignal:
    """Tasks that wait until something has become true."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_for(self, is_true: Callable[[], bool], timeout: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not is_true():
                    future = asyncio.get_running_loop().create_future()
                    self._waiting.append(future)
                    await future
        except TimeoutError:
            return is_true()
        return True


class AsyncTransport:
    """One channel for each endpoint, made when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[Endpoint, grpc.aio.Channel] = {}
        self._methods: dict[tuple[Endpoint, Any], Any] = {}
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(
        self,
        endpoint: Endpoint,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> Response:
        method = await self._method(endpoint, rpc, "unary_unary")
        return cast("Response", await method(request, timeout=timeout, metadata=metadata))

    async def receive(
        self,
        endpoint: Endpoint,
        rpc: DownRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> AsyncIterator[Response]:
        method = await self._method(endpoint, rpc, "unary_stream")
        call = method(request, timeout=timeout, metadata=metadata)
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()

    async def exchange(
        self,
        endpoint: Endpoint,
        rpc: DuplexRpc[Request, Response],
        metadata: Metadata,
        timeout: float | None = None,
    ) -> AsyncDuplex[Request, Response]:
        return AsyncDuplex(await self._method(endpoint, rpc, "stream_stream"), metadata, timeout)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def run_blocking(self, job: Callable[[], T]) -> T:
        return await asyncio.to_thread(job)

    def guard(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def signal(self, guard: AbstractContextManager[object]) -> AsyncSignal:
        return AsyncSignal()

    def spawn(self, flow: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(flow, name=f"etcd-client-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all calls."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        channels, self._channels = self._channels, {}
        self._methods.clear()
        for channel in channels.values():
            await channel.close()

    async def _method(self, endpoint: Endpoint, rpc: Any, shape: str) -> Any:
        method = self._methods.get((endpoint, rpc))
        if method is None:
            make = getattr(await self._channel(endpoint), shape)
            method = make(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
            self._methods[endpoint, rpc] = method
        return method

    async def _channel(self, endpoint: Endpoint) -> grpc.aio.Channel:
        channel = self._channels.get(endpoint)
        if channel is not None:
            return channel
        # Reads files, and with `verify=False` talks to the server: not on the loop.
        options, credentials = await asyncio.to_thread(self._settings.connection, endpoint)
        if self._is_closed:
            raise ValueError("closed")
        channel = self._channels.get(endpoint)
        if channel is None:
            if credentials is None:
                channel = grpc.aio.insecure_channel(endpoint.target, options)
            else:
                channel = grpc.aio.secure_channel(endpoint.target, credentials, options)
            self._channels[endpoint] = channel
        return channel
