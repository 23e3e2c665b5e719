"""A Range request answered from a store: limits, filters and orders on top of a plain read in key order.

The store knows keys, revisions and limits. What a client may ask beyond that is done here, on serialized
key-values, and the same for a Range of its own and for one inside a Txn. Only requests that sort or filter
pay for decoding.

Two of etcd's habits are kept because clients see them. A sort target other than the key with order NONE
sorts ascending, but after the limit has been taken in key order (one more than the limit is read, sorted
along, and then cut). And `count` is the number of keys in the range, whatever filters and limit leave of
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import RangeRequest

if TYPE_CHECKING:
    from collections.abc import Callable


class StoreRange(Protocol):
    """What a store finds in a range."""

    @property
    def kvs(self) -> list[bytes]:
        """Serialized key-values in key order."""

    @property
    def count(self) -> int:
        """Keys in the range, beyond the limit too."""

    @property
    def revision(self) -> int:
        """Current revision of the store."""


class Reader(Protocol):
    """A store, or an open write transaction that sees its own writes."""

    def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
        keys_max: int = 0,
        bytes_max: int = 0,
    ) -> StoreRange:
        """Key-values of a range at a revision (0 = now); limit 0 = all."""


@dataclass(slots=True)
class RangeAnswer:
    """What goes into a RangeResponse; `revision` is the store's, not the one that was read."""

    kvs: list[bytes]
    count: int
    more: bool
    revision: int


_KEY = RangeRequest.KEY
_VALUE = RangeRequest.VALUE
_NONE = RangeRequest.NONE
_DESCEND = RangeRequest.DESCEND

_SORT_KEYS: dict[int, Callable[[KeyValue], int | bytes]] = {
    RangeRequest.VERSION: lambda kv: kv.version,
    RangeRequest.CREATE: lambda kv: kv.create_revision,
    RangeRequest.MOD: lambda kv: kv.mod_revision,
    RangeRequest.VALUE: lambda kv: kv.value,
}


def read_range(reader: Reader, request: RangeRequest, keys_max: int = 0, bytes_max: int = 0) -> RangeAnswer:
    """Answer a checked request; the reader's errors (compacted, future revision) pass through.

    An answer in key order of more keys or bytes than given (0: any number) is RangeTooLarge.
    """
    revision = request.revision
    if request.count_only:
        found = reader.range(request.key, request.range_end, revision=revision, count_only=True)
        return RangeAnswer([], found.count, False, found.revision)
    limit = request.limit
    keys_only = request.keys_only
    if is_key_order(request) and not has_filters(request):
        found = reader.range(
            request.key,
            request.range_end,
            revision=revision,
            limit=limit + 1 if limit > 0 else 0,
            keys_only=keys_only,
            keys_max=keys_max,
            bytes_max=bytes_max,
        )
        kvs = found.kvs
    else:
        found, kvs = _read_arranged(reader, request)
    more = 0 < limit < len(kvs)
    return RangeAnswer(kvs[:limit] if more else kvs, found.count, more, found.revision)


def is_key_order(request: RangeRequest) -> bool:
    """Whether the answer is in the order in which the store reads anyway."""
    return request.sort_target == _KEY and request.sort_order != _DESCEND


def has_filters(request: RangeRequest) -> bool:
    """Whether revisions of creation or change are bounded."""
    return bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _read_arranged(reader: Reader, request: RangeRequest) -> tuple[StoreRange, list[bytes]]:
    filtered = has_filters(request)
    by_value = request.sort_target == _VALUE
    read_all = filtered or request.sort_order != _NONE or request.limit <= 0
    found = reader.range(
        request.key,
        request.range_end,
        revision=request.revision,
        limit=0 if read_all else request.limit + 1,
        keys_only=request.keys_only and not by_value,
    )
    kvs = _filtered(found.kvs, request) if filtered else found.kvs
    kvs = _sorted(kvs, request)
    if request.keys_only and by_value:
        kvs = [_without_value(kv) for kv in kvs]
    return found, kvs


def _filtered(kvs: list[bytes], request: RangeRequest) -> list[bytes]:
    checks: list[Callable[[KeyValue], bool]] = []
    if mod_min := request.min_mod_revision:
        checks.append(lambda kv: kv.mod_revision >= mod_min)
    if mod_max := request.max_mod_revision:
        checks.append(lambda kv: kv.mod_revision <= mod_max)
    if create_min := request.min_create_revision:
        checks.append(lambda kv: kv.create_revision >= create_min)
    if create_max := request.max_create_revision:
        checks.append(lambda kv: kv.create_revision <= create_max)
    kept = []
    for encoded in kvs:
        kv = KeyValue.FromString(encoded)
        if all(check(kv) for check in checks):
            kept.append(encoded)
    return kept


def _sorted(kvs: list[bytes], request: RangeRequest) -> list[bytes]:
    descending = request.sort_order == _DESCEND
    if request.sort_target == _KEY:
        return kvs[::-1] if descending else kvs
    sort_key = _SORT_KEYS[request.sort_target]
    return sorted(kvs, key=lambda kv: sort_key(KeyValue.FromString(kv)), reverse=descending)


def _without_value(encoded: bytes) -> bytes:
    kv = KeyValue.FromString(encoded)
    kv.ClearField("value")
    return kv.SerializeToString()
