"""A disk in memory that forgets and refuses like a real one, and small helpers to write logs on it."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import raft_pb2

if TYPE_CHECKING:
    from etcdpy.wal import Log

SECTOR_BYTES = 512


@dataclass
class File:
    """Content as written, and as it is on the platter."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    locked_by: int | None = None

    def after_crash(self, chance: random.Random) -> File:
        """Each sector is as it was at the last sync or as written since; so is the length."""
        length = len(chance.choice((self.content, self.durable)))
        merged = bytearray(length)
        for start in range(0, length, SECTOR_BYTES):
            source = chance.choice((self.content, self.durable))[start : start + SECTOR_BYTES]
            merged[start : start + len(source)] = source
        return File(merged[:length], bytearray(merged[:length]))


@dataclass
class Directory:
    """Names as they are, and as they were when the directory was last synced."""

    names: dict[str, File | Directory] = field(default_factory=dict)
    durable: dict[str, File | Directory] = field(default_factory=dict)

    def after_crash(self, chance: random.Random) -> Directory:
        names = {
            name: node.after_crash(chance) for name, node in chance.choice((self.names, self.durable)).items()
        }
        return Directory(names, dict(names))


class MemoryDisk:
    """Implements `Files`. As many operations as `allow` says succeed, then all fail with ENOSPC."""

    def __init__(self, root: Directory | None = None) -> None:
        self.root = root or Directory()
        self.operations = 0
        self.allowed: int | None = None
        self.short_write_bytes = 0
        self._open: dict[int, File] = {}
        self._next_descriptor = 3

    def allow(self, operations: int | None, *, short_write_bytes: int = 0) -> None:
        self.operations, self.allowed, self.short_write_bytes = 0, operations, short_write_bytes

    def after_crash(self, seed: int) -> MemoryDisk:
        return MemoryDisk(self.root.after_crash(random.Random(seed)))

    def _directory(self, path: Path) -> Directory:
        node: File | Directory = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Directory) or part not in node.names:
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
            node = node.names[part]
        assert isinstance(node, Directory), path
        return node

    def _file(self, path: Path) -> File:
        node = self._directory(path.parent).names.get(path.name)
        if not isinstance(node, File):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return node

    def _spend(self) -> None:
        self.operations += 1
        if self.allowed is not None and self.operations > self.allowed:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: Path, *, create: bool = False) -> int:
        if create:
            self._spend()
            self._directory(path.parent).names.setdefault(path.name, File())
        self._next_descriptor += 1
        self._open[self._next_descriptor] = self._file(path)
        return self._next_descriptor

    def close(self, descriptor: int) -> None:
        file = self._open.pop(descriptor)
        if file.locked_by == descriptor:
            file.locked_by = None

    def lock(self, descriptor: int) -> bool:
        file = self._open[descriptor]
        if file.locked_by not in (None, descriptor):
            return False
        file.locked_by = descriptor
        return True

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        file = self._open[descriptor]
        try:
            self._spend()
        except OSError:
            if not self.short_write_bytes:
                raise
            data, self.short_write_bytes = data[: self.short_write_bytes], 0
        file.content.extend(bytes(max(offset - len(file.content), 0)))
        file.content[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, descriptor: int, length: int) -> None:
        content = self._open[descriptor].content
        del content[length:]
        content.extend(bytes(length - len(content)))

    def preallocate(self, descriptor: int, length: int) -> None:
        self._spend()
        content = self._open[descriptor].content
        content.extend(bytes(max(length - len(content), 0)))

    def fdatasync(self, descriptor: int) -> None:
        self._spend()
        file = self._open[descriptor]
        file.durable = bytearray(file.content)

    def read(self, path: Path) -> bytes:
        return bytes(self._file(path).content)

    def write(self, path: Path, content: bytes) -> None:
        """For tests: put these bytes there, lastingly."""
        names = self._directory(path.parent).names
        names[path.name] = File(bytearray(content), bytearray(content))

    def rename(self, source: Path, target: Path) -> None:
        self._spend()
        node = self._directory(source.parent).names.pop(source.name)
        self._directory(target.parent).names[target.name] = node

    def remove(self, path: Path) -> None:
        self._file(path)
        del self._directory(path.parent).names[path.name]

    def make_directory(self, path: Path) -> None:
        node = self.root
        for part in path.parts[1:]:
            child = node.names.setdefault(part, Directory())
            assert isinstance(child, Directory), path
            node.durable[part] = child
            node = child

    def list_directory(self, path: Path) -> list[str]:
        try:
            return sorted(self._directory(path).names)
        except FileNotFoundError:
            return []

    def sync_directory(self, path: Path) -> None:
        self._spend()
        directory = self._directory(path)
        directory.durable = dict(directory.names)


class Writer:
    """Writes entries that can be told apart, and remembers what a sync has promised."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.promised: list[bytes] = []

    @staticmethod
    def entry(index: int, term: int = 1, size: int = 20) -> tuple[int, bytes]:
        data = random.Random(index * 1000 + term).randbytes(size)
        return index, raft_pb2.Entry(
            Type=raft_pb2.EntryNormal, Term=term, Index=index, Data=data
        ).SerializeToString()

    @staticmethod
    def state(term: int, commit: int, vote: int = 0x8E9E05C52164694D) -> bytes:
        return raft_pb2.HardState(term=term, vote=vote, commit=commit).SerializeToString()

    def batch(self, count: int, *, term: int = 1, size: int = 20) -> None:
        """Append and sync `count` entries; the hard state commits what was there before."""
        last = self.log.last_index
        entries = [self.entry(last + 1 + step, term, size) for step in range(count)]
        self.log.append(entries, self.state(term, last), sync=True)
        self.promised += [data for _, data in entries]


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def directory() -> Path:
    """A place on the memory disk."""
    return Path("/data/member/wal")


@pytest.fixture
def writer_type() -> type[Writer]:
    return Writer
