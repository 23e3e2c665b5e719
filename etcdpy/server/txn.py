"""Puts, deletes and transactions, executed on the store.

A Txn goes through three passes over the branch it takes. First every compare, nested ones included, is
evaluated on the state before the Txn; that fixes the *path*. Then every operation on the path is checked,
still on that state, so that a Txn either fails as a whole or not at all. Only then do the operations run,
in order, each seeing what the ones before it wrote.

Responses leave their outermost header unset; who sends them fills it in. Everything here runs while
applying and depends on nothing but the state and the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.lease import LeaseNotFound
from etcdpy.mvcc import Compacted, FutureRevision
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    ResponseOp,
    TxnRequest,
    TxnResponse,
)
from etcdpy.server.errors import KeyNotFound
from etcdpy.server.ranges import Reader, read_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Versions(Protocol):
    """What a compare may look at besides the value."""

    @property
    def create_revision(self) -> int: ...

    @property
    def mod_revision(self) -> int: ...

    @property
    def version(self) -> int: ...

    @property
    def lease(self) -> int: ...


class TxnReader(Reader, Protocol):
    """A reader that knows how far its history goes and can tell of a key without reading its value."""

    @property
    def revision(self) -> int:
        """The store's revision; in a write transaction, what it would be if that ended now."""

    @property
    def compact_revision(self) -> int:
        """Oldest revision that can be read, -1 if nothing was compacted."""

    def current(self, key: bytes, /) -> Versions | None:
        """A key as it is now, None if there is none."""


class Writer(TxnReader, Protocol):
    """An open write transaction of the store."""

    def checked(self) -> None:
        """All reads so far were made to decide what to do."""

    def get(self, key: bytes, /) -> bytes | None:
        """The serialized key-value of a key."""

    def put(self, key: bytes, value: bytes, lease: int = 0, /) -> None:
        """Write a key."""

    def delete_range(self, key: bytes, range_end: bytes = b"", /) -> int:
        """Delete what the range holds; how many keys that were."""


class Leases(Protocol):
    """The part of the lessor that knows which lease a key hangs on."""

    def __len__(self) -> int: ...

    def lookup(self, lease_id: int, /) -> object | None:
        """The lease, None if there is none."""

    def lease_of(self, key: bytes, /) -> int:
        """The lease of a key, 0 for none."""

    def attach(self, lease_id: int, key: bytes, /) -> None:
        """Hang a key on a lease."""

    def detach(self, lease_id: int, key: bytes, /) -> None:
        """Take a key off a lease."""


# Enum members are looked up once here: each costs as much as the comparison that it is for.
_VERSION, _CREATE, _MOD, _VALUE, _LEASE = (
    Compare.VERSION,
    Compare.CREATE,
    Compare.MOD,
    Compare.VALUE,
    Compare.LEASE,
)
_EQUAL, _GREATER, _LESS, _NOT_EQUAL = Compare.EQUAL, Compare.GREATER, Compare.LESS, Compare.NOT_EQUAL

_MISSING = KeyValue()

# Most puts ask for nothing back; they all get this one, which nobody may change.
_PUT_RESPONSE = PutResponse()


def apply_put(writer: Writer, leases: Leases, request: PutRequest) -> PutResponse:
    """Execute a Put.

    Raises:
        LeaseNotFound, KeyNotFound: before anything has been written.
    """
    if request.lease and leases.lookup(request.lease) is None:
        raise LeaseNotFound(request.lease)
    previous = _put(writer, leases, request)
    if previous is None or not request.prev_kv:
        return _PUT_RESPONSE
    response = PutResponse()
    response.prev_kv.MergeFromString(previous)
    return response


def apply_delete_range(writer: Writer, leases: Leases, request: DeleteRangeRequest) -> DeleteRangeResponse:
    """Execute a DeleteRange."""
    response = DeleteRangeResponse()
    _delete_range(writer, leases, request, response)
    return response


def apply_txn(writer: Writer, leases: Leases, request: TxnRequest) -> TxnResponse:
    """Execute a Txn.

    Raises:
        LeaseNotFound, KeyNotFound, Compacted, FutureRevision: before anything has been written.
    """
    path = _choose_path(writer, request, [])
    operations = _branch(request, path[0])
    if len(operations) == 1:
        operation = operations[0]
        if operation.WhichOneof("request") == "request_put" and _is_plain(operation.request_put):
            return _apply_single_put(writer, leases, operation.request_put, path[0])
    _PathCheck(writer, leases).run(request, iter(path))
    writer.checked()
    response = TxnResponse()
    _Execution(writer, writer, leases).run(request, iter(path), response)
    return response


