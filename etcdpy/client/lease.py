"""Leases: granted, kept alive in the background, and told when they are lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from etcdpy.client import rpcs
from etcdpy.client.base import Calls
from etcdpy.client.errors import LeaseNotFound
from etcdpy.client.lease_hub import TEXT_NOT_FOUND, LeaseHub, LeaseState
from etcdpy.client.op import SupportsLease, lease_id
from etcdpy.client.opening import opens
from etcdpy.client.sides import AsyncSide, PlainSide, both, drive
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


@dataclass(slots=True)
class TimeToLive:
    """What is left of a lease, in seconds, and the keys that are attached to it, if they were asked for."""

    id: int
    ttl: int
    granted_ttl: int
    keys: list[bytes]


class LeaseFlows:
    """What `Lease` and `AsyncLease` have in common: a lease that is kept alive in the background.

    Attributes:
        id: for `put(..., lease=lease)` this object will do, too.
    """

    def __init__(self, calls: LeaseCalls, hub: LeaseHub, state: LeaseState) -> None:
        self._calls = calls
        self._hub = hub
        self._state = state

    @property
    def id(self) -> int:
        """The lease's id."""
        return self._state.id

    @property
    def ttl(self) -> int:
        """Seconds that each renewal gives it."""
        return self._state.ttl_s

    @property
    def is_lost(self) -> bool:
        """Whether it has expired, was revoked by somebody, or could not be renewed in time.

        What was done in its name may be undone: its keys are gone, or will be.
        """
        return self._state.loss is not None

    def check(self) -> None:
        """Raise the reason if the lease is lost."""
        if self._state.loss is not None:
            raise self._state.loss

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Call this when the lease is lost, from the background; at once if it is already.

        It must be short, and must not call the client; setting an event is what it is for.
        """
        with self._hub.guard:
            if self._state.loss is None:
                self._state.on_lost.append(callback)
                return
        callback()

    @both
    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lease is lost; False if it is not after so many seconds."""
        state = self._state
        await state.signal.wait_for(lambda: state.loss is not None or not state.is_kept, timeout)
        return state.loss is not None

    @both
    async def time_to_live(self, *, keys: bool = False) -> TimeToLive:
        """What is left of it. Raises LeaseNotFound."""
        return await self._calls._time_to_live(self.id, keys=keys)

    @both
    async def release(self) -> None:
        """Renew it no more, without revoking it: it will expire by itself."""
        self._hub.drop(self._state)

    @both
    async def revoke(self) -> None:
        """End it, with all keys that are attached to it; nothing happens if it is lost already."""
        await self._revoke()

    async def _revoke(self) -> None:
        self._hub.drop(self._state)
        if self._state.loss is not None:
            return
        try:
            await self._calls._send(rpcs.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=self.id))
        except LeaseNotFound:
            pass  # it was over before we said so


class Lease(LeaseFlows, PlainSide):
    """A lease that is kept alive in the background. Leaving its `with` block revokes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._revoke())


class AsyncLease(LeaseFlows, AsyncSide):
    """A lease that is kept alive in the background. Leaving its `async with` block revokes it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._revoke()


class LeaseCalls(Calls):
    """The calls of etcd's Lease service. `lease` is what one mostly wants."""

    _leases: LeaseHub

    @opens(Lease, AsyncLease)
    async def lease(self, ttl: int, *, id: int = 0) -> Lease | AsyncLease:
        """Grant a lease and keep it alive in the background until it is released, revoked or lost.

        Args:
            ttl: seconds that it lives without a renewal; the server may give more.
            id: one of your own; 0 lets the server choose.

        Raises:
            LeaseExists: somebody has this id.
        """
        return await self._lease(ttl, id)

    async def _lease(self, ttl: int, id: int) -> Lease | AsyncLease:
        granted_at = time.monotonic()
        response = await self._send(rpcs.LEASE_GRANT, pb.LeaseGrantRequest(TTL=ttl, ID=id))
        return self._kept(response.ID, response.TTL, granted_at)

    @opens(Lease, AsyncLease)
    async def keep_alive(self, lease: SupportsLease | int) -> Lease | AsyncLease:
        """Renew a lease that is there, and go on with that in the background. Raises LeaseNotFound."""
        renewed_at = time.monotonic()
        ttl = await self._keep_alive_once(lease_id(lease))
        return self._kept(lease_id(lease), ttl, renewed_at)

    @both
    async def grant(self, ttl: int, *, id: int = 0) -> int:
        """Grant a lease that nobody renews; returns its id."""
        return (await self._send(rpcs.LEASE_GRANT, pb.LeaseGrantRequest(TTL=ttl, ID=id))).ID

    @both
    async def revoke(self, lease: SupportsLease | int) -> None:
        """End a lease, with all keys that are attached to it. Raises LeaseNotFound."""
        await self._send(rpcs.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease_id(lease)))

    @both
    async def keep_alive_once(self, lease: SupportsLease | int) -> int:
        """Renew a lease; returns the seconds that it has now. Raises LeaseNotFound."""
        return await self._keep_alive_once(lease_id(lease))

    @both
    async def time_to_live(self, lease: SupportsLease | int, *, keys: bool = False) -> TimeToLive:
        """What is left of a lease, and with `keys` what is attached to it. Raises LeaseNotFound."""
        return await self._time_to_live(lease_id(lease), keys=keys)

    @both
    async def leases(self) -> list[int]:
        """Ids of all leases."""
        return [one.ID for one in (await self._send(rpcs.LEASE_LEASES, pb.LeaseLeasesRequest())).leases]

    def _kept(self, lease: int, ttl: int, since: float) -> Lease | AsyncLease:
        state = self._leases.keep(lease, ttl, since)
        cls: type[Lease | AsyncLease] = AsyncLease if isinstance(self, AsyncSide) else Lease
        return cls(self, self._leases, state)

    async def _keep_alive_once(self, lease: int) -> int:
        response = await self._caller.call(
            rpcs.LEASE_KEEP_ALIVE,
            pb.LeaseKeepAliveRequest(ID=lease),
            timeout=self._timeout,
            endpoint=self._endpoint,
            repeatable=True,
        )
        if response.TTL <= 0:
            raise LeaseNotFound(TEXT_NOT_FOUND, grpc.StatusCode.NOT_FOUND)
        return response.TTL

    async def _time_to_live(self, lease: int, *, keys: bool) -> TimeToLive:
        request = pb.LeaseTimeToLiveRequest(ID=lease, keys=keys)
        response = await self._send(rpcs.LEASE_TIME_TO_LIVE, request)
        if response.TTL < 0:
            raise LeaseNotFound(TEXT_NOT_FOUND, grpc.StatusCode.NOT_FOUND)
        return TimeToLive(response.ID, response.TTL, response.grantedTTL, list(response.keys))
