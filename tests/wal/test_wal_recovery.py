"""Crashes, damage and full disks: what a sync promised is there, and damage is never taken for a crash."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto import raft_pb2
from etcdpy.wal import (
    CorruptRecord,
    Log,
    LogExists,
    LogFailed,
    SnapshotMark,
    WalError,
    exists,
    snapshot_marks,
)
from etcdpy.wal.record import RecordKind, RecordReader, encode_record

if TYPE_CHECKING:
    from pathlib import Path

START = SnapshotMark()
SEGMENT_BYTES = 8192
CONF_STATE = raft_pb2.ConfState(voters=[1, 2, 3], auto_leave=False).SerializeToString()


def reopen(disk: Any, directory: Path, mark: SnapshotMark = START) -> Any:
    log, recovered = Log.open(directory, mark, segment_bytes=SEGMENT_BYTES, files=disk)
    log.close()
    return recovered


def encoded(recovered: Any) -> list[bytes]:
    return [entry.SerializeToString() for entry in recovered.entries]


def newest(disk: Any, directory: Path) -> Path:
    names: list[str] = disk.list_directory(directory)
    return directory / max(name for name in names if name.endswith(".wal"))


LENGTH_256 = (256).to_bytes(8, "little")


def records_end(data: bytes) -> int:
    """Where the last record ends; its own last bytes may be zeros."""
    reader = RecordReader(data, None)
    return max((reader.offset for _ in reader), default=0)


@pytest.fixture
def written(disk: Any, directory: Path, writer_type: Any) -> Any:
    """A log of three batches; `ends` are the offsets after each of them."""
    log = Log.create(directory, b"who we are", segment_bytes=SEGMENT_BYTES, files=disk)
    writer = writer_type(log)
    writer.ends, writer.promised_at = [], []
    for count in (2, 1, 3):
        writer.batch(count)
        writer.ends.append(records_end(disk.read(newest(disk, directory))))
        writer.promised_at.append(len(writer.promised))
    log.append_snapshot_mark(SnapshotMark(2, 1, CONF_STATE))
    log.close()
    writer.content = disk.read(newest(disk, directory))
    writer.end = records_end(writer.content)
    return writer


def test_a_file_cut_anywhere_keeps_every_earlier_batch(disk: Any, directory: Path, written: Any) -> None:
    path = newest(disk, directory)
    for cut in range(96, written.end):
        disk.write(path, written.content[:cut])
        recovered = reopen(disk, directory)
        kept = encoded(recovered)
        assert kept == written.promised[: len(kept)], cut
        whole_batches = sum(end <= cut for end in written.ends)
        if whole_batches:
            assert len(kept) >= written.promised_at[whole_batches - 1], cut
        data = disk.read(path)
        reader = RecordReader(data, None)
        ends = [reader.offset for _ in reader]
        assert not any(data[ends[-1] :]), cut
        # The last record may be the hard state, written once more.
        assert data[: ends[-2]] == written.content[: ends[-2]], cut
        assert len(data) == SEGMENT_BYTES


def test_a_cut_file_is_put_aside_as_it_was(disk: Any, directory: Path, written: Any) -> None:
    path = newest(disk, directory)
    torn = written.content[: written.ends[1] + 20]
    disk.write(path, torn)
    recovered = reopen(disk, directory)
    assert recovered.repaired == path.with_name(path.name + ".broken")
    assert disk.read(recovered.repaired) == torn
    assert reopen(disk, directory).repaired is None


def test_a_log_repaired_at_any_cut_can_be_continued(
    disk: Any, directory: Path, written: Any, writer_type: Any
) -> None:
    path = newest(disk, directory)
    for cut in range(written.ends[0], written.end, 7):
        disk.write(path, written.content[:cut])
        log, recovered = Log.open(directory, START, segment_bytes=SEGMENT_BYTES, files=disk)
        kept = encoded(recovered)
        writer = writer_type(log)
        writer.batch(2)
        log.close()
        assert encoded(reopen(disk, directory)) == kept + writer.promised


def test_every_flipped_bit_is_refused(disk: Any, directory: Path, written: Any) -> None:
    path = newest(disk, directory)
    for position in range(written.end):
        for bit in range(8):
            damaged = bytearray(written.content)
            damaged[position] ^= 1 << bit
            disk.write(path, bytes(damaged))
            with pytest.raises(WalError) as refused:
                reopen(disk, directory)
            assert str(path) in str(refused.value) or str(directory) in str(refused.value)
            assert disk.read(path) == damaged, "nothing was changed"
            assert disk.list_directory(directory) == [path.name]


@pytest.mark.parametrize("term", [1, 2, 5])
@pytest.mark.parametrize("vote", [1, 0x8E9E05C52164694D])
@pytest.mark.parametrize("last", ["entry", "state"])
def test_the_kind_of_a_record_is_no_matter_of_trust(
    disk: Any, directory: Path, writer_type: Any, term: int, vote: int, last: str
) -> None:
    """An entry without data and a hard state have the same fields, and the CRC does not cover the kind."""
    log = Log.create(directory, b"who we are", segment_bytes=SEGMENT_BYTES, files=disk)
    for index in (1, 2, 3):
        leads = raft_pb2.Entry(Type=raft_pb2.EntryNormal, Term=term, Index=index)
        log.append([(index, leads.SerializeToString())], writer_type.state(term, index - 1, vote), sync=True)
    if last == "entry":
        log.append([writer_type.entry(4, term, 0)], None, sync=True)
    log.close()
    path = newest(disk, directory)
    content = disk.read(path)
    for position in range(records_end(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            disk.write(path, bytes(damaged))
            with pytest.raises(WalError):
                reopen(disk, directory)
            try:
                snapshot_marks(directory, files=disk)
            except WalError:
                pass


@settings(derandomize=True, max_examples=200, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_among_zeros_is_no_torn_write(
    data: st.DataObject, request: pytest.FixtureRequest
) -> None:
    """Values full of zeros look like lost sectors. Whoever has a later write behind it was synced."""
    disk, writer_type = type(request.getfixturevalue("disk"))(), request.getfixturevalue("writer_type")
    directory = request.getfixturevalue("directory")
    log = Log.create(directory, b"who", segment_bytes=1 << 17, files=disk)
    path = newest(disk, directory)
    synced = 0
    for index in range(1, 20):
        encoded_entry = raft_pb2.Entry(
            Type=raft_pb2.EntryNormal, Term=1, Index=index, Data=bytes(index * 100)
        ).SerializeToString()
        log.append([(index, encoded_entry)], writer_type.state(1, index - 1), sync=True)
        if index == 17:
            synced = records_end(disk.read(path))
    log.close()
    damaged = bytearray(disk.read(path))
    damaged[data.draw(st.integers(0, synced - 1))] ^= 1 << data.draw(st.integers(0, 7))
    disk.write(path, bytes(damaged))
    with pytest.raises(WalError):
        reopen(disk, directory)


def test_a_flipped_bit_in_the_zeros_loses_nothing(disk: Any, directory: Path, written: Any) -> None:
    path = newest(disk, directory)
    for position in range(written.end, SEGMENT_BYTES, 37):
        damaged = bytearray(written.content)
        damaged[position] ^= 0x10
        disk.write(path, bytes(damaged))
        if position // 512 == written.end // 512:
            with pytest.raises(CorruptRecord, match=f"offset {written.end}"):
                reopen(disk, directory)
        else:
            assert encoded(reopen(disk, directory)) == written.promised


def test_damage_names_file_offset_and_remedy(disk: Any, directory: Path, written: Any) -> None:
    path = newest(disk, directory)
    damaged = bytearray(written.content)
    damaged[written.ends[0] + 30] ^= 1
    disk.write(path, bytes(damaged))
    with pytest.raises(CorruptRecord) as refused:
        reopen(disk, directory)
    assert (refused.value.path, refused.value.offset) == (path, written.ends[0])
    assert str(path) in str(refused.value)
    assert f"offset {written.ends[0]}" in str(refused.value)
    assert "Restore this member from a snapshot" in str(refused.value)
    with pytest.raises(CorruptRecord):
        snapshot_marks(directory, files=disk)


def test_damage_in_an_older_segment_is_refused_even_at_its_end(
    disk: Any, directory: Path, writer_type: Any
) -> None:
    log = Log.create(directory, b"who", segment_bytes=2048, files=disk)
    for _ in range(12):
        writer_type(log).batch(1, size=500)
    log.close()
    older = directory / disk.list_directory(directory)[0]
    whole = disk.read(older)
    for damaged in (whole[:-1], whole[:-8], whole[: len(whole) // 2], whole + b"x", b"", bytes(2048)):
        disk.write(older, damaged)
        with pytest.raises(CorruptRecord):
            reopen(disk, directory)


def test_a_lost_sector_is_a_torn_write(disk: Any, directory: Path, writer_type: Any) -> None:
    """Every set of lost sectors of an unsynced batch: what was synced stays, the rest is a prefix or gone."""
    log = Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=disk)
    writer = writer_type(log)
    writer.batch(2, size=300)
    path = newest(disk, directory)
    before = disk.read(path)
    log.append([writer.entry(index, 1, 600) for index in (3, 4, 5)], writer.state(1, 2), sync=True)
    log.close()
    after = disk.read(path)
    sectors = [start for start in range(0, SEGMENT_BYTES, 512) if before[start:][:512] != after[start:][:512]]
    assert 4 <= len(sectors) <= 6
    for lost in range(1, 1 << len(sectors)):
        torn = bytearray(after)
        for bit, start in enumerate(sectors):
            if lost >> bit & 1:
                torn[start : start + 512] = before[start : start + 512]
        disk.write(path, bytes(torn))
        recovered = reopen(disk, directory)
        assert encoded(recovered)[:2] == writer.promised
        assert [entry.Index for entry in recovered.entries] == list(range(1, len(recovered.entries) + 1))


def test_a_lost_sector_of_what_an_opened_log_has_seen_is_damage(
    disk: Any, directory: Path, writer_type: Any
) -> None:
    log = Log.create(directory, b"x", segment_bytes=SEGMENT_BYTES, files=disk)
    state = raft_pb2.HardState(term=1, vote=1, commit=1).SerializeToString()
    entry = raft_pb2.Entry(Type=raft_pb2.EntryNormal, Term=1, Index=1, Data=b"v" * 2000)
    log.append([(1, entry.SerializeToString())], state, sync=True)
    log.close()
    path = newest(disk, directory)
    before = disk.read(path)
    lost = bytearray(before)
    lost[1024:1536] = bytes(512)
    disk.write(path, bytes(lost))
    assert reopen(disk, directory).entries == [], "nobody can tell that it was synced"
    disk.write(path, before)
    assert len(reopen(disk, directory).entries) == 1
    seen = bytearray(disk.read(path))
    seen[1024:1536] = bytes(512)
    disk.write(path, bytes(seen))
    with pytest.raises(CorruptRecord):
        reopen(disk, directory)


@pytest.mark.parametrize("size", [39, 40, 64, 300, 1500])
def test_a_lost_sector_that_held_only_a_length_field(
    disk: Any, directory: Path, writer_type: Any, size: int
) -> None:
    """The field is the last of its sector: all behind it arrived, the sector with the field did not."""
    log = Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=disk)
    path, writer = newest(disk, directory), writer_type(log)
    writer.batch(1)
    while records_end(disk.read(path)) % 512 != 504:
        log.append([], writer.state(1, 1), sync=True)
    before = disk.read(path)
    log.append([writer.entry(2, 1, size), writer.entry(3)], writer.state(1, 1), sync=True)
    log.close()
    after = disk.read(path)
    lost = records_end(before) // 512 * 512
    disk.write(path, after[:lost] + before[lost : lost + 512] + after[lost + 512 :])
    assert encoded(reopen(disk, directory)) == writer.promised


def test_a_length_field_alone_in_its_sector_that_lost_a_bit(
    disk: Any, directory: Path, writer_type: Any
) -> None:
    """Zero by damage and not by a tear: a later write is behind it, so it was synced."""
    log = Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=disk)
    path, writer = newest(disk, directory), writer_type(log)
    writer.batch(1)
    while records_end(disk.read(path)) % 512 != 504:
        log.append([], writer.state(1, 1), sync=True)
    reader = RecordReader(disk.read(path), None)
    assert list(reader)
    field = reader.offset
    entries = (writer.entry(2, 1, size) for size in range(512))
    entry = next(
        one
        for one in entries
        if encode_record(RecordKind.ENTRY, one[1], reader.crc or 0)[0][:8] == LENGTH_256
    )
    log.append([entry], writer.state(1, 1), sync=True)
    log.append([writer.entry(3)], writer.state(1, 2), sync=True)
    log.close()
    content = bytearray(disk.read(path))
    assert content[field : field + 8] == LENGTH_256
    content[field + 1] ^= 1
    disk.write(path, bytes(content))
    with pytest.raises(CorruptRecord):
        reopen(disk, directory)


def test_commits_beyond_the_last_entry_are_refused(disk: Any, directory: Path, writer_type: Any) -> None:
    log = Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=disk)
    log.append([writer_type.entry(1)], writer_type.state(1, 5), sync=True)
    log.close()
    with pytest.raises(WalError, match="up to 5 were committed but the log ends at 1"):
        reopen(disk, directory)


def work(disk: Any, directory: Path, writer_type: Any, promised: list[bytes]) -> None:
    """A life with everything in it: cuts, unsynced appends, a mark, a purge, a restart."""
    log = Log.create(directory, b"who", segment_bytes=2048, segments_max=2, files=disk)
    try:
        writer = writer_type(log)
        writer.promised = promised
        for turn in range(8):
            # Not synced by itself; the next batch may have to finish a segment that ends with it.
            log.append([], writer.state(1, log.last_index), sync=False)
            writer.batch(1 + turn % 3, size=200 + 100 * turn)
        log.append_snapshot_mark(SnapshotMark(6, 1, CONF_STATE))
        log.release_to(6)
        writer.batch(2)
    finally:
        log.close()


def survivors(disk: Any, directory: Path) -> list[bytes] | None:
    """Everything from the newest mark on; None where there is no log."""
    if not exists(directory, files=disk):
        return None
    marks = snapshot_marks(directory, files=disk) or [START]
    recovered = reopen(disk, directory, marks[-1])
    return [b""] * marks[-1].index + encoded(recovered)


def check_promises(found: list[bytes] | None, promised: list[bytes]) -> None:
    if found is None:
        assert not promised
        return
    assert len(found) >= len(promised)
    for position, (kept, expected) in enumerate(zip(found, promised, strict=False)):
        assert kept in (b"", expected), position


def count_operations(disk: Any, directory: Path, writer_type: Any) -> int:
    disk.allow(None)
    work(disk, directory, writer_type, [])
    return int(disk.operations)


@pytest.mark.parametrize("short_write_bytes", [0, 1, 100])
def test_a_disk_that_fills_up_at_any_moment(
    directory: Path, disk: Any, writer_type: Any, short_write_bytes: int
) -> None:
    operations = count_operations(disk, directory, writer_type)
    assert operations > 40
    for allowed in range(operations):
        full = type(disk)()
        full.make_directory(directory.parent)
        full.allow(allowed, short_write_bytes=short_write_bytes)
        promised: list[bytes] = []
        with pytest.raises((LogFailed, OSError), match="No space left on device"):
            work(full, directory, writer_type, promised)
        full.allow(None)
        check_promises(survivors(full, directory), promised)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(data=st.data())
def test_a_crash_at_any_moment(data: st.DataObject, request: pytest.FixtureRequest) -> None:
    disk_type, writer_type = type(request.getfixturevalue("disk")), request.getfixturevalue("writer_type")
    directory = request.getfixturevalue("directory")
    crashing = disk_type()
    crashing.make_directory(directory.parent)
    crashing.allow(data.draw(st.integers(0, 70)), short_write_bytes=data.draw(st.sampled_from([0, 300, 900])))
    promised: list[bytes] = []
    try:
        work(crashing, directory, writer_type, promised)
    except (LogFailed, OSError):
        pass
    after = crashing.after_crash(random.Random(data.draw(st.integers(0, 1 << 16))))
    found = survivors(after, directory)
    check_promises(found, promised)
    # What the first start saw, the second sees too.
    assert survivors(after.after_crash(random.Random(0)), directory) == found


def test_a_full_disk_ends_the_log_with_a_reason(disk: Any, directory: Path, writer_type: Any) -> None:
    log = Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=disk)
    writer = writer_type(log)
    writer.batch(2)
    disk.allow(0)
    with pytest.raises(LogFailed, match="No space left on device") as refused:
        writer.batch(1)
    assert str(newest(disk, directory)) in str(refused.value)
    assert "restart this member" in str(refused.value)
    disk.allow(None)
    for attempt in (
        lambda: writer.batch(1),
        lambda: log.append([], writer.state(1, 0), sync=False),
        lambda: log.append_snapshot_mark(SnapshotMark(1, 1, CONF_STATE)),
    ):
        with pytest.raises(LogFailed, match="No more entries are accepted"):
            attempt()
    log.close()
    assert encoded(reopen(disk, directory)) == writer.promised


def test_a_log_that_could_not_be_made_can_be_made_later(disk: Any, directory: Path) -> None:
    for allowed in range(30):
        full = type(disk)()
        full.make_directory(directory.parent)
        full.allow(allowed)
        try:
            Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=full).close()
        except (LogFailed, OSError):
            full.allow(None)
            try:
                Log.create(directory, b"who", segment_bytes=SEGMENT_BYTES, files=full).close()
            except LogExists:
                pass
            assert reopen(full, directory).metadata == b"who"
        else:
            assert allowed > 5
            return
    pytest.fail("thirty operations are not enough to make a log")
