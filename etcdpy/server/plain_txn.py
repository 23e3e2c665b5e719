"""Puts and Txns of plain shape, executed on the store.

The same passes as in `server.txn`, over requests of `server.plain`: compares first, then what could fail,
then the one operation. Nothing is asked that the shape has answered, and the response is put together as
bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etcdpy.lease import LeaseNotFound
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.server.plain import (
    TARGET_CREATE,
    TARGET_LEASE,
    TARGET_VALUE,
    TARGET_VERSION,
    PlainCompare,
    PlainPut,
    PlainTxn,
)
from etcdpy.server.requests import encode_varint
from etcdpy.server.results import EncodedResponse
from etcdpy.server.txn import is_so, move_lease

if TYPE_CHECKING:
    from etcdpy.lease import Lessor
    from etcdpy.mvcc import WriteTxn

_NOTHING: Final = EncodedResponse(b"")
_SUCCEEDED: Final = b"\x10\x01"  # TxnResponse.succeeded = 2
_ONE_KEY: Final = b"\x20\x01"  # RangeResponse.count = 4


def apply_plain_put(txn: WriteTxn, leases: Lessor, put: PlainPut) -> EncodedResponse:
    """Execute a Put.

    Raises:
        LeaseNotFound: before anything has been written.
    """
    _check_lease(leases, put)
    _write(txn, leases, put)
    return _NOTHING


def apply_plain_txn(txn: WriteTxn, leases: Lessor, request: PlainTxn) -> EncodedResponse:
    """Execute a Txn.

    Raises:
        LeaseNotFound: before anything has been written.
    """
    succeeded = True
    for compare in request.compares:
        if not _holds(txn, compare):
            succeeded = False
            break
    operation = request.success if succeeded else request.failure
    outcome = _SUCCEEDED if succeeded else b""
    if operation is None:
        txn.checked()
        return EncodedResponse(outcome)
    if isinstance(operation, PlainPut):
        _check_lease(leases, operation)
        txn.checked()
        _write(txn, leases, operation)
        # ResponseOp.response_put = 2, PutResponse.header = 1
        answer = b"\x12" + _with_length(b"\x0a" + _with_length(_revision(txn)))
    else:
        txn.checked()
        kv = txn.get(operation)
        answer = b"\x0a" + _with_length(_revision(txn))
        if kv is not None:
            answer = b"%b\x12%b%b" % (answer, _with_length(kv), _ONE_KEY)
        answer = b"\x0a" + _with_length(answer)  # ResponseOp.response_range = 1
    return EncodedResponse(b"%b\x1a%b" % (outcome, _with_length(answer)))  # TxnResponse.responses = 3


def _check_lease(leases: Lessor, put: PlainPut) -> None:
    if put.lease and leases.lookup(put.lease) is None:
        raise LeaseNotFound(put.lease)


def _write(txn: WriteTxn, leases: Lessor, put: PlainPut) -> None:
    txn.put(put.key, put.value, put.lease)
    if len(leases):
        move_lease(leases, put.key, put.lease)


def _holds(txn: WriteTxn, compare: PlainCompare) -> bool:
    target = compare.target
    if target == TARGET_VALUE:
        data = txn.get(compare.key)
        if data is None:
            return False  # no value that anything could be compared with, not even by "not equal"
        value = KeyValue.FromString(data).value
        return is_so(compare.result, (value > compare.value) - (value < compare.value))
    meta = txn.current(compare.key)
    found = 0
    if meta is not None:
        if target == TARGET_VERSION:
            found = meta.version
        elif target == TARGET_LEASE:
            found = meta.lease
        else:
            found = meta.create_revision if target == TARGET_CREATE else meta.mod_revision
    return is_so(compare.result, found - compare.number)


def _revision(txn: WriteTxn) -> bytes:
    """The header of an operation's response, which holds nothing but the revision."""
    return b"\x18" + encode_varint(txn.revision)


def _with_length(data: bytes) -> bytes:
    return encode_varint(len(data)) + data
