"""Requests read from their bytes mean what the message of the same bytes means, and do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend
from etcdpy.lease import LeaseNotFound, Lessor
from etcdpy.mvcc import Store
from etcdpy.proto.rpc_pb2 import Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest
from etcdpy.server.checks import check_put, check_txn, is_txn_read_only
from etcdpy.server.errors import KeyNotFound, ServerError
from etcdpy.server.plain import COMPARES_MAX, PlainPut, PlainTxn, read_put, read_txn
from etcdpy.server.plain_txn import apply_plain_put, apply_plain_txn
from etcdpy.server.txn import apply_put, apply_txn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = st.sampled_from([b"", b"a", b"b", b"a-key-of-several-bytes", b"k" * 200])
VALUES = st.sampled_from([b"", b"1", b"2", b"v" * 300])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 300, 2**62])
LEASES = st.sampled_from([0, 5, 6, 7, -3])


@st.composite
def puts(draw: st.DrawFn) -> PutRequest:
    request = PutRequest(key=draw(KEYS), value=draw(VALUES), lease=draw(LEASES))
    if draw(st.integers(0, 9)) == 0:
        setattr(request, draw(st.sampled_from(["prev_kv", "ignore_value", "ignore_lease"])), True)
    return request


@st.composite
def compares(draw: st.DrawFn) -> Compare:
    compare = Compare(key=draw(KEYS), result=draw(st.integers(0, 3)), target=draw(st.integers(0, 4)))
    member = draw(st.sampled_from(["version", "create_revision", "mod_revision", "lease", "value", ""]))
    if member:
        setattr(compare, member, draw(VALUES if member == "value" else NUMBERS))
    if draw(st.integers(0, 9)) == 0:
        compare.range_end = b"z"
    return compare


@st.composite
def operations(draw: st.DrawFn) -> RequestOp:
    kind = draw(st.integers(0, 5))
    if kind < 2:
        return RequestOp(request_put=draw(puts()))
    if kind < 4:
        read = RangeRequest(key=draw(KEYS))
        if draw(st.integers(0, 9)) == 0:
            read.range_end = b"z"
        return RequestOp(request_range=read)
    if kind == 4:
        return RequestOp(request_delete_range=DeleteRangeRequest(key=draw(KEYS)))
    return draw(st.sampled_from([RequestOp(), RequestOp(request_txn=TxnRequest())]))


@st.composite
def txns(draw: st.DrawFn) -> TxnRequest:
    sides = st.lists(operations(), max_size=2)
    return TxnRequest(
        compare=draw(st.lists(compares(), max_size=3)), success=draw(sides), failure=draw(sides)
    )


@given(puts())
def test_a_put_is_read_as_its_message_says(request: PutRequest) -> None:
    plain = read_put(request.SerializeToString())
    special = request.prev_kv or request.ignore_value or request.ignore_lease or not request.key
    if special:
        assert plain is None
    else:
        assert plain is not None
        assert (plain.key, plain.value, plain.lease) == (request.key, request.value, request.lease)
        assert plain.message() == request


@given(st.binary(max_size=40) | st.builds(lambda m: m.SerializeToString()[:-1], txns()))
def test_strange_bytes_are_left_to_the_message(data: bytes) -> None:
    for read, message in ((read_put, PutRequest), (read_txn, TxnRequest)):
        plain: Any = read(data)  # type: ignore[operator]
        if plain is not None:
            assert plain.message().SerializeToString() == message.FromString(data).SerializeToString()


@given(txns(), st.data())
def test_changed_bytes_are_never_read_as_something_else(request: TxnRequest, data: st.DataObject) -> None:
    encoded = bytearray(request.SerializeToString())
    if not encoded:
        return
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    plain = read_txn(bytes(encoded))
    if plain is not None:
        rebuilt = TxnRequest(
            compare=[rebuild_compare(compare) for compare in plain.compares],
            success=rebuild_side(plain.success),
            failure=rebuild_side(plain.failure),
        )
        assert without_empty_unions(rebuilt) == without_empty_unions(plain.message())


def rebuild_side(operation: PlainPut | bytes | None) -> list[RequestOp]:
    if operation is None:
        return []
    if isinstance(operation, PlainPut):
        return [
            RequestOp(request_put=PutRequest(key=operation.key, value=operation.value, lease=operation.lease))
        ]
    return [RequestOp(request_range=RangeRequest(key=operation))]


UNION_MEMBERS: list[Any] = ["version", "create_revision", "mod_revision", "value", "lease"]


def rebuild_compare(plain: Any) -> Compare:
    compare = Compare(key=plain.key, target=plain.target, result=plain.result)
    member = UNION_MEMBERS[plain.target]
    setattr(compare, member, plain.value if member == "value" else plain.number)
    return compare


def without_empty_unions(request: TxnRequest) -> TxnRequest:
    """A union member that is not the target's, or zero, is as good as none."""
    for compare in request.compare:
        member = compare.WhichOneof("target_union")
        if member is not None and not getattr(compare, member):
            compare.ClearField(member)
    return request


