"""Whatever goes wrong, nothing is left that a server would take for a data directory."""

from __future__ import annotations

import json
import resource
import shutil
from typing import TYPE_CHECKING

import pytest

from etcdpy import wal
from etcdpy.backend import Backend, Bucket
from etcdpy.bolt import Reader, write_file, write_snapshot
from etcdpy.ctl.utl_directory import STAGING_NAME, new_directory, resolve_layout
from etcdpy.ctl.utl_member import read_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Stopped, Utl

pytestmark = pytest.mark.cluster

STEPS_MIN, STEPS_MAX = 10, 60
NAMES = b"alarm auth authRoles authUsers cluster key lease members members_removed meta".split()


def limit_files(size_bytes: int) -> Callable[[], None]:
    """A disk that takes no file longer than this."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


@pytest.mark.parametrize("size_bytes", [0, 4_096, 200_000, 2_000_000])
@pytest.mark.parametrize("verb", ["restore", "import", "export"])
def test_a_full_disk(go_member: Stopped, our_member: Stopped, utl: Utl, verb: str, size_bytes: int) -> None:
    commands = {
        "restore": ("snapshot", "restore", go_member.snapshot),
        "import": ("import", f"--from={go_member.server.data_directory}"),
        "export": ("export", f"--from={our_member.server.data_directory}"),
    }
    target = utl.directory / "outer" / "new"
    done = utl.ours_apart(*commands[verb], f"--data-dir={target}", before=limit_files(size_bytes))
    assert done.code == 1, done.errors
    assert done.complaint.startswith("Error: ")
    assert "Traceback" not in done.errors
    assert "large" in done.complaint.lower() or "room on the disk" in done.complaint
    assert not target.parent.exists()


def test_a_log_directory_of_its_own(go_member: Stopped, utl: Utl) -> None:
    new, log = utl.directory / "new", utl.directory / "log"
    arguments = ("snapshot", "restore", go_member.snapshot, f"--data-dir={new}", f"--wal-dir={log}")
    log.mkdir()
    failed = utl.ours_apart(*arguments, before=limit_files(4_096))
    assert failed.code == 1
    assert not new.exists()
    assert list(log.iterdir()) == []
    utl.do(*arguments)
    assert wal.exists(log)
    assert sorted(path.name for path in new.rglob("*") if path.is_file()) == [
        "0000000000000001-0000000000000001.snap",
        "db",
    ]


def test_what_a_killed_run_left_is_in_nobodys_way(go_member: Stopped, utl: Utl) -> None:
    new = utl.directory / "new"
    interrupted = new_directory(resolve_layout(str(new), ""))
    assert interrupted.__enter__().snap_dir.is_dir()
    assert not (new / "member").exists()
    interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not new.exists()
    (new / STAGING_NAME / "member" / "snap").mkdir(parents=True)
    (new / STAGING_NAME / "member" / "snap" / "db").write_bytes(b"half")
    utl.do("snapshot", "restore", go_member.snapshot, f"--data-dir={new}")
    assert [path.name for path in new.iterdir()] == ["member"]


# Forks a process for each step, because starting one anew takes half a second.
DYING = """
import os, sys
from etcdpy.ctl.utl import main

def die_at(step, target):
    left = step
    def count(event, arguments):
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            if any(str(argument).startswith(target) for argument in arguments[:2]):
                left -= 1
                if left == 0:
                    os._exit(9)
    sys.addaudithook(count)

