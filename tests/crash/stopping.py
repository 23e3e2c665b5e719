"""A process that is stopped in front of every step that it makes on its disk, one step after the other.

    LD_PRELOAD=stop_at.so python -m tests.crash.stopping SCENARIO FIRST EVERY PLACE

The process imports everything once and forks: one child runs the scenario and is stopped at step n, the next
one starts on what is left and checks it. `test_crash_steps` builds the library of `stop_at.c` and runs this.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .lives import SCENARIOS, make_everything_small

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lives import Scenario

STOPPED = 137
CHILD_SECONDS_MAX = 60

shim: Any = ctypes.CDLL(None)
shim.stop_at.argtypes = [ctypes.c_long]
shim.steps_done.restype = ctypes.c_long


def in_child(work: Callable[[], None]) -> int:
    """Fork, work, and tell how it ended: 0, `STOPPED`, or 1 with a traceback on standard error."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(CHILD_SECONDS_MAX)
            work()
            status = 0
        except BaseException:  # noqa: BLE001  # told by the status
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended)


def count_steps(scenario: Scenario, directory: Path) -> int:
    """How many steps the scenario takes if nobody stops it."""
    reader, writer = os.pipe()

    def work() -> None:
        scenario.begin(directory)
        shim.stop_at(1 << 40)
        scenario.run(directory, lambda _: None)
        os.write(writer, b"%d" % shim.steps_done())

    status = in_child(work)
    assert status == 0, status
    steps = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return steps


def stop_and_check(scenario: Scenario, directory: Path, step: int) -> bool:
    """Stop at one step, and check what is left; False if the scenario ended before that step."""
    reader, writer = os.pipe()

    def first() -> None:
        scenario.begin(directory)
        shim.stop_at(step)
        scenario.run(directory, lambda promised: _tell(writer, promised))
        shim.stop_at(0)

    ended = in_child(first)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    assert ended in (0, STOPPED), f"step {step}: it ended with {ended}"
    promised = told[-1] if told else 0
    assert in_child(lambda: scenario.check(directory, promised)) == 0, f"step {step}: see above"
    return ended == STOPPED


def _tell(writer: int, promised: int) -> None:
    os.write(writer, bytes((promised,)))


def main() -> int:
    name, first, every, place = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    make_everything_small()
    with TemporaryDirectory(dir=place) as temporary:
        here = Path(temporary)
        scenario = SCENARIOS[name](here)
        scenario.prepare()
        total = count_steps(scenario, here / "count")
        checked = 0
        for step in range(first, total + 1, every):
            for sign in (1, -1):
                checked += stop_and_check(scenario, here / "member", sign * step)
                shutil.rmtree(here / "member", ignore_errors=True)
    sys.stdout.write(f"{total} steps, stopped and checked {checked} times\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
