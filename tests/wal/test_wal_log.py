"""The life of a log: made, appended to, cut, purged, locked, read again."""

from __future__ import annotations

import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.proto import raft_pb2
from etcdpy.wal import (
    CorruptRecord,
    LockedDirectory,
    Log,
    LogExists,
    MissingEntries,
    MissingMark,
    MissingSegment,
    RealFiles,
    Recovered,
    SnapshotMark,
    exists,
    snapshot_marks,
)

if TYPE_CHECKING:
    from pathlib import Path

START = SnapshotMark()
SMALL = 4096
CONF_STATE = raft_pb2.ConfState(voters=[1, 2, 3], auto_leave=False).SerializeToString()


def encoded(entries: list[raft_pb2.Entry]) -> list[bytes]:
    return [entry.SerializeToString() for entry in entries]


def reopen(directory: Path, mark: SnapshotMark = START) -> Recovered:
    log, recovered = Log.open(directory, mark)
    log.close()
    return recovered


def wal_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.wal"))


def test_a_new_log_is_empty(tmp_path: Path) -> None:
    directory = tmp_path / "member" / "wal"
    assert not exists(directory)
    Log.create(directory, b"who").close()
    assert exists(directory)
    recovered = reopen(directory)
    assert (recovered.metadata, recovered.hard_state, recovered.entries) == (b"who", None, [])
    assert recovered.repaired is None


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    directory = tmp_path / "member" / "wal"
    Log.create(directory, b"who").close()
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (directory.parent, directory, *directory.iterdir())
    }
    assert modes == {"member": 0o700, "wal": 0o700, "0000000000000000-0000000000000000.wal": 0o600}


def test_a_segment_has_its_full_length_from_the_start(tmp_path: Path) -> None:
    with closing(Log.create(tmp_path / "wal", b"who")):
        (segment,) = (tmp_path / "wal").iterdir()
        assert segment.stat().st_size == 64_000_000


def test_a_log_is_not_created_over_another(tmp_path: Path) -> None:
    Log.create(tmp_path / "wal", b"who").close()
    with pytest.raises(LogExists):
        Log.create(tmp_path / "wal", b"who")


def test_of_two_makers_one_wins(tmp_path: Path) -> None:
    """Between our look at the directory and our lock, another process makes the log and is done."""

    class Racing(RealFiles):
        raced = False

        def lock(self, descriptor: int) -> bool:
            if not self.raced:
                self.raced = True
                Log.create(tmp_path / "wal", b"the other").close()
            return super().lock(descriptor)

    with pytest.raises(LogExists):
        Log.create(tmp_path / "wal", b"us", files=Racing())
    assert reopen(tmp_path / "wal").metadata == b"the other"


def test_a_half_made_log_is_no_log_and_no_obstacle(tmp_path: Path) -> None:
    staging = tmp_path / "wal.tmp"
    staging.mkdir()
    (staging / "0000000000000000-0000000000000000.wal").write_bytes(b"half")
    assert not exists(tmp_path / "wal")
    Log.create(tmp_path / "wal", b"who").close()
    assert reopen(tmp_path / "wal").metadata == b"who"


def test_entries_and_the_last_hard_state_come_back(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who")) as log:
        writer = writer_type(log)
        writer.batch(3)
        writer.batch(2)
    recovered = reopen(tmp_path)
    assert encoded(recovered.entries) == writer.promised
    assert recovered.hard_state is not None
    assert recovered.hard_state.SerializeToString() == writer.state(1, 3)


def test_a_reopened_log_continues(tmp_path: Path, writer_type: Any) -> None:
    Log.create(tmp_path, b"who", segment_bytes=SMALL).close()
    promised: list[bytes] = []
    for turn in range(6):
        log, recovered = Log.open(tmp_path, START, segment_bytes=SMALL)
        assert encoded(recovered.entries) == promised
        assert log.last_index == len(promised)
        writer = writer_type(log)
        writer.batch(turn, size=700)
        log.close()
        promised += writer.promised
    assert len(wal_names(tmp_path)) == 2


def test_appends_without_sync_are_there_after_close(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who")) as log:
        log.append([writer_type.entry(1)], None, sync=False)
        log.append([], None, sync=False)
    assert len(reopen(tmp_path).entries) == 1


def test_entries_whose_hard_state_was_lost_raise_the_term(tmp_path: Path) -> None:
    """A loss of power may keep the entries of a new term and take the hard state written behind them. The log
    is then read again and again, and must stay readable.
    """
    directory = tmp_path / "wal"
    log = Log.create(directory, b"who")
    first = raft_pb2.Entry(Type=raft_pb2.EntryType.EntryNormal, Term=26, Index=1, Data=b"a")
    log.append([(1, first.SerializeToString())], hard_state(26, vote=5, commit=1), sync=True)
    second = raft_pb2.Entry(Type=raft_pb2.EntryType.EntryNormal, Term=27, Index=2, Data=b"b")
    log.append([(2, second.SerializeToString())], None, sync=True)
    log.close()
    for _ in range(3):
        found = reopen(directory)
        assert len(found.entries) == 2
        assert found.hard_state is not None
        assert (found.hard_state.term, found.hard_state.vote, found.hard_state.commit) == (27, 0, 1)


def hard_state(term: int, vote: int, commit: int) -> bytes:
    return raft_pb2.HardState(term=term, vote=vote, commit=commit).SerializeToString()


def test_a_new_leader_overwrites(tmp_path: Path, writer_type: Any) -> None:
    entry = writer_type.entry
    with closing(Log.create(tmp_path, b"who")) as log:
        log.append([entry(index, 1) for index in range(1, 8)], writer_type.state(1, 3), sync=True)
        log.append([entry(4, 2)], writer_type.state(2, 3), sync=True)
        assert log.last_index == 4
        log.append([entry(5, 2)], writer_type.state(2, 4), sync=True)
    recovered = reopen(tmp_path)
    assert [(e.Index, e.Term) for e in recovered.entries] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]


def test_a_hole_is_never_written(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who")) as log:
        with pytest.raises(AssertionError, match="entries from 2 after 0"):
            log.append([writer_type.entry(2)], None, sync=True)
        with pytest.raises(AssertionError, match="2 entries from 1 to 3"):
            log.append([writer_type.entry(1), writer_type.entry(3)], None, sync=True)


def test_segments_are_cut_and_name_their_first_index(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL)) as log:
        writer = writer_type(log)
        for _ in range(12):
            writer.batch(1, size=1000)
    assert wal_names(tmp_path) == [
        "0000000000000000-0000000000000000.wal",
        "0000000000000001-0000000000000005.wal",
        "0000000000000002-0000000000000009.wal",
    ]
    assert encoded(reopen(tmp_path).entries) == writer.promised


def test_a_finished_segment_ends_with_its_last_record(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL)) as log:
        for _ in range(5):
            writer_type(log).batch(1, size=1000)
    first, second = (tmp_path / name for name in wal_names(tmp_path))
    assert SMALL <= first.stat().st_size < 2 * SMALL
    assert second.stat().st_size == SMALL


