"""The few things this room asks of an operating system, so that tests and the simulator can give it another
disk.

A disk promises less than it seems to. Bytes written but not synced may be lost after a crash, in any order,
in whole sectors of 512 bytes: a sector is either new or as it was. A rename, a new file or a removal is lost
unless the directory is synced afterwards. Whoever implements `Files` over a simulated disk should take back
exactly that and no more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Files", "RealFiles", "write_all"]


class Files(Protocol):
    """A disk. Errors are `OSError`, as from the real one; a descriptor is any number."""

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open for reading and writing; with `create`, make the file (0600) where it does not exist."""
        ...

    def close(self, descriptor: int) -> None: ...

    def lock(self, descriptor: int) -> bool:
        """Take the exclusive lock without waiting; it ends with the descriptor or the process."""
        ...

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int: ...

    def truncate(self, descriptor: int, length: int) -> None: ...

    def preallocate(self, descriptor: int, length: int) -> None:
        """Make the file at least this long; what is added reads as zeros and will not run out of space."""
        ...

    def fdatasync(self, descriptor: int) -> None: ...

    def read(self, path: Path) -> bytes: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def make_directory(self, path: Path) -> None:
        """Make the directory (0700) and its parents, lastingly; no error where it exists."""
        ...

    def list_directory(self, path: Path) -> list[str]:
        """Names in the directory, sorted; none where it does not exist."""
        ...

    def sync_directory(self, path: Path) -> None: ...


# Locks of open file descriptions: the kind that the Go server takes on the same files, so that either refuses
# to start beside the other. A plain flock would not be seen by it.
_LOCK_COMMAND: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
_WHOLE_FILE: Final = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_HELD_BY_ANOTHER: Final = (errno.EAGAIN, errno.EACCES)


class RealFiles:
    """The operating system's disk. With `unsafe_no_fsync` nothing is ever synced, as etcd's flag of that
    name.
    """

    def __init__(self, *, unsafe_no_fsync: bool = False) -> None:
        self._syncs = not unsafe_no_fsync

    def open(self, path: Path, *, create: bool = False) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def lock(self, descriptor: int) -> bool:
        try:
            if _LOCK_COMMAND is None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                fcntl.fcntl(descriptor, _LOCK_COMMAND, _WHOLE_FILE)
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                return False
            raise
        return True

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def preallocate(self, descriptor: int, length: int) -> None:
        if os.fstat(descriptor).st_size >= length:
            return
        if sys.platform == "linux":
            try:
                os.posix_fallocate(descriptor, 0, length)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            else:
                return
        os.ftruncate(descriptor, length)

    def fdatasync(self, descriptor: int) -> None:
        if self._syncs:
            _fdatasync(descriptor)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        self.make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        self.sync_directory(path.parent)

    def list_directory(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def sync_directory(self, path: Path) -> None:
        if not self._syncs:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_fdatasync = getattr(os, "fdatasync", os.fsync)


def write_all(files: Files, descriptor: int, data: bytes, offset: int) -> None:
    """Write everything; a disk that takes only a part is asked again for the rest and then says why."""
    written = files.pwrite(descriptor, data, offset)
    while written < len(data):
        step = files.pwrite(descriptor, memoryview(data)[written:], offset + written)
        if step <= 0:
            raise OSError(errno.EIO, "the disk takes no more bytes and does not say why")
        written += step
