"""Leases that are kept alive on one stream: when to renew which, and when one is lost.

A lease is renewed every third of its time. It counts as lost when the server says that it has gone, or when
its time is over by our clock, counted from the moment the last renewal that was granted had been *sent*: the
server cannot have begun to count earlier. So nobody here holds a lease that the cluster has given up already.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from etcdpy.client import rpcs
from etcdpy.client.errors import DeadlineExceeded, EtcdError, LeaseNotFound
from etcdpy.client.keeper import StreamKeeper
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.client.caller import Caller, Signal

RENEWALS_PER_TTL: Final = 3
# A renewal of an expired lease is answered with this TTL or less.
_TTL_GONE: Final = 0
TEXT_NOT_FOUND: Final = "etcdserver: requested lease not found"


@dataclass(slots=True, eq=False)
class LeaseState:
    """One lease that is kept: all times are on the monotonic clock."""

    id: int
    ttl_s: int
    deadline: float
    due: float
    signal: Signal
    is_kept: bool = True
    loss: EtcdError | None = None
    sent: deque[float] = field(default_factory=deque)
    """When the renewals that are not answered yet were sent, on this stream."""
    on_lost: list[Callable[[], object]] = field(default_factory=list)


class LeaseHub(StreamKeeper[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]):
    """All leases that a client keeps."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller, rpcs.LEASE_KEEP_ALIVE, "lease")
        self._kept: dict[int, LeaseState] = {}
        self._is_ticking = False
        self._changed = caller.transport.signal(self.guard)
        self._has_changed = False

    # For leases.

    def keep(self, lease_id: int, ttl_s: int, granted_at: float) -> LeaseState:
        """Keep a lease alive; it was granted or renewed by a request sent at `granted_at`. Raises Closed."""
        with self.guard:
            signal = self.caller.transport.signal(self.guard)
            lease = LeaseState(
                lease_id, ttl_s, granted_at + ttl_s, granted_at + ttl_s / RENEWALS_PER_TTL, signal
            )
            self._kept[lease_id] = lease
            try:
                self.start()
            except EtcdError:
                del self._kept[lease_id]
                raise
            if not self._is_ticking:
                self._is_ticking = True
                self.caller.transport.spawn(self._tick(), "lease-clock")
            self._stir()
            return lease

    def drop(self, lease: LeaseState) -> None:
        """Renew it no more."""
        with self.guard:
            lease.is_kept = False
            self._kept.pop(lease.id, None)
            lease.signal.notify()
            self._stir()
            self.stop_if_idle()

    # Hooks of the stream.

    def has_work(self) -> bool:
        return bool(self._kept)

    def opened(self) -> None:
        now = time.monotonic()
        for lease in self._kept.values():
            lease.sent.clear()
            self._renew(lease, now)
        self._stir()

    def received(self, response: pb.LeaseKeepAliveResponse) -> None:
        lease = self._kept.get(response.ID)
        if lease is None:
            return
        self.token_works()
        sent_at = lease.sent.popleft() if lease.sent else None
        if response.TTL <= _TTL_GONE:
            self._lose(lease, LeaseNotFound(TEXT_NOT_FOUND, grpc.StatusCode.NOT_FOUND))
            self.stop_if_idle()
        elif sent_at is not None:
            lease.deadline = max(lease.deadline, sent_at + response.TTL)
            lease.ttl_s = response.TTL

    def failed(self, error: EtcdError) -> None:
        for lease in list(self._kept.values()):
            self._lose(lease, error)

    # Time.

    async def _tick(self) -> None:
        """Renew what is due and give up what is over, while there is anything to keep."""
        while (wait_s := self._tick_once(time.monotonic())) is not None:
            await self._changed.wait_for(lambda: self._has_changed, wait_s)

    def _tick_once(self, now: float) -> float | None:
        """Seconds until there is more to do, None if nothing is kept."""
        with self.guard:
            self._has_changed = False
            for lease in list(self._kept.values()):
                if now >= lease.deadline:
                    trouble = f": {self.trouble}" if self.trouble is not None else ""
                    text = f"lease {lease.id:x} was not renewed within its {lease.ttl_s} s{trouble}"
                    self._lose(lease, DeadlineExceeded(text, grpc.StatusCode.DEADLINE_EXCEEDED))
                elif now >= lease.due:
                    self._renew(lease, now)
            if not self._kept:
                self._is_ticking = False
                self.stop_if_idle()
                return None
            moments = (min(lease.due, lease.deadline) for lease in self._kept.values())
            return max(min(moments) - now, 0.0)

    def _renew(self, lease: LeaseState, now: float) -> None:
        lease.due = now + lease.ttl_s / RENEWALS_PER_TTL
        if self._stream is not None:
            lease.sent.append(now)
            self.send(pb.LeaseKeepAliveRequest(ID=lease.id))

    def _stir(self) -> None:
        """Have the clock flow look again."""
        self._has_changed = True
        self._changed.notify()

    def _lose(self, lease: LeaseState, error: EtcdError) -> None:
        lease.loss, lease.is_kept = error, False
        self._kept.pop(lease.id, None)
        lease.signal.notify()
        self._stir()
        callbacks, lease.on_lost = lease.on_lost, []
        for callback in callbacks:
            callback()