def _is_plain(put: PutRequest) -> bool:
    """Whether a put can neither fail nor needs to know what was there."""
    return not (put.lease or put.ignore_value or put.ignore_lease or put.prev_kv)


def _apply_single_put(writer: Writer, leases: Leases, put: PutRequest, succeeded: bool) -> TxnResponse:
    """The end of most Txns, those that guard one write: nothing to check, one thing to execute."""
    writer.checked()
    key = put.key
    writer.put(key, put.value)
    if len(leases):
        move_lease(leases, key, 0)
    response = TxnResponse(succeeded=succeeded)
    response.responses.add().response_put.header.revision = writer.revision
    return response


def read_txn(reader: TxnReader, request: TxnRequest) -> TxnResponse:
    """Execute a Txn that only reads."""
    path = _choose_path(reader, request, [])
    _PathCheck(reader, None).run(request, iter(path))
    response = TxnResponse()
    _Execution(reader, None, None).run(request, iter(path), response)
    return response


def _branch(request: TxnRequest, succeeded: bool) -> Sequence[RequestOp]:
    return request.success if succeeded else request.failure


# First pass: compares.


def _choose_path(reader: TxnReader, request: TxnRequest, path: list[bool]) -> list[bool]:
    """Add the outcome of the compares, then those of the nested Txns on the branch taken, depth first."""
    succeeded = True
    for compare in request.compare:
        if not _holds(reader, compare):
            succeeded = False
            break
    path.append(succeeded)
    for operation in _branch(request, succeeded):
        if operation.HasField("request_txn"):
            _choose_path(reader, operation.request_txn, path)
    return path


def _holds(reader: TxnReader, compare: Compare) -> bool:
    by_value = compare.target == _VALUE
    if not by_value and not compare.range_end:
        return is_so(compare.result, _order_of(compare, reader.current(compare.key) or _MISSING))
    found = reader.range(compare.key, compare.range_end, keys_only=not by_value)
    if not found.kvs:
        # A missing key has no value that anything could be compared with, not even by "not equal".
        return not by_value and is_so(compare.result, _order_of(compare, _MISSING))
    kvs = map(KeyValue.FromString, found.kvs)
    if by_value:
        value = compare.value
        return all(is_so(compare.result, (kv.value > value) - (kv.value < value)) for kv in kvs)
    return all(is_so(compare.result, _order_of(compare, kv)) for kv in kvs)


def is_so(result: int, order: int) -> bool:
    """Whether a compare wants what was found: below zero, zero or above, as the key lies to the operand."""
    if result == _EQUAL:
        return order == 0
    if result == _NOT_EQUAL:
        return order != 0
    if result == _GREATER:
        return order > 0
    return order < 0 if result == _LESS else True


def _order_of(compare: Compare, versions: Versions) -> int:
    # A union member that does not belong to the target reads as its default, which is what etcd takes.
    target = compare.target
    if target == _MOD:
        return versions.mod_revision - compare.mod_revision
    if target == _CREATE:
        return versions.create_revision - compare.create_revision
    if target == _VERSION:
        return versions.version - compare.version
    return versions.lease - compare.lease if target == _LEASE else 0


# Second pass: what would fail.


class _PathCheck:
    """Looks for whatever could fail on the chosen path while the state is still untouched.

    All puts of the path come before all its ranges, nested ones too: of two faults a client sees the first.
    """

    def __init__(self, reader: TxnReader, leases: Leases | None) -> None:
        self._reader = reader
        self._leases = leases
        self._deleted_from: list[bytes] = []
        self._revisions: list[int] = []

    def run(self, request: TxnRequest, path: Iterator[bool]) -> None:
        """Raise the first fault."""
        self._check_puts(request, path)
        for revision in self._revisions:
            self._check_revision(revision)

    def _check_puts(self, request: TxnRequest, path: Iterator[bool]) -> None:
        for operation in _branch(request, next(path)):
            match operation.WhichOneof("request"):
                case "request_put":
                    self._check_put(operation.request_put)
                case "request_range":
                    if operation.request_range.revision:
                        self._revisions.append(operation.request_range.revision)
                case "request_delete_range":
                    if operation.request_delete_range.range_end == b"\0":
                        self._deleted_from.append(operation.request_delete_range.key)
                case "request_txn":
                    self._check_puts(operation.request_txn, path)
                case _:
                    raise AssertionError("an empty operation passed check_txn")

    def _check_put(self, request: PutRequest) -> None:
        if request.ignore_value or request.ignore_lease:
            # Deletes up to the end of the keyspace are not seen by the duplicate check, so such a delete
            # may come before this put in the same Txn. Finding that out while executing would be too late
            # to fail as a whole.
            deleted = any(start <= request.key for start in self._deleted_from)
            if deleted or self._reader.current(request.key) is None:
                raise KeyNotFound
        if request.lease and self._leases is not None and self._leases.lookup(request.lease) is None:
            raise LeaseNotFound(request.lease)

    def _check_revision(self, revision: int) -> None:
        if revision > self._reader.revision:
            raise FutureRevision(f"revision {revision} is ahead of {self._reader.revision}")
        # -1 while nothing is compacted, so that a range of revision -1 passes here until something is.
        if revision < self._reader.compact_revision:
            raise Compacted(f"revision {revision} is before {self._reader.compact_revision}")


