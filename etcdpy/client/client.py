"""The two clients: `Client`, whose methods block, and `AsyncClient`, whose methods are awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from etcdpy.client.aio import AsyncTransport
from etcdpy.client.caller import DEFAULT, Caller, Timeout
from etcdpy.client.plain import PlainTransport
from etcdpy.client.settings import DEFAULT_ENDPOINT, Settings, Tls, endpoints_of
from etcdpy.client.sides import AsyncSide, PlainSide, both, both_iterate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from google.protobuf.message import Message

    from etcdpy.client.rpcs import DownRpc, UnaryRpc

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")


class Calls:
    """Raw calls, for whoever wants the messages themselves; see `etcdpy.client.rpcs` for the table."""

    _caller: Caller

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where this client connects."""
        return self._caller.endpoints

    @both
    async def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = DEFAULT,
        endpoint: str | None = None,
        repeatable: bool | None = None,
    ) -> Response:
        """Send one request and return the response, both as protobuf messages.

        Args:
            timeout: seconds for all attempts together, None for no end; by default the client's own.
            endpoint: ask this one and no other.
            repeatable: whether the call may be made again when its fate is unknown; by default what
                `rpc` says.

        Raises:
            EtcdError: of the kind that fits.
        """
        return await self._caller.call(
            rpc, request, timeout=timeout, endpoint=endpoint, repeatable=repeatable
        )

    @both_iterate
    async def receive(
        self,
        rpc: DownRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = None,
        endpoint: str | None = None,
    ) -> AsyncIterator[Response]:
        """Send one request and iterate over the stream of responses.

        Raises:
            EtcdError: of the kind that fits.
        """
        async for response in self._caller.receive(rpc, request, timeout=timeout, endpoint=endpoint):
            yield response


class Client(Calls, PlainSide):
    """A client whose methods block the thread that calls them. Safe for many threads.

    Args:
        endpoints: one text, with commas for several, or a sequence of them; see `Settings.endpoints`.
        user, password, tls, timeout: see `Settings`.
        settings: all of it in one, instead of the others.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = DEFAULT_ENDPOINT,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        timeout: float | None = 10.0,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings(
            endpoints=endpoints_of(endpoints), user=user, password=password, tls=tls, timeout=timeout
        )
        self._transport = PlainTransport(settings)
        self._caller = Caller(settings, self._transport)

    def close(self) -> None:
        """End all calls and watches and let the connections go."""
        self._caller.is_closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(Calls, AsyncSide):
    """A client whose methods are awaited, on the event loop that runs at its first call.

    Args:
        endpoints, user, password, tls, timeout, settings: as for `Client`.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = DEFAULT_ENDPOINT,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        timeout: float | None = 10.0,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings(
            endpoints=endpoints_of(endpoints), user=user, password=password, tls=tls, timeout=timeout
        )
        self._transport = AsyncTransport(settings)
        self._caller = Caller(settings, self._transport)

    async def close(self) -> None:
        """End all calls and watches and let the connections go."""
        self._caller.is_closed = True
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
