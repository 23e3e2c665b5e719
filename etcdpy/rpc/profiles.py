"""Profiles of the running server, for `/debug/pprof/`, in forms that Python developers can use.

What they cost is bounded: one profile is made at a time, none takes longer than `SECONDS_MAX`, and what they
remember has a limit. The processor profile is taken by a thread that looks at the stacks of the others a
hundred times a second, which costs the loop well under one percent; the memory profile slows allocations down
for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import tracemalloc
from collections import Counter
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

SAMPLE_INTERVAL_S = 0.01
SECONDS_MAX = 300.0
STACK_FRAMES_MAX = 100
STACKS_MAX = 20_000
TASKS_MAX = 1000
HEAP_FRAMES = 8
HEAP_LINES = 100
LOCK = threading.Lock()


class Busy(Exception):
    """Another profile is being made."""


def processor_profile(seconds: float) -> str:
    """Stacks of all threads, sampled for some time: one line for each, outermost frame first, with the number
    of samples, as flame graph tools read them. Waiting counts like working. For a thread of its own.
    """
    stacks: Counter[str] = Counter()
    with _alone():
        until = time.monotonic() + min(seconds, SECONDS_MAX)
        own = threading.get_ident()
        while time.monotonic() < until:
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    stack = ";".join((names.get(ident, str(ident)), *_frames(frame)))
                    if stack in stacks or len(stacks) < STACKS_MAX:
                        stacks[stack] += 1
            time.sleep(SAMPLE_INTERVAL_S)
    return "".join(f"{stack} {count}\n" for stack, count in stacks.most_common())


def memory_profile(seconds: float) -> str:
    """Where memory was allocated that is still in use, of what was allocated during some time; of all, if
    the interpreter has been tracing from its start (PYTHONTRACEMALLOC). For a thread of its own.
    """
    with _alone():
        was_tracing = tracemalloc.is_tracing()
        if not was_tracing:
            tracemalloc.start(HEAP_FRAMES)
            time.sleep(min(seconds, SECONDS_MAX))
        try:
            snapshot = tracemalloc.take_snapshot()
        finally:
            if not was_tracing:
                tracemalloc.stop()
    statistics = snapshot.statistics("traceback")
    total = sum(statistic.size for statistic in statistics)
    text = StringIO()
    text.write(f"heap profile: {total} bytes in {len(statistics)} places\n")
    for statistic in statistics[:HEAP_LINES]:
        text.write(f"\n{statistic.size} bytes in {statistic.count} blocks\n")
        text.writelines(f"{line}\n" for line in statistic.traceback.format())
    return text.getvalue()


def tasks_and_threads() -> str:
    """What every task waits for, and where every thread is. For the loop's thread."""
    text = StringIO()
    tasks = asyncio.all_tasks()
    text.write(f"goroutine profile: total {len(tasks) + threading.active_count()}\n")
    text.write(f"\n{len(tasks)} tasks\n")
    for task in list(tasks)[:TASKS_MAX]:
        text.write(f"\n{task.get_name()} {task.get_coro()}\n")
        for frame in task.get_stack(limit=STACK_FRAMES_MAX):
            text.write(f"    {_place(frame)}\n")
    text.write(f"\n{threads()}")
    return text.getvalue()


def threads() -> str:
    """Where every thread is."""
    text = StringIO()
    frames = sys._current_frames()
    text.write(f"{threading.active_count()} threads\n")
    for thread in threading.enumerate():
        text.write(f"\n{thread.name}{' (daemon)' if thread.daemon else ''}\n")
        frame = frames.get(thread.ident or 0)
        text.writelines(f"    {line}\n" for line in (_frames(frame) if frame is not None else ()))
    return text.getvalue()


def memory_statistics() -> dict[str, object]:
    """What the interpreter knows of its memory at no cost."""
    collected = [generation["collected"] for generation in gc.get_stats()]
    return {
        "Sys": _peak_bytes(),
        "NumGC": sum(generation["collections"] for generation in gc.get_stats()),
        "Frees": sum(collected),
        "HeapObjects": sys.getallocatedblocks(),
    }


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _alone:  # noqa: N801  # used as a statement
    """The right to make a profile."""

    def __enter__(self) -> None:
        if not LOCK.acquire(blocking=False):
            raise Busy

    def __exit__(self, *failure: object) -> None:
        LOCK.release()


def _frames(frame: FrameType | None) -> list[str]:
    """The places of a stack, outermost first."""
    places: list[str] = []
    while frame is not None and len(places) < STACK_FRAMES_MAX:
        places.append(_place(frame))
        frame = frame.f_back
    places.reverse()
    return places


def _place(frame: FrameType) -> str:
    code = frame.f_code
    module = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
    return f"{code.co_qualname} ({module}:{frame.f_lineno})"
