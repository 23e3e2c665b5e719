"""The space quota: what a request would add, and whether the backend may still grow.

Costs are etcd's estimates (behaviour reference, section 10): they need not be exact, only the same
on every release, because the NOSPACE alarm that a member raises stops the whole cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.plain import PlainPut, PlainTxn

if TYPE_CHECKING:
    from collections.abc import Callable

    Costly = pb.PutRequest | pb.TxnRequest | pb.LeaseGrantRequest | PlainPut | PlainTxn

KEY_OVERHEAD_BYTES = 256
LEASE_OVERHEAD_BYTES = 64
QUOTA_BYTES_DEFAULT = 2 * 1024**3
# No request costs as much as this; while more is free, what it costs need not be known.
ROOMY_BYTES = 512 * 1024**2


class Quota:
    """`limit_bytes` 0 is etcd's default of 2 GiB, negative is no quota.

    The backend's size is looked up by `refresh`, a few times a second, and not for each request.
    """

    def __init__(self, limit_bytes: int, size_bytes: Callable[[], int]) -> None:
        self.limit_bytes = QUOTA_BYTES_DEFAULT if limit_bytes == 0 else max(limit_bytes, 0)
        self._size_bytes = size_bytes
        self._size = size_bytes()

    def refresh(self) -> None:
        """Look at the backend's size again."""
        self._size = self._size_bytes()

    def available(self, request: Costly) -> bool:
        """Whether the request fits; a request that writes nothing always does."""
        if self.limit_bytes == 0 or self._size < self.limit_bytes - ROOMY_BYTES:
            return True
        cost = request_cost(request)
        if cost == 0 or self._size + cost < self.limit_bytes:
            return True
        # Nobody is refused, and no alarm raised, for a size of before the last defragmentation.
        self.refresh()
        return self._size + cost < self.limit_bytes


def request_cost(request: Costly) -> int:
    """Bytes that a request may add to the backend."""
    if isinstance(request, PlainPut | PlainTxn):
        return request_cost(request.message())
    if isinstance(request, pb.PutRequest):
        return put_cost(request)
    if isinstance(request, pb.TxnRequest):
        return txn_cost(request)
    return LEASE_OVERHEAD_BYTES


def put_cost(request: pb.PutRequest) -> int:
    """Key, value and what is kept about them."""
    return KEY_OVERHEAD_BYTES + len(request.key) + len(request.value)


def txn_cost(request: pb.TxnRequest) -> int:
    """The dearer of the two branches, nested transactions included."""
    return max(_branch_cost(request.success), _branch_cost(request.failure))


def _branch_cost(operations: object) -> int:
    cost = 0
    for operation in operations:  # type: ignore[attr-defined]  # protobuf's repeated container
        if operation.HasField("request_put"):
            cost += put_cost(operation.request_put)
        elif operation.HasField("request_txn"):
            cost += txn_cost(operation.request_txn)
    return cost
