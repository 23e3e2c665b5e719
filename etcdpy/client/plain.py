"""The plain side's channels: grpcio's blocking ones. Every coroutine here ends without having suspended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from google.protobuf.message import Message

    from etcdpy.client.caller import Metadata
    from etcdpy.client.rpcs import DownRpc, DuplexRpc, UnaryRpc
    from etcdpy.client.settings import Endpoint, Settings

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
T = TypeVar("T")


class PlainTransport:
    """One channel for each endpoint, made when it is first needed. Safe for many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[Endpoint, grpc.Channel] = {}
        self._methods: dict[tuple[Endpoint, Any], Any] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()

    async def send(
        self,
        endpoint: Endpoint,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> Response:
        method = self._method(endpoint, rpc, "unary_unary")
        return cast("Response", method(request, timeout=timeout, metadata=metadata))

    async def receive(
        self,
        endpoint: Endpoint,
        rpc: DownRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> AsyncIterator[Response]:
        call = self._method(endpoint, rpc, "unary_stream")(request, timeout=timeout, metadata=metadata)
        try:
            for response in call:
                yield response
        finally:
            call.cancel()

    def exchange(
        self,
        endpoint: Endpoint,
        rpc: DuplexRpc[Request, Response],
        requests: Iterator[Request],
        metadata: Metadata,
    ) -> Any:
        """Streams both ways: grpcio's call, which iterates over the responses and can be cancelled."""
        return self._method(endpoint, rpc, "stream_stream")(requests, metadata=metadata)

    async def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    async def run_blocking(self, job: Callable[[], T]) -> T:
        return job()

    def close(self) -> None:
        """End all calls."""
        self._closing.set()
        with self._lock:
            channels, self._channels = self._channels, {}
            self._methods.clear()
        for channel in channels.values():
            channel.close()

    def _method(self, endpoint: Endpoint, rpc: Any, shape: str) -> Any:
        method = self._methods.get((endpoint, rpc))
        if method is None:
            make = getattr(self._channel(endpoint), shape)
            method = make(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
            self._methods[endpoint, rpc] = method
        return method

    def _channel(self, endpoint: Endpoint) -> grpc.Channel:
        with self._lock:
            channel = self._channels.get(endpoint)
            if channel is None:
                if self._closing.is_set():
                    raise ValueError("closed")
                options, credentials = self._settings.connection(endpoint)
                if credentials is None:
                    channel = grpc.insecure_channel(endpoint.target, options)
                else:
                    channel = grpc.secure_channel(endpoint.target, credentials, options)
                self._channels[endpoint] = channel
            return channel
