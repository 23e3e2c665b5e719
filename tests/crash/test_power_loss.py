"""A database whose machine lost power is at the end of some flush, of none before the last that was reported.

Between two syncs a disk writes what it likes: any sectors of what was handed to it, in any order. All writes
and syncs of LMDB are recorded, and states are made of them that a loss of power may leave. What is missing in
the database is in the log, which lets go of nothing before a flush that holds it was reported.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import lmdb
import pytest

from etcdpy.backend import Backend, BackendError

from .flushing import FLUSHES, MAP_BYTES, content_of, contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEMORY = Path("/dev/shm")
SECTOR_BYTES = 512
NUMBERS = Struct("=QQ")
LOSSES = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """One record of `record_writes.c`."""

    kind: str
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """The database before, and what was done to it."""

    base: bytes
    steps: list[Step]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    place = tmp_path_factory.mktemp("recording")
    library, record = place / "record_writes.so", place / "record"
    source = HERE / "record_writes.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.flushing", str(place), str(record)],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Recording((place / "base").read_bytes(), list(read_steps(record.read_bytes())))


def read_steps(data: bytes) -> Iterator[Step]:
    position = 0
    while position < len(data):
        at, size = NUMBERS.unpack_from(data, position + 1)
        start = position + 1 + NUMBERS.size
        yield Step(chr(data[position]), at, data[start : start + size])
        position = start + size


def image_after_loss(
    recording: Recording, end: int, survives: Callable[[], bool], *, syncs: bool = True
) -> bytes:
    """The file if power is lost behind step `end`: with those sectors of what was not synced that `survives`
    says. Without `syncs`, as if none had ever been made.
    """
    image = bytearray(recording.base)
    pending: list[Step] = []
    for step in recording.steps[:end]:
        if step.kind == "S" and syncs:
            for written in pending:
                write(image, written.at, written.data)
            pending.clear()
        elif step.kind == "D" and syncs:
            write(image, step.at, step.data)
        elif step.kind in "WD":
            pending.append(step)
    for step in pending:
        start = 0
        while start < len(step.data):
            stop = min(len(step.data), start + SECTOR_BYTES - (step.at + start) % SECTOR_BYTES)
            if survives():
                write(image, step.at + start, step.data[start:stop])
            start = stop
    return bytes(image)


def write(image: bytearray, at: int, data: bytes) -> None:
    if len(image) < at:
        image.extend(bytes(at - len(image)))
    image[at : at + len(data)] = data


def losses(recording: Recording) -> Iterator[tuple[int, Callable[[], bool]]]:
    """Moments, and how much of what was not synced reaches the disk at each."""
    draw = random.Random(5)
    for number in range(LOSSES):
        end = draw.randint(1, len(recording.steps))
        part = (0.0, 1.0, 0.5, 0.1, 0.9)[number % 5]
        yield end, partial(_reaches_the_disk, draw, part)


def _reaches_the_disk(draw: random.Random, part: float) -> bool:
    return draw.random() < part


def check(place: Path, image: bytes, reported: int) -> None:
    """The database opens, is at the end of one flush, and of none before the one that was reported last."""
    path = place / "db"
    path.write_bytes(image)
    backend = Backend.open(path, map_bytes=MAP_BYTES)
    try:
        assert reported <= backend.consistent_index <= min(reported + 1, FLUSHES), reported
        assert content_of(backend) == contents()[backend.consistent_index]
    finally:
        backend.abandon()


def reported_before(recording: Recording, end: int) -> int:
    return max((step.at for step in recording.steps[:end] if step.kind == "M"), default=0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    made = MEMORY / f"etcdpy-power-{os.getpid()}" if MEMORY.is_dir() else tmp_path / "made"
    made.mkdir()
    yield made
    shutil.rmtree(made)


def test_every_flush_syncs_its_pages_before_its_meta_page(recording: Recording) -> None:
    kinds = "".join(step.kind for step in recording.steps)
    flushes = kinds.split("M")[:-1]
    assert len(flushes) == FLUSHES
    for steps in flushes:
        assert steps.strip("W") == "SD", "pages, a sync, and a meta page that is synced by itself"


def test_no_loss_of_power_damages_the_database(recording: Recording, place: Path) -> None:
    for end, survives in losses(recording):
        image = image_after_loss(recording, end, survives)
        check(place, image, reported_before(recording, end))


def test_this_would_find_a_missing_sync(recording: Recording, place: Path) -> None:
    """As many losses as it takes; what LMDB does with a damaged file is better not tried too often."""
    for end, survives in losses(recording):
        try:
            check(place, image_after_loss(recording, end, survives, syncs=False), 0)
        except (AssertionError, BackendError, lmdb.Error):
            return
    raise AssertionError("not one database was damaged")
