"""Keeping a database's pages in memory, so that a read never waits for the disk (`--memory-mlock`).

LMDB maps its file once, with room to grow. The kernel is asked to keep each page of that mapping from the
moment it is first touched, so pages that come later are kept as well. The library has no call for this, nor
does it tell the address, which the process finds among its own mappings.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MLOCK_ONFAULT = 1


def lock_in_memory(path: Path) -> int:
    """Keep the pages of every mapping of this file; gives the number of mappings.

    Raises:
        OSError: the system refuses, mostly for the limit on locked memory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    mappings = find_mappings(path)
    for start, end in mappings:
        if libc.mlock2(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MLOCK_ONFAULT):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot lock {path} in memory: {os.strerror(number)}")
    return len(mappings)


def find_mappings(path: Path) -> list[tuple[int, int]]:
    """Address ranges in which this process has mapped the file."""
    real = str(path.resolve())
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5] == real:
                start, _, end = fields[0].partition("-")
                found.append((int(start, 16), int(end, 16)))
    return found