def test_a_mark_opens_the_log_in_the_middle(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL)) as log:
        writer = writer_type(log)
        for _ in range(12):
            writer.batch(1, size=1000)
        log.append_snapshot_mark(SnapshotMark(10, 1, CONF_STATE))
        writer.batch(2)
        writer.batch(1)
    mark = SnapshotMark(10, 1, CONF_STATE)
    assert snapshot_marks(tmp_path) == [START, mark]
    recovered = reopen(tmp_path, mark)
    assert encoded(recovered.entries) == writer.promised[10:]
    assert recovered.hard_state is not None
    assert recovered.hard_state.commit == 14


def test_a_snapshot_from_a_leader_may_skip_entries(tmp_path: Path, writer_type: Any) -> None:
    mark = SnapshotMark(100, 3, CONF_STATE)
    with closing(Log.create(tmp_path, b"who")) as log:
        writer_type(log).batch(3)
        log.append_snapshot_mark(mark)
        assert log.last_index == 100
        log.append([writer_type.entry(101, 3)], writer_type.state(3, 100), sync=True)
    assert snapshot_marks(tmp_path) == [START, mark]
    assert [e.Index for e in reopen(tmp_path, mark).entries] == [101]
    with pytest.raises(MissingEntries, match="entry 101 follows 3"):
        Log.open(tmp_path, START)


def test_marks_beyond_the_commit_do_not_count(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who")) as log:
        writer_type(log).batch(3)
        log.append_snapshot_mark(SnapshotMark(2, 1, CONF_STATE))
    assert snapshot_marks(tmp_path) == [START]


def test_a_mark_needs_a_configuration(tmp_path: Path) -> None:
    with (
        closing(Log.create(tmp_path, b"who")) as log,
        pytest.raises(AssertionError, match="a mark at 7 without configuration"),
    ):
        log.append_snapshot_mark(SnapshotMark(7, 1))


@pytest.mark.parametrize("mark", [SnapshotMark(2, 1), SnapshotMark(1, 9)])
def test_an_unknown_mark_is_refused(tmp_path: Path, writer_type: Any, mark: SnapshotMark) -> None:
    with closing(Log.create(tmp_path, b"who")) as log:
        writer_type(log).batch(3)
        log.append_snapshot_mark(SnapshotMark(1, 1, CONF_STATE))
    with pytest.raises(MissingMark):
        Log.open(tmp_path, mark)


def test_released_segments_are_purged_oldest_first(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL, segments_max=2)) as log:
        writer = writer_type(log)
        for _ in range(20):
            writer.batch(1, size=1000)
        assert len(wal_names(tmp_path)) == 5
        log.release_to(4)
        assert len(wal_names(tmp_path)) == 5
        log.release_to(9)
        assert wal_names(tmp_path)[0].startswith("0000000000000002")
        log.append_snapshot_mark(SnapshotMark(20, 1, CONF_STATE))
        writer.batch(1)
        writer.batch(1)
        log.release_to(20)
        assert [name[:16] for name in wal_names(tmp_path)] == ["0000000000000004", "0000000000000005"]
    assert snapshot_marks(tmp_path) == [SnapshotMark(20, 1, CONF_STATE)]
    assert len(reopen(tmp_path, SnapshotMark(20, 1)).entries) == 2
    with pytest.raises(MissingSegment, match="too young for a log from index 0"):
        Log.open(tmp_path, START)