class Twin:
    """A store and its leases, one of two that must stay alike."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.store = Store(backend)
        self.lessor = Lessor(backend, 2)
        self.lessor.grant(5, 60)
        self.lessor.grant(6, 60)

    def apply(self, execute: Callable[..., Any], request: Any) -> tuple[str, bytes]:
        txn = self.store.begin()
        try:
            return "", execute(txn, self.lessor, request).SerializeToString()
        except (LeaseNotFound, KeyNotFound) as error:
            return repr(error), b""
        finally:
            txn.end()

    def state(self) -> Any:
        observed = self.store.observed
        counters = {name: getattr(observed, name) for name in ("ranges", "puts", "put_bytes", "txns")}
        leases = {lease: sorted(self.lessor.keys(lease)) for lease in (5, 6)}
        return self.store.revision, self.store.hash_kv().hash, leases, counters


@pytest.fixture
def twins(tmp_path: Path) -> Any:
    made = [Twin(Backend.open(tmp_path / name, sync=False)) for name in ("plain", "message")]
    yield made
    for twin in made:
        twin.backend.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(puts() | txns(), min_size=5, max_size=25))
def test_a_plain_request_does_what_its_message_does(
    twins: Any, requests: list[PutRequest | TxnRequest]
) -> None:
    plain_twin, message_twin = twins
    for request in requests:
        data = request.SerializeToString()
        try:
            if isinstance(request, PutRequest):
                check_put(request)
            else:
                check_txn(request, COMPARES_MAX)
        except ServerError:
            assert read_put(data) is None if isinstance(request, PutRequest) else read_txn(data) is None
            continue
        plain: PlainPut | PlainTxn | None
        if isinstance(request, PutRequest):
            plain = read_put(data)
            expected = message_twin.apply(apply_put, request)
            found = plain_twin.apply(*((apply_put, request) if plain is None else (apply_plain_put, plain)))
        elif is_txn_read_only(request):
            assert read_txn(data) is None
            continue
        else:
            plain = read_txn(data)
            expected = message_twin.apply(apply_txn, request)
            found = plain_twin.apply(*((apply_txn, request) if plain is None else (apply_plain_txn, plain)))
        assert found == expected, request
    assert plain_twin.state() == message_twin.state()


def test_what_clients_send_most_is_plain() -> None:
    guard = Compare(key=b"k", target=Compare.MOD, result=Compare.EQUAL, mod_revision=7)
    update = TxnRequest(
        compare=[guard],
        success=[RequestOp(request_put=PutRequest(key=b"k", value=b"v" * 5000, lease=2**62))],
        failure=[RequestOp(request_range=RangeRequest(key=b"k"))],
    )
    plain = read_txn(update.SerializeToString())
    assert plain is not None
    assert isinstance(plain.success, PlainPut)
    assert (plain.success.lease, len(plain.success.value), plain.failure) == (2**62, 5000, b"k")
    assert plain.compares[0].number == 7
    assert plain.message() == update
