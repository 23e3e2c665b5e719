"""The write-ahead log and the raft snapshot files, in etcd's formats."""

from etcdpy.wal.errors import (
    CorruptRecord,
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

__all__ = [
    "Log",
    "Recovered",
    "SnapshotMark",
    "exists",
    "snapshot_marks",
    "SEGMENT_BYTES",
    "SEGMENTS_MAX",
    "Files",
    "RealFiles",
    "WalError",
    "CorruptRecord",
    "MissingSegment",
    "MissingEntries",
    "MissingMark",
    "LockedDirectory",
    "LogExists",
    "LogFailed",
]
