"""The head of an entry is read as protobuf reads it, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etcdpy.proto import raft_pb2
from etcdpy.wal.entry_head import read_entry_head

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 64) - 1))


def check_agreement(body: bytes) -> None:
    head = read_entry_head(body)
    if head is not None:
        entry = raft_pb2.Entry.FromString(body)
        assert head == (entry.Type, entry.Term, entry.Index, len(entry.Data))


@given(st.sampled_from([0, 1, 2]), NUMBERS, NUMBERS, st.binary(max_size=300))
def test_entries_of_every_member_are_read(kind: int, term: int, index: int, data: bytes) -> None:
    entry = raft_pb2.Entry(Type=kind, Term=term, Index=index)  # type: ignore[arg-type]
    if data:
        entry.Data = data
    head = read_entry_head(entry.SerializeToString())
    if max(term, index) < 1 << 63:
        assert head == (kind, term, index, len(data))
    else:
        assert head is None


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\x08\x00\x10\x01\x18" + tail))
def test_nothing_is_read_in_another_way_than_by_protobuf(body: bytes) -> None:
    check_agreement(body)


@given(st.binary(max_size=30), st.data())
def test_a_cut_or_changed_entry_is_not_mistaken(value: bytes, data: st.DataObject) -> None:
    body = bytearray(raft_pb2.Entry(Type=0, Term=3, Index=700, Data=value).SerializeToString())
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= 1 << data.draw(st.integers(0, 7))
    check_agreement(bytes(body))
    check_agreement(bytes(body[:position]))
