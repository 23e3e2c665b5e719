"""Execution of puts, deletes and transactions (behaviour reference, sections 3 to 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.backend import Backend
from etcdpy.lease import LeaseNotFound, Lessor
from etcdpy.mvcc import Compacted, FutureRevision, Store
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from etcdpy.server.errors import KeyNotFound
from etcdpy.server.txn import apply_delete_range, apply_put, apply_txn, read_txn
from tests.rpc.fakes import ModelStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class NoBuckets:
    """A backend that keeps nothing."""

    def put(self, bucket: int, key: bytes, value: bytes) -> None: ...

    def delete(self, bucket: int, key: bytes) -> None: ...

    def items(self, bucket: int) -> list[tuple[bytes, bytes]]:
        return []


class Bench:
    """A store and a lessor with leases 5 and 6, and short words for requests."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.lessor = Lessor(NoBuckets(), 2)
        self.lessor.grant(5, 60)
        self.lessor.grant(6, 60)

    def put(self, key: bytes, value: bytes = b"", **fields: Any) -> PutResponse:
        txn = self.store.begin()
        try:
            return apply_put(txn, self.lessor, PutRequest(key=key, value=value, **fields))
        finally:
            txn.end()

    def delete(self, key: bytes, range_end: bytes = b"", **fields: Any) -> DeleteRangeResponse:
        request = DeleteRangeRequest(key=key, range_end=range_end, **fields)
        txn = self.store.begin()
        try:
            return apply_delete_range(txn, self.lessor, request)
        finally:
            txn.end()

    def txn(self, *success: RequestOp, compare: Any = (), failure: Any = ()) -> TxnResponse:
        request = TxnRequest(compare=compare, success=success, failure=failure)
        txn = self.store.begin()
        try:
            return apply_txn(txn, self.lessor, request)
        finally:
            txn.end()

    def get(self, key: bytes) -> Any:
        kv = self.store.get(key)
        return None if kv is None else KeyValue.FromString(kv)


@pytest.fixture(params=["model", "store"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """On the model, which is easy to trust, and on the store itself."""
    if request.param == "model":
        yield Bench(ModelStore())
        return
    backend = Backend.open(tmp_path / "db")
    yield Bench(Store(backend))
    backend.close()


def put(key: bytes, value: bytes = b"", **fields: Any) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=key, value=value, **fields))


def get(key: bytes, **fields: Any) -> RequestOp:
    return RequestOp(request_range=RangeRequest(key=key, **fields))


def delete(key: bytes, range_end: bytes = b"", **fields: Any) -> RequestOp:
    return RequestOp(request_delete_range=DeleteRangeRequest(key=key, range_end=range_end, **fields))


def nested(*success: RequestOp, compare: Any = (), failure: Any = ()) -> RequestOp:
    return RequestOp(request_txn=TxnRequest(compare=compare, success=success, failure=failure))


class TestPut:
    def test_versions_and_revisions(self, bench: Bench) -> None:
        bench.put(b"a", b"1")
        bench.put(b"a", b"2")
        kv = bench.get(b"a")
        assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (2, 3, 2, b"2")

    def test_the_previous_value_on_request(self, bench: Bench) -> None:
        assert not bench.put(b"a", b"1", prev_kv=True).HasField("prev_kv")
        assert bench.put(b"a", b"2", prev_kv=True).prev_kv.value == b"1"
        assert not bench.put(b"a", b"3").HasField("prev_kv")

    def test_ignore_value_keeps_the_value_and_moves_the_lease(self, bench: Bench) -> None:
        bench.put(b"a", b"1")
        bench.put(b"a", ignore_value=True, lease=5)
        kv = bench.get(b"a")
        assert (kv.value, kv.lease, bench.lessor.lease_of(b"a")) == (b"1", 5, 5)

    def test_ignore_lease_keeps_the_lease(self, bench: Bench) -> None:
        bench.put(b"a", b"1", lease=5)
        response = bench.put(b"a", b"2", ignore_lease=True, prev_kv=True)
        kv = bench.get(b"a")
        assert (kv.value, kv.lease, bench.lessor.keys(5)) == (b"2", 5, [b"a"])
        assert response.prev_kv.value == b"1"

    @pytest.mark.parametrize("option", ["ignore_value", "ignore_lease"])
    def test_there_must_be_something_to_keep(self, bench: Bench, option: str) -> None:
        with pytest.raises(KeyNotFound):
            bench.put(b"a", **{option: True})
        assert bench.store.revision == 1

    def test_an_unknown_lease_is_found_first(self, bench: Bench) -> None:
        with pytest.raises(LeaseNotFound):
            bench.put(b"a", lease=7, ignore_value=True)
        assert bench.store.revision == 1

    def test_a_key_hangs_on_one_lease_at_a_time(self, bench: Bench) -> None:
        bench.put(b"a", lease=5)
        bench.put(b"a", lease=6)
        assert (bench.lessor.keys(5), bench.lessor.keys(6)) == ([], [b"a"])
        bench.put(b"a")
        assert (bench.lessor.keys(6), bench.lessor.lease_of(b"a")) == ([], 0)


