"""Was the end of a log torn by a crash, or is it damaged? The first is repaired, the second refused.

A crash may interrupt the last write. Nobody was promised what it held, so cutting it off is right. Damage to
older records looks similar, and cutting there would silently forget promises. The two are told apart by what
a crash can do (see `files`): the file ends early, or whole sectors of the write are missing, and a missing
sector reads as zeros because a segment is filled with zeros ahead of its records.

So a bad record is torn only when the file ends inside it or when one of its sectors is all zeros. That alone
would still take damage to a value with many zeros for a crash, so two more things are asked. The length
field, which reached the disk, must agree with the head of the record: a length field damaged so that it
points past the end of the file must not pass for a torn write, everything behind it would be lost. And no
later write may follow: whoever appends entries syncs them before appending again, so a record behind which
another append is whole was synced.
"""

from __future__ import annotations

from typing import Final

from etcdpy.wal.record import (
    FIELD_BYTES,
    BadRecord,
    RecordKind,
    RecordReader,
    read_head,
    read_length,
    read_sizes,
)

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
    missing = _first_missing(data, offset, offset + FIELD_BYTES + size)
    if missing == len(data) and end <= len(data):
        return False
    if missing < offset + FIELD_BYTES + min(size, _HEAD_BYTES_MAX):
        return True
    try:
        _, crc, _ = read_head(data, offset + FIELD_BYTES, size)
    except BadRecord:
        return False
    return not _is_later_write_behind(data, end, crc)


def _is_later_write_behind(data: bytes, offset: int, crc: int) -> bool:
    """Do whole records follow that cannot belong to the same append? One append is entries, then one hard
    state. (A log that is opened writes its hard state once more, so that everything before that counts as
    synced.)
    """
    reader = RecordReader(data, crc, offset)
    state_seen = False
    try:
        for _, kind, _ in reader:
            if state_seen and kind in (RecordKind.ENTRY, RecordKind.STATE):
                return True
            state_seen = state_seen or kind is RecordKind.STATE
    except BadRecord:
        pass
    return False


def _is_missing_start(data: bytes, offset: int) -> bool:
    """The length field is zero but something follows: was the sector that begins the write lost, or only the
    field?
    """
    sector_end = offset - offset % SECTOR_BYTES + SECTOR_BYTES
    if any(data[offset:sector_end]):
        return False
    if sector_end - offset > FIELD_BYTES:
        return True
    # The field was alone in its sector, and all that came with it may be on disk. But one flipped bit can
    # also make the field of a record zero whose size is a power of two: then it matters what lies behind.
    start, size = offset + FIELD_BYTES, 2 * FIELD_BYTES
    while start + size <= len(data):
        try:
            _, crc, _ = read_head(data, start, size)
        except BadRecord:
            size *= 2
        else:
            return not _is_later_write_behind(data, start + size, crc)
    return True


def _first_missing(data: bytes, offset: int, end: int) -> int:
    """Where the first sector of zeros behind that of `offset` begins; the end of the file if there is none.

    `end` is without padding: of a sector that holds only padding, missing and written look the same.
    """
    start = offset - offset % SECTOR_BYTES + SECTOR_BYTES
    while start < min(end, len(data)):
        if not any(data[start : start + SECTOR_BYTES]):
            return start
        start += SECTOR_BYTES
    return len(data)


def content_end(data: bytes) -> int:
    """Offset after the last byte that is not zero."""
    end = len(data)
    while end >= len(_BLOCK) and data[end - len(_BLOCK) : end] == _BLOCK:
        end -= len(_BLOCK)
    start = max(0, end - len(_BLOCK))
    return start + len(data[start:end].rstrip(b"\0"))
