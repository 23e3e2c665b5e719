"""The write-ahead log and the raft snapshot files, in etcd's formats."""

from etcdpy.wal.errors import (
    CorruptRecord,
    CorruptSnapshot,
    LockedDirectory,
    LogExists,
    LogFailed,
    MissingEntries,
    MissingMark,
    MissingSegment,
    WalError,
)
from etcdpy.wal.files import Files, RealFiles
from etcdpy.wal.log import SEGMENT_BYTES, SEGMENTS_MAX, Log, exists, snapshot_marks
from etcdpy.wal.recovery import Recovered, SnapshotMark
from etcdpy.wal.snapshot_files import SnapshotFiles, decode_snapshot, encode_snapshot

__all__ = [
    "Log",
    "Recovered",
    "SnapshotMark",
    "SnapshotFiles",
    "encode_snapshot",
    "decode_snapshot",
    "exists",
    "snapshot_marks",
    "SEGMENT_BYTES",
    "SEGMENTS_MAX",
    "Files",
    "RealFiles",
    "WalError",
    "CorruptRecord",
    "CorruptSnapshot",
    "MissingSegment",
    "MissingEntries",
    "MissingMark",
    "LockedDirectory",
    "LogExists",
    "LogFailed",
]
