"""The kernel syncs while the loop goes on; nobody is answered before it has, and a failure is final."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.proto.raft_pb2 import Entry, EntryType
from etcdpy.server.disk import SHARED_ENTRIES_MIN, WalThread
from etcdpy.server.kernel_sync import KernelSync, open_kernel_sync
from etcdpy.server.storage import LogWrite
from etcdpy.wal import Log, LogFailed, SnapshotMark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asynchronous input/output is Linux's")


def in_loop(use: Callable[[KernelSync], Awaitable[None]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        kernel = open_kernel_sync(loop.add_reader, loop.remove_reader)
        assert kernel is not None, "every Linux that we are tested on has it"
        await use(kernel)
        kernel.close()

    asyncio.run(run())


@ON_LINUX
def test_a_file_is_synced_and_the_loop_is_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    async def use(kernel: KernelSync) -> None:
        for number in range(3):
            ended = asyncio.get_running_loop().create_future()
            os.pwrite(descriptor, b"data", 4 * number)
            assert kernel.start(descriptor, ended.set_result)
            assert kernel.is_busy
            assert await ended is None
            assert not kernel.is_busy

    in_loop(use)
    os.close(descriptor)


@ON_LINUX
def test_close_waits_for_the_sync_that_is_under_way(tmp_path: Path) -> None:
    descriptor, told = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), []  # type: ignore[var-annotated]

    async def use(kernel: KernelSync) -> None:
        os.pwrite(descriptor, bytes(1 << 20), 0)
        assert kernel.start(descriptor, told.append)

    in_loop(use)
    assert told == [None]
    os.close(descriptor)


@ON_LINUX
def test_what_cannot_be_synced_is_refused_or_told() -> None:
    reader, writer = os.pipe()

    async def use(kernel: KernelSync) -> None:
        told: list[OSError | None] = []
        if kernel.start(writer, told.append):
            kernel.finish()
            assert [error and error.errno for error in told] == [errno.EINVAL]
        assert not kernel.is_busy

    in_loop(use)
    os.close(reader)
    os.close(writer)


def test_other_systems_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etcdpy.server.kernel_sync.platform.machine", lambda: "sparc")
    assert open_kernel_sync(lambda *_: None, lambda _: True) is None


class Kernel:
    """Syncs when the test says so."""

    def __init__(self, *, helps: bool = True) -> None:
        self.helps = helps
        self.descriptors: list[int] = []
        self._done: Callable[[OSError | None], None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._done is not None

    def start(self, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
        if self.helps:
            self.descriptors.append(descriptor)
            self._done = done
        return self.helps

    def end(self, error: OSError | None = None) -> None:
        done, self._done = self._done, None
        assert done is not None
        done(error)

    def close(self) -> None:
        if self._done is not None:
            self.end()


def encoded_entry(index: int) -> bytes:
    return Entry(Term=1, Index=index, Type=EntryType.EntryNormal, Data=b"data").SerializeToString()


class Bench:
    """A log, and a disk whose kernel is the test's."""

    def __init__(self, directory: Path) -> None:
        self.log = Log.create(directory, b"metadata")
        self.kernel = Kernel()
        self.later: list[Callable[[], None]] = []
        self.told: list[Exception | None] = []
        kernel: Any = self.kernel
        self.disk = WalThread(self.later.append, kernel=kernel)

    def write(self, entries: int) -> bool:
        first = self.log.last_index + 1
        batch = [(index, encoded_entry(index)) for index in range(first, first + entries)]
        return self.disk.submit(LogWrite(self.log, batch, None, sync=True), self.told.append)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "wal")
    yield made
    made.disk.close_kernel()
    made.disk.close()
    made.log.close()


def test_a_batch_is_told_when_the_kernel_has_synced_it_and_not_before(bench: Bench) -> None:
    assert bench.write(1), "one entry is waited for"
    assert not bench.write(SHARED_ENTRIES_MIN)
    assert bench.log.observed.syncs_s.count == 1
    assert (bench.told, bench.later) == ([], [])
    bench.kernel.end()
    assert bench.told == [None]
    assert bench.log.observed.syncs_s.count == 2


def test_what_follows_waits_for_the_kernel(bench: Bench) -> None:
    bench.write(SHARED_ENTRIES_MIN)
    ran: list[str] = []
    assert not bench.disk.submit(lambda: ran.append("snapshot"), bench.told.append)
    assert ran == []
    bench.kernel.end()
    bench.disk.close()
    assert ran == ["snapshot"]


def test_a_sync_that_fails_is_final(bench: Bench) -> None:
    bench.write(SHARED_ENTRIES_MIN)
    bench.kernel.end(OSError(errno.EIO, "the disk is gone"))
    assert isinstance(bench.told[0], LogFailed)
    assert not bench.write(SHARED_ENTRIES_MIN)
    bench.disk.close()
    assert len(bench.kernel.descriptors) == 1, "a log that failed is not synced again"


def test_a_kernel_that_does_not_know_the_file_is_not_asked_again(bench: Bench) -> None:
    bench.kernel.helps = False
    assert bench.write(SHARED_ENTRIES_MIN), "synced all the same"
    bench.kernel.helps = True
    bench.write(SHARED_ENTRIES_MIN)
    assert bench.kernel.descriptors == []


def test_a_full_segment_is_cut_by_the_log_itself(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "wal", b"metadata", segment_bytes=4096)
    job = LogWrite(log, [(1, bytes(5000))], None, sync=True)
    assert job.synced_entries == 1
    job()
    assert LogWrite(log, [(2, b"")], None, sync=True).synced_entries == 0
    log.close()


def test_a_batch_left_to_the_kernel_is_read_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "wal")
    bench.write(20)
    bench.kernel.end()
    bench.disk.close()
    bench.log.close()
    log, recovered = Log.open(tmp_path / "wal", SnapshotMark())
    assert len(recovered.entries) == 20
    log.close()
