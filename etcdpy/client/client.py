"""The two clients: `Client`, whose methods block, and `AsyncClient`, whose methods are awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from etcdpy.client.aio import AsyncTransport
from etcdpy.client.auth import AuthCalls
from etcdpy.client.caller import Caller
from etcdpy.client.cluster import ClusterCalls
from etcdpy.client.contender import LeaseAndWatchCalls
from etcdpy.client.election import AsyncElection, Election
from etcdpy.client.kv import KeyCalls
from etcdpy.client.lease_hub import LeaseHub
from etcdpy.client.lock import AsyncLock, Lock
from etcdpy.client.plain import PlainTransport
from etcdpy.client.settings import DEFAULT_ENDPOINT, Settings, Tls, endpoints_of
from etcdpy.client.sides import AsyncSide, PlainSide, drive
from etcdpy.client.transaction import ATTEMPTS_MAX, AsyncTransaction, Transaction, conflict
from etcdpy.client.watch_hub import WatchHub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from etcdpy.client.keys import Key
    from etcdpy.client.lease import AsyncLease, Lease

T = TypeVar("T")
LOCK_TTL_S: Final = 15


class Everything(KeyCalls, LeaseAndWatchCalls, AuthCalls, ClusterCalls):
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

    def lock(self, name: Key, *, ttl: int = LOCK_TTL_S, lease: Lease | None = None) -> Lock:
        """A lock of this name, which others know by the same name. Nothing is asked for yet.

        Args:
            ttl: seconds after which the others may have it when this client has gone.
            lease: hold the lock by this one; a lease holds a lock of one name only once.
        """
        return Lock(self, name, ttl, lease)

    def election(self, name: Key, *, ttl: int = LOCK_TTL_S, lease: Lease | None = None) -> Election:
        """An election of this name; `ttl` and `lease` are as for `lock`. Nothing is asked for yet."""
        return Election(self, name, ttl, lease)

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run a function that reads and writes keys, again and again until nobody interferes.

        Args:
            body: is given a `Transaction`. It must have no effects but through that.

        Returns:
            What `body` returned in the attempt that counts.

        Raises:
            Conflict: others were quicker in every attempt.
        """
        for _ in range(ATTEMPTS_MAX):
            transaction = Transaction(self)
            result = body(transaction)
            if drive(transaction._commit()):
                return result
        raise conflict()

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

    def lock(self, name: Key, *, ttl: int = LOCK_TTL_S, lease: AsyncLease | None = None) -> AsyncLock:
        """A lock of this name, which others know by the same name. Nothing is asked for yet.

        Args:
            ttl: seconds after which the others may have it when this client has gone.
            lease: hold the lock by this one; a lease holds a lock of one name only once.
        """
        return AsyncLock(self, name, ttl, lease)

    def election(self, name: Key, *, ttl: int = LOCK_TTL_S, lease: AsyncLease | None = None) -> AsyncElection:
        """An election of this name; `ttl` and `lease` are as for `lock`. Nothing is asked for yet."""
        return AsyncElection(self, name, ttl, lease)

    async def transact(self, body: Callable[[AsyncTransaction], Awaitable[T]]) -> T:
        """Run a function that reads and writes keys, again and again until nobody interferes.

        Args:
            body: is given a `AsyncTransaction`. It must have no effects but through that.

        Returns:
            What `body` returned in the attempt that counts.

        Raises:
            Conflict: others were quicker in every attempt.
        """
        for _ in range(ATTEMPTS_MAX):
            transaction = AsyncTransaction(self)
            result = await body(transaction)
            if await transaction._commit():
                return result
        raise conflict()

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
