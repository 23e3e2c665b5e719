"""Operations on keys as values: made here, run by a client's method of the same name or inside a transaction.

>>> from etcdpy.client import op
>>> op.put("greeting", "hello").writes
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from etcdpy.client import rpcs
from etcdpy.client.compare import Compare
from etcdpy.client.keys import Key, Keys, as_bytes, bounds
from etcdpy.client.values import (
    DeleteResult,
    GetResult,
    Header,
    PutResult,
    TxnResult,
    delete_result,
    get_result,
    header_of,
    put_result,
    txn_result,
)
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T", covariant=True)
SortBy = Literal["key", "version", "create", "mod", "value"]

_SORT_TARGETS: Final[dict[SortBy, pb.RangeRequest.SortTarget]] = {
    "key": pb.RangeRequest.KEY,
    "version": pb.RangeRequest.VERSION,
    "create": pb.RangeRequest.CREATE,
    "mod": pb.RangeRequest.MOD,
    "value": pb.RangeRequest.VALUE,
}


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A call that has not been made: its request, and how to read the answer.

    Attributes:
        writes: whether it may change something; such a call is not made again when its fate is unknown.
    """

    rpc: rpcs.UnaryRpc[Any, Any]
    request: Any
    parse: Callable[[Any], T]
    writes: bool


class KeyOperation(Operation[T]):
    """An operation that can be part of a transaction."""

    __slots__ = ()


def get(
    keys: Keys,
    *,
    limit: int = 0,
    revision: int = 0,
    sort_by: SortBy | None = None,
    descending: bool = False,
    serializable: bool = False,
    keys_only: bool = False,
    count_only: bool = False,
    min_mod_revision: int = 0,
    max_mod_revision: int = 0,
    min_create_revision: int = 0,
    max_create_revision: int = 0,
) -> KeyOperation[GetResult]:
    """Read a key, or the keys of a range.

    Args:
        keys: a key, or what `prefix`, `between` or `from_key` give.
        limit: at most so many; 0 for all.
        revision: as of then; 0 for now.
        sort_by: by name when nothing is said.
        descending: from the last to the first.
        serializable: whatever the asked member knows, which may be old, instead of what the cluster knows.
        keys_only: without the values.
        count_only: only how many.
        min_mod_revision, max_mod_revision: only keys last written between these revisions.
        min_create_revision, max_create_revision: only keys created between these.

    Raises:
        CompactedError: the revision is gone.
        FutureRevision: the revision has not been.
    """
    key, range_end = bounds(keys)
    is_sorted = sort_by is not None or descending
    order = pb.RangeRequest.DESCEND if descending else pb.RangeRequest.ASCEND
    request = pb.RangeRequest(
        key=key,
        range_end=range_end,
        limit=limit,
        revision=revision,
        sort_order=order if is_sorted else pb.RangeRequest.NONE,
        sort_target=_SORT_TARGETS[sort_by or "key"],
        serializable=serializable,
        keys_only=keys_only,
        count_only=count_only,
        min_mod_revision=min_mod_revision,
        max_mod_revision=max_mod_revision,
        min_create_revision=min_create_revision,
        max_create_revision=max_create_revision,
    )
    return KeyOperation(rpcs.RANGE, request, get_result, writes=False)


def put(
    key: Key,
    value: str | bytes | None,
    *,
    lease: SupportsLease | int | None = 0,
    prev_kv: bool = False,
) -> KeyOperation[PutResult]:
    """Write a key.

    Args:
        value: None leaves the value as it is.
        lease: the lease to attach the key to, by id or as a `Lease`; 0 for none, None for the one it has.
        prev_kv: tell what was there before.

    Raises:
        LeaseNotFound: there is no such lease.
        InvalidArgument: value or lease is to stay, but there is no such key.
    """
    request = pb.PutRequest(
        key=as_bytes(key),
        value=b"" if value is None else as_bytes(value),
        lease=0 if lease is None else lease_id(lease),
        prev_kv=prev_kv,
        ignore_value=value is None,
        ignore_lease=lease is None,
    )
    return KeyOperation(rpcs.PUT, request, put_result, writes=True)


def delete(keys: Keys, *, prev_kv: bool = False) -> KeyOperation[DeleteResult]:
    """Delete a key, or the keys of a range; `prev_kv` tells what they were."""
    key, range_end = bounds(keys)
    request = pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=prev_kv)
    return KeyOperation(rpcs.DELETE_RANGE, request, delete_result, writes=True)


def txn(
    when: Compare | Iterable[Compare] = (),
    then: KeyOperation[object] | Iterable[KeyOperation[object]] = (),
    otherwise: KeyOperation[object] | Iterable[KeyOperation[object]] = (),
) -> KeyOperation[TxnResult]:
    """If all conditions hold, run `then`, else `otherwise`; all of it at one revision.

    Args:
        when: conditions, made by the functions of `etcdpy.client.compare`.
        then, otherwise: operations of this module, transactions among them.
    """
    request = pb.TxnRequest()
    request.compare.extend(one.message for one in ([when] if isinstance(when, Compare) else when))
    operations: list[KeyOperation[object]] = []
    for branch, into in ((then, request.success), (otherwise, request.failure)):
        for operation in [branch] if isinstance(branch, KeyOperation) else branch:
            operations.append(operation)
            into.append(_request_op(operation))
    writes = any(operation.writes for operation in operations)
    return KeyOperation(rpcs.TXN, request, txn_result, writes=writes)


def compact(revision: int, *, physical: bool = False) -> Operation[Header]:
    """Forget the history before a revision; `physical` waits until the space is free.

    Raises:
        CompactedError: that has been done before.
        FutureRevision: the revision has not been.
    """
    request = pb.CompactionRequest(revision=revision, physical=physical)
    return Operation(rpcs.COMPACT, request, lambda response: header_of(response.header), writes=True)


class SupportsLease(Protocol):
    """What has the id of a lease."""

    @property
    def id(self) -> int:
        """The lease's id."""
        ...


def lease_id(lease: SupportsLease | int) -> int:
    """The id, however the lease was given."""
    return lease if isinstance(lease, int) else lease.id


def _request_op(operation: KeyOperation[object]) -> pb.RequestOp:
    match operation.request:
        case pb.RangeRequest():
            return pb.RequestOp(request_range=operation.request)
        case pb.PutRequest():
            return pb.RequestOp(request_put=operation.request)
        case pb.DeleteRangeRequest():
            return pb.RequestOp(request_delete_range=operation.request)
        case _:
            return pb.RequestOp(request_txn=operation.request)
