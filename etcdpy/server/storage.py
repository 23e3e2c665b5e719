"""The member's durable log: what of a `Ready` must reach the disk, and when the log may be cut.

The jobs made here run in the WAL thread, one after another; everything they need is handed to them,
so they touch nothing that the loop thread changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto.raft_pb2 import Snapshot
from etcdpy.raft import codec as raft_codec
from etcdpy.wal import SnapshotMark

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.raft.messages import Ready
    from etcdpy.wal import Log, SnapshotFiles


class Storage:
    """WAL and raft snapshot files of one member."""

    def __init__(
        self, log: Log, files: SnapshotFiles, *, snapshots_max: int, first_snapshot_index: int = 0
    ) -> None:
        self._log = log
        self._files = files
        self._snapshots_max = snapshots_max
        self.snapshot_index = first_snapshot_index

    def save_job(self, ready: Ready) -> Callable[[], None] | None:
        """A job that makes entries and hard state durable; None when the batch has neither.

        A change of the commit index alone is written without a sync: it can be found again from the entries.
        """
        if not ready.entries and ready.hard_state is None and ready.snapshot is None:
            return None
        entries = [(entry.index, raft_codec.encode_entry(entry)) for entry in ready.entries]
        state = None if ready.hard_state is None else raft_codec.encode_hard_state(ready.hard_state)
        log, sync = self._log, ready.must_sync
        if ready.snapshot is not None:
            snapshot = Snapshot.FromString(raft_codec.encode_snapshot(ready.snapshot))
            # The hard state says that the snapshot is committed; until then the log's reader ignores it.
            return self.snapshot_job(snapshot, lambda: log.append(entries, state, sync=True))
        return lambda: log.append(entries, state, sync=sync)

    def snapshot_job(
        self, snapshot: Snapshot, append: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """A job that writes a raft snapshot file, marks it in the log, and lets go of segments that it
        covers.

        The caller has made the backend durable up to the snapshot's index.
        """
        metadata = snapshot.metadata
        mark = SnapshotMark(metadata.index, metadata.term, metadata.conf_state.SerializeToString())
        self.snapshot_index = metadata.index

        def job() -> None:
            self._files.save(snapshot)
            self._log.append_snapshot_mark(mark)
            if append is not None:
                append()
            self._log.release_to(mark.index)
            self._files.purge(self._snapshots_max)

        return job

    def close(self) -> None:
        """Close the log; no job may follow."""
        self._log.close()
