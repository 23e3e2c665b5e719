"""Members that are forked from a process that has imported everything."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from etcdpy.testing.starter import Starter, StarterFailed, can_fork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not can_fork(), reason="members are not forked here")]

SECONDS = 30.0


def flags(data: Path) -> list[str]:
    anywhere = ("listen-client-urls", "advertise-client-urls", "listen-peer-urls")
    return [f"--data-dir={data}", *(f"--{name}=http://127.0.0.1:0" for name in anywhere)]


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with Starter() as starter:
        yield starter


def test_a_member_that_ends_at_once(starter: Starter, tmp_path: Path) -> None:
    log = tmp_path / "log"
    refused = starter.launch(["--no-such-flag"], {}, log)
    assert refused.wait(SECONDS) == 2
    assert (refused.poll(), refused.returncode) == (2, 2)
    assert "flag provided but not defined" in log.read_text()
    refused.kill()
    answered = starter.launch(["--version"], {}, log)
    assert answered.wait(SECONDS) == 0


def test_signals(starter: Starter, tmp_path: Path) -> None:
    process = starter.launch(flags(tmp_path / "data"), {}, tmp_path / "log")
    assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    waited: list[int] = []
    waiting = threading.Thread(target=lambda: waited.append(process.wait(SECONDS)))
    waiting.start()
    process.kill()
    waiting.join(SECONDS)
    assert waited == [-signal.SIGKILL]


def test_its_end_is_the_end_of_all(tmp_path: Path) -> None:
    adopted = tmp_path / "adopted"
    adopted.mkdir()
    with Starter() as starter:
        starter.adopt(adopted)
        member = starter.launch(flags(adopted / "data"), {}, adopted / "log")
    assert not adopted.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(member.pid, 0)
    with pytest.raises(StarterFailed):
        starter.launch([], {}, tmp_path / "log")


def test_a_helper_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    with Starter() as starter, pytest.raises(StarterFailed, match="do not run it with -O"):
        starter.launch([], {}, tmp_path / "log")
