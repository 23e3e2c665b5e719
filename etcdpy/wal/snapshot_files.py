"""Raft snapshot files: `<term>-<index>.snap`, each one message with its CRC-32C.

A file is written under a name beginning with `tmp`, synced and renamed, so a `.snap` is whole unless the disk
damaged it. The log must name a snapshot before it counts: write the file first, then the mark. A damaged file
is renamed to `*.broken` and the next older one serves, if the log still has the segments that reach back to
it.
"""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from google_crc32c import extend

from etcdpy.proto import raft_pb2, snap_pb2
from etcdpy.wal.errors import CorruptSnapshot
from etcdpy.wal.files import Files, RealFiles, write_all
from etcdpy.wal.observed import SnapshotFilesObserved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from etcdpy.wal.recovery import SnapshotMark

__all__ = ["SnapshotFiles", "decode_snapshot", "encode_snapshot"]

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.snap")


class SnapshotFiles:
    """The `.snap` files of one directory."""

    def __init__(self, directory: Path, *, files: Files | None = None) -> None:
        self.directory = directory
        self.observed = SnapshotFilesObserved()
        self._files = files or RealFiles()

    def save(self, snapshot: raft_pb2.Snapshot) -> Path:
        """Write it to disk, lastingly."""
        assert snapshot.metadata.index > 0, "a snapshot of nothing"
        files = self._files
        path = self.directory / f"{snapshot.metadata.term:016x}-{snapshot.metadata.index:016x}.snap"
        staging = path.with_name("tmp." + path.name)
        started = perf_counter()
        data = encode_snapshot(snapshot)
        encoded = perf_counter()
        files.make_directory(self.directory)
        descriptor = files.open(staging, create=True)
        try:
            files.truncate(descriptor, 0)
            write_all(files, descriptor, data, 0)
            written = perf_counter()
            files.fdatasync(descriptor)
            self.observed.syncs_s.observe(perf_counter() - written)
        finally:
            files.close(descriptor)
        files.rename(staging, path)
        files.sync_directory(self.directory)
        self.observed.encodes_s.observe(encoded - started)
        self.observed.saves_s.observe(perf_counter() - started)
        return path

    def newest(self, marks: Iterable[SnapshotMark]) -> raft_pb2.Snapshot | None:
        """The newest whole snapshot that one of these marks names."""
        wanted = {(mark.term, mark.index) for mark in marks}
        for snapshot in self.whole():
            if (snapshot.metadata.term, snapshot.metadata.index) in wanted:
                return snapshot
        return None

    def whole(self) -> Iterator[raft_pb2.Snapshot]:
        """The snapshots that can be read, newest first; files that cannot are put aside as `.broken`."""
        for name, term, index in reversed(self._list()):
            path = self.directory / name
            try:
                snapshot = decode_snapshot(path, self._files.read(path))
                if (snapshot.metadata.term, snapshot.metadata.index) != (term, index):
                    raise CorruptSnapshot(path, "the snapshot inside is another than the name tells")
            except CorruptSnapshot:
                self._files.rename(path, path.with_name(name + ".broken"))
            else:
                yield snapshot

    def purge(self, keep: int) -> None:
        """Remove all but the newest `keep`; 0 keeps all."""
        names = [name for name, _, _ in self._list()]
        for name in names[: max(len(names) - keep, 0)] if keep else ():
            self._files.remove(self.directory / name)

    def remove_leftovers(self) -> None:
        """Remove what an interrupted `save` left behind. For the start, when nobody saves."""
        for name in self._files.list_directory(self.directory):
            if name.startswith("tmp"):
                self._files.remove(self.directory / name)

    def _list(self) -> list[tuple[str, int, int]]:
        """(name, term, index), oldest first."""
        matches = (_NAME.fullmatch(name) for name in self._files.list_directory(self.directory))
        return sorted((match[0], int(match[1], 16), int(match[2], 16)) for match in matches if match)


def encode_snapshot(snapshot: raft_pb2.Snapshot) -> bytes:
    """The content of a .snap file."""
    data = snapshot.SerializeToString()
    return snap_pb2.snapshot(crc=extend(0, data), data=data).SerializeToString()


def decode_snapshot(path: Path, content: bytes) -> raft_pb2.Snapshot:
    """The snapshot in the content of a .snap file; `path` is for the message only."""
    try:
        envelope = snap_pb2.snapshot.FromString(content)
    except DecodeError as error:
        raise CorruptSnapshot(path, f"no snapshot file: {error}") from error
    if not envelope.data or not envelope.crc:
        raise CorruptSnapshot(path, "the snapshot file is empty or has no CRC")
    if envelope.crc != extend(0, envelope.data):
        raise CorruptSnapshot(
            path, f"the CRC is {envelope.crc:#010x} and should be {extend(0, envelope.data):#010x}"
        )
    try:
        return raft_pb2.Snapshot.FromString(envelope.data)
    except DecodeError as error:
        raise CorruptSnapshot(path, f"no snapshot inside: {error}") from error
