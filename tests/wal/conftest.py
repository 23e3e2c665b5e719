"""The simulated disk, and small helpers to write logs on it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import raft_pb2
from etcdpy.testing.disk import SimDisk

if TYPE_CHECKING:
    from etcdpy.wal import Log


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
def disk() -> SimDisk:
    return SimDisk()


@pytest.fixture
def directory() -> Path:
    """A place on the memory disk."""
    return Path("/data/member/wal")


@pytest.fixture
def writer_type() -> type[Writer]:
    return Writer
