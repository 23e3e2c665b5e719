"""What the system knows of this process: memory, time, file descriptors. Linux tells it in /proc; elsewhere
these metrics are missing, as they are in the Go client library.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from etcdpy.metrics.exposition import Family

_PROC = Path("/proc/self")
# Fields of /proc/self/stat behind the command's name (proc(5) counts them from 3).
_USER_TICKS, _SYSTEM_TICKS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 11, 12, 19, 20, 21
# What Go says where there is no limit.
_UNLIMITED = 2**64 - 1


def process_families() -> Iterator[Family]:
    """The metrics of Prometheus' process collector, and the two that etcd has of its own."""
    try:
        fields = (_PROC / "stat").read_text().rpartition(")")[2].split()
        open_descriptors = len(os.listdir(_PROC / "fd"))
        booted_at = _booted_at()
    except OSError:
        return
    ticks = os.sysconf("SC_CLK_TCK")
    seconds = (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / ticks
    descriptors_max = _limit(resource.RLIMIT_NOFILE)
    resident = int(fields[_RESIDENT_PAGES]) * os.sysconf("SC_PAGE_SIZE")
    started_at = booted_at + int(fields[_START_TICKS]) / ticks
    for name, kind, text, value in (
        ("cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", seconds),
        ("max_fds", "gauge", "Maximum number of open file descriptors.", descriptors_max),
        ("open_fds", "gauge", "Number of open file descriptors.", open_descriptors),
        ("resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident),
        (
            "start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            started_at,
        ),
        ("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", int(fields[_VIRTUAL_BYTES])),
        (
            "virtual_memory_max_bytes",
            "gauge",
            "Maximum amount of virtual memory available in bytes.",
            _limit(resource.RLIMIT_AS),
        ),
    ):
        yield Family.single(f"process_{name}", kind, text, value)
    yield Family.single("os_fd_limit", "gauge", "The file descriptor limit.", descriptors_max)
    yield Family.single("os_fd_used", "gauge", "The number of used file descriptors.", open_descriptors)


def _limit(which: int) -> int:
    soft, _ = resource.getrlimit(which)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _booted_at() -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise OSError("/proc/stat has no btime")
