"""Making a data directory that appears whole or not at all.

Everything is written and synced below `etcdpyutl.tmp` inside the new data directory, because that directory
may be a mount point, which can be neither renamed nor replaced. One rename, of `member`, is the moment from
which there is a data directory; until then no server takes it for one. What a killed run has left behind is
removed by the next.

A log directory of its own gets its segments just before that rename. A crash between the two leaves a log
without its data; the tool that was interrupted refuses to write beside it again, so nobody starts on it
unawares.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etcdpy import wal
from etcdpy.ctl.output import Fault
from etcdpy.proto.etcdserver_pb2 import Metadata
from etcdpy.proto.raft_pb2 import Snapshot as WireSnapshot
from etcdpy.raft import codec as raft_codec
from etcdpy.server.bootstrap import Layout, lock_data_directory
from etcdpy.server.snapshots import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etcdpy.raft.messages import HardState, Snapshot
    from etcdpy.server.member import Identity

__all__ = ["create_log", "finish_log", "locked", "new_directory", "resolve_layout"]

STAGING_NAME: Final = "etcdpyutl.tmp"
MEMBER: Final = "member"


def resolve_layout(data_dir: str, wal_dir: str) -> Layout:
    """Where the parts of a member are; an empty `wal_dir` means inside the data directory."""
    data = Path(data_dir)
    return Layout(data, Path(wal_dir) if wal_dir else data / MEMBER / "wal")


@contextmanager
def new_directory(where: Layout) -> Iterator[Layout]:
    """A layout to write into, which becomes `where` if the block ends well.

    Raises:
        Fault: there is something already.
    """
    _check_absent(where)
    staging_dir = where.data_dir / STAGING_NAME
    inside = where.wal_dir == where.data_dir / MEMBER / "wal"
    made = _make_directories(staging_dir / MEMBER / "snap")
    wal_dir = staging_dir / MEMBER / "wal"
    if not inside:
        made = _make_directories(where.wal_dir / STAGING_NAME) + made
        wal_dir = where.wal_dir / STAGING_NAME / "wal"
    staging = Layout(staging_dir, wal_dir)
    try:
        yield staging
        if not inside:
            _publish_segments(staging.wal_dir, where.wal_dir)
        _sync_file(staging.backend)
        sync_directory(staging.snap_dir)
        sync_directory(staging_dir / MEMBER)
        (staging_dir / MEMBER).rename(where.data_dir / MEMBER)
    except OSError as error:
        _remove_directories(made)
        if error.filename is None and error.strerror:
            raise Fault(f"write {where.data_dir}: {error.strerror.lower()}") from error
        raise
    except BaseException:
        _remove_directories(made)
        raise
    _sync_file(where.data_dir / MEMBER / "snap" / "db")
    shutil.rmtree(staging_dir)
    sync_directory(where.data_dir)


@contextmanager
def locked(where: Layout) -> Iterator[None]:
    """Keep a member of etcdpy from starting on this directory."""
    descriptor = lock_data_directory(where)
    try:
        yield
    finally:
        os.close(descriptor)


def create_log(where: Layout, identity: Identity) -> wal.Log:
    """An empty log of this member."""
    metadata = Metadata(NodeID=identity.member_id, ClusterID=identity.cluster_id)
    return wal.Log.create(where.wal_dir, metadata.SerializeToString())


def finish_log(
    where: Layout,
    log: wal.Log,
    snapshot: Snapshot,
    entries: Sequence[tuple[int, bytes]],
    hard_state: HardState,
) -> None:
    """The snapshot, its mark, and what follows it; then close the log."""
    if snapshot.index:
        wire = WireSnapshot.FromString(raft_codec.encode_snapshot(snapshot))
        wal.SnapshotFiles(where.snap_dir).save(wire)
        conf_state = wire.metadata.conf_state.SerializeToString()
        log.append_snapshot_mark(wal.SnapshotMark(snapshot.index, snapshot.term, conf_state))
    log.append(entries, raft_codec.encode_hard_state(hard_state), sync=True)
    log.close()


def _check_absent(where: Layout) -> None:
    for path in (where.data_dir, where.wal_dir):
        shutil.rmtree(path / STAGING_NAME, ignore_errors=True)
    if where.data_dir.exists() and (not where.data_dir.is_dir() or any(where.data_dir.iterdir())):
        raise Fault(f'data-dir "{where.data_dir}" not empty or could not be read')
    if where.wal_dir.exists() and (not where.wal_dir.is_dir() or any(where.wal_dir.iterdir())):
        raise Fault(f'wal-dir "{where.wal_dir}" exists')


def _make_directories(path: Path) -> list[Path]:
    """Make it and its parents; those that are new, innermost last."""
    missing = [one for one in (path, *path.parents) if not one.exists()][::-1]
    for one in missing:
        one.mkdir(mode=0o700)
    return missing


def _remove_directories(made: list[Path]) -> None:
    """Take back what we made, and nothing else: innermost first, unless others have put something in."""
    for path in reversed(made):
        if STAGING_NAME in path.parts:
            shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            path.rmdir()
        except OSError:
            return


def _publish_segments(staged: Path, target: Path) -> None:
    """Newest first: a log without its beginning is refused, one without its end would be believed."""
    for segment in sorted(staged.glob("*.wal"), reverse=True):
        segment.rename(target / segment.name)
    shutil.rmtree(staged.parent)
    sync_directory(target)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
