"""The file on disk: who may open it, what is wrong with it, how big it is, and when it is written."""

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcdpy.backend import Backend, BackendCorrupt, BackendError, BackendFull, BackendLocked, Bucket

MAP_BYTES = 1 << 28


class Loop:
    """Collects what the committer thread reports, to be run by the test."""

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def call_soon(self, report: Callable[[], None]) -> None:
        self.reports.put(report)

    def run_one(self) -> None:
        self.reports.get(timeout=20)()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def threaded(tmp_path: Path, loop: Loop) -> Iterator[Backend]:
    backend = Backend.open(tmp_path / "db", map_bytes=MAP_BYTES, call_soon=loop.call_soon)
    yield backend
    backend.abandon()


def test_one_backend_per_file(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    with pytest.raises(BackendLocked):
        Backend.open(tmp_path / "db")
    backend.close()
    Backend.open(tmp_path / "db").close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"\x00garbage" * 2000)
    with pytest.raises(BackendCorrupt):
        Backend.open(tmp_path / "db")
    # The failed attempt has let go of the file.
    (tmp_path / "db").unlink()
    Backend.open(tmp_path / "db").close()


def test_a_consistent_index_of_odd_length(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    backend.put(Bucket.META, b"consistent_index", b"12345")
    backend.close()
    with pytest.raises(BackendCorrupt):
        Backend.open(tmp_path / "db")
    with pytest.raises(BackendCorrupt):
        Backend.open(tmp_path / "db")


def test_the_default_map_is_address_space_only(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    backend.put(Bucket.META, b"a", b"b")
    backend.flush_sync()
    assert (tmp_path / "db").stat().st_size < 1 << 20
    backend.close()


def test_a_map_that_the_system_refuses_is_halved(tmp_path: Path) -> None:
    Backend.open(tmp_path / "db", map_bytes=1 << 50).close()


def test_a_full_map_fails_the_flush_and_every_later_one(tmp_path: Path) -> None:
    failures: list[BackendError] = []
    backend = Backend.open(tmp_path / "db", map_bytes=1 << 18, on_failure=failures.append)
    backend.put(Bucket.META, b"kept", b"1")
    backend.flush_sync()
    backend.put(Bucket.KEY, b"big", b"x" * (1 << 19))
    with pytest.raises(BackendFull):
        backend.flush()
    with pytest.raises(BackendFull):
        backend.flush_sync()
    assert [type(failure) for failure in failures] == [BackendFull]
    assert not backend.should_flush(1e9)
    backend.close()
    backend = Backend.open(tmp_path / "db", map_bytes=1 << 18)
    assert backend.get(Bucket.META, b"kept") == b"1"
    assert backend.get(Bucket.KEY, b"big") is None
    backend.close()


def test_a_failure_in_the_thread_is_reported(tmp_path: Path, loop: Loop) -> None:
    failures: list[BackendError] = []
    backend = Backend.open(
        tmp_path / "db", map_bytes=1 << 18, call_soon=loop.call_soon, on_failure=failures.append
    )
    backend.put(Bucket.KEY, b"big", b"x" * (1 << 19))
    done: list[str] = []
    backend.flush(lambda: done.append("flushed"))
    loop.run_one()
    assert not done
    assert len(failures) == 1
    assert backend.get(Bucket.KEY, b"big") is not None
    backend.close()


def test_done_is_called_when_all_writes_so_far_are_on_disk(threaded: Backend, loop: Loop) -> None:
    done: list[str] = []
    threaded.put(Bucket.LEASE, b"a", b"1")
    threaded.flush(lambda: done.append("first"))
    threaded.put(Bucket.LEASE, b"b", b"2")
    threaded.flush(lambda: done.append("second"))
    threaded.flush(lambda: done.append("third"))
    assert threaded.is_flushing
    loop.run_one()
    assert done == ["first"]
    loop.run_one()
    assert done == ["first", "second", "third"]
    with threaded.view() as view:
        assert list(view.items(Bucket.LEASE)) == [(b"a", b"1"), (b"b", b"2")]


def test_a_sync_flush_overtakes_the_thread(threaded: Backend, loop: Loop) -> None:
    done: list[str] = []
    threaded.put(Bucket.LEASE, b"a", b"1")
    threaded.flush(lambda: done.append("first"))
    threaded.put(Bucket.LEASE, b"b", b"2")
    threaded.flush(lambda: done.append("second"))
    threaded.flush_sync()
    assert done == ["second"]
    loop.run_one()
    assert sorted(done) == ["first", "second"]
    assert threaded.pending_operations == 0


def test_when_to_flush(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db", batch_interval_s=5, batch_operations_max=3)
    assert not backend.should_flush(100)
    backend.put(Bucket.LEASE, b"a", b"1")
    assert not backend.should_flush(104)
    assert backend.should_flush(105)
    backend.flush()
    backend.put(Bucket.LEASE, b"a", b"1")
    backend.put(Bucket.LEASE, b"b", b"1")
    backend.delete(Bucket.KEY, b"c")
    assert backend.should_flush(106)
    backend.flush()
    backend.set_consistent(4, 2)
    assert not backend.should_flush(107)
    assert backend.should_flush(111)
    backend.flush()
    assert not backend.should_flush(120)
    backend.close()


def test_the_position_in_the_log_goes_with_the_writes_before_it(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db")
    assert (backend.consistent_index, backend.consistent_term) == (0, 0)
    backend.put(Bucket.LEASE, b"a", b"1")
    backend.set_consistent(10, 2)
    backend.flush()
    backend.put(Bucket.LEASE, b"b", b"1")
    backend.set_consistent(11, 3)
    assert (backend.consistent_index, backend.consistent_term) == (11, 3)
    backend.abandon()
    backend = Backend.open(tmp_path / "db")
    assert (backend.consistent_index, backend.consistent_term) == (10, 2)
    assert backend.get(Bucket.LEASE, b"b") is None
    assert backend.get(Bucket.META, b"consistent_index") == (10).to_bytes(8, "big")
    backend.close()


def test_sizes_tell_the_truth(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db", map_bytes=MAP_BYTES)
    for number in range(2000):
        backend.put(Bucket.LEASE, b"%d" % number, b"x" * 1000)
    backend.flush_sync()
    full = backend.size_bytes
    assert 2_000_000 < backend.size_in_use_bytes <= full
    assert abs(full - (tmp_path / "db").stat().st_size) < 1 << 16
    for number in range(2000):
        backend.delete(Bucket.LEASE, b"%d" % number)
    backend.flush_sync()
    assert backend.size_bytes >= full
    assert backend.size_in_use_bytes < 1 << 18
    backend.close()


def test_a_key_of_every_length_around_the_limits(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db", map_bytes=MAP_BYTES)
    lengths = [1, 479, 480, 481, 511, 512, 959, 960, 961, 10_000, 1_500_000]
    for length in lengths:
        backend.put(Bucket.AUTH_ROLES, b"r" * length, b"%d" % length)
    backend.flush_sync()
    assert [len(key) for key, _ in backend.items(Bucket.AUTH_ROLES)] == lengths
    assert [value for _, value in backend.items(Bucket.AUTH_ROLES)] == [b"%d" % length for length in lengths]
    for length in lengths:
        assert backend.get(Bucket.AUTH_ROLES, b"r" * length) == b"%d" % length
        backend.delete(Bucket.AUTH_ROLES, b"r" * length)
    backend.flush_sync()
    assert list(backend.items(Bucket.AUTH_ROLES)) == []
    assert backend.size_in_use_bytes < 1 << 18
    backend.close()


def test_ten_thousand_keys_behind_one_long_prefix(tmp_path: Path) -> None:
    backend = Backend.open(tmp_path / "db", map_bytes=MAP_BYTES)
    prefix = b"\xff" * 600
    keys = sorted(prefix + number.to_bytes(2, "little") for number in range(10_000))
    for key in keys:
        backend.put(Bucket.INDEX, key, b"")
    backend.flush_sync()
    assert [key for key, _ in backend.items(Bucket.INDEX)] == keys
    middle = [key for key, _ in backend.items(Bucket.INDEX, keys[5000], keys[5010])]
    assert middle == keys[5000:5010]
    backend.close()


def test_a_batch_that_took_long_is_followed_by_a_longer_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend.open(tmp_path / "db", batch_interval_s=0.1, batch_operations_max=3)
    times = iter([0.0, 0.05, 0.0, 0.001, 0.0, 0.001])
    monkeypatch.setattr("etcdpy.backend.backend.perf_counter", lambda: next(times))
    backend.put(Bucket.LEASE, b"a", b"1")
    assert backend.should_flush(100)
    backend.flush()
    for key in (b"a", b"b", b"c"):
        backend.put(Bucket.LEASE, key, b"2")
    assert not backend.should_flush(100.15), "a twentieth of a second of work, four times that of rest"
    assert backend.should_flush(100.25)
    backend.flush()
    backend.put(Bucket.LEASE, b"a", b"3")
    assert backend.should_flush(100.4)
    backend.close()
