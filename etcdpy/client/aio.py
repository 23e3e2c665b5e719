"""The asyncio side's channels: those of `grpc.aio`, bound to the loop that runs when the first is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from google.protobuf.message import Message

    from etcdpy.client.caller import Metadata
    from etcdpy.client.rpcs import DownRpc, DuplexRpc, UnaryRpc
    from etcdpy.client.settings import Endpoint, Settings

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
T = TypeVar("T")


class AsyncTransport:
    """One channel for each endpoint, made when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[Endpoint, grpc.aio.Channel] = {}
        self._methods: dict[tuple[Endpoint, Any], Any] = {}
        self._is_closed = False

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
        requests: AsyncIterator[Request],
        metadata: Metadata,
    ) -> Any:
        """Streams both ways: grpcio's call, which iterates over the responses and can be cancelled."""
        return (await self._method(endpoint, rpc, "stream_stream"))(requests, metadata=metadata)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def run_blocking(self, job: Callable[[], T]) -> T:
        return await asyncio.to_thread(job)

    async def close(self) -> None:
        """End all calls."""
        self._is_closed = True
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
