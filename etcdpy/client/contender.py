"""Standing in line for something of which there is one: what locks and elections have in common.

Everybody who wants it writes a key below its name, attached to a lease and named after it, and whose key is
the oldest has it; the others wait until the one before them in line is gone. These are the keys of etcd's own
Go recipes, of its Lock and Election services and of `etcdctl lock` and `elect`, so that all of them exclude
each other.

The waiting is done here and not by the services. A call of those hangs at one member; when that goes, the
caller cannot tell whether it stands in line, holds the lock, or has lost it. A key of our own can be looked
at: the place in line outlives any member, the watch goes on elsewhere, and the lease tells when all is lost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from etcdpy.client import compare, op, rpcs
from etcdpy.client.errors import EtcdError, NotHeld
from etcdpy.client.keys import Key, as_bytes, prefix
from etcdpy.client.lease import LeaseCalls
from etcdpy.client.values import GetResult
from etcdpy.client.watch import WatchCalls

if TYPE_CHECKING:
    from etcdpy.client.compare import Compare
    from etcdpy.client.lease import AsyncLease, Lease


class LeaseAndWatchCalls(WatchCalls, LeaseCalls):
    """What a contender needs of a client."""


class Contender:
    """One place in line, or none.

    Args:
        calls: the client.
        name: of what is wanted; the keys lie below `name/`.
        ttl: seconds after which the place is lost when this client has gone.
        lease: stand in line by this lease, instead of one of our own that ends with the place.
    """

    def __init__(
        self, calls: LeaseAndWatchCalls, name: Key, ttl: int, lease: Lease | AsyncLease | None
    ) -> None:
        self._calls = calls
        self._prefix = as_bytes(name) + b"/"
        self._ttl = ttl
        self._given_lease = lease
        self._lease = lease
        self._key = b""
        self._revision = 0
        self._has_turn = False

    @property
    def key(self) -> bytes:
        """Our key, empty while we do not stand in line."""
        return self._key

    @property
    def revision(self) -> int:
        """When our key was written; grows from holder to holder, and so can fence off those of the past."""
        return self._revision

    @property
    def is_held(self) -> bool:
        """Whether it is ours, as far as the lease is not lost."""
        return self._has_turn and self._lease is not None and not self._lease.is_lost

    @property
    def condition(self) -> Compare:
        """For a transaction that must only happen while it is ours: true as long as our key is there."""
        return compare.create_revision(self._key, "==", self._revision)

    def check(self) -> None:
        """Raise if it is not, or no longer, ours."""
        if self._has_turn and self._lease is not None:
            self._lease.check()
        if not self.is_held:
            raise NotHeld(f"{self._prefix[:-1]!r} is not held")

    # Flows.

    async def _get_turn(self, value: bytes, deadline: float | None) -> bool:
        """Stand in line until it is ours; False, and out of the line, if that takes too long."""
        if self._key:
            raise NotHeld(f"{self._prefix[:-1]!r} is held, or waited for, already")
        try:
            await self._stand_in_line(value)
            while (blocker := await self._blocker()) is not None:
                key, since = blocker
                if not await self._wait_gone(key, since, deadline):
                    await self._leave()
                    return False
            await self._look_at_own_key()
        except BaseException:
            await self._leave_after_failure()
            raise
        self._has_turn = True
        return True

    async def _stand_in_line(self, value: bytes) -> None:
        if self._lease is None or self._lease.is_lost:
            self._lease = self._given_lease or await self._calls._lease(self._ttl, 0)
        self._lease.check()
        key = self._key = self._prefix + b"%x" % self._lease.id
        # Nobody else writes this key, and it is written only where it is not: that may be tried twice.
        txn = op.txn(compare.missing(key), op.put(key, value, lease=self._lease.id), op.get(key))
        response = await self._calls._send(rpcs.TXN, txn.request, repeatable=True)
        done = txn.parse(response)
        found = done.results[0]
        if isinstance(found, GetResult):
            assert found.kv is not None, "a key that is not missing"
            self._revision = found.kv.create_revision
        else:
            self._revision = done.header.revision

    async def _blocker(self) -> tuple[bytes, int] | None:
        """The key before ours in line, and the revision from which on to watch it."""
        last = op.get(
            prefix(self._prefix),
            sort_by="create",
            descending=True,
            limit=1,
            max_create_revision=self._revision - 1,
            keys_only=True,
        )
        found = await self._calls._run(last)
        return None if found.kv is None else (found.kv.key, found.header.revision + 1)

    async def _wait_gone(self, key: bytes, since: int, deadline: float | None) -> bool:
        """Wait for a key's deletion, or for the loss of our lease; False if neither comes in time."""
        assert self._lease is not None
        watch = await self._calls._watch(key, start_revision=since, only="delete")
        self._lease.on_lost(watch._end)
        try:
            while True:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                if (await watch._next_batch(left)).events:
                    return True
        except TimeoutError:
            return False
        except EtcdError:
            self._lease.check()
            if watch.is_open or watch._state.error is None:
                raise
            # The history is gone: look at the line anew.
            return True
        finally:
            watch._end()

    async def _look_at_own_key(self) -> None:
        """It is our turn only if our own key is still there: the lease may have gone while we waited."""
        own = (await self._calls._run(op.get(self._key))).kv
        if own is None or own.create_revision != self._revision:
            if self._lease is not None:
                self._lease.check()
            raise NotHeld(f"the key {self._key!r} was deleted while it stood in line")

    async def _leave(self) -> None:
        """Give it, or the place in line, back."""
        lease, key, self._has_turn, self._key = self._lease, self._key, False, b""
        if lease is None or not key:
            return
        if self._given_lease is None:
            self._lease = None
            await lease._revoke()  # and with it the key
        elif not lease.is_lost:
            # Only we write this key, so deleting it twice is deleting it.
            await self._calls._send(rpcs.DELETE_RANGE, op.delete(key).request, repeatable=True)

    async def _leave_after_failure(self) -> None:
        try:
            await self._leave()
        except EtcdError:
            # What failed before is what is told; the lease is renewed no more, and takes the key with it.
            self._key = b""
