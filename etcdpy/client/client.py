"""The two clients: `Client`, whose methods block, and `AsyncClient`, whose methods are awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.client.aio import AsyncTransport
from etcdpy.client.auth import AuthCalls
from etcdpy.client.caller import Caller
from etcdpy.client.cluster import ClusterCalls
from etcdpy.client.kv import KeyCalls
from etcdpy.client.lease import LeaseCalls
from etcdpy.client.lease_hub import LeaseHub
from etcdpy.client.plain import PlainTransport
from etcdpy.client.settings import DEFAULT_ENDPOINT, Settings, Tls, endpoints_of
from etcdpy.client.sides import AsyncSide, PlainSide
from etcdpy.client.watch import WatchCalls
from etcdpy.client.watch_hub import WatchHub

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self


class Everything(KeyCalls, WatchCalls, LeaseCalls, AuthCalls, ClusterCalls):
    """All calls."""

    def _stand_on(self, caller: Caller) -> None:
        self._caller = caller
        self._watches = WatchHub(caller)
        self._leases = LeaseHub(caller)

    def _end_streams(self) -> None:
        self._caller.is_closed = True
        self._watches.close()
        self._leases.close()


class Client(Everything, PlainSide):
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
        self._stand_on(Caller(settings, self._transport))

    def close(self) -> None:
        """End all calls and watches and let the connections go."""
        self._end_streams()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(Everything, AsyncSide):
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
        self._stand_on(Caller(settings, self._transport))

    async def close(self) -> None:
        """End all calls and watches and let the connections go."""
        self._end_streams()
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
