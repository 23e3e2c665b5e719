"""A member stopped in front of each step on its disk, and in the middle of each write, has what it answered.

The scenario of `stopping` makes every kind of step: a new log and its segments, appends, raft snapshots and
what they purge, flushes of the backend with long keys too, compactions, a defragmentation, a snapshot for a
client. The quick test stops at a sample of the steps, the slow one at each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEMORY = Path("/dev/shm")
SECONDS_MAX = 600


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    built = tmp_path_factory.mktemp("library") / "stop_at.so"
    source = HERE / "stop_at.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built


def stop_at_steps(library: Path, place: Path, scenario: str, first: int, every: int) -> int:
    """How many stops were made, each of which was recovered from."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.stopping", scenario, str(first), str(every), str(place)],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-2])


def place(tmp_path: Path) -> Path:
    """Syncs cost nothing in memory, and nobody pulls the plug here."""
    return MEMORY if MEMORY.is_dir() else tmp_path


@pytest.mark.parametrize(("scenario", "every"), [("member", 17), ("restore", 7), ("install", 9)])
def test_a_sample_of_the_steps(library: Path, tmp_path: Path, scenario: str, every: int) -> None:
    assert stop_at_steps(library, place(tmp_path), scenario, 3, every) > 10


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["member", "restore", "install"])
def test_every_step(library: Path, tmp_path: Path, scenario: str) -> None:
    assert stop_at_steps(library, place(tmp_path), scenario, 1, 1) > 50
