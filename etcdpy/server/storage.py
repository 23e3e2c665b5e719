"""The member's durable log: what of a `Ready` must reach the disk, and when the log may be cut.

The jobs made here run in the WAL thread, one after another; everything they need is handed to them,
so they touch nothing that the loop thread changes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from etcdpy.proto.raft_pb2 import Snapshot
from etcdpy.raft import codec as raft_codec
from etcdpy.wal import SnapshotMark, WalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.raft.messages import HardState, Ready
    from etcdpy.wal import Log, SnapshotFiles
    from etcdpy.wal.observed import SnapshotFilesObserved, WalObserved


class LogWrite:
    """A job that writes entries and hard state to the log: at once, or in two steps with the sync between
    them left to somebody else.
    """

    __slots__ = ("_entries", "_log", "_state", "_sync")

    def __init__(
        self, log: Log, entries: list[tuple[int, bytes]], state: bytes | None, *, sync: bool
    ) -> None:
        self._log = log
        self._entries = entries
        self._state = state
        self._sync = sync

    def __call__(self) -> None:
        """Write, and sync if that is wanted."""
        self._log.append(self._entries, self._state, sync=self._sync)

    @property
    def synced_entries(self) -> int:
        """How many entries one sync would bring to disk; 0 where the job cannot be done in two steps."""
        return 0 if self._log.is_full or not self._sync else len(self._entries)

    def begin(self) -> int:
        """Write, and tell the descriptor that is to be synced."""
        self._log.append(self._entries, self._state, sync=False)
        return self._log.begin_sync()

    def sync(self) -> None:
        """Sync what was begun."""
        self._log.sync()

    def end(self, took_s: float, error: OSError | None) -> None:
        """Somebody else has synced what was begun. Raises `LogFailed` if that has failed."""
        self._log.end_sync(took_s, error)


class Storage:
    """WAL and raft snapshot files of one member."""

    def __init__(
        self, log: Log, files: SnapshotFiles, *, snapshots_max: int, first_snapshot_index: int = 0
    ) -> None:
        self._log = log
        self._files = files
        self._snapshots_max = snapshots_max
        self.snapshot_index = first_snapshot_index
        self._unsaved: HardState | None = None

    @property
    def log_observed(self) -> WalObserved:
        """What the log has counted."""
        return self._log.observed

    @property
    def files_observed(self) -> SnapshotFilesObserved:
        """What the snapshot files have counted."""
        return self._files.observed

    def save_job(self, ready: Ready) -> Callable[[], None] | None:
        """A job that makes entries and hard state durable; None when nothing has to be.

        A change of the commit index alone waits for the next save: it can be found again from the entries,
        and a write of its own would double the work of a single put.
        """
        state = ready.hard_state
        if not ready.entries and not ready.must_sync and ready.snapshot is None:
            self._unsaved = state or self._unsaved
            return None
        state = state or self._unsaved
        self._unsaved = None
        # The log has sealed them all.
        entries = [(entry.index, entry.encoded) for entry in ready.entries]
        encoded = None if state is None else raft_codec.encode_hard_state(state)
        log, sync = self._log, ready.must_sync
        if ready.snapshot is not None:
            snapshot = Snapshot.FromString(raft_codec.encode_snapshot(ready.snapshot))
            # The hard state says that the snapshot is committed; until then the log's reader ignores it.
            return self._snapshot_job(snapshot, lambda: log.append(entries, encoded, sync=True))
        return LogWrite(log, entries, encoded, sync=sync)

    def snapshot_job(self, snapshot: Snapshot) -> Callable[[], None]:
        """A job that writes a raft snapshot file, marks it in the log, and lets go of segments that it
        covers.

        The caller has made the backend durable up to the snapshot's index.
        """
        state, self._unsaved = self._unsaved, None
        encoded = None if state is None else raft_codec.encode_hard_state(state)
        return self._snapshot_job(snapshot, lambda: self._log.append([], encoded, sync=True))

    def _snapshot_job(self, snapshot: Snapshot, append: Callable[[], None]) -> Callable[[], None]:
        metadata = snapshot.metadata
        mark = SnapshotMark(metadata.index, metadata.term, metadata.conf_state.SerializeToString())
        self.snapshot_index = metadata.index

        def job() -> None:
            self._files.save(snapshot)
            self._log.append_snapshot_mark(mark)
            append()
            self._log.release_to(mark.index)
            self._files.purge(self._snapshots_max)

        return job

    def close(self) -> None:
        """Note how far the log was committed, then close it; no job may follow."""
        if self._unsaved is not None:
            with suppress(WalError):  # a log that has failed says so to everybody; it closes all the same
                self._log.append([], raft_codec.encode_hard_state(self._unsaved), sync=False)
        self._log.close()
