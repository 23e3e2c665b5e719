"""A store over a fresh database, and one that can be opened again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdpy.backend import Backend
from etcdpy.mvcc import Event, Store


class Disk:
    """One database file through several lives of its store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> Store:
        self.backend = Backend.open(self.path, map_bytes=1 << 28)
        self.store = Store(self.backend)
        return self.store

    def crash(self) -> Store:
        """Lose what was not flushed."""
        self.backend.abandon()
        return self.open()

    def reopen(self) -> Store:
        self.backend.close()
        return self.open()

    def put(self, key: bytes, value: bytes = b"v", lease: int = 0) -> list[Event]:
        txn = self.store.begin()
        txn.put(key, value, lease)
        return txn.end()

    def delete(self, key: bytes, range_end: bytes = b"") -> list[Event]:
        txn = self.store.begin()
        txn.delete_range(key, range_end)
        return txn.end()

    def compact(self, revision: int, limit: int = 1000) -> None:
        self.store.compact(revision)
        while self.store.compact_step(limit):
            pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "db")
    yield disk
    disk.backend.abandon()