class TestDelete:
    def test_a_range_in_one_revision(self, bench: Bench) -> None:
        for key in (b"a", b"b", b"c"):
            bench.put(key, b"v" + key)
        response = bench.delete(b"a", b"c", prev_kv=True)
        assert response.deleted == 2
        assert [kv.value for kv in response.prev_kvs] == [b"va", b"vb"]
        assert bench.store.revision == 5

    def test_nothing_to_delete_makes_no_revision(self, bench: Bench) -> None:
        bench.put(b"a")
        assert bench.delete(b"x", b"z").deleted == 0
        assert bench.delete(b"b", b"a").deleted == 0
        assert bench.store.revision == 2

    @pytest.mark.parametrize(("key", "range_end"), [(b"a", b""), (b"a", b"c"), (b"a", b"\0")])
    def test_leases_let_go(self, bench: Bench, key: bytes, range_end: bytes) -> None:
        bench.put(b"a", lease=5)
        bench.put(b"z", lease=6)
        bench.delete(key, range_end)
        assert bench.lessor.keys(5) == []
        assert bench.lessor.keys(6) == ([] if range_end == b"\0" else [b"z"])


class TestCompare:
    @pytest.mark.parametrize(
        ("fields", "holds"),
        [
            ({"target": "VERSION", "version": 2}, True),
            ({"target": "VERSION", "version": 1, "result": "GREATER"}, True),
            ({"target": "CREATE", "create_revision": 2}, True),
            ({"target": "MOD", "mod_revision": 3}, True),
            ({"target": "MOD", "mod_revision": 3, "result": "LESS"}, False),
            ({"target": "MOD", "mod_revision": 4, "result": "LESS"}, True),
            ({"target": "LEASE", "lease": 5}, True),
            ({"target": "VALUE", "value": b"m"}, True),
            ({"target": "VALUE", "value": b"n", "result": "LESS"}, True),
            ({"target": "VALUE", "value": b"ma", "result": "GREATER"}, False),
            ({"target": "VALUE", "value": b"x", "result": "NOT_EQUAL"}, True),
            # A member that belongs to another target counts as unset.
            ({"target": "VERSION", "value": b"m"}, False),
            ({"target": "VERSION", "value": b"m", "result": "GREATER"}, True),
        ],
    )
    def test_of_a_key(self, bench: Bench, fields: dict[str, Any], holds: bool) -> None:
        bench.put(b"k", b"l", lease=5)
        bench.put(b"k", b"m", lease=5)
        assert bench.txn(compare=[Compare(key=b"k", **fields)]).succeeded is holds

    @pytest.mark.parametrize(
        ("fields", "holds"),
        [
            ({"target": "VALUE", "value": b""}, False),
            ({"target": "VALUE", "value": b"x", "result": "NOT_EQUAL"}, False),
            ({"target": "VERSION", "version": 0}, True),
            ({"target": "CREATE", "create_revision": 1, "result": "LESS"}, True),
            ({"target": "MOD", "mod_revision": 1}, False),
            ({"target": "LEASE"}, True),
        ],
    )
    def test_of_a_missing_key_or_an_empty_range(
        self, bench: Bench, fields: dict[str, Any], holds: bool
    ) -> None:
        assert bench.txn(compare=[Compare(key=b"k", **fields)]).succeeded is holds
        assert bench.txn(compare=[Compare(key=b"k", range_end=b"l", **fields)]).succeeded is holds

    def test_of_a_range_must_hold_for_every_key(self, bench: Bench) -> None:
        bench.put(b"a")
        bench.put(b"b")
        first = Compare(key=b"a", range_end=b"c", target=Compare.VERSION, version=1)
        assert bench.txn(compare=[first]).succeeded
        bench.put(b"b")
        assert not bench.txn(compare=[first]).succeeded

    def test_of_an_unknown_result_holds_and_an_unknown_target_is_equal(self, bench: Bench) -> None:
        compare = Compare(key=b"a")
        compare.result = 9  # type: ignore[assignment]
        assert bench.txn(compare=[compare]).succeeded
        compare = Compare(key=b"a")
        compare.target = 9  # type: ignore[assignment]
        assert bench.txn(compare=[compare]).succeeded
        compare.result = Compare.GREATER
        assert not bench.txn(compare=[compare]).succeeded


