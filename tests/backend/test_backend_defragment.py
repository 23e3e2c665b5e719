"""Defragmentation: the file shrinks, nothing is lost, reads and writes go on, views are not disturbed."""

import queue
from collections.abc import Callable
from pathlib import Path

import pytest

from etcdpy.backend import Backend, BackendError, Bucket

ROWS = 5000


def filled(path: Path, call_soon: Callable[[Callable[[], None]], object] | None = None) -> Backend:
    """A backend of which most has been deleted again."""
    backend = Backend.open(path, call_soon=call_soon)
    for number in range(ROWS):
        backend.put(Bucket.LEASE, b"%08d" % number, b"x" * 500)
    backend.flush_sync()
    for number in range(ROWS):
        if number % 10:
            backend.delete(Bucket.LEASE, b"%08d" % number)
    backend.set_consistent(7, 2)
    backend.flush_sync()
    return backend


def rows(backend: Backend) -> int:
    return sum(1 for _ in backend.items(Bucket.LEASE))


def test_the_file_shrinks_and_keeps_what_is_in_use(tmp_path: Path) -> None:
    backend = filled(tmp_path / "db")
    before = backend.size_bytes
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    assert answers == [None]
    assert backend.size_bytes < before / 2
    assert (tmp_path / "db").stat().st_size < before / 2
    assert rows(backend) == ROWS // 10
    assert backend.consistent_index == 7
    backend.put(Bucket.LEASE, b"later", b"y")
    backend.close()
    again = Backend.open(tmp_path / "db")
    assert again.get(Bucket.LEASE, b"later") == b"y"
    assert (again.consistent_index, again.consistent_term) == (7, 2)
    again.close()


def test_writes_and_reads_go_on_while_the_copy_is_made(tmp_path: Path) -> None:
    loop: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    backend = filled(tmp_path / "db", loop.put)
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    loop.get(timeout=10)()  # the flush before the copy
    backend.put(Bucket.LEASE, b"00000000", b"changed")
    backend.put(Bucket.LEASE, b"new", b"z")
    backend.delete(Bucket.LEASE, b"00000010")
    flushed: list[bool] = []
    backend.flush(lambda: flushed.append(True))
    assert backend.get(Bucket.LEASE, b"new") == b"z"
    assert rows(backend) == ROWS // 10
    while not answers or not flushed:
        loop.get(timeout=10)()
    assert answers == [None]
    backend.close()
    again = Backend.open(tmp_path / "db")
    assert again.get(Bucket.LEASE, b"00000000") == b"changed"
    assert again.get(Bucket.LEASE, b"00000010") is None
    assert rows(again) == ROWS // 10
    again.close()


def test_an_open_view_keeps_the_old_file(tmp_path: Path) -> None:
    backend = filled(tmp_path / "db")
    view = backend.view()
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    assert isinstance(answers[0], BackendError)
    assert view.get(Bucket.LEASE, b"00000000") == b"x" * 500
    view.close()
    backend.defragment(answers.append)
    assert answers[1] is None
    backend.close()


@pytest.mark.parametrize("interrupted", [b"", b"half a copy"])
def test_what_an_interrupted_copy_left_is_removed(tmp_path: Path, interrupted: bytes) -> None:
    filled(tmp_path / "db").close()
    (tmp_path / "db.tmp").write_bytes(interrupted)
    backend = Backend.open(tmp_path / "db")
    assert not (tmp_path / "db.tmp").exists()
    assert rows(backend) == ROWS // 10
    backend.close()


def test_shutting_down_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    loop: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    backend = filled(tmp_path / "db", loop.put)
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    loop.get(timeout=10)()
    backend.put(Bucket.LEASE, b"late", b"z")
    backend.close()
    while not loop.empty():
        loop.get()()
    assert isinstance(answers[0], BackendError)
    again = Backend.open(tmp_path / "db")
    assert again.get(Bucket.LEASE, b"late") == b"z"
    again.close()
