"""What a KV request must look like before it is proposed.

All checks look at the request alone. They run in the service before a proposal, and for the parts of a Txn
recursively, in the order in which etcd finds fault, because a client sees only the first.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from etcdpy.proto import rpc_pb2
from etcdpy.server.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidSortOption,
    KeyNotFound,
    LeaseProvided,
    TooManyOps,
    ValueProvided,
)

SORT_ORDER_MAX = 2  # RangeRequest.SortOrder.DESCEND
SORT_TARGET_MAX = 4  # RangeRequest.SortTarget.VALUE


def check_range(request: rpc_pb2.RangeRequest) -> None:
    """Raise EmptyKey or InvalidSortOption."""
    if not request.key:
        raise EmptyKey
    if not (0 <= request.sort_order <= SORT_ORDER_MAX and 0 <= request.sort_target <= SORT_TARGET_MAX):
        raise InvalidSortOption


def check_put(request: rpc_pb2.PutRequest) -> None:
    """Raise EmptyKey, ValueProvided or LeaseProvided."""
    if not request.key:
        raise EmptyKey
    if request.ignore_value and request.value:
        raise ValueProvided
    if request.ignore_lease and request.lease:
        raise LeaseProvided


def check_delete(request: rpc_pb2.DeleteRangeRequest) -> None:
    """Raise EmptyKey."""
    if not request.key:
        raise EmptyKey


def check_txn(request: rpc_pb2.TxnRequest, operations_max: int) -> None:
    """Raise what is wrong with the Txn or anything in it."""
    if _check_operations(request, operations_max):
        _collect_writes(request.success)
        _collect_writes(request.failure)


def is_txn_read_only(request: rpc_pb2.TxnRequest) -> bool:
    """Whether every operation on either side is a range; a nested Txn counts as a write, even if empty."""
    return all(
        operation.WhichOneof("request") == "request_range"
        for side in (request.success, request.failure)
        for operation in side
    )


def is_txn_serializable(request: rpc_pb2.TxnRequest) -> bool:
    """Whether a read-only Txn asks for no quorum: all its ranges are serializable (none at all counts,
    too).
    """
    return all(
        operation.request_range.serializable
        for side in (request.success, request.failure)
        for operation in side
    )


def _check_operations(request: rpc_pb2.TxnRequest, operations_max: int) -> bool:
    """Check everything but duplicates; whether one of the lists writes often enough to hold any."""
    success, failure = request.success, request.failure
    widest = max(len(request.compare), len(success), len(failure))
    if widest > operations_max:
        raise TooManyOps
    for compare in request.compare:
        if not compare.key:
            raise EmptyKey
    may_repeat = False
    for side in (success, failure):
        writes = sum([_check_operation(operation, operations_max - widest) for operation in side])
        may_repeat = may_repeat or writes > 1
    return may_repeat


def _check_operation(operation: rpc_pb2.RequestOp, operations_max: int) -> int:
    """Check one operation; how many keys it may write, where 2 stands for more than one."""
    kind = operation.WhichOneof("request")
    if kind == "request_range":
        check_range(operation.request_range)
        return 0
    if kind == "request_put":
        check_put(operation.request_put)
        return 1
    if kind == "request_delete_range":
        check_delete(operation.request_delete_range)
        return 1
    if kind == "request_txn":
        _check_operations(operation.request_txn, operations_max)
        return 2
    raise KeyNotFound


class KeyIntervals:
    """A set of keys made of half-open intervals, kept disjoint and sorted so that a look-up is one bisection.

    A request of 1.5 MB can hold some ten thousand nested deletes and as many puts; comparing each with each
    would stop the server for seconds.
    """

    def __init__(self) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []

    def add(self, start: bytes, end: bytes) -> None:
        """Add [start, end); an inverted interval holds nothing."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # the first interval that we touch or lie before
        last = bisect_right(self._starts, end)  # one past the last one that we touch
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def update(self, other: "KeyIntervals") -> None:
        """Add every interval of `other`."""
        for start, end in zip(other._starts, other._ends, strict=True):
            self.add(start, end)

    def __contains__(self, key: bytes) -> bool:
        position = bisect_right(self._starts, key) - 1
        return position >= 0 and key < self._ends[position]


def _collect_writes(operations: Iterable[rpc_pb2.RequestOp]) -> tuple[set[bytes], KeyIntervals]:
    """Keys that one list of operations puts and deletes, DuplicateKey if it writes a key twice.

    Deletes of the level are known to every nested Txn, those of a nested Txn only to what is looked at
    after it: the later nested ones and the puts of the level. A delete up to `\\0` is an inverted interval
    here and so is never seen; such a Txn runs, and the put wins or loses by its place. Both are etcd's
    rules.
    """
    operations = list(operations)
    deletes = KeyIntervals()
    for operation in operations:
        if operation.WhichOneof("request") == "request_delete_range":
            delete = operation.request_delete_range
            deletes.add(delete.key, delete.range_end or delete.key + b"\0")
    puts: set[bytes] = set()
    for operation in operations:
        if operation.WhichOneof("request") == "request_txn":
            _collect_nested(operation.request_txn, puts, deletes)
    for operation in operations:
        if operation.WhichOneof("request") == "request_put":
            key = operation.request_put.key
            if key in puts or key in deletes:
                raise DuplicateKey
            puts.add(key)
    return puts, deletes


def _collect_nested(request: rpc_pb2.TxnRequest, puts: set[bytes], deletes: KeyIntervals) -> None:
    """Join the writes of a nested Txn into those of its level; its two sides exclude each other, so they
    may agree.
    """
    success_puts, success_deletes = _collect_writes(request.success)
    failure_puts, failure_deletes = _collect_writes(request.failure)
    nested_puts = success_puts | failure_puts
    if not puts.isdisjoint(nested_puts) or any(key in deletes for key in nested_puts):
        raise DuplicateKey
    puts |= nested_puts
    deletes.update(success_deletes)
    deletes.update(failure_deletes)
