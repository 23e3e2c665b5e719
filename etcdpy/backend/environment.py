"""The file of a backend: taking it, opening it as an LMDB environment, exchanging it.

One file and one lock file beside it (LMDB's reader table). The map is address space set aside for the file to
grow into. A file that has been replaced by its defragmented copy lives on without a name as long as somebody
reads a view of it.
"""

import fcntl
import os
from pathlib import Path
from threading import Lock
from typing import Any, Final

import lmdb

from etcdpy.backend.buckets import NAMES, TAILS_NAME, Bucket
from etcdpy.backend.errors import BackendError, BackendFull, BackendLocked, translate
from etcdpy.backend.reader import Reader

# Address space, not disk or memory. Halved until the operating system agrees.
MAP_BYTES: Final = 1 << 40
MAP_BYTES_MIN: Final = 1 << 28

# One view per Snapshot or Hash under way, one for the loop, and the rest for tools that look in.
READERS_MAX: Final = 126

# A disk with less room than this is called full when it refuses a write: one batch may be as large.
ROOM_BYTES_MIN: Final = 64 << 20

# LMDB's table of readers stands beside the file under this name.
READERS_SUFFIX: Final = "-lock"

# A database that is being made.
NEW_SUFFIX: Final = ".new"


class Database:
    """An open file of ours, and the views that are read from it.

    Raises:
        BackendLocked: another process has it.
        BackendError: it cannot be opened, or is none of ours.
    """

    def __init__(self, path: Path, map_bytes: int, *, sync: bool = True) -> None:
        if not path.exists() or not path.stat().st_size:
            create_file(path, sync=sync)
        self._directory = path.parent
        self._lock_fd = lock_file(path)
        self._views = 0
        self._is_retired = False
        self._views_lock = Lock()  # views may be closed by the threads that read them
        try:
            self.env = open_environment(path, map_bytes, sync=sync)
        except lmdb.Error as error:
            os.close(self._lock_fd)
            raise translate(error) from error
        self._is_open = True
        try:
            self.page_bytes = int(self.env.stat()["psize"])
            self.buckets: list[Any] = [self.env.open_db(NAMES[bucket]) for bucket in Bucket]
            self.tails: Any = self.env.open_db(TAILS_NAME)
        except lmdb.Error as error:
            self.close()
            raise translate(error) from error

    def explain(self, error: lmdb.Error) -> BackendError:
        """Why a write failed, for somebody who has to do something about it.

        LMDB calls a disk that takes only a part of a write an input/output error.
        """
        translated = translate(error)
        room = os.statvfs(self._directory)
        if type(translated) is BackendError and room.f_bavail * room.f_frsize < ROOM_BYTES_MIN:
            translated = BackendFull(str(error))
        if isinstance(translated, BackendFull):
            return BackendFull(
                f"{self._directory}: no room for the database ({error}). What was acknowledged is safe in "
                "the log. Free some space, then restart this member."
            )
        return translated

    @property
    def tables(self) -> list[Any]:
        """The databases of all buckets in their order, then that of the tails."""
        return [*self.buckets, self.tails]

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return (int(self.env.info()["last_pgno"]) + 1) * self.page_bytes

    def reader(self) -> Reader:
        """A fixed view that ends with the database."""
        return Reader(self.env, self.buckets, self.tails)

    def view(self) -> Reader:
        """A fixed view for somebody who takes his time: a retired database waits for him."""
        with self._views_lock:
            self._views += 1
        return Reader(self.env, self.buckets, self.tails, self._view_closed)

    @property
    def open_readers(self) -> int:
        """Read transactions: the one of the backend itself, and the views."""
        return 1 + self._views

    def retire(self) -> None:
        """Another file is in use now; close this one as soon as nobody reads it."""
        with self._views_lock:
            self._is_retired = True
            unused = self._views == 0
        if unused:
            self.close()

    def close(self) -> None:
        """Close at once. Views that are still open are of no more use."""
        if self._is_open:
            self._is_open = False
            self.env.close()
            os.close(self._lock_fd)

    def _view_closed(self) -> None:
        with self._views_lock:
            self._views -= 1
            unused = self._is_retired and self._views == 0
        if unused:
            self.close()


def create_file(path: Path, *, sync: bool) -> None:
    """Make an empty database. It appears whole: LMDB's own first write may be cut in two by a crash, and what
    that leaves is no database, now or ever.
    """
    staging = path.with_name(path.name + NEW_SUFFIX)
    remove_file(staging)
    try:
        open_environment(staging, MAP_BYTES_MIN, sync=False).close()
    except lmdb.Error as error:
        raise translate(error) from error
    if sync:
        descriptor = os.open(staging, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    staging.rename(path)
    readers_of(staging).unlink()
    if sync:
        sync_directory(path.parent)


def replace_file(source: Path, target: Path) -> None:
    """Give an open database the name of another one. Whoever has that open keeps it."""
    readers_of(source).rename(readers_of(target))
    source.rename(target)


def remove_file(path: Path) -> None:
    """Remove a database that nobody has open."""
    path.unlink(missing_ok=True)
    readers_of(path).unlink(missing_ok=True)


def readers_of(path: Path) -> Path:
    """LMDB's table of readers of a database: it belongs to the processes that have it open, not to the
    data.
    """
    return path.with_name(path.name + READERS_SUFFIX)


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


def open_environment(path: Path, map_bytes: int, *, sync: bool) -> lmdb.Environment:
    while True:
        try:
            return lmdb.open(
                str(path),
                subdir=False,
                map_size=map_bytes,
                max_dbs=len(Bucket) + 1,
                max_readers=READERS_MAX,
                mode=0o600,
                sync=sync,
                readahead=True,
            )
        except lmdb.MemoryError:
            if map_bytes <= MAP_BYTES_MIN:
                raise
            map_bytes //= 2
