"""Was the end of a log torn by a crash, or is it damaged? The first is repaired, the second refused.

A crash may interrupt the last write. Nobody was promised what it held, so cutting it off is right. Damage to
older records looks similar, and cutting there would silently forget promises. The two are told apart by what
a crash can do (see `files`): the file ends early, or whole sectors of the write are missing, and a missing
sector reads as zeros because a segment is filled with zeros ahead of its records.

So a bad record is torn only when the file ends inside it or when one of its sectors is all zeros, and only
when its length field, which then reached the disk, agrees with the head of the record. A length field damaged
so that it points past the end of the file must not pass for a torn write: everything behind it would be lost.
"""

from __future__ import annotations

from typing import Final

from etcdpy.wal.record import FIELD_BYTES, BadRecord, read_head, read_length, read_sizes

__all__ = ["content_end", "is_torn"]

SECTOR_BYTES: Final = 512
_BLOCK: Final = bytes(1 << 16)
# The longest head before the data: two tags, one kind, a CRC and a length of at most ten bytes each, one tag.
_HEAD_BYTES_MAX: Final = 24


def is_torn(data: bytes, offset: int) -> bool:
    """Can the bytes from `offset`, where no good record is, be what a crash left of the last write?"""
    try:
        field = read_length(data, offset)
        if field == 0:
            return _is_missing_start(data, offset)
        size, end = read_sizes(offset, field)
    except BadRecord:
        # A length field lies within one sector. It is damaged, unless the file was cut in the middle of it.
        return len(data) - offset < FIELD_BYTES
    missing = _first_missing(data, offset, end)
    if missing is None:
        return False
    if missing < offset + FIELD_BYTES + min(size, _HEAD_BYTES_MAX):
        return True
    try:
        read_head(data, offset + FIELD_BYTES, size)
    except BadRecord:
        return False
    return True


def _is_missing_start(data: bytes, offset: int) -> bool:
    """The length field is zero but something follows: was the sector that begins the write lost, or only the
    field?
    """
    sector_end = offset - offset % SECTOR_BYTES + SECTOR_BYTES
    if any(data[offset:sector_end]):
        return False
    if sector_end - offset > FIELD_BYTES:
        return True
    # The field was alone in its sector. A whole record head right behind it tells that the field itself was
    # damaged.
    return data[sector_end : sector_end + 1] != b"\x08"


def _first_missing(data: bytes, offset: int, end: int) -> int | None:
    """Where the first missing sector of [offset, end) begins; the end of the file counts as one."""
    start = offset - offset % SECTOR_BYTES + SECTOR_BYTES
    limit = min(end, len(data))
    while start < limit:
        stop = min(start + SECTOR_BYTES, limit)
        if not any(data[start:stop]):
            return start
        start = stop
    return len(data) if end > len(data) else None


def content_end(data: bytes) -> int:
    """Offset after the last byte that is not zero."""
    end = len(data)
    while end >= len(_BLOCK) and data[end - len(_BLOCK) : end] == _BLOCK:
        end -= len(_BLOCK)
    start = max(0, end - len(_BLOCK))
    return start + len(data[start:end].rstrip(b"\0"))
