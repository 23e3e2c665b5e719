"""What is refused by looking at a request alone; the rules of behaviour reference, section 5, one test
each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from etcdpy.server.checks import (
    KeyIntervals,
    check_delete,
    check_put,
    check_range,
    check_txn,
    is_txn_read_only,
    is_txn_serializable,
)
from etcdpy.server.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidRequest,
    InvalidSortOption,
    KeyNotFound,
    LeaseProvided,
    TooManyOps,
    ValueProvided,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def put(key: bytes, **fields: object) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=key, **fields))  # type: ignore[arg-type]


def delete(key: bytes, range_end: bytes = b"") -> RequestOp:
    return RequestOp(request_delete_range=DeleteRangeRequest(key=key, range_end=range_end))


def get(key: bytes, serializable: bool = False) -> RequestOp:
    return RequestOp(request_range=RangeRequest(key=key, serializable=serializable))


def nested(success: Sequence[RequestOp] = (), failure: Sequence[RequestOp] = ()) -> RequestOp:
    return RequestOp(request_txn=TxnRequest(success=success, failure=failure))


def check(*success: RequestOp, failure: tuple[RequestOp, ...] = (), operations_max: int = 128) -> None:
    check_txn(TxnRequest(success=success, failure=failure), operations_max)


def unknown_order() -> RangeRequest:
    request = RangeRequest(key=b"a")
    request.sort_order = 3  # type: ignore[assignment]
    return request


def unknown_target() -> RangeRequest:
    request = RangeRequest(key=b"a")
    request.sort_target = 5  # type: ignore[assignment]
    return request


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (RangeRequest(), EmptyKey),
        (unknown_order(), InvalidSortOption),
        (unknown_target(), InvalidSortOption),
    ],
)
def test_ranges(request_: RangeRequest, error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        check_range(request_)
    with pytest.raises(error):
        check(RequestOp(request_range=request_))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (PutRequest(), EmptyKey),
        (PutRequest(key=b"a", value=b"x", ignore_value=True), ValueProvided),
        (PutRequest(key=b"a", lease=1, ignore_lease=True), LeaseProvided),
        (PutRequest(key=b"a", value=b"x", lease=1, ignore_value=True, ignore_lease=True), ValueProvided),
    ],
)
def test_puts(request_: PutRequest, error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        check_put(request_)
    with pytest.raises(error):
        check(failure=(nested([RequestOp(request_put=request_)]),))


def test_a_put_may_be_empty_or_keep_what_is_there() -> None:
    check_put(PutRequest(key=b"a"))
    check_put(PutRequest(key=b"a", ignore_value=True, lease=4))
    check_put(PutRequest(key=b"a", ignore_lease=True, value=b"x"))


def test_a_delete_needs_a_key() -> None:
    with pytest.raises(EmptyKey):
        check_delete(DeleteRangeRequest(range_end=b"b"))
    with pytest.raises(EmptyKey):
        check(delete(b""))


def test_a_compare_needs_a_key() -> None:
    with pytest.raises(EmptyKey):
        check_txn(TxnRequest(compare=[Compare()]), 128)


def test_an_operation_without_member_is_a_key_not_found() -> None:
    with pytest.raises(KeyNotFound):
        check(RequestOp())


@pytest.mark.parametrize("where", ["compare", "success", "failure"])
def test_each_list_alone_counts_against_the_limit(where: str) -> None:
    wide = TxnRequest()
    for number in range(3):
        key = bytes((97 + number,))
        if where == "compare":
            wide.compare.add(key=key)
        else:
            getattr(wide, where).append(put(key))
    check_txn(wide, 3)
    with pytest.raises(TooManyOps):
        check_txn(wide, 2)


def test_a_nested_txn_has_what_its_parent_leaves() -> None:
    check(nested([put(b"a"), put(b"b")]), get(b"x"), operations_max=4)
    with pytest.raises(TooManyOps):
        check(nested([put(b"a"), put(b"b")]), get(b"x"), operations_max=3)


def test_too_many_operations_are_found_before_empty_keys() -> None:
    with pytest.raises(TooManyOps):
        check(put(b""), put(b""), operations_max=1)


# Duplicate keys.


def test_a_key_may_not_be_put_twice() -> None:
    with pytest.raises(DuplicateKey):
        check(put(b"a"), put(b"a"))


def test_the_two_sides_of_a_txn_are_independent() -> None:
    check(put(b"a"), failure=(put(b"a"),))


def test_the_failure_side_is_checked_too() -> None:
    with pytest.raises(DuplicateKey):
        check(failure=(put(b"a"), put(b"a")))


@pytest.mark.parametrize("operations", [(delete(b"a"), put(b"a")), (put(b"a"), delete(b"a"))])
def test_a_deleted_key_may_not_be_put_in_any_order(operations: tuple[RequestOp, ...]) -> None:
    with pytest.raises(DuplicateKey):
        check(*operations)


def test_a_deleted_range_ends_before_its_end() -> None:
    with pytest.raises(DuplicateKey):
        check(delete(b"a", b"c"), put(b"b"))
    check(delete(b"a", b"c"), put(b"c"))
    check(delete(b"a"), put(b"a\0"))


def test_deletes_may_overlap() -> None:
    check(delete(b"a", b"d"), delete(b"b"), delete(b"c", b"e"))


def test_ranges_never_conflict() -> None:
    check(put(b"a"), get(b"a"), delete(b"b"), get(b"b"))


def test_a_delete_to_the_end_of_all_keys_is_not_seen() -> None:
    check(delete(b"a", b"\0"), put(b"b"))


def test_an_inverted_delete_is_not_seen() -> None:
    check(delete(b"c", b"a"), put(b"b"))


def test_the_sides_of_a_nested_txn_may_put_the_same_key() -> None:
    check(nested([put(b"a")], [put(b"a")]))


def test_a_put_repeated_by_a_nested_txn() -> None:
    with pytest.raises(DuplicateKey):
        check(put(b"a"), nested([put(b"a")]))
    with pytest.raises(DuplicateKey):
        check(put(b"a"), nested([], [put(b"a")]))


def test_two_nested_txns_may_not_put_the_same_key_even_on_opposite_sides() -> None:
    with pytest.raises(DuplicateKey):
        check(nested([put(b"a")]), nested([], [put(b"a")]))


def test_deletes_of_the_level_hold_for_nested_puts_before_and_after_them() -> None:
    with pytest.raises(DuplicateKey):
        check(nested([put(b"a")]), delete(b"a"))
    with pytest.raises(DuplicateKey):
        check(delete(b"a"), nested([put(b"a")]))


def test_a_nested_delete_holds_for_the_puts_of_the_level() -> None:
    with pytest.raises(DuplicateKey):
        check(put(b"a"), nested([delete(b"a")]))


def test_a_nested_delete_holds_for_later_nested_puts_but_not_for_earlier_ones() -> None:
    with pytest.raises(DuplicateKey):
        check(nested([delete(b"a")]), nested([put(b"a")]))
    check(nested([put(b"a")]), nested([delete(b"a")]))


def test_the_sides_of_a_nested_txn_may_delete_and_put_the_same_key() -> None:
    check(nested([delete(b"a")], [put(b"a")]))


def test_deeply_nested_puts_are_seen() -> None:
    with pytest.raises(DuplicateKey):
        check(nested([nested([nested([put(b"a")])])]), put(b"a"))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    intervals=st.lists(st.tuples(st.binary(max_size=2), st.binary(max_size=2)), max_size=12),
    key=st.binary(max_size=3),
)
def test_intervals_hold_what_any_of_them_holds(intervals: list[tuple[bytes, bytes]], key: bytes) -> None:
    joined = KeyIntervals()
    for start, end in intervals:
        joined.add(start, end)
    assert (key in joined) == any(start <= key < end for start, end in intervals)


def test_many_deletes_and_puts_are_checked_quickly() -> None:
    # Comparing each with each would be 400 million comparisons.
    deletes = nested([delete(b"d%05d" % number, b"d%05d5" % number) for number in range(20_000)])
    puts = nested([put(b"p%05d" % number) for number in range(20_000)])
    check(deletes, puts, operations_max=100_000)


# What stays out of the log.


@pytest.mark.parametrize(
    ("operations", "read_only", "serializable"),
    [
        ([], True, True),
        ([get(b"a")], True, False),
        ([get(b"a", True), get(b"b", True)], True, True),
        ([get(b"a", True), get(b"b")], True, False),
        ([put(b"a")], False, False),
        ([delete(b"a")], False, False),
        ([nested()], False, False),
    ],
)
def test_kinds_of_txn(operations: list[RequestOp], read_only: bool, serializable: bool) -> None:
    for request in (TxnRequest(success=operations), TxnRequest(failure=operations)):
        assert is_txn_read_only(request) is read_only
        if read_only:
            assert is_txn_serializable(request) is serializable
