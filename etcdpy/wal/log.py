"""The write-ahead log of a member: what was appended with `sync` is there after any crash.

Segments are appended to at a known offset with one `pwrite` and one `fdatasync` for a whole batch; the file
has its full length beforehand, so that a sync need not wait for the file system's own journal of lengths.
Space that was only set aside is still noted in that journal when it is first written to, which costs a sync
half as much again and has it wait for whatever else is in the journal. So from time to time a write carries
zeros for what follows, and the syncs after it bring nothing but data to the disk.
When a segment is full, the next append first begins a new one. A write or sync that fails is final: after a
failed sync nobody can tell what is on disk, so the log refuses everything from then on and the member has to
read it again.

A log belongs to one thread at a time and knows nothing of raft but the numbers in its file names. Format:
etcd 3.5's.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from etcdpy.wal.errors import LogExists, LogFailed
from etcdpy.wal.files import Files, RealFiles, write_all
from etcdpy.wal.observed import WalObserved
from etcdpy.wal.record import RecordKind, encode_entries, encode_record
from etcdpy.wal.recovery import Recovered, Recovery, SegmentScan, SnapshotMark, read_marks
from etcdpy.wal.segment import SegmentName, list_segments, open_locked, prepare_segment, select_segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Log", "SEGMENT_BYTES", "SEGMENTS_MAX", "exists", "snapshot_marks"]

SEGMENT_BYTES: Final = 64_000_000
SEGMENTS_MAX: Final = 5

# Zeros written ahead: as many bytes as the segment has already, within these bounds.
AHEAD_BYTES_MIN: Final = 1 << 16
AHEAD_BYTES_MAX: Final = 1 << 22

_PREPARED_NAME: Final = "0.tmp"


def exists(directory: Path, *, files: Files | None = None) -> bool:
    """Is there a log in this directory?"""
    return bool(list_segments(files or RealFiles(), directory))


def snapshot_marks(directory: Path, *, files: Files | None = None) -> list[SnapshotMark]:
    """The snapshots that the log names and knows to be committed, oldest first. Changes nothing."""
    return read_marks(files or RealFiles(), directory)


class Log:
    """An open log; made by `Log.create` or `Log.open`, ended by `close`.

    `segment_bytes` is the length at which a segment is left for a new one; `segments_max` is how many
    segments are kept, 0 for all; segments that are still needed are always kept.
    """

    def __init__(self, directory: Path, files: Files, segment_bytes: int, segments_max: int) -> None:
        self.directory = directory
        self.observed = WalObserved()
        self._files = files
        self._segment_bytes = segment_bytes
        self._segments_max = segments_max
        self._held: list[
            tuple[SegmentName, int]
        ] = []  # segments that may not be purged, with descriptors; newest last
        self._offset = 0
        self._written_to = 0  # the end of the zeros that were written ahead
        self._crc = 0
        self._metadata = b""
        self._hard_state = b""
        self._last_index = 0
        self._unsynced = False
        self._failure: OSError | None = None

    @classmethod
    def create(
        cls,
        directory: Path,
        metadata: bytes,
        entries: Sequence[tuple[int, bytes]] = (),
        hard_state: bytes | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segments_max: int = SEGMENTS_MAX,
        files: Files | None = None,
    ) -> Log:
        """A new log, with its first entries if it has any. It appears whole, by renaming a directory, or not
        at all.
        """
        log = cls(directory, files or RealFiles(), segment_bytes, segments_max)
        log._metadata = metadata
        log._create_first(entries, hard_state)
        return log

    @classmethod
    def open(
        cls,
        directory: Path,
        mark: SnapshotMark,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segments_max: int = SEGMENTS_MAX,
        files: Files | None = None,
    ) -> tuple[Log, Recovered]:
        """Read everything after the mark, repair a torn end, and be ready to append."""
        log = cls(directory, files or RealFiles(), segment_bytes, segments_max)
        try:
            recovered = log._recover(mark)
        except BaseException:
            log.close()
            raise
        return log, recovered

    @property
    def last_index(self) -> int:
        """Index of the newest entry, or of the newest snapshot mark where that is higher."""
        return self._last_index

    def append(self, entries: Sequence[tuple[int, bytes]], hard_state: bytes | None, *, sync: bool) -> None:
        """Write (index, encoded entry) pairs, then the hard state. With `sync`, they are on disk when this
        returns.
        """
        self._begin_write()
        frames, crc, last_index = self._encode(entries, hard_state)
        if frames:
            self._write(b"".join(frames), crc)
        self._last_index = last_index
        if sync:
            self.sync()

    def _encode(
        self, entries: Sequence[tuple[int, bytes]], hard_state: bytes | None
    ) -> tuple[list[bytes], int, int]:
        """Frames, and the running checksum and last index behind them."""
        frames: list[bytes] = []
        crc = self._crc
        last_index = self._last_index
        if entries:
            first, last = entries[0][0], entries[-1][0]
            assert last - first + 1 == len(entries), f"{len(entries)} entries from {first} to {last}"
            assert first <= last_index + 1, f"entries from {first} after {last_index}"
            crc = encode_entries(frames, entries, crc)
            last_index = last
        if hard_state is not None:
            frame, crc = encode_record(RecordKind.STATE, hard_state, crc)
            frames.append(frame)
            self._hard_state = hard_state
        return frames, crc, last_index

    @property
    def is_full(self) -> bool:
        """Whether the next append first begins a new segment, which takes several writes and syncs."""
        return self._offset >= self._segment_bytes

    def begin_sync(self) -> int:
        """The descriptor of the segment that was just appended to without `sync`, for somebody who has other
        means to bring it to disk and reports by `end_sync`. Until then nothing else may touch the log.
        """
        assert self._unsynced, f"{self.directory}: nothing to sync"
        return self._held[-1][1]

    def end_sync(self, took_s: float, error: OSError | None) -> None:
        """The sync that was begun has ended. Raises `LogFailed` with the error that it ended with."""
        if error is not None:
            raise self._fail(error) from error
        self.observed.syncs_s.observe(took_s)
        self._unsynced = False

    def append_snapshot_mark(self, mark: SnapshotMark) -> None:
        """Note, synced, that a snapshot exists; its file must be on disk already."""
        assert mark.index == 0 or mark.conf_state is not None, f"a mark at {mark.index} without configuration"
        self._begin_write()
        self._write(*encode_record(RecordKind.SNAPSHOT, mark.encode(), self._crc))
        self._last_index = max(self._last_index, mark.index)
        self.sync()

    def sync(self) -> None:
        """Bring to disk what was appended without `sync`."""
        if not self._unsynced:
            return
        started = perf_counter()
        with self._final_errors():
            self._files.fdatasync(self._held[-1][1])
        self.observed.syncs_s.observe(perf_counter() - started)
        self._unsynced = False

    def release_to(self, index: int) -> None:
        """Entries up to `index` are in a snapshot: purge segments that only hold such, beyond the number to
        keep.
        """
        while len(self._held) > 1 and self._held[1][0].first_index <= index:
            self._files.close(self._held.pop(0)[1])
        self._purge()

    def close(self) -> None:
        """Sync and let go. A log that failed is only let go."""
        try:
            if self._failure is None:
                self.sync()
        finally:
            for _, descriptor in self._held:
                self._files.close(descriptor)
            self._held.clear()

    def _create_first(self, entries: Sequence[tuple[int, bytes]], hard_state: bytes | None) -> None:
        files, name = self._files, SegmentName(0, 0)
        staging = self.directory.with_name(self.directory.name + ".tmp")
        if exists(self.directory, files=files):
            raise LogExists(self.directory)
        files.make_directory(staging)
        descriptor = open_locked(files, staging / str(name), create=True)
        self._held.append((name, descriptor))
        try:
            # Whoever held the lock until now may have been making the same log.
            if exists(self.directory, files=files):
                raise LogExists(self.directory)
            head = self._encode_head(0)
            mark, self._crc = encode_record(RecordKind.SNAPSHOT, SnapshotMark().encode(), self._crc)
            frames, self._crc, self._last_index = self._encode(entries, hard_state)
            content = b"".join([head, mark, *frames])
            with self._final_errors():
                prepare_segment(files, descriptor, content, self._segment_bytes)
                files.sync_directory(staging)
                files.rename(staging, self.directory)
                files.sync_directory(self.directory.parent)
        except BaseException:
            self.close()
            raise
        self._offset = len(content)

    def _recover(self, mark: SnapshotMark) -> Recovered:
        files, directory = self._files, self.directory
        names = select_segments(directory, list_segments(files, directory), mark.index)
        for name in names:
            self._held.append((name, open_locked(files, directory / str(name))))
        recovery = Recovery(mark)
        crc: int | None = None
        scan: SegmentScan | None = None
        for name in names:
            path = directory / str(name)
            scan = SegmentScan(path, files.read(path), crc, newest=name == names[-1])
            recovery.read_segment(scan)
            crc = scan.crc
        recovered = recovery.finish(directory)
        assert scan is not None, f"no segment selected in {directory}"
        assert crc is not None, f"{scan.path} has no CRC record"
        self._offset, self._crc = scan.offset, crc
        self._metadata, self._hard_state = recovered.metadata, recovery.hard_state_bytes
        self._last_index = recovery.last_index
        with self._final_errors():
            if scan.torn:
                recovered.repaired = self._put_aside(scan.path)
            self._make_room()
        if self._hard_state:
            # Everything before it is known to have been synced: damage there will not pass for a torn write.
            self.append([], self._hard_state, sync=True)
        return recovered

    def _put_aside(self, path: Path) -> Path:
        """Keep the torn segment as it was found, for whoever wants to look."""
        broken = path.with_name(path.name + ".broken")
        descriptor = self._files.open(broken, create=True)
        try:
            data = self._files.read(path)
            self._files.truncate(descriptor, 0)
            write_all(self._files, descriptor, data, 0)
            self._files.fdatasync(descriptor)
        finally:
            self._files.close(descriptor)
        return broken

    def _make_room(self) -> None:
        """Zero what follows the last record: remains of a torn write must never look like records again."""
        descriptor = self._held[-1][1]
        self._files.truncate(descriptor, self._offset)
        self._files.preallocate(descriptor, self._segment_bytes)
        self._files.fdatasync(descriptor)
        for name in self._files.list_directory(self.directory):
            if name.endswith(".tmp"):
                self._files.remove(self.directory / name)

    def _begin_write(self) -> None:
        assert self._held, f"{self.directory} is closed"
        if self._failure is not None:
            raise self._fail(self._failure)
        if self._offset >= self._segment_bytes:
            with self._final_errors():
                self._cut()

    def _write(self, data: bytes, crc: int) -> None:
        descriptor = self._held[-1][1]
        end = self._offset + len(data)
        started = perf_counter()
        try:
            if end > self._written_to:
                ahead = self._ahead_bytes(end)
                write_all(self._files, descriptor, data + bytes(ahead), self._offset)
                self._written_to = end + ahead
            else:
                write_all(self._files, descriptor, data, self._offset)
        except OSError as error:
            failure = self._fail(error)
            self._drop_partial_write(descriptor)
            raise failure from error
        self.observed.writes_s.observe(perf_counter() - started)
        self.observed.written_bytes += len(data)
        self._offset = end
        self._crc = crc
        self._unsynced = True

    def _ahead_bytes(self, end: int) -> int:
        """How many zeros to write behind `end`, where nothing was written before."""
        wanted = min(max(end, AHEAD_BYTES_MIN), AHEAD_BYTES_MAX)
        return max(min(wanted, self._segment_bytes - end), 0)

    def _drop_partial_write(self, descriptor: int) -> None:
        """A part of the batch may be in the file. Cutting it off needs no space; if even that fails, recovery
        will do it.
        """
        try:
            self._files.truncate(descriptor, self._offset)
        except OSError:
            pass

    @contextmanager
    def _final_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._fail(error) from error

    def _fail(self, error: OSError) -> LogFailed:
        self._failure = error
        return LogFailed(self.directory / str(self._held[-1][0]), error)

    def _cut(self) -> None:
        """Finish the newest segment at its exact length and begin the next one."""
        files, (old, old_descriptor) = self._files, self._held[-1]
        files.truncate(old_descriptor, self._offset)
        files.fdatasync(old_descriptor)
        self._unsynced = False
        name = SegmentName(old.sequence + 1, self._last_index + 1)
        prepared = self.directory / _PREPARED_NAME
        descriptor = open_locked(files, prepared, create=True)
        self._held.append((name, descriptor))
        head = self._encode_head(self._crc)
        prepare_segment(files, descriptor, head, self._segment_bytes)
        files.rename(prepared, self.directory / str(name))
        files.sync_directory(self.directory)
        self._offset = self._written_to = len(head)

    def _encode_head(self, crc: int) -> bytes:
        """CRC, metadata and the newest hard state: enough to begin reading here."""
        head, _ = encode_record(RecordKind.CRC, b"", crc)
        frame, crc = encode_record(RecordKind.METADATA, self._metadata, crc)
        head += frame
        if self._hard_state:
            frame, crc = encode_record(RecordKind.STATE, self._hard_state, crc)
            head += frame
        self._crc = crc
        return head

    def _purge(self) -> None:
        """Oldest first, so that a crash half-way leaves no gap."""
        names = list_segments(self._files, self.directory)
        surplus = len(names) - self._segments_max if self._segments_max else 0
        unneeded = [name for name in names[: max(surplus, 0)] if name < self._held[0][0]]
        for name in unneeded:
            self._files.remove(self.directory / str(name))
        if unneeded:
            self._files.sync_directory(self.directory)
