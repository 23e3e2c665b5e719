"""The lessor: every lease of the member, the keys attached to it and, on the leader, the moment it runs out.

Granting, revoking, attaching and checkpointing come from applied log entries, so they give the same answer
on every member and use no clock. Time exists only on the *primary*, the lessor of the raft leader:
`promote` gives every lease a deadline, `renew` moves it, `expired` tells which leases the server should
propose to revoke. Nothing is removed because time passed; only an applied revocation removes a lease. A
demoted lessor has no deadlines at all.

A grant is applied without a clock too. The new lease starts to run at the next call that brings one
(`expired` does so twice a second), which can only lengthen its first life, never cut it short.

What survives a restart is `leasepb.Lease` in the backend's bucket: id, TTL and the checkpointed remaining
TTL. The keys of a lease are not stored here; each key's record names its lease, and the caller attaches
them again at start.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError

from etcdpy.backend import Bucket
from etcdpy.lease.deadlines import Deadlines
from etcdpy.lease.errors import (
    LeaseError,
    LeaseExists,
    LeaseExpired,
    LeaseNotFound,
    LeaseTTLTooLarge,
    NotPrimary,
)
from etcdpy.lease.observed import LeaseObserved
from etcdpy.proto.lease_pb2 import Lease as StoredLease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TTL_MAX_S = 9_000_000_000
# One scan may not flood the log with revocations.
EXPIRED_PER_SCAN_MAX = 500
# Queue entries one scan may look at; those of renewed leases are put back and cost time as well.
LOOKS_PER_SCAN_MAX = 10_000
# After an election every client is late by the same time; without spreading, all their leases would end in
# one second.
EXPIRIES_PER_SECOND_MAX = 750
SPREAD_LEASES_MIN = 1000
CHECKPOINT_INTERVAL_S = 300
CHECKPOINTS_PER_BATCH_MAX = 1000
# A revocation that was proposed and did not come back within etcd's request timeout is proposed again.
REVOKE_RETRY_S = 7.0

NEVER = math.inf
NO_LEASE = 0

_LEASE_KEY = Struct(">q")


class LeaseBackend(Protocol):
    """What the lessor needs of the backend."""

    def put(self, bucket: Bucket, key: bytes, value: bytes, /) -> None:
        """Store one pair."""

    def delete(self, bucket: Bucket, key: bytes, /) -> None:
        """Remove one pair."""

    def items(self, bucket: Bucket, /) -> Iterable[tuple[bytes, bytes]]:
        """Every pair of the bucket, in key order."""


class Lease:
    """One lease; `remaining_ttl` is 0 unless checkpointed, `expires_at` is `NEVER` but on a primary."""

    __slots__ = ("expires_at", "id", "keys", "remaining_ttl", "ttl")

    def __init__(self, lease_id: int, ttl: int, remaining_ttl: int = 0) -> None:
        self.id = lease_id
        self.ttl = ttl
        self.remaining_ttl = remaining_ttl
        self.expires_at = NEVER
        self.keys: set[bytes] = set()

    @property
    def next_ttl(self) -> int:
        """The life a new primary gives to this lease."""
        return self.remaining_ttl if self.remaining_ttl > 0 else self.ttl

    def __repr__(self) -> str:
        return f"Lease(id={self.id:x}, ttl={self.ttl}, remaining={self.remaining_ttl}, keys={len(self.keys)})"


class Lessor:
    """Every lease of one member."""

    def __init__(
        self,
        backend: LeaseBackend,
        ttl_min_s: int,
        *,
        retry_s: float = REVOKE_RETRY_S,
        checkpoint_interval_s: int = CHECKPOINT_INTERVAL_S,
        observed: LeaseObserved | None = None,
    ) -> None:
        self.observed = LeaseObserved() if observed is None else observed
        self._backend = backend
        self._ttl_min_s = ttl_min_s
        self._retry_s = retry_s
        self._checkpoint_interval_s = checkpoint_interval_s
        self._leases: dict[int, Lease] = {}
        self._lease_by_key: dict[bytes, int] = {}
        self._primary = False
        self._unstarted: dict[int, Lease] = {}
        self._deadlines = Deadlines()
        self._checkpoints = Deadlines()
        self._revoke_waiters: dict[int, list[Callable[[], None]]] = {}
        self._restore()

    # Looking.

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def is_primary(self) -> bool:
        """Whether this lessor measures time: true between `promote` and `demote`."""
        return self._primary

    def lookup(self, lease_id: int) -> Lease | None:
        """The lease of this id."""
        return self._leases.get(lease_id)

    def lease_of(self, key: bytes) -> int:
        """The lease that `key` is attached to, 0 if none."""
        return self._lease_by_key.get(key, NO_LEASE)

    def keys(self, lease_id: int) -> list[bytes]:
        """The keys attached to the lease, sorted."""
        return sorted(self._get(lease_id).keys)

    def leases(self) -> list[Lease]:
        """Every lease, the one with the least time left first."""
        return sorted(self._leases.values(), key=lambda lease: (lease.expires_at, lease.id))

    def time_to_live(self, lease_id: int, now: float) -> int:
        """Whole seconds left; zero or less while an expired lease waits to be revoked. Primary only."""
        lease = self._get(lease_id)
        self._check_primary()
        self._start_new(now)
        return int(lease.expires_at - now)

    # What the log decides.

    def grant(self, lease_id: int, ttl: int) -> Lease:
        """Create a lease; a TTL below the minimum is raised to it."""
        if lease_id == NO_LEASE:
            raise LeaseNotFound("lease id 0 means no lease")
        if ttl > TTL_MAX_S:
            raise LeaseTTLTooLarge(f"TTL {ttl} s is above {TTL_MAX_S} s")
        if lease_id in self._leases:
            raise LeaseExists(f"lease {lease_id:x} exists")
        lease = Lease(lease_id, max(ttl, self._ttl_min_s))
        self._leases[lease_id] = lease
        self.observed.granted += 1
        self.observed.ttls_s.observe(lease.ttl)
        self._persist(lease)
        if self._primary:
            self._unstarted[lease_id] = lease
        return lease

    def revoke(self, lease_id: int) -> list[bytes]:
        """Remove the lease and say which keys must be deleted with it, sorted as every member would."""
        lease = self._get(lease_id)
        keys = sorted(lease.keys)
        for key in keys:
            del self._lease_by_key[key]
        del self._leases[lease_id]
        self.observed.revoked += 1
        self._backend.delete(Bucket.LEASE, _LEASE_KEY.pack(lease_id))
        self._unstarted.pop(lease_id, None)
        self._deadlines.forget(lease_id)
        self._checkpoints.forget(lease_id)
        self._wake(lease_id)
        return keys

    def attach(self, lease_id: int, key: bytes) -> None:
        """Bind `key` to the lease, and away from the lease that had it."""
        lease = self._get(lease_id)
        previous = self._lease_by_key.get(key, NO_LEASE)
        if previous != NO_LEASE:
            self.detach(previous, key)
        lease.keys.add(key)
        self._lease_by_key[key] = lease_id

    def detach(self, lease_id: int, key: bytes) -> None:
        """Unbind `key` if it is bound to this lease; the lease itself may be gone already."""
        if self._lease_by_key.get(key) != lease_id:
            return
        del self._lease_by_key[key]
        self._leases[lease_id].keys.remove(key)

    def checkpoint(self, lease_id: int, remaining: int, *, persist: bool = True) -> None:
        """Note for the next leader how long the lease has left; 0 clears it, an unknown lease is skipped."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        lease.remaining_ttl = remaining
        if persist:
            self._persist(lease)

    # What time decides, on the leader.

    def promote(self, now: float, extend_s: float) -> None:
        """Start to measure time: each lease gets its TTL, or what a checkpoint left, plus `extend_s`."""
        self._primary = True
        self._clear_deadlines()
        for lease in self._leases.values():
            lease.expires_at = now + lease.next_ttl + extend_s
        self._spread()
        for lease in self._leases.values():
            self._deadlines.schedule(lease.id, lease.expires_at)
            self._schedule_checkpoint(lease, now)

    def demote(self) -> None:
        """Stop to measure time and wake who waits for a revocation: now another member decides."""
        self._primary = False
        self._clear_deadlines()
        for lease in self._leases.values():
            lease.expires_at = NEVER
        for lease_id in list(self._revoke_waiters):
            self._wake(lease_id)

    def renew(self, lease_id: int, now: float) -> int:
        """Give the lease its full TTL again, counted from `now`, and return that TTL.

        A checkpoint would outlive the renewal in the log: when `lookup(id).remaining_ttl` is not 0 the
        caller first proposes a checkpoint of 0, or the next leader might end the lease earlier than its
        client was promised.
        """
        self._check_primary()
        lease = self._get(lease_id)
        self._start_new(now)
        if lease.expires_at <= now:
            raise LeaseExpired(f"lease {lease_id:x} ran out {now - lease.expires_at:.3f} s ago")
        lease.remaining_ttl = 0
        lease.expires_at = now + lease.ttl
        self.observed.renewed += 1
        return lease.ttl

    def expired(self, now: float, limit: int = EXPIRED_PER_SCAN_MAX) -> list[int]:
        """Leases to revoke, earliest deadline first; each comes again after the retry time."""
        self._start_new(now)
        found: list[int] = []
        for _ in range(LOOKS_PER_SCAN_MAX):
            lease_id = self._deadlines.pop_due(now) if len(found) < limit else None
            if lease_id is None:
                break
            lease = self._leases[lease_id]
            if lease.expires_at > now:
                # Renewed since it was scheduled: renewals do not touch the queue, the queue asks here.
                self._deadlines.schedule(lease_id, lease.expires_at)
            else:
                found.append(lease_id)
        for lease_id in found:
            self._deadlines.schedule(lease_id, now + self._retry_s)
        return found

    def checkpoints_due(self, now: float, limit: int = CHECKPOINTS_PER_BATCH_MAX) -> list[tuple[int, int]]:
        """Pairs of lease id and remaining seconds that are worth a log entry now."""
        self._start_new(now)
        due: list[tuple[int, int]] = []
        while len(due) < limit:
            lease_id = self._checkpoints.pop_due(now)
            if lease_id is None:
                break
            lease = self._leases[lease_id]
            remaining = math.ceil(lease.expires_at - now)
            if 0 < remaining < lease.ttl:
                due.append((lease_id, remaining))
            self._schedule_checkpoint(lease, now)
        return due

    def when_revoked(self, lease_id: int, done: Callable[[], None]) -> None:
        """Call `done` when the lease is revoked or no longer ours to decide; at once if it is gone."""
        if lease_id in self._leases and self._primary:
            self._revoke_waiters.setdefault(lease_id, []).append(done)
        else:
            done()

    # Inside.

    def _get(self, lease_id: int) -> Lease:
        lease = self._leases.get(lease_id)
        if lease is None:
            raise LeaseNotFound(f"lease {lease_id:x} not found")
        return lease

    def _check_primary(self) -> None:
        if not self._primary:
            raise NotPrimary("only the leader measures the time of leases")

    def _wake(self, lease_id: int) -> None:
        for done in self._revoke_waiters.pop(lease_id, ()):
            done()

    def _start_new(self, now: float) -> None:
        """Let the leases granted since the last call run from `now`."""
        if not self._unstarted:
            return
        assert self._primary, f"{len(self._unstarted)} leases wait to start on a demoted lessor"
        for lease in self._unstarted.values():
            lease.expires_at = now + lease.ttl
            self._deadlines.schedule(lease.id, lease.expires_at)
            self._schedule_checkpoint(lease, now)
        self._unstarted.clear()

    def _schedule_checkpoint(self, lease: Lease, now: float) -> None:
        if lease.expires_at - now > self._checkpoint_interval_s:
            self._checkpoints.schedule(lease.id, now + self._checkpoint_interval_s)

    def _spread(self) -> None:
        """Delay expiries so that no second holds more of them than the log takes without choking clients."""
        if len(self._leases) < SPREAD_LEASES_MIN:
            return
        ordered = self.leases()
        for position in range(EXPIRIES_PER_SECOND_MAX, len(ordered)):
            earliest = ordered[position - EXPIRIES_PER_SECOND_MAX].expires_at + 1.0
            if ordered[position].expires_at < earliest:
                ordered[position].expires_at = earliest

    def _clear_deadlines(self) -> None:
        self._unstarted.clear()
        self._deadlines.clear()
        self._checkpoints.clear()

    def _persist(self, lease: Lease) -> None:
        stored = StoredLease(ID=lease.id, TTL=lease.ttl, RemainingTTL=lease.remaining_ttl)
        self._backend.put(Bucket.LEASE, _LEASE_KEY.pack(lease.id), stored.SerializeToString())

    def _restore(self) -> None:
        for key, value in self._backend.items(Bucket.LEASE):
            try:
                stored = StoredLease.FromString(value)
            except DecodeError as error:
                raise LeaseError(f"stored lease {key.hex()} cannot be read: {error}") from error
            if stored.ID == NO_LEASE or _LEASE_KEY.pack(stored.ID) != key:
                raise LeaseError(f"stored lease {key.hex()} says that its id is {stored.ID:x}")
            self._leases[stored.ID] = Lease(stored.ID, max(stored.TTL, self._ttl_min_s), stored.RemainingTTL)