class TestTxn:
    def test_without_compares_succeeds(self, bench: Bench) -> None:
        response = bench.txn(put(b"a"), failure=[put(b"b")])
        assert response.succeeded
        assert (bench.get(b"a") is None, bench.get(b"b") is None) == (False, True)

    def test_all_writes_share_a_revision_and_reads_see_them(self, bench: Bench) -> None:
        bench.put(b"old")
        response = bench.txn(get(b"a"), put(b"a", b"1"), get(b"a"), put(b"b"), delete(b"old"))
        assert [bench.get(key).mod_revision for key in (b"a", b"b")] == [3, 3]
        kinds = [answer.WhichOneof("response") for answer in response.responses]
        assert kinds == [
            "response_range",
            "response_put",
            "response_range",
            "response_put",
            "response_delete_range",
        ]
        before, after = response.responses[0].response_range, response.responses[2].response_range
        assert (before.count, after.count, after.kvs[0].value) == (0, 1, b"1")
        assert response.responses[4].response_delete_range.deleted == 1

    def test_inner_headers_hold_the_revision_of_the_moment_and_nothing_else(self, bench: Bench) -> None:
        bench.put(b"old")
        response = bench.txn(get(b"a"), delete(b"none"), put(b"a"), get(b"a"), nested(put(b"b")))
        read, deleted, written, reread, inner = response.responses
        assert read.response_range.header.revision == 2
        assert deleted.response_delete_range.header.revision == 2
        assert written.response_put.header.revision == 3
        assert reread.response_range.header.revision == 3
        assert written.response_put.header.cluster_id == 0
        assert inner.response_txn.HasField("header")
        assert inner.response_txn.header.revision == 0
        assert not response.HasField("header")

    def test_a_branch_that_changes_nothing_leaves_the_revision(self, bench: Bench) -> None:
        bench.txn(put(b"a"), compare=[Compare(key=b"x", target=Compare.VERSION, version=1)])
        assert bench.store.revision == 1

    def test_previous_values(self, bench: Bench) -> None:
        bench.put(b"a", b"1")
        response = bench.txn(put(b"a", b"2", prev_kv=True), delete(b"b", prev_kv=True))
        assert response.responses[0].response_put.prev_kv.value == b"1"
        assert list(response.responses[1].response_delete_range.prev_kvs) == []

    def test_nested_compares_look_at_the_state_before_the_txn(self, bench: Bench) -> None:
        missing = Compare(key=b"a", target=Compare.VERSION, version=0)
        response = bench.txn(put(b"a"), nested(put(b"then"), compare=[missing], failure=[put(b"else")]))
        assert response.responses[1].response_txn.succeeded
        assert bench.get(b"then") is not None

    def test_nested_paths_are_taken_in_order(self, bench: Bench) -> None:
        never = Compare(key=b"x", target=Compare.VERSION, version=1)
        response = bench.txn(
            nested(nested(put(b"1"), compare=[never], failure=[put(b"2")])),
            nested(put(b"3"), compare=[never], failure=[nested(put(b"4"))]),
        )
        written = [key for key in (b"1", b"2", b"3", b"4") if bench.get(key) is not None]
        assert written == [b"2", b"4"]
        second = response.responses[1].response_txn
        assert (second.succeeded, second.responses[0].response_txn.succeeded) == (False, True)

    @pytest.mark.parametrize(
        ("operation", "error"),
        [
            (put(b"n", lease=9), LeaseNotFound),
            (put(b"n", ignore_value=True), KeyNotFound),
            (put(b"n", ignore_lease=True), KeyNotFound),
            (put(b"n", ignore_value=True, lease=9), KeyNotFound),
            (get(b"n", revision=99), FutureRevision),
            (get(b"n", revision=2), Compacted),
            (get(b"n", revision=-2), Compacted),
            (nested(put(b"n", lease=9)), LeaseNotFound),
            # All puts are looked at before any range.
            (nested(get(b"n", revision=99), put(b"n", lease=9)), LeaseNotFound),
        ],
    )
    def test_a_part_that_must_fail_fails_the_whole(
        self, bench: Bench, operation: RequestOp, error: type[Exception]
    ) -> None:
        for _ in range(3):
            bench.put(b"a")
        bench.store.compact(3)
        with pytest.raises(error):
            bench.txn(put(b"first"), operation)
        assert bench.get(b"first") is None
        assert bench.store.revision == 4

    def test_a_range_of_revision_minus_one_passes_until_something_is_compacted(self, bench: Bench) -> None:
        bench.put(b"a")
        assert bench.txn(put(b"b"), get(b"a", revision=-1)).responses[1].response_range.count == 1
        bench.store.compact(0)
        with pytest.raises(Compacted):
            bench.txn(put(b"c"), get(b"a", revision=-1))

    def test_what_is_not_on_the_path_is_not_checked(self, bench: Bench) -> None:
        response = bench.txn(put(b"a"), failure=[put(b"n", lease=9), get(b"n", revision=99)])
        assert response.succeeded

    def test_a_range_may_read_history_but_not_the_revision_being_made(self, bench: Bench) -> None:
        bench.put(b"a", b"1")
        response = bench.txn(put(b"a", b"2"), get(b"a", revision=2))
        assert response.responses[1].response_range.kvs[0].value == b"1"
        with pytest.raises(FutureRevision):
            bench.txn(put(b"a", b"3"), get(b"a", revision=4))

    def test_a_put_that_keeps_what_an_unseen_delete_takes_fails_the_whole(self, bench: Bench) -> None:
        bench.put(b"b", b"1")
        with pytest.raises(KeyNotFound):
            bench.txn(put(b"a"), delete(b"b", b"\0"), put(b"b", ignore_value=True))
        assert bench.get(b"a") is None
        bench.txn(delete(b"c", b"\0"), put(b"b", ignore_value=True, lease=5))
        assert bench.get(b"b").version == 2

    def test_delete_to_the_end_and_put_in_one_revision(self, bench: Bench) -> None:
        bench.put(b"a", b"1", lease=5)
        bench.txn(delete(b"a", b"\0"), put(b"a", b"2", lease=6))
        kv = bench.get(b"a")
        assert (kv.version, kv.create_revision, kv.value) == (1, 3, b"2")
        assert (bench.lessor.keys(5), bench.lessor.keys(6)) == ([], [b"a"])

    def test_leases_follow_the_operations(self, bench: Bench) -> None:
        bench.put(b"gone", lease=5)
        bench.txn(put(b"a", lease=5), delete(b"gone"))
        assert bench.lessor.keys(5) == [b"a"]


class TestReadOnly:
    def test_takes_its_branch_and_answers_like_a_write(self, bench: Bench) -> None:
        bench.put(b"a", b"1")
        request = TxnRequest(
            compare=[Compare(key=b"a", target=Compare.VALUE, value=b"2")],
            success=[get(b"x")],
            failure=[get(b"a"), get(b"a", count_only=True)],
        )
        response = read_txn(bench.store, request)
        assert not response.succeeded
        first, second = (answer.response_range for answer in response.responses)
        assert (first.kvs[0].value, first.count, first.header.revision) == (b"1", 1, 2)
        assert (len(second.kvs), second.count) == (0, 1)

    def test_is_checked_before_it_reads(self, bench: Bench) -> None:
        with pytest.raises(FutureRevision):
            read_txn(bench.store, TxnRequest(success=[get(b"a"), get(b"a", revision=2)]))
