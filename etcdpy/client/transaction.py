"""Read-modify-write of several keys: a function that is run again until nobody interferes.

All reads of one attempt are made at one revision. Its writes are collected, and made by one etcd transaction
under the condition that no key that was read has changed since; otherwise the function runs again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.client import compare, op
from etcdpy.client.errors import Conflict
from etcdpy.client.keys import Key, as_bytes
from etcdpy.client.sides import AsyncSide, PlainSide, both

if TYPE_CHECKING:
    from etcdpy.client.base import Calls
    from etcdpy.client.values import KeyValue

ATTEMPTS_MAX = 100


class TransactionFlows:
    """What `Transaction` and `AsyncTransaction` have in common: one attempt."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._revision = 0
        self._read: dict[bytes, KeyValue | None] = {}
        self._writes: dict[bytes, op.KeyOperation[object]] = {}
        self._values: dict[bytes, bytes | None] = {}

    @both
    async def get(self, key: Key) -> bytes | None:
        """The key's value, None if it is not there; what this function has written counts."""
        name = as_bytes(key)
        if name not in self._values:
            found = await self._calls._run(op.get(name, revision=self._revision))
            self._revision = self._revision or found.header.revision
            self._read[name] = found.kv
            self._values[name] = found.value
        return self._values[name]

    def put(self, key: Key, value: str | bytes, *, lease: op.SupportsLease | int = 0) -> None:
        """Write a key at the end."""
        name = as_bytes(key)
        self._writes[name] = op.put(name, value, lease=lease)
        self._values[name] = as_bytes(value)

    def delete(self, key: Key) -> None:
        """Delete a key at the end."""
        name = as_bytes(key)
        self._writes[name] = op.delete(name)
        self._values[name] = None

    async def _commit(self) -> bool:
        """Whether nobody has interfered."""
        if not self._writes:
            return True
        unchanged = [
            compare.mod_revision(key, "==", kv.mod_revision if kv is not None else 0)
            for key, kv in self._read.items()
        ]
        return (await self._calls._run(op.txn(unchanged, self._writes.values()))).succeeded


class Transaction(TransactionFlows, PlainSide):
    """What `Client.transact` gives to its function."""


class AsyncTransaction(TransactionFlows, AsyncSide):
    """What `AsyncClient.transact` gives to its function."""


def conflict() -> Conflict:
    """Every attempt has failed."""
    return Conflict(f"others have written the same keys in each of {ATTEMPTS_MAX} attempts")
