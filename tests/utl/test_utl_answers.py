"""`etcdpyutl` beside real etcdutl 3.5.1: the same words on both outputs, the same exit codes.

Left out are etcdutl's log, and help pages that list commands or flags of one of the two only.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from etcdpy.bolt import write_snapshot
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

    from .conftest import Run, Stopped, Utl

pytestmark = pytest.mark.cluster

SAME = """
snapshot status {good}
snapshot status {good} -w json
snapshot status -w table {good}
--write-out=fields snapshot status {good}
-wjson snapshot status {good}
snapshot status {undigested}
snapshot status {damaged}
snapshot status {good} -w protobuf
snapshot status {good} -w nonsense
snapshot status
snapshot status one two
snapshot status .
snapshot status absent
snapshot status {text}
snapshot status {short}
snapshot
snapshot nonsense
snapshot status --help
help snapshot
nonsense
defrag
defrag --help
snapshot status --help=perhaps
snapshot status --data-dir
snapshot status -x
snapshot status -w
snapshot restore --data-dir new
snapshot restore {good} {good} --data-dir new
snapshot restore {good} --data-dir full
snapshot restore {good} --data-dir {text}
snapshot restore {good} --data-dir new --wal-dir full
snapshot restore {good} --data-dir new --name other
snapshot restore {good} --data-dir new --initial-cluster default=host
snapshot restore {good} --data-dir new --initial-advertise-peer-urls http://localhost:2381
snapshot restore {good} --data-dir new --initial-advertise-peer-urls nonsense
snapshot restore {damaged} --data-dir new
snapshot restore {undigested} --data-dir new
snapshot restore {short} --data-dir new
snapshot restore absent --data-dir new
"""


@pytest.fixture(scope="module")
def files(go_member: Stopped, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A snapshot, and what can become of one."""
    directory = tmp_path_factory.mktemp("files")
    good = go_member.snapshot.read_bytes()
    damaged = bytearray(good)
    damaged[good.index(b"x" * 1_000)] ^= 1  # in a value, where only the digest can tell
    contents = {
        "good": good,
        "damaged": bytes(damaged),
        "undigested": good[:-32],
        "short": good[:1_000],
        "text": b"This is no database, only a text of some length that ends soon.",
    }
    for name, data in contents.items():
        (directory / name).write_bytes(data)
    return {name: directory / name for name in contents}


@pytest.mark.parametrize("line", SAME.strip().splitlines())
def test_same_answer(line: str, files: dict[str, Path], utl: Utl) -> None:
    (utl.directory / "full").mkdir()
    (utl.directory / "full" / "file").touch()
    arguments = shlex.split(line.format_map(files))
    ours = utl.ours(*arguments)
    assert sorted(path.name for path in utl.directory.iterdir()) == ["full"]
    theirs = utl.theirs(*arguments)

    def shown(run: Run) -> tuple[int, str, str]:
        return run.code, run.output, run.complaint

    named = tuple(text.replace("etcdpyutl", "etcdutl") for text in shown(ours)[1:])
    assert (ours.code, *named) == shown(theirs)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 2_000, 60_000, 1_500_000])
def test_sizes_are_told_as_etcdutl_tells_them(utl: Utl, size: int) -> None:
    path = utl.directory / "file"
    buckets = dict.fromkeys(b"key meta".split(), list)
    buckets[b"key"] = lambda: [((1).to_bytes(8, "big") + b"_" + bytes(8), b"x" * size)]
    with path.open("wb") as file:
        write_snapshot(file, buckets)
    assert utl.do("snapshot", "status", path) == utl.theirs("snapshot", "status", path).output


def test_version(utl: Utl) -> None:
    name, api = utl.do("version").splitlines()
    assert name.startswith("etcdpyutl version: ")
    assert api == "API version: 3.6"


def test_help_lists_all_commands(utl: Utl) -> None:
    listed = [line.split()[0] for line in utl.do().splitlines() if line.startswith("  ")]
    commands = [
        "completion",
        "defrag",
        "export",
        "hashkv",
        "help",
        "import",
        "migrate",
        "snapshot",
        "version",
    ]
    assert listed[1:10] == commands


