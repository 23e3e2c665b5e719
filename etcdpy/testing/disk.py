"""A disk in memory that forgets and refuses like a real one.

It implements `etcdpy.wal.Files` and takes back after a crash exactly what that protocol lets a disk take
back: a sector of 512 bytes that was written but not synced is either new or as it was, the length of a file
likewise, and names of a directory that was not synced are those of before or those of now.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from pathlib import Path

SECTOR_BYTES = 512


class SimFile:
    """Content as written; `durable` is what the platter holds, None while that is the same."""

    __slots__ = ("content", "durable", "locked_by")

    def __init__(self, content: bytearray | None = None) -> None:
        self.content = bytearray() if content is None else content
        self.durable: bytes | None = None if content is not None else b""
        self.locked_by: int | None = None

    def change(self) -> bytearray:
        """The content, to be changed."""
        if self.durable is None:
            self.durable = bytes(self.content)
        return self.content

    def after_crash(self, chance: random.Random) -> SimFile:
        """Each sector is as it was at the last sync or as written since; so is the length."""
        durable = self.durable
        if durable is None:
            return SimFile(bytearray(self.content))
        length = len(chance.choice((self.content, durable)))
        merged = bytearray(length)
        for start in range(0, length, SECTOR_BYTES):
            old, new = durable[start : start + SECTOR_BYTES], self.content[start : start + SECTOR_BYTES]
            source = new if old == new or chance.getrandbits(1) else old
            merged[start : start + len(source)] = source
        return SimFile(merged[:length])


class SimDirectory:
    """Names as they are, and as they were when the directory was last synced."""

    __slots__ = ("durable", "names")

    def __init__(self, names: dict[str, SimFile | SimDirectory] | None = None) -> None:
        self.names: dict[str, SimFile | SimDirectory] = names or {}
        self.durable = dict(self.names)

    def after_crash(self, chance: random.Random) -> SimDirectory:
        """The directory as a machine finds it that lost its power."""
        names = self.names if self.names == self.durable else chance.choice((self.names, self.durable))
        return SimDirectory({name: node.after_crash(chance) for name, node in names.items()})


class PowerLost(Exception):
    """The power failed in the middle of a sync; nobody is left to handle this."""


class SimDisk:
    """Implements `Files`. As many operations as `allow` says succeed, then all fail with ENOSPC.

    With `syncs_left` set, so many syncs succeed, and the power fails in the next one.
    """

    def __init__(self, root: SimDirectory | None = None) -> None:
        self.root = root or SimDirectory()
        self.syncs_left: int | None = None
        self.operations = 0
        self.allowed: int | None = None
        self.short_write_bytes = 0
        self._open: dict[int, SimFile] = {}
        self._next_descriptor = 3

    def allow(self, operations: int | None, *, short_write_bytes: int = 0) -> None:
        """How many operations succeed from now on; of the write that fails, how many bytes arrive."""
        self.operations, self.allowed, self.short_write_bytes = 0, operations, short_write_bytes

    def after_crash(self, chance: random.Random) -> SimDisk:
        """The disk as the next start finds it."""
        return SimDisk(self.root.after_crash(chance))

    def _directory(self, path: Path) -> SimDirectory:
        node: SimFile | SimDirectory = self.root
        for part in path.parts[1:]:
            if not isinstance(node, SimDirectory) or part not in node.names:
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
            node = node.names[part]
        assert isinstance(node, SimDirectory), path
        return node

    def _file(self, path: Path) -> SimFile:
        node = self._directory(path.parent).names.get(path.name)
        if not isinstance(node, SimFile):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return node

    def _spend(self) -> None:
        self.operations += 1
        if self.allowed is not None and self.operations > self.allowed:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _sync(self) -> None:
        if self.syncs_left is not None:
            if self.syncs_left == 0:
                raise PowerLost
            self.syncs_left -= 1

    def open(self, path: Path, *, create: bool = False) -> int:
        if create:
            self._spend()
            self._directory(path.parent).names.setdefault(path.name, SimFile())
        self._next_descriptor += 1
        self._open[self._next_descriptor] = self._file(path)
        return self._next_descriptor

    def close(self, descriptor: int) -> None:
        file = self._open.pop(descriptor)
        if file.locked_by == descriptor:
            file.locked_by = None

    def lock(self, descriptor: int) -> bool:
        file = self._open[descriptor]
        if file.locked_by not in (None, descriptor):
            return False
        file.locked_by = descriptor
        return True

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        content = self._open[descriptor].change()
        try:
            self._spend()
        except OSError:
            if not self.short_write_bytes:
                raise
            data, self.short_write_bytes = data[: self.short_write_bytes], 0
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, descriptor: int, length: int) -> None:
        content = self._open[descriptor].change()
        del content[length:]
        content.extend(bytes(length - len(content)))

    def preallocate(self, descriptor: int, length: int) -> None:
        self._spend()
        content = self._open[descriptor].change()
        content.extend(bytes(max(length - len(content), 0)))

    def fdatasync(self, descriptor: int) -> None:
        self._spend()
        self._sync()
        self._open[descriptor].durable = None

    def read(self, path: Path) -> bytes:
        return bytes(self._file(path).content)

    def write(self, path: Path, content: bytes) -> None:
        """Put these bytes there, lastingly."""
        directory = self._directory(path.parent)
        directory.names[path.name] = directory.durable[path.name] = SimFile(bytearray(content))

    def rename(self, source: Path, target: Path) -> None:
        self._spend()
        node = self._directory(source.parent).names.pop(source.name)
        self._directory(target.parent).names[target.name] = node

    def remove(self, path: Path) -> None:
        self._file(path)
        del self._directory(path.parent).names[path.name]

    def make_directory(self, path: Path) -> None:
        node = self.root
        for part in path.parts[1:]:
            child = node.names.setdefault(part, SimDirectory())
            assert isinstance(child, SimDirectory), path
            node.durable[part] = child
            node = child

    def list_directory(self, path: Path) -> list[str]:
        try:
            return sorted(self._directory(path).names)
        except FileNotFoundError:
            return []

    def sync_directory(self, path: Path) -> None:
        self._spend()
        self._sync()
        directory = self._directory(path)
        directory.durable = dict(directory.names)