def test_nothing_is_purged_when_all_are_to_be_kept(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL, segments_max=0)) as log:
        for _ in range(20):
            writer_type(log).batch(1, size=1000)
        log.release_to(20)
        assert len(wal_names(tmp_path)) == 5


def test_no_log_at_all(tmp_path: Path) -> None:
    with pytest.raises(MissingSegment, match="there is no log here"):
        Log.open(tmp_path, START)
    assert snapshot_marks(tmp_path) == []


def test_a_missing_segment_is_refused(tmp_path: Path, writer_type: Any) -> None:
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL)) as log:
        for _ in range(12):
            writer_type(log).batch(1, size=1000)
    (tmp_path / wal_names(tmp_path)[1]).unlink()
    with pytest.raises(MissingSegment, match=r"between 0{16}-0{16}.wal and 0{15}2-0{15}9.wal"):
        Log.open(tmp_path, START)


def test_a_foreign_segment_is_refused(tmp_path: Path, writer_type: Any) -> None:
    """Same names, another log: the chain of CRCs does not join."""
    for place in ("one", "two"):
        with closing(Log.create(tmp_path / place, place.encode(), segment_bytes=SMALL)) as log:
            for _ in range(12):
                writer_type(log).batch(1, size=1000)
    name = wal_names(tmp_path / "one")[1]
    (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    with pytest.raises(CorruptRecord, match="the chain of CRCs"):
        Log.open(tmp_path / "one", START)


def test_a_second_opener_in_this_process_is_refused(tmp_path: Path) -> None:
    with closing(Log.create(tmp_path, b"who")), pytest.raises(LockedDirectory, match="another member"):
        Log.open(tmp_path, START)
    reopen(tmp_path)


def test_a_second_opener_in_another_process_is_refused(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from etcdpy.wal import Log, LockedDirectory, SnapshotMark\n"
        "try:\n    Log.open(pathlib.Path(sys.argv[1]), SnapshotMark())\n"
        "except LockedDirectory:\n    sys.exit(7)\n"
    )
    with closing(Log.create(tmp_path, b"who")):
        assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode == 7
    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode == 0


def test_the_lock_moves_on_with_the_log(tmp_path: Path, writer_type: Any) -> None:
    """After every old segment is purged, the new ones still keep others out."""
    with closing(Log.create(tmp_path, b"who", segment_bytes=SMALL, segments_max=1)) as log:
        for _ in range(10):
            writer_type(log).batch(1, size=1000)
        log.append_snapshot_mark(SnapshotMark(10, 1, CONF_STATE))
        log.release_to(10)
        with pytest.raises(LockedDirectory):
            Log.open(tmp_path, SnapshotMark(10, 1))


def test_leftovers_of_a_cut_are_removed(tmp_path: Path) -> None:
    Log.create(tmp_path, b"who").close()
    (tmp_path / "0.tmp").write_bytes(bytes(100))
    reopen(tmp_path)
    assert not (tmp_path / "0.tmp").exists()


def test_without_fsync_the_same_bytes_are_written(tmp_path: Path, writer_type: Any) -> None:
    for place, unsafe in (("safe", False), ("unsafe", True)):
        files = RealFiles(unsafe_no_fsync=unsafe)
        with closing(Log.create(tmp_path / place, b"who", segment_bytes=SMALL, files=files)) as log:
            for _ in range(8):
                writer_type(log).batch(1, size=1000)
    safe, unsafe_names = wal_names(tmp_path / "safe"), wal_names(tmp_path / "unsafe")
    assert safe == unsafe_names
    for name in safe:
        assert (tmp_path / "safe" / name).read_bytes() == (tmp_path / "unsafe" / name).read_bytes()


class CountingFiles(RealFiles):
    """A disk that remembers where was written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[int, int]] = []

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        self.writes.append((offset, len(data)))
        return super().pwrite(descriptor, data, offset)


def test_zeros_are_written_ahead_now_and_then_and_never_over_anything(
    tmp_path: Path, writer_type: type[Any]
) -> None:
    files, segment_bytes = CountingFiles(), 1_000_000
    log = Log.create(tmp_path / "wal", b"who", segment_bytes=segment_bytes, files=files)
    writer = writer_type(log)
    files.writes.clear()
    for _ in range(400):
        writer.batch(1, size=4000)
    log.close()
    assert len(list((tmp_path / "wal").glob("*.wal"))) == 2
    ahead = [(offset, size) for offset, size in files.writes if size > 8000]
    assert 4 <= len(ahead) <= 20
    assert max(size for _, size in ahead) > 100_000
    assert max(offset + size for offset, size in files.writes) <= segment_bytes + 8000
    for path in (tmp_path / "wal").glob("*.wal"):
        assert path.stat().st_size <= segment_bytes + 8000
    log, recovered = Log.open(tmp_path / "wal", SnapshotMark(), segment_bytes=segment_bytes)
    assert recovered.encoded == writer.promised
    log.close()
