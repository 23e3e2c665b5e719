"""Segment files: their names, which of them a reader needs, and how a new one comes into being whole.

A name is `<sequence>-<index>.wal`, both in sixteen hexadecimal digits: sequence numbers count from 0 without
a gap, and the index is the first that the segment may contain. A new segment is made under another name,
filled with zeros to its full length, given its head, synced, and only then renamed; so a segment that has its
name has its head.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from etcdpy.wal.errors import LockedDirectory, MissingSegment
from etcdpy.wal.files import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from etcdpy.wal.files import Files

__all__ = ["SegmentName", "list_segments", "open_locked", "prepare_segment", "select_segments"]

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.wal")


class SegmentName(NamedTuple):
    """The name of a segment, in the order of writing."""

    sequence: int
    first_index: int

    def __str__(self) -> str:
        return f"{self.sequence:016x}-{self.first_index:016x}.wal"


def list_segments(files: Files, directory: Path) -> list[SegmentName]:
    """All segments in order; other files are none of our business."""
    matches = (_NAME.fullmatch(name) for name in files.list_directory(directory))
    return sorted(SegmentName(int(match[1], 16), int(match[2], 16)) for match in matches if match)


def contiguous_end(names: Sequence[SegmentName]) -> Sequence[SegmentName]:
    """The newest segments that follow each other without a gap."""
    start = len(names) - 1
    while start > 0 and names[start - 1].sequence + 1 == names[start].sequence:
        start -= 1
    return names[max(start, 0) :]


def select_segments(directory: Path, names: Sequence[SegmentName], index: int) -> Sequence[SegmentName]:
    """The segments that hold everything after `index`: from the last that may begin at or before it."""
    if not names:
        raise MissingSegment(directory, "there is no log here")
    starts = [position for position, name in enumerate(names) if name.first_index <= index]
    if not starts:
        raise MissingSegment(
            directory, f"the oldest segment is {names[0]}, too young for a log from index {index}"
        )
    selected = names[starts[-1] :]
    for older, newer in pairwise(selected):
        if newer.sequence != older.sequence + 1:
            raise MissingSegment(directory, f"a segment is missing between {older} and {newer}")
    return selected


def open_locked(files: Files, path: Path, *, create: bool = False) -> int:
    """Open a segment that nobody else appends to."""
    descriptor = files.open(path, create=create)
    try:
        locked = files.lock(descriptor)
    except OSError:
        files.close(descriptor)
        raise
    if not locked:
        files.close(descriptor)
        raise LockedDirectory(path)
    return descriptor


def prepare_segment(files: Files, descriptor: int, head: bytes, segment_bytes: int) -> None:
    """Make the opened file a segment with this head, on disk; what it held before is dropped."""
    files.truncate(descriptor, 0)
    files.preallocate(descriptor, segment_bytes)
    write_all(files, descriptor, head, 0)
    files.fdatasync(descriptor)
