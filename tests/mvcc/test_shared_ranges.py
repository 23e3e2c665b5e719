"""Kept answers: nothing is found that a read would not give, and what is kept is bounded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.mvcc.shared_ranges import ASKED_MAX, NAME_BYTES_MAX, SHARED_BYTES_MAX, SHARED_MAX, SharedRanges
from tests.mvcc.conftest import Disk

KEYS = st.sampled_from([b"a", b"a\0", b"b", b"c", b"\xff"])
ENDS = st.sampled_from([b"", b"\0", b"a", b"a\0", b"b", b"c", b"d"])
# Few, so that the same comes again.
NAMES = st.sampled_from(
    [(b"a", b"\0", 0, False), (b"a", b"c", 2, True), (b"b", b"", 0, False), (b"b", b"a", 0, False)]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("list"), NAMES),
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("delete"), KEYS, ENDS),
    ),
    max_size=40,
)


def test_the_second_answer_is_kept_until_a_key_of_it_changes() -> None:
    shared = SharedRanges()
    name = (b"a", b"c", 0, False)
    for answer in ("first", "second"):
        assert shared.find(name) is None
        shared.keep(name, answer, 10)
    assert shared.is_used
    assert shared.find(name) == shared.find(name) == "second"
    shared.changed(b"c")
    shared.changed(b"Z")
    assert shared.find(name) == "second"
    shared.changed(b"b")
    assert shared.find(name) is None
    assert not shared.is_used
    # Who asked twice asks again.
    shared.keep(name, "third", 10)
    assert shared.find(name) == "third"


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_what_is_found_is_what_a_read_gives(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        disk = Disk(Path(directory) / "db")
        try:
            for step in steps:
                check_step(disk, step)
        finally:
            disk.backend.close()


def check_step(disk: Disk, step: tuple) -> None:
    store = disk.store
    if step[0] == "put":
        disk.put(step[1], b"v%d" % store.revision)
    elif step[0] == "delete":
        disk.delete(step[1], step[2])
    else:
        name = step[1]
        result = store.range(name[0], name[1], limit=name[2], keys_only=name[3])
        kept = store.shared.find(name)
        if kept is None:
            store.shared.keep(name, (result.kvs, result.count), 100)
        else:
            assert kept == (result.kvs, result.count)


def test_answers_of_all_sizes_are_bounded_together() -> None:
    shared = SharedRanges()

    def keep(number: int, size: int) -> tuple[bytes, bytes, int, bool]:
        name = (b"%04d" % number, b"", 0, False)
        shared.keep(name, number, size)
        shared.keep(name, number, size)
        return name

    names = [keep(number, 1) for number in range(SHARED_MAX)]
    assert shared.find(names[0]) == 0  # so that the second is the one longest unused
    names.append(keep(SHARED_MAX, 1))
    assert [shared.find(name) is not None for name in names] == [True, False, *[True] * (SHARED_MAX - 1)]
    large = [keep(100 + number, SHARED_BYTES_MAX // 2) for number in range(3)]
    assert [shared.find(name) is not None for name in large] == [False, True, True]
    assert all(shared.find(name) is None for name in names)
    too_large = keep(200, SHARED_BYTES_MAX // 2 + 1)
    assert shared.find(too_large) is None
    long = (b"k" * NAME_BYTES_MAX, b"l", 0, False)
    shared.keep(long, "long", 1)
    shared.keep(long, "long", 1)
    assert shared.find(long) is None


def test_requests_that_come_once_are_not_remembered_for_ever() -> None:
    shared = SharedRanges()
    for number in range(3 * ASKED_MAX):
        shared.keep((b"%04d" % number, b"", 0, False), number, 1)
    assert not shared.is_used
    assert len(shared._asked) <= ASKED_MAX
