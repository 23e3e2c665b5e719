"""The .snap files: the newest whole one that the log names."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto import raft_pb2
from etcdpy.wal import CorruptSnapshot, SnapshotFiles, SnapshotMark, decode_snapshot, encode_snapshot

if TYPE_CHECKING:
    from pathlib import Path


def snapshot(index: int, term: int = 1, data: bytes = b"{}") -> raft_pb2.Snapshot:
    metadata = raft_pb2.SnapshotMetadata(index=index, term=term)
    metadata.conf_state.voters.extend([1, 2, 3])
    return raft_pb2.Snapshot(data=data, metadata=metadata)


def marks(*places: tuple[int, int]) -> list[SnapshotMark]:
    return [SnapshotMark(index, term) for index, term in places]


def test_the_name_tells_term_and_index(tmp_path: Path) -> None:
    path = SnapshotFiles(tmp_path / "snap").save(snapshot(0x1234, 0xAB))
    assert path == tmp_path / "snap" / "00000000000000ab-0000000000001234.snap"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_newest_that_is_marked_counts(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    for index, term in ((10, 1), (20, 2), (30, 2)):
        files.save(snapshot(index, term))
    assert files.newest(marks((10, 1), (20, 2))) == snapshot(20, 2)
    assert files.newest(marks((10, 1), (20, 1))) == snapshot(10, 1)
    assert files.newest(marks((40, 2))) is None
    assert files.newest([]) is None


def test_no_directory_is_no_snapshot(tmp_path: Path) -> None:
    assert SnapshotFiles(tmp_path / "absent").newest(marks((1, 1))) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "garbage", "other"])
def test_a_damaged_file_is_set_aside_and_the_older_one_serves(tmp_path: Path, damage: str) -> None:
    files = SnapshotFiles(tmp_path)
    files.save(snapshot(10))
    path = files.save(snapshot(20, data=b"some members"))
    content = path.read_bytes()
    damaged = {
        "flip": content[:-20] + bytes((content[-20] ^ 4,)) + content[-19:],
        "cut": content[:-1],
        "empty": b"",
        "garbage": b"\xff" * 40,
        "other": encode_snapshot(snapshot(21)),
    }[damage]
    path.write_bytes(damaged)
    assert files.newest(marks((10, 1), (20, 1))) == snapshot(10)
    assert path.with_name(path.name + ".broken").read_bytes() == damaged
    assert not path.exists()


def test_no_flipped_bit_changes_the_snapshot(tmp_path: Path) -> None:
    """A bit of the CRC beyond its 32 may flip unseen, and then nothing is lost."""
    content = encode_snapshot(snapshot(7, data=b"twelve bytes"))
    for position in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        try:
            found = decode_snapshot(tmp_path / "a.snap", bytes(damaged))
        except CorruptSnapshot:
            continue
        assert found == snapshot(7, data=b"twelve bytes")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(content=st.binary(max_size=80))
def test_garbage_is_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(CorruptSnapshot, match=r"a\.snap"):
        decode_snapshot(tmp_path_factory.getbasetemp() / "a.snap", content)


def test_old_files_are_purged(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    for index in range(1, 8):
        files.save(snapshot(index))
    files.purge(0)
    assert len(list(tmp_path.iterdir())) == 7
    files.purge(3)
    assert sorted(path.name[17:33] for path in tmp_path.iterdir()) == [f"{index:016x}" for index in (5, 6, 7)]
    files.purge(3)
    assert len(list(tmp_path.iterdir())) == 3


def test_leftovers_of_an_interrupted_save_are_removed(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    files.save(snapshot(1))
    (tmp_path / "tmp.x.snap").write_bytes(b"half")
    files.remove_leftovers()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_crash_leaves_the_file_whole_or_absent(disk: Any, directory: Path) -> None:
    for allowed in range(8):
        for seed in range(20):
            crashing = type(disk)()
            crashing.make_directory(directory)
            crashing.allow(allowed, short_write_bytes=7)
            try:
                SnapshotFiles(directory, files=crashing).save(snapshot(5, data=bytes(2000)))
                saved = True
            except OSError:
                saved = False
            found = SnapshotFiles(directory, files=crashing.after_crash(random.Random(seed))).newest(
                marks((5, 1))
            )
            assert found == snapshot(5, data=bytes(2000)) or (found is None and not saved)
