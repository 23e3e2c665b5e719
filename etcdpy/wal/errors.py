"""What can be wrong with a log on disk. Every message names the file and says what the operator can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "WalError",
    "CorruptRecord",
    "MissingSegment",
    "MissingEntries",
    "MissingMark",
    "LockedDirectory",
    "LogExists",
    "LogFailed",
    "CorruptSnapshot",
]

_START_OVER = (
    "Nothing was changed. Restore this member from a snapshot, or remove it from the cluster and add it "
    "again with an empty data directory."
)


class WalError(Exception):
    """Anything this room refuses."""


class CorruptRecord(WalError):
    """A record that was once whole is damaged; what it said may already have been promised to a client."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}: corrupt record at offset {offset}: {reason}. {_START_OVER}")
        self.path = path
        self.offset = offset
        self.reason = reason


class MissingSegment(WalError):
    """The directory holds no log, or a segment in the middle is gone."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"{directory}: {reason}. {_START_OVER}")


class MissingEntries(WalError):
    """Records are whole but do not join: there is a hole between entries, or entries that were committed are
    gone.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}. {_START_OVER}")


class MissingMark(WalError):
    """The log was opened at a snapshot that it does not know, or knows with another term."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"{directory}: {reason}. Open it at one of the snapshots the log itself names.")


class LockedDirectory(WalError):
    """Another process appends to this log."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is locked: another member is running on this directory")


class LogExists(WalError):
    """`create` was called where a log already is."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} already holds a log")


class LogFailed(WalError):
    """The disk refused a write or a sync; from then on the log takes nothing."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: the disk refused ({error}). No more entries are accepted; what was acknowledged "
            "before is safe. Free some space or replace the disk, then restart this member."
        )


class CorruptSnapshot(WalError):
    """A .snap file that does not carry what it claims."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
