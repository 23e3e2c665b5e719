"""The token of one client: fetched when it is needed, and once for all calls that wait for it.

Checking a password costs the server tens of milliseconds, and a token is lost for all calls at the same time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from etcdpy.client.errors import AuthFailed, DeadlineExceeded, EtcdError, error_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from etcdpy.client.caller import Transport


@dataclass(slots=True, eq=False)
class _Fetch:
    """One that is under way, and what became of it."""

    is_over: bool = False
    refusal: EtcdError | None = None


class Token:
    """What goes with every call while it lasts.

    Args:
        transport: of the client's side.
        fetch: asks the server, until a moment on the monotonic clock.
    """

    def __init__(self, transport: Transport, fetch: Callable[[float | None], Awaitable[str]]) -> None:
        self._ask = fetch
        self._guard = transport.guard()
        self._changed = transport.signal(self._guard)
        self._value: str | None = None
        self._fetch: _Fetch | None = None

    @property
    def is_there(self) -> bool:
        """Whether the next one that is given out was fetched before."""
        return self._value is not None

    def forget(self, token: str) -> None:
        """The server does not take this one (any more)."""
        with self._guard:
            if self._value == token:
                self._value = None

    async def get(self, deadline: float | None) -> str:
        """The token, fetched if need be. Raises EtcdError, AuthFailed of it if the user is not known."""
        own = _Fetch()
        while True:
            with self._guard:
                if self._value is not None:
                    return self._value
                if self._fetch is None:
                    self._fetch = own
                fetch = self._fetch
            if fetch is own:
                return await self._get_anew(own, deadline)
            await self._wait(fetch, deadline)

    async def _get_anew(self, fetch: _Fetch, deadline: float | None) -> str:
        try:
            token = await self._ask(deadline)
            self._value = token
        except AuthFailed as error:
            fetch.refusal = error
            raise
        finally:
            with self._guard:
                fetch.is_over, self._fetch = True, None
                self._changed.notify()
        return token

    async def _wait(self, fetch: _Fetch, deadline: float | None) -> None:
        """Until somebody else's has ended. A refusal is one for everybody; whoever failed otherwise may only
        have had less time.
        """
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not await self._changed.wait_for(lambda: fetch.is_over, left):
            raise DeadlineExceeded("no token was there in time", grpc.StatusCode.DEADLINE_EXCEEDED)
        if fetch.refusal is not None:
            raise error_of(fetch.refusal.code, fetch.refusal.text)