for step in range(1, int(sys.argv[1])):
    target = f"{sys.argv[2]}/{step}"
    child = os.fork()
    if not child:
        die_at(step, target)
        os._exit(main(["snapshot", "restore", sys.argv[3], f"--data-dir={target}"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 9:
        sys.stdout.write(str(step))
        sys.exit(code)
"""


def test_death_at_every_step(utl: Utl) -> None:
    """The process is gone at its n-th change of the target directory, for every n."""
    snapshot = broken({}, utl.directory / "snapshot")
    done = utl.ours_script(DYING, STEPS_MAX, utl.directory, snapshot)
    assert done.code == 0, done.errors
    steps = int(done.output)
    assert STEPS_MIN < steps < STEPS_MAX
    for step in range(1, steps + 1):
        target = utl.directory / str(step)
        if not (target / "member").exists():
            assert step < steps
            utl.do("snapshot", "restore", snapshot, f"--data-dir={target}")
        check_whole(target)
    assert [path.name for path in target.iterdir()] == ["member"]


def check_whole(target: Path) -> None:
    member = read_member(resolve_layout(str(target), ""))
    assert (member.snapshot_index, member.hard_state.commit) == (1, 1)
    backend = Backend.open(target / "member" / "snap" / "db")
    try:
        assert (backend.consistent_index, backend.consistent_term) == (1, 1)
        assert len(list(backend.items(Bucket.MEMBERS))) == 1
    finally:
        backend.abandon()


def test_what_is_there_is_not_touched(go_member: Stopped, utl: Utl) -> None:
    new = utl.directory / "new"
    new.mkdir()
    (new / "file").write_text("mine")
    for command in (
        ("snapshot", "restore", go_member.snapshot),
        ("import", f"--from={go_member.server.data_directory}"),
    ):
        done = utl.ours(*command, f"--data-dir={new}")
        assert (done.code, done.complaint) == (1, f'Error: data-dir "{new}" not empty or could not be read\n')
    assert [path.name for path in new.iterdir()] == ["file"]


def broken(records: dict[bytes, dict[bytes, bytes]], path: Path, *, digest: bool = True) -> Path:
    """A snapshot that is whole as a file and nonsense inside."""
    sources = {name: (lambda name=name: sorted(records.get(name, {}).items())) for name in NAMES}
    with path.open("wb") as file:
        (write_snapshot if digest else write_file)(file, sources)
    return path


@pytest.mark.parametrize(
    ("bucket", "key", "value", "said"),
    [
        (b"key", b"short", b"", "5 bytes"),
        (b"key", (1).to_bytes(8, "big") + b"_" + bytes(8), b"\xff\xff", "no key-value"),
        (b"meta", b"consistent_index", b"123", "3 bytes"),
        (b"cluster", b"clusterVersion", b"new", "dotted-tri"),
    ],
)
def test_nonsense_in_a_snapshot(utl: Utl, bucket: bytes, key: bytes, value: bytes, said: str) -> None:
    path = broken({bucket: {key: value}}, utl.directory / "snapshot")
    done = utl.ours("snapshot", "restore", path, "--data-dir=new")
    if key == b"consistent_index":  # replaced before anybody looks at it
        assert done.code == 0
        return
    assert done.code == 1
    assert said in done.complaint
    assert not (utl.directory / "new").exists()


def test_damaged_pages(go_member: Stopped, utl: Utl) -> None:
    data = bytearray(go_member.snapshot.read_bytes()[:-32])
    with Reader(bytes(data)) as reader:
        page_bytes, root = reader.meta.page_bytes, reader.meta.root
    data[root * page_bytes + 8] ^= 0xFF
    path = utl.directory / "damaged"
    path.write_bytes(data)
    for command in (("status", path), ("restore", path, "--skip-hash-check", "--data-dir=new")):
        done = utl.ours("snapshot", *command)
        assert done.code == 1
        assert done.complaint.startswith("Error: ")
    assert not (utl.directory / "new").exists()


def test_directories_that_cannot_be_imported(go_member: Stopped, our_member: Stopped, utl: Utl) -> None:
    theirs, ours = go_member.server.data_directory, our_member.server.data_directory
    copy = utl.directory / "copy"
    shutil.copytree(theirs, copy)
    for path in (copy / "member" / "wal").iterdir():
        path.unlink()
    cases = [
        ("import", utl.directory / "absent", "no such file or directory"),
        ("import", copy, "holds no log"),
        ("import", ours, "is a database of etcdpy already"),
        ("export", theirs, "is no database of etcdpy"),
        ("export", utl.directory / "absent", "no such file or directory"),
    ]
    for verb, source, said in cases:
        done = utl.ours(verb, f"--from={source}", "--data-dir=new")
        assert (done.code, done.output) == (1, "")
        assert said in done.complaint
        assert not (utl.directory / "new").exists()


def test_a_log_that_ends_before_the_database(go_member: Stopped, utl: Utl) -> None:
    """What a crash of a disk without syncs leaves: imported, this member would have lost what it promised."""
    copy = utl.directory / "copy"
    shutil.copytree(go_member.server.data_directory, copy)
    segment = max((copy / "member" / "wal").glob("*.wal"))
    whole = segment.read_bytes().rstrip(b"\0")
    segment.write_bytes(whole[: len(whole) // 3])
    done = utl.ours("import", f"--from={copy}", "--data-dir=new")
    assert done.code == 1
    assert not (utl.directory / "new").exists()


def test_a_target_version_must_be_one(our_member: Stopped, utl: Utl) -> None:
    source = our_member.server.data_directory
    done = utl.ours("export", f"--from={source}", "--data-dir=new", "--target-version=new")
    assert done.code == 1
    assert "target version" in done.complaint
    assert json.dumps("new.0") in done.complaint
