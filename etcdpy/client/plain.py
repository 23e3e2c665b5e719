"""The plain side's channels: grpcio's blocking ones. Every coroutine here ends without having suspended."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import grpc

from etcdpy.client.sides import drive

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


class PlainDuplex(Generic[Request, Response]):
    """A call with streams both ways."""

    def __init__(self, method: Any, metadata: Metadata, timeout: float | None) -> None:
        self._outgoing: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._call = method(iter(self._outgoing.get, None), metadata=metadata, timeout=timeout)

    def send(self, request: Request) -> None:
        self._outgoing.put(request)

    async def responses(self) -> AsyncIterator[Response]:
        for response in self._call:
            yield response

    def cancel(self) -> None:
        self._call.cancel()
        # The thread that reads our requests for grpcio waits for one more.
        self._outgoing.put(None)


class PlainSignal:
    """Threads that wait until something has become true."""

    def __init__(self, guard: Any) -> None:
        self._condition = threading.Condition(guard)

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    async def wait_for(self, is_true: Callable[[], bool], timeout: float | None) -> bool:
        with self._condition:
            return self._condition.wait_for(is_true, timeout)


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

    async def exchange(
        self,
        endpoint: Endpoint,
        rpc: DuplexRpc[Request, Response],
        metadata: Metadata,
        timeout: float | None = None,
    ) -> PlainDuplex[Request, Response]:
        return PlainDuplex(self._method(endpoint, rpc, "stream_stream"), metadata, timeout)

    async def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    async def run_blocking(self, job: Callable[[], T]) -> T:
        return job()

    def guard(self) -> AbstractContextManager[object]:
        return threading.RLock()

    def signal(self, guard: AbstractContextManager[object]) -> PlainSignal:
        return PlainSignal(guard)

    def spawn(self, flow: Coroutine[Any, Any, None], name: str) -> None:
        threading.Thread(target=drive, args=(flow,), name=f"etcd-client-{name}", daemon=True).start()

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
