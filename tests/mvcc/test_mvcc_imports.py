"""A store made from another's records is that store: whatever was done to it, and however it goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend, Bucket
from etcdpy.mvcc import CorruptStore, Store
from etcdpy.mvcc.imports import import_records
from etcdpy.mvcc.revision import encode_revision
from tests.support.store_rows import comparable

KEYS = [b"a", b"b", b"c" * 600, b"d"]
LEASES = {7, 8}

operations = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from([0, 7, 8, 9])),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(0)),
    st.tuples(st.just("compact"), st.just(b""), st.integers(0, 3)),
)


def do(store: Store, kind: str, key: bytes, number: int) -> None:
    if kind == "compact":
        revision = store.revision - number
        if revision > max(store.compact_revision, 0):
            store.compact(revision)
            while store.compact_step():
                pass
        return
    txn = store.begin()
    if kind == "put":
        txn.put(key, b"v%d" % store.revision, number)
    else:
        txn.delete_range(key)
    txn.end()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(operations, max_size=30), st.lists(operations, max_size=10))
def test_an_imported_store_equals_its_origin_and_goes_on_alike(
    before: list[tuple[str, bytes, int]], after: list[tuple[str, bytes, int]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        origin = Store(Backend.open(Path(directory) / "origin"))
        for operation in before:
            do(origin, *operation)
        backend = Backend.open(Path(directory) / "copy")
        for key, value in origin.backend.items(Bucket.META):
            backend.put(Bucket.META, key, value)
        count = import_records(backend, list(origin.backend.items(Bucket.KEY)), LEASES)
        copy = Store(backend)
        assert count == len(list(copy.backend.items(Bucket.KEY)))
        assert (copy.revision, copy.compact_revision) == (origin.revision, origin.compact_revision)
        assert comparable(copy.backend) == comparable(origin.backend)
        known = {(lease, key) for lease, key in origin.attached_leases() if lease in LEASES}
        assert set(copy.attached_leases()) == known
        for operation in after:
            do(origin, *operation)
            do(copy, *operation)
        assert comparable(copy.backend) == comparable(origin.backend)
        assert copy.hash_kv() == origin.hash_kv()
        origin.backend.close()
        backend.close()


def test_the_empty_record_of_a_restore_only_raises_the_revision(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    assert import_records(backend, [(encode_revision(1000), b"")], set()) == 1
    store = Store(backend)
    assert store.revision == 1000
    assert store.range(b"\0", b"\0").count == 0
    backend.close()


@pytest.mark.parametrize(
    ("revision", "data"),
    [(b"short", b"\x0a\x01k"), (encode_revision(2), b"\xff\xff"), (encode_revision(2), b"\x10\x01")],
)
def test_what_is_no_record_is_refused(tmp_path: Path, revision: bytes, data: bytes) -> None:
    backend = Backend.open(tmp_path / "db")
    with pytest.raises(CorruptStore):
        import_records(backend, [(revision, data)], set())
    backend.abandon()
