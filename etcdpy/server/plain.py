"""Puts and Txns of the most frequent shapes, read from their bytes in one walk instead of through a message.

A message object answers each question at the price of a call, and a Txn that guards one write asks it some
forty. What is here has been looked through when it was read: a put of a key, a value and perhaps a lease; and
a Txn of a few compares of single keys that puts one key, or reads one, on either side. Nothing in it needs to
be checked for duplicates or for fields that forbid each other. Everything else, malformed requests included,
is left to the messages: the readers return None.

Field numbers are the wire reference's. Of a field that comes twice the last one counts, and a union member
that does not belong to its target counts as zero; so a request that has such a field is none of these.
"""

from __future__ import annotations

from typing import Final

from etcdpy.proto.rpc_pb2 import Compare, PutRequest, TxnRequest

# More compares than this have a message made for them.
COMPARES_MAX: Final = 8

TARGET_VERSION: Final[int] = Compare.VERSION
TARGET_CREATE: Final[int] = Compare.CREATE
TARGET_MOD: Final[int] = Compare.MOD
TARGET_VALUE: Final[int] = Compare.VALUE
TARGET_LEASE: Final[int] = Compare.LEASE
RESULT_MAX: Final[int] = Compare.NOT_EQUAL

# Tags: number << 3 | wire type, which is 0 for a varint and 2 for bytes.
_BYTES_1, _BYTES_2, _BYTES_3 = 0x0A, 0x12, 0x1A
_VARINT_1, _VARINT_2, _VARINT_3 = 0x08, 0x10, 0x18
_COMPARE_VALUE: Final = 7 << 3 | 2
# The union members of Compare by target: version 4, create_revision 5, mod_revision 6, lease 8.
_COMPARE_NUMBERS: Final = {
    4 << 3: TARGET_VERSION,
    5 << 3: TARGET_CREATE,
    6 << 3: TARGET_MOD,
    8 << 3: TARGET_LEASE,
}


class PlainPut:
    """A PutRequest that sets a key, a value and perhaps a lease."""

    __slots__ = ("key", "lease", "value")

    def __init__(self, key: bytes, value: bytes, lease: int) -> None:
        self.key = key
        self.value = value
        self.lease = lease

    def message(self) -> PutRequest:
        """The same as a message."""
        return PutRequest(key=self.key, value=self.value, lease=self.lease)


class PlainCompare:
    """A Compare of one key; `number` is what to compare with, `value` if the target is the value."""

    __slots__ = ("key", "number", "result", "target", "value")

    def __init__(self, key: bytes, target: int, result: int, number: int, value: bytes) -> None:
        self.key = key
        self.target = target
        self.result = result
        self.number = number
        self.value = value


class PlainTxn:
    """A TxnRequest with at most one operation on each side, a put or the read (as bytes) of one key, and at
    least one put.
    """

    __slots__ = ("compares", "data", "failure", "success")

    def __init__(
        self,
        data: bytes,
        compares: list[PlainCompare],
        success: PlainPut | bytes | None,
        failure: PlainPut | bytes | None,
    ) -> None:
        self.data = data
        self.compares = compares
        self.success = success
        self.failure = failure

    def message(self) -> TxnRequest:
        """The same as a message."""
        return TxnRequest.FromString(self.data)


PlainRequest = PlainPut | PlainTxn


class _NotPlain(Exception):
    """Something that only a message can make sense of."""


def read_put(data: bytes) -> PlainPut | None:
    """The put that these bytes are, None if they are not as plain as that."""
    try:
        return _put(data, 0, len(data))
    except (_NotPlain, IndexError):
        return None


def read_txn(data: bytes) -> PlainTxn | None:
    """The Txn that these bytes are, None if they are not as plain as that."""
    try:
        return _txn(data)
    except (_NotPlain, IndexError):
        return None


def _txn(data: bytes) -> PlainTxn:
    compares: list[PlainCompare] = []
    success: PlainPut | bytes | None = None
    failure: PlainPut | bytes | None = None
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        start, at = _bounds(data, at + 1, end)
        if tag == _BYTES_1 and len(compares) < COMPARES_MAX:
            compares.append(_compare(data, start, at))
        elif tag == _BYTES_2 and success is None:
            success = _operation(data, start, at)
        elif tag == _BYTES_3 and failure is None:
            failure = _operation(data, start, at)
        else:
            raise _NotPlain
    if not (isinstance(success, PlainPut) or isinstance(failure, PlainPut)):
        raise _NotPlain  # it only reads, which is no matter for the log
    return PlainTxn(data, compares, success, failure)


def _operation(data: bytes, start: int, end: int) -> PlainPut | bytes:
    if start == end:
        raise _NotPlain
    inner, inner_end = _bounds(data, start + 1, end)
    if inner_end != end:
        raise _NotPlain
    if data[start] == _BYTES_2:
        return _put(data, inner, end)
    if data[start] != _BYTES_1:
        raise _NotPlain
    if inner == end:
        raise _NotPlain
    key_start, key_end = _bounds(data, inner + 1, end)
    if data[inner] != _BYTES_1 or key_start == key_end or key_end != end:
        raise _NotPlain
    return data[key_start:end]


def _put(data: bytes, start: int, end: int) -> PlainPut:
    if start == end or data[start] != _BYTES_1:
        raise _NotPlain
    key_start, key_end = _bounds(data, start + 1, end)
    if key_start == key_end:
        raise _NotPlain
    at, value, lease = key_end, b"", 0
    if at < end and data[at] == _BYTES_2:
        value_start, at = _bounds(data, at + 1, end)
        value = data[value_start:at]
    if at < end and data[at] == _VARINT_3:
        lease, at = _varint(data, at + 1)
    if at != end:
        raise _NotPlain
    return PlainPut(data[key_start:key_end], value, lease)


def _compare(data: bytes, start: int, end: int) -> PlainCompare:
    """Fields in ascending order, as every encoder writes them; the result and the target are left out where
    they are zero.
    """
    at, result, target = start, 0, 0
    if at < end and data[at] == _VARINT_1:
        result, at = _varint(data, at + 1)
    if at < end and data[at] == _VARINT_2:
        target, at = _varint(data, at + 1)
    if at >= end or data[at] != _BYTES_3 or not 0 <= result <= RESULT_MAX or not 0 <= target <= TARGET_LEASE:
        raise _NotPlain
    key_start, key_end = _bounds(data, at + 1, end)
    at, number, value = key_end, 0, b""
    if at < end and data[at] == _COMPARE_VALUE and target == TARGET_VALUE:
        value_start, at = _bounds(data, at + 1, end)
        value = data[value_start:at]
    elif at < end and _COMPARE_NUMBERS.get(data[at], -1) == target:
        number, at = _varint(data, at + 1)
    if at != end or key_start == key_end:
        raise _NotPlain
    return PlainCompare(data[key_start:key_end], target, result, number, value)


def _bounds(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the bytes of a field lie whose length is at `at`."""
    size = data[at]
    at += 1
    if size > 127:
        size, at = _varint(data, at - 1)
    if not 0 <= size <= end - at:
        raise _NotPlain
    return at, at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The int64 at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise _NotPlain
    if number >> 63:
        if number >> 64:
            raise _NotPlain
        number -= 1 << 64
    return number, at
