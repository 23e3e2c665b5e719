"""Where log lines go: standard streams, plain files, and one file that is rotated by size.

`--log-outputs` names the places. `default` is standard error; `systemd/journal` is too, because journald
collects that stream of a unit (we do not speak the journal's own socket protocol). Any other name is a file
that is appended to.

Rotation follows the settings of `--log-rotation-config-json`: when a line would take the file past
`maxsize` megabytes it is renamed with the time in its name, old ones are removed by count and age, and
`compress` packs them in a thread.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

DEFAULT, STDERR, STDOUT, JOURNAL = "default", "stderr", "stdout", "systemd/journal"
MEGABYTE = 1024 * 1024
# With `maxsize` 0 the file is rotated at this size, as in etcd.
ROTATED_MEGABYTES_DEFAULT = 100
BACKUP_TIME = "%Y-%m-%dT%H-%M-%S"


class BadLogSetting(ValueError):
    """A level, format, output or rotation setting that we cannot log by."""


class Sink(Protocol):
    """A place that takes whole lines. It must not raise: logging is not worth a member's life."""

    def write(self, line: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rotation:
    """When the log file is rotated and how many old ones stay; 0 means without limit."""

    size_megabytes: int = ROTATED_MEGABYTES_DEFAULT
    age_days_max: int = 0
    backups_max: int = 0
    local_time: bool = False
    compress: bool = False

    @classmethod
    def parse(cls, text: str) -> Rotation:
        try:
            settings = json.loads(text)
        except json.JSONDecodeError as error:
            reason = "unexpected end of JSON input" if error.pos >= len(text.strip()) else str(error)
            raise BadLogSetting(f"improperly formatted log rotation config: {reason}") from error
        if not isinstance(settings, dict):
            raise BadLogSetting("improperly formatted log rotation config: not a JSON object")
        lower = {str(key).lower(): value for key, value in settings.items()}

        def number(key: str) -> int:
            value = lower.get(key, 0)
            if not isinstance(value, int) or isinstance(value, bool):
                raise BadLogSetting(f"invalid log rotation config: {key} must be a number")
            return value

        def switch(key: str) -> bool:
            value = lower.get(key, False)
            if not isinstance(value, bool):
                raise BadLogSetting(f"invalid log rotation config: {key} must be true or false")
            return value

        return cls(
            size_megabytes=number("maxsize") or ROTATED_MEGABYTES_DEFAULT,
            age_days_max=number("maxage"),
            backups_max=number("maxbackups"),
            local_time=switch("localtime"),
            compress=switch("compress"),
        )


def is_file(output: str) -> bool:
    return output not in (DEFAULT, STDERR, STDOUT, JOURNAL)


def open_sink(output: str, rotation: Rotation | None = None) -> Sink:
    if output == STDOUT:
        return StreamSink(1)
    if not is_file(output):
        return StreamSink(2)
    path = Path(output)
    try:
        return FileSink(path) if rotation is None else RotatedFile(path, rotation)
    except OSError as error:
        raise BadLogSetting(f"open {output}: {(error.strerror or str(error)).lower()}") from error


class StreamSink:
    """Standard output or error, written to without a buffer so that a crash loses no line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        write_all(self._descriptor, line)

    def close(self) -> None:
        """The standard streams belong to the process."""


class FileSink:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = open_to_append(path)

    def write(self, line: bytes) -> None:
        if self._descriptor is not None:
            write_all(self._descriptor, line)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class RotatedFile:
    """A file that is renamed away and begun anew when it is full. Lines may come from several threads."""

    def __init__(self, path: Path, rotation: Rotation) -> None:
        self._path = path
        self._rotation = rotation
        self._lock = threading.Lock()
        self._descriptor: int | None = open_to_append(path)
        self._bytes = path.stat().st_size
        self._bytes_max = rotation.size_megabytes * MEGABYTE

    def write(self, line: bytes) -> None:
        with self._lock:
            if self._bytes and self._bytes + len(line) > self._bytes_max:
                try:
                    self._rotate()
                except OSError:
                    # Better a file too long than no log: try again when it has grown as much once more.
                    self._bytes = 0
            if self._descriptor is not None:
                write_all(self._descriptor, line)
                self._bytes += len(line)

    def close(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def backups(self) -> list[Path]:
        """The files rotated away, newest first."""
        pattern = f"{self._path.stem}-*{self._path.suffix}"
        found = [*self._path.parent.glob(pattern), *self._path.parent.glob(pattern + ".gz")]
        return sorted((path for path in found if self._time_of(path) is not None), reverse=True)

    def _rotate(self) -> None:
        backup = self._backup_path()
        os.replace(self._path, backup)
        fresh = open_to_append(self._path)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._bytes = fresh, 0
        self._remove_old()
        if self._rotation.compress:
            threading.Thread(target=compress, args=(backup,), name="log-compress", daemon=True).start()

    def _backup_path(self) -> Path:
        now = datetime.now(UTC)
        if self._rotation.local_time:
            now = now.astimezone()
        while True:
            time_text = f"{now.strftime(BACKUP_TIME)}.{now.microsecond // 1000:03d}"
            path = self._path.with_name(f"{self._path.stem}-{time_text}{self._path.suffix}")
            if not path.exists() and not path.with_name(path.name + ".gz").exists():
                return path
            now += timedelta(milliseconds=1)

    def _time_of(self, path: Path) -> datetime | None:
        name = path.name.removesuffix(".gz").removesuffix(self._path.suffix)
        text = name.removeprefix(f"{self._path.stem}-").rpartition(".")[0]
        try:
            return datetime.strptime(text, BACKUP_TIME).replace(tzinfo=UTC)
        except ValueError:
            return None

    def _remove_old(self) -> None:
        backups = self.backups()
        kept = self._rotation.backups_max or len(backups)
        oldest = datetime.now(UTC) - timedelta(days=self._rotation.age_days_max)
        for place, path in enumerate(backups):
            born = self._time_of(path)
            aged = self._rotation.age_days_max > 0 and born is not None and born < oldest
            if place >= kept or aged:
                path.unlink(missing_ok=True)


def open_to_append(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def write_all(descriptor: int, data: bytes) -> None:
    """Write it all, or drop it: nobody can be told that the log itself is broken."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


def compress(path: Path) -> None:
    packed = path.with_name(path.name + ".gz")
    try:
        with path.open("rb") as source, gzip.open(packed, "wb") as target:
            shutil.copyfileobj(source, target)
        path.unlink()
    except OSError:
        packed.unlink(missing_ok=True)