# Third pass: execution.


class _Execution:
    """Runs the operations of the chosen path; a read-only Txn has neither writer nor leases."""

    def __init__(self, reader: TxnReader, writer: Writer | None, leases: Leases | None) -> None:
        self._reader = reader
        self._writer = writer
        self._leases = leases

    def run(self, request: TxnRequest, path: Iterator[bool], response: TxnResponse) -> None:
        response.succeeded = next(path)
        for operation in _branch(request, response.succeeded):
            self._run_operation(operation, path, response.responses.add())

    def _run_operation(self, operation: RequestOp, path: Iterator[bool], response: ResponseOp) -> None:
        kind = operation.WhichOneof("request")
        if kind == "request_range":
            _range(self._reader, operation.request_range, response.response_range)
            return
        writer, leases = self._writer, self._leases
        assert writer is not None, f"{kind} in a read-only Txn"
        assert leases is not None, f"{kind} in a read-only Txn"
        match kind:
            case "request_put":
                previous = _put(writer, leases, operation.request_put)
                response.response_put.header.revision = writer.revision
                if previous is not None and operation.request_put.prev_kv:
                    response.response_put.prev_kv.MergeFromString(previous)
            case "request_delete_range":
                deleted = response.response_delete_range
                _delete_range(writer, leases, operation.request_delete_range, deleted)
                deleted.header.revision = writer.revision
            case "request_txn":
                response.response_txn.header.SetInParent()
                self.run(operation.request_txn, path, response.response_txn)
            case _:
                raise AssertionError("an empty operation passed check_txn")


def _range(reader: Reader, request: RangeRequest, response: RangeResponse) -> None:
    answer = read_range(reader, request)
    response.header.revision = answer.revision
    response.count = answer.count
    response.more = answer.more
    for kv in answer.kvs:
        response.kvs.add().MergeFromString(kv)


def _put(writer: Writer, leases: Leases, request: PutRequest) -> bytes | None:
    """Write, move the key to its lease, and give back what was there if the request needs to know it."""
    key = request.key
    value = request.value
    lease = request.lease
    previous = None
    keeps = request.ignore_value or request.ignore_lease
    if keeps or request.prev_kv:
        previous = writer.get(key)
    if keeps:
        if previous is None:
            raise KeyNotFound
        kv = KeyValue.FromString(previous)
        value = kv.value if request.ignore_value else value
        lease = kv.lease if request.ignore_lease else lease
    writer.put(key, value, lease)
    if len(leases):
        move_lease(leases, key, lease)
    return previous


def move_lease(leases: Leases, key: bytes, lease: int) -> None:
    before = leases.lease_of(key)
    if before == lease:
        return
    if before:
        leases.detach(before, key)
    if lease:
        leases.attach(lease, key)


def _delete_range(
    writer: Writer, leases: Leases, request: DeleteRangeRequest, response: DeleteRangeResponse
) -> None:
    if request.prev_kv:
        for kv in writer.range(request.key, request.range_end).kvs:
            response.prev_kvs.add().MergeFromString(kv)
    if len(leases):
        _detach_range(writer, leases, request)
    response.deleted = writer.delete_range(request.key, request.range_end)


def _detach_range(writer: Writer, leases: Leases, request: DeleteRangeRequest) -> None:
    if not request.range_end:
        keys = [request.key]
    else:
        kvs = writer.range(request.key, request.range_end, keys_only=True).kvs
        keys = [KeyValue.FromString(kv).key for kv in kvs]
    for key in keys:
        lease = leases.lease_of(key)
        if lease:
            leases.detach(lease, key)
