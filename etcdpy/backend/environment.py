"""The file of a backend: taking it, opening it as an LMDB environment, exchanging it.

One file and one lock file beside it (LMDB's reader table). The map is address space set aside for the file to
grow into.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

import lmdb

from etcdpy.backend.buckets import Bucket
from etcdpy.backend.errors import BackendLocked

# Address space, not disk or memory. Halved until the operating system agrees.
MAP_BYTES: Final = 1 << 40
MAP_BYTES_MIN: Final = 1 << 28

# One view per Snapshot or Hash under way, one for the loop, and the rest for tools that look in.
READERS_MAX: Final = 126


def lock_file(path: Path) -> int:
    """Take the file for this process: LMDB would let two members write in turns, the end of both."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BackendLocked(f"{path} is in use by another process") from error
    return descriptor


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_environment(path: Path, map_bytes: int) -> lmdb.Environment:
    while True:
        try:
            return lmdb.open(
                str(path),
                subdir=False,
                map_size=map_bytes,
                max_dbs=len(Bucket) + 1,
                max_readers=READERS_MAX,
                mode=0o600,
                metasync=True,
                readahead=True,
            )
        except lmdb.MemoryError:
            if map_bytes <= MAP_BYTES_MIN:
                raise
            map_bytes //= 2
