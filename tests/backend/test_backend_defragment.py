"""Defragmentation: the file shrinks, nothing is lost, reads and writes go on, views are not disturbed."""

import queue
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etcdpy.backend import Backend, BackendError, Bucket
from etcdpy.backend.long_keys import CHUNK

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


def test_an_open_view_keeps_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    backend = filled(tmp_path / "db")
    view = backend.view()
    before = backend.size_bytes
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    assert answers == [None]
    assert backend.size_bytes < before / 5
    backend.put(Bucket.LEASE, b"00000000", b"changed")
    backend.flush_sync()
    assert view.get(Bucket.LEASE, b"00000000") == b"x" * 500
    view.close()
    assert backend.get(Bucket.LEASE, b"00000000") == b"changed"
    backend.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "db-lock"]


def test_pages_that_are_nearly_empty_are_merged(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    chance = random.Random(1)
    for number in range(20_000):
        backend.put(Bucket.KEY, b"%08d" % number, b"x" * 100)
    backend.flush_sync()
    full = backend.size_bytes
    for number in chance.sample(range(20_000), 18_000):
        backend.delete(Bucket.KEY, b"%08d" % number)
    backend.flush_sync()
    assert backend.size_in_use_bytes > 0.3 * full, "hardly a page is free from end to end"
    backend.defragment(lambda error: None)
    assert backend.size_bytes < 0.13 * full
    backend.close()


def test_two_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    loop: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    backend = filled(tmp_path / "db", loop.put)
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    backend.defragment(answers.append)
    while len(answers) < 2:
        loop.get(timeout=10)()
    assert answers == [None, None]
    assert rows(backend) == ROWS // 10
    backend.close()


def test_one_that_is_given_up_leaves_the_file_alone(tmp_path: Path) -> None:
    loop: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    backend = filled(tmp_path / "db", loop.put)
    before = (tmp_path / "db").stat().st_ino
    answers: list[BackendError | None] = []
    backend.defragment(answers.append)
    loop.get(timeout=10)()
    backend.give_up_copy()
    while not answers:
        loop.get(timeout=10)()
    assert isinstance(answers[0], BackendError)
    assert (tmp_path / "db").stat().st_ino == before
    assert not (tmp_path / "db.tmp").exists()
    backend.close()


KEYS = [b"a", b"b", b"c" * CHUNK, b"c" * (CHUNK + 1), b"c" * (3 * CHUNK), b"d" * (2 * CHUNK + 5), b"e", b"f"]


class Race:
    """A backend that is written, flushed and killed while it is defragmented two rows at a time."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.path = directory / "db"
        self.chance = random.Random(seed)
        self.loop: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.backend = Backend.open(self.path, map_bytes=1 << 28, call_soon=self.loop.put)
        self.rows: dict[tuple[Bucket, bytes], bytes] = {}
        self.flushed: dict[tuple[Bucket, bytes], bytes] = {}
        self.asked = self.finished = 0

    def act(self) -> None:
        chance = self.chance
        for _ in range(chance.randrange(4)):
            bucket, key = chance.choice([Bucket.KEY, Bucket.INDEX, Bucket.COUNTS]), chance.choice(KEYS)
            if chance.random() < 0.4:
                self.backend.delete(bucket, key)
                self.rows.pop((bucket, key), None)
            else:
                value = chance.randbytes(3)
                self.backend.put(bucket, key, value)
                self.rows[bucket, key] = value
        chance.choice([self.flush] + 5 * [self.hear] + [self.defragment])()

    def flush(self) -> None:
        written = dict(self.rows)
        self.backend.flush(lambda: self.has_flushed(written))

    def has_flushed(self, written: dict[tuple[Bucket, bytes], bytes]) -> None:
        self.flushed = written

    def hear(self) -> None:
        if self.backend.is_flushing or self.asked > self.finished:
            self.loop.get(timeout=20)()

    def defragment(self) -> None:
        self.asked += 1
        self.backend.defragment(self.has_finished)

    def has_finished(self, error: BackendError | None) -> None:
        assert error is None
        self.finished += 1

    def kill(self) -> None:
        """Only what was reported as flushed must be there; what came later may be, batch by batch."""
        self.backend.flush_sync()
        self.flushed = dict(self.rows)
        self.backend.put(Bucket.KEY, b"never flushed", b"x")
        self.backend.abandon()
        self.asked = self.finished
        self.loop = queue.SimpleQueue()
        self.backend = Backend.open(self.path, map_bytes=1 << 28, call_soon=self.loop.put)
        self.rows = dict(self.flushed)

    def check(self) -> None:
        found = {(bucket, key): value for bucket in Bucket for key, value in self.backend.items(bucket)}
        assert found == self.rows


@pytest.fixture
def memory() -> Iterator[Path]:
    """A place that syncs at once: hundreds of steps are synced here."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with TemporaryDirectory(dir=place) as directory:
        yield Path(directory)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_written_meanwhile_is_in_the_copy(
    memory: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcdpy.backend.defragment.STEP_ROWS", 2)
    race = Race(memory, seed)
    for number in range(240):
        race.act()
        race.check()
        if number % 80 == 79:
            race.kill()
            race.check()
    race.backend.abandon()
    assert race.finished > 2


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