@pytest.mark.parametrize("flags", [["--bump-revision=5"], ["--mark-compacted"]])
def test_raising_and_compacting_go_together(files: dict[str, Path], utl: Utl, flags: list[str]) -> None:
    done = utl.ours("snapshot", "restore", files["good"], "--data-dir=new", *flags)
    assert done.code == 1
    assert "--mark-compacted" in done.complaint
    assert not (utl.directory / "new").exists()


@pytest.mark.parametrize("value", ["-1", "x", str(2**64)])
def test_numbers_are_checked(utl: Utl, value: str) -> None:
    done = utl.ours("snapshot", "restore", "file", "--data-dir=new", f"--bump-revision={value}")
    assert done.code == 1
    first = done.complaint.splitlines()[0]
    complaint = (
        f'invalid argument "{value}" for "--bump-revision" flag: strconv.ParseUint: parsing "{value}": '
    )
    assert first.startswith(f"Error: {complaint}")


def hashed(utl: Utl, path: Path, revision: int = 0) -> tuple[int, int, int]:
    found = json.loads(utl.do("hashkv", path, f"--rev={revision}", "-w", "json"))
    return found["hash"], found["compactRevision"], found["hashRevision"]


def test_hashkv_of_every_kind_of_file(go_member: Stopped, our_member: Stopped, utl: Utl) -> None:
    for member in (go_member, our_member):
        said = member.content
        expected = (said.hash, said.compact_revision, said.revision)
        assert hashed(utl, member.snapshot) == expected
        assert hashed(utl, member.server.data_directory / "member" / "snap" / "db") == expected
        row = f"{said.hash}, {said.revision}, {said.compact_revision}\n"
        assert utl.do("hashkv", member.snapshot) == row


def test_hashkv_at_older_revisions(reference: Kind, utl: Utl) -> None:
    """With tombstones before, at and behind the compacted revision; each revision as the server says it."""
    with Server(reference, utl.directory) as server, Client(server.endpoint) as client:
        for number in range(30):
            client.put(b"key%d" % (number % 7), b"%d" % number)
            if number % 5 == 0:
                client.delete(b"key%d" % (number % 3))
        revision = client.revision()
        client.call(pb.CompactionRequest(revision=20, physical=True))
        answers = {one: client.hash_kv(one).hash for one in range(21, revision + 1)}
        server.stop()
        path = server.data_directory / "member" / "snap" / "db"
    assert {one: hashed(utl, path, one) for one in answers} == {
        one: (answer, 20, one) for one, answer in answers.items()
    }
    assert hashed(utl, path) == (answers[revision], 20, revision)
    for one, word in ((3, "compacted"), (revision + 1, "future")):
        done = utl.ours("hashkv", path, f"--rev={one}")
        assert (done.code, done.output) == (1, "")
        assert word in done.complaint


def test_defrag_gives_free_pages_back(candidate: Kind, utl: Utl) -> None:
    server = Server(candidate, utl.directory)
    database = server.data_directory / "member" / "snap" / "db"
    with server:
        with Client(server.endpoint) as client:
            for number in range(40):
                client.put(b"key%d" % number, bytes((number,)) * 100_000)
            client.hash_kv()  # brings all of it to disk
            client.delete(b"key", b"kez")
            client.call(pb.CompactionRequest(revision=client.revision(), physical=True))
            client.put(b"small", b"1")
            expected = client.hash_kv()
        busy = utl.ours("defrag", f"--data-dir={server.data_directory}")
        assert busy.code == 1
        assert "in use" in busy.complaint
        server.stop()
        before = database.stat().st_size
        assert utl.do("defrag", f"--data-dir={server.data_directory}") == ""
        assert database.stat().st_size < before / 4
        server.start()
        with Client(server.endpoint) as client:
            assert client.hash_kv().hash == expected.hash
    absent = utl.ours("defrag", "--data-dir=absent")
    assert absent.complaint == "Error: open absent/member/snap/db: no such file or directory\n"
    assert not (utl.directory / "absent").exists()


def test_defrag_leaves_a_go_database_alone(go_member: Stopped, utl: Utl) -> None:
    database = go_member.server.data_directory / "member" / "snap" / "db"
    before = database.read_bytes()
    done = utl.ours("defrag", f"--data-dir={go_member.server.data_directory}")
    assert done.code == 1
    assert "no database of etcdpy" in done.complaint
    assert database.read_bytes() == before
