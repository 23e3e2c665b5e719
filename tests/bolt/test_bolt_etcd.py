"""Files that pass between us and the programs of real etcd 3.5.1."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.bolt import Buckets, Reader, check_digest, read_status, write_file, write_snapshot
from etcdpy.proto import kv_pb2, raft_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.wal import Log, SnapshotFiles, SnapshotMark
from tests.support.client import Client
from tests.support.programs import wheel_program
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

NAMES = tuple(b"alarm auth authRoles authUsers cluster key lease members members_removed meta".split())


@dataclass
class Original:
    """A store that real etcd made, and what it said of it."""

    database: Path
    snapshot: Path
    hash: int
    keys: list[tuple[bytes, bytes]]


def etcdutl(*arguments: str | Path) -> str:
    done = subprocess.run(
        [wheel_program("etcdutl"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def etcdutl_status(path: Path) -> dict[str, int]:
    status: dict[str, int] = json.loads(etcdutl("snapshot", "status", path, "-w", "json"))
    return status


def our_status(path: Path) -> dict[str, int]:
    with Reader.open(path) as reader:
        status = read_status(reader)
    return {
        "hash": status.hash,
        "revision": status.revision,
        "totalKey": status.total_keys,
        "totalSize": status.total_size,
    }


def puts(count: int, value_bytes: int) -> dict[bytes, bytes]:
    """The key bucket of a store where `count` keys were put once."""
    records = {}
    for number in range(count):
        revision = number + 2
        kv = kv_pb2.KeyValue(
            key=b"key%06d" % number,
            create_revision=revision,
            mod_revision=revision,
            version=1,
            value=bytes((number % 256,)) * value_bytes,
        )
        records[revision.to_bytes(8, "big") + b"_" + bytes(8)] = kv.SerializeToString()
    return records


def sources(**content: dict[bytes, bytes]) -> Buckets:
    found: dict[bytes, Any] = dict.fromkeys(NAMES, list)
    for name, records in content.items():
        found[name.encode()] = lambda records=records: sorted(records.items())
    return found


@pytest.mark.parametrize(
    ("count", "value_bytes"), [(0, 0), (1, 10), (4, 60), (40, 200), (3000, 300), (6, 50_000)]
)
def test_etcdutl_sums_up_our_file_as_we_do(tmp_path: Path, count: int, value_bytes: int) -> None:
    path = tmp_path / "snapshot.db"
    with path.open("wb") as file:
        write_snapshot(file, sources(key=puts(count, value_bytes), cluster={b"clusterVersion": b"3.5.0"}))
    status = etcdutl_status(path)
    assert status == our_status(path)
    assert status["totalKey"] == count + 1
    assert status["revision"] == (count + 1 if count else 0)


@pytest.fixture(scope="module")
def original(reference: Kind, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Keys, leases, deletions and values of all sizes."""
    server = Server(reference, tmp_path_factory.mktemp("original"))
    snapshot = server.directory / "snapshot.db"
    with server, Client(server.endpoint) as client:
        client.call(pb.LeaseGrantRequest(ID=7, TTL=3600))
        for number in range(300):
            value = b"v" * (number * 7 % 900)
            client.put(b"key%d" % (number % 120), value, lease=7 if number % 9 == 0 else 0)
        client.put(b"large", b"x" * 300_000)
        client.delete(b"key1", b"key2")
        command = [
            wheel_program("etcdctl"),
            f"--endpoints={server.endpoint}",
            "snapshot",
            "save",
            str(snapshot),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        found = Original(
            server.data_directory / "member" / "snap" / "db",
            snapshot,
            client.hash_kv().hash,
            [(kv.key, kv.value) for kv in client.range(b"\0", b"\0").kvs],
        )
        server.stop()
    return found


def test_a_database_of_etcd_is_read(original: Original) -> None:
    with Reader.open(original.database) as reader:
        reader.check()
        assert tuple(reader.buckets()) == NAMES
        newest = {}
        for key, value in reader.items(b"key"):
            kv = kv_pb2.KeyValue.FromString(value)
            newest[kv.key] = None if key.endswith(b"t") else kv.value
        assert [(key, value) for key, value in sorted(newest.items()) if value is not None] == original.keys
        assert dict(reader.items(b"cluster")) == {b"clusterVersion": b"3.5.0"}


def test_a_snapshot_of_etcd_is_read(original: Original) -> None:
    snapshot = original.snapshot
    assert check_digest(snapshot) == snapshot.stat().st_size - 32
    assert our_status(snapshot) == etcdutl_status(snapshot)


def copied(reader: Reader, **replaced: dict[bytes, bytes]) -> Buckets:
    """All buckets of another file, some with other content."""
    found: dict[bytes, Any] = {name: lambda name=name: reader.items(name) for name in reader.buckets()}
    return found | {name: source for name, source in sources(**replaced).items() if name.decode() in replaced}


def test_etcd_restores_a_snapshot_that_we_wrote_and_serves_it(
    original: Original, reference: Kind, tmp_path: Path
) -> None:
    path = tmp_path / "ours.db"
    with Reader.open(original.snapshot) as reader, path.open("wb") as file:
        write_snapshot(file, copied(reader))
    theirs = etcdutl_status(original.snapshot)
    ours = etcdutl_status(path)
    assert (ours["hash"], ours["revision"], ours["totalKey"]) == (
        theirs["hash"],
        theirs["revision"],
        theirs["totalKey"],
    )
    server = Server(reference, tmp_path)
    peer = f"http://127.0.0.1:{server.peer_port}"
    etcdutl(
        "snapshot", "restore", path, "--name=default", f"--initial-cluster=default={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--data-dir={server.data_directory}",
    )  # fmt: skip
    check_served(server, original)


def check_served(server: Server, original: Original) -> None:
    """The server has what the source had, and can change all of it."""
    with server, Client(server.endpoint) as client:
        assert client.hash_kv().hash == original.hash
        assert [(kv.key, kv.value) for kv in client.range(b"\0", b"\0").kvs] == original.keys
        for number in range(200):
            client.put(b"key%d" % number, b"changed" * number)
        client.delete(b"key", b"kez")
        client.call(pb.CompactionRequest(revision=client.revision() - 5, physical=True))
        client.call(pb.DefragmentRequest())
        assert [kv.key for kv in client.range(b"\0", b"\0").kvs] == [b"large"]
        server.stop()
    with Reader.open(server.data_directory / "member" / "snap" / "db") as reader:
        reader.check()


def test_etcd_starts_on_a_data_directory_that_we_wrote(
    original: Original, reference: Kind, tmp_path: Path
) -> None:
    """What `etcdutl snapshot restore` does, with our database, our log and our snapshot file."""
    server = Server(reference, tmp_path)
    peer = f"http://127.0.0.1:{server.peer_port}"
    member = int.from_bytes(hashlib.sha1(f"{peer}etcd-cluster".encode()).digest()[:8], "big")
    cluster = int.from_bytes(hashlib.sha1(member.to_bytes(8, "big")).digest()[:8], "big")
    attributes = {"id": member, "peerURLs": [peer], "name": "default"}

    snap = server.data_directory / "member" / "snap"
    snap.mkdir(parents=True, mode=0o700)
    with (
        Reader.open(original.database) as reader,
        (snap / "db").open("wb") as file,
    ):
        meta = {b"consistent_index": (1).to_bytes(8, "big"), b"term": (1).to_bytes(8, "big")}
        members = {f"{member:x}".encode(): json.dumps(attributes).encode()}
        write_file(file, copied(reader, meta=meta, members=members, members_removed={}))

    conf_state = raft_pb2.ConfState(voters=[member], auto_leave=False)
    change = raft_pb2.ConfChange(
        id=0, type=raft_pb2.ConfChangeAddNode, node_id=member, context=json.dumps(attributes).encode()
    )
    entry = raft_pb2.Entry(Type=raft_pb2.EntryConfChange, Term=1, Index=1, Data=change.SerializeToString())
    log = Log.create(snap.with_name("wal"), metadata=node_metadata(member, cluster))
    log.append(
        [(1, entry.SerializeToString())],
        raft_pb2.HardState(term=1, vote=member, commit=1).SerializeToString(),
        sync=True,
    )
    snapshot = raft_pb2.Snapshot(
        data=v2_store(member, peer), metadata={"index": 1, "term": 1, "conf_state": conf_state}
    )
    SnapshotFiles(snap).save(snapshot)
    log.append_snapshot_mark(SnapshotMark(1, 1, conf_state.SerializeToString()))
    log.close()
    check_served(server, original)


def node_metadata(member: int, cluster: int) -> bytes:
    """{1 member id, 2 cluster id}, both varints."""
    encoded = b""
    for tag, value in ((0x08, member), (0x10, cluster)):
        encoded += bytes((tag,))
        while value > 127:
            encoded += bytes((value & 127 | 128,))
            value >>= 7
        encoded += bytes((value,))
    return encoded


def v2_store(member: int, peer: str) -> bytes:
    """The store of the old API, which tells 3.5 who the members are."""

    def node(path: str, value: str = "", children: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "Path": path,
            "CreatedIndex": 1,
            "ModifiedIndex": 1,
            "ExpireTime": "0001-01-01T00:00:00Z",
            "Value": value,
            "Children": children,
        }

    place = f"/0/members/{member:x}"
    attributes = node(f"{place}/raftAttributes", json.dumps({"peerURLs": [peer]}))
    known = node(place, children={"raftAttributes": attributes})
    members = node("/0/members", children={f"{member:x}": known})
    root = node("/", children={"0": node("/0", children={"members": members}), "1": node("/1", children={})})
    return json.dumps({"Root": root, "CurrentIndex": 1, "CurrentVersion": 2}).encode()
