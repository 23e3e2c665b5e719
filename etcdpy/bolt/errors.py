"""What can be wrong with a file somebody gave us."""

from __future__ import annotations

__all__ = ["BoltError", "CorruptFile", "NoSuchBucket"]


class BoltError(Exception):
    """Anything this room refuses."""


class CorruptFile(BoltError):
    """The bytes are no database, or one that contradicts itself."""


class NoSuchBucket(BoltError):
    """The database has no bucket of this name."""

    def __init__(self, name: bytes) -> None:
        super().__init__(f"no bucket {name!r}")
