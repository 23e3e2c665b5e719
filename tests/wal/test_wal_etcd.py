"""Logs of real etcd 3.5.1, read by us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.message import DecodeError

from etcdpy.proto import raft_internal_pb2, raft_pb2
from etcdpy.wal import LockedDirectory, Log, SnapshotFiles, SnapshotMark, snapshot_marks
from tests.support.client import Client
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster


def puts(entries: list[raft_pb2.Entry]) -> list[tuple[bytes, bytes]]:
    found = []
    for entry in entries:
        try:
            request = raft_internal_pb2.InternalRaftRequest.FromString(entry.Data)
        except DecodeError:
            continue  # 3.5 still publishes itself by a request of the v2 API
        if entry.Type == raft_pb2.EntryNormal and request.HasField("put"):
            found.append((request.put.key, request.put.value))
    return found


def test_what_etcd_wrote_is_read(reference: Kind, tmp_path: Path) -> None:
    written = [(b"key%d" % number, b"value" * number) for number in range(40)]
    with Server(reference, tmp_path, ["--snapshot-count=15"]) as server:
        with Client(server.endpoint) as client:
            for key, value in written:
                client.put(key, value)
        directory = server.data_directory / "member" / "wal"
        with pytest.raises(LockedDirectory):
            Log.open(directory, SnapshotMark())
        server.stop()

    log, recovered = Log.open(directory, SnapshotMark())
    log.close()
    assert puts(recovered.entries) == written
    assert recovered.repaired is None
    assert recovered.hard_state is not None
    assert recovered.hard_state.commit == recovered.entries[-1].Index

    marks = snapshot_marks(directory)
    snapshot = SnapshotFiles(directory.with_name("snap")).newest(marks)
    assert snapshot is not None
    assert (snapshot.metadata.index, snapshot.metadata.term) == (marks[-1].index, marks[-1].term)
    assert marks[-1].conf_state == snapshot.metadata.conf_state.SerializeToString()
    log, rest = Log.open(directory, marks[-1])
    log.close()
    assert rest.entries == recovered.entries[marks[-1].index :]


def put_entry(index: int, term: int, key: bytes, value: bytes) -> tuple[int, bytes]:
    request = raft_internal_pb2.InternalRaftRequest()
    request.header.ID = index
    request.put.key, request.put.value = key, value
    entry = raft_pb2.Entry(
        Type=raft_pb2.EntryNormal, Term=term, Index=index, Data=request.SerializeToString()
    )
    return index, entry.SerializeToString()


def test_etcd_continues_a_log_that_we_continued(reference: Kind, tmp_path: Path) -> None:
    """We append puts to etcd's log, over several segments, and die in the middle of a write; etcd applies
    them.
    """
    ours = [(b"ours%d" % number, b"x" * 1_000) for number in range(12)]
    with Server(reference, tmp_path) as server:
        with Client(server.endpoint) as client:
            client.put(b"theirs", b"1")
        server.stop()
        directory = server.data_directory / "member" / "wal"
        log, recovered = Log.open(directory, SnapshotMark(), segment_bytes=4096)
        state = recovered.hard_state
        assert state is not None
        for key, value in ours:
            state.commit = log.last_index + 1
            entry = put_entry(state.commit, state.term, key, value)
            log.append([entry], state.SerializeToString(), sync=True)
        log.append([put_entry(log.last_index + 1, state.term, b"torn", b"x")], None, sync=True)
        log.close()
        newest = max(directory.glob("*.wal"))
        assert newest.name.startswith("0000000000000003")
        whole = newest.read_bytes().rstrip(b"\0")
        newest.write_bytes(whole[:-10])

        server.start()
        with Client(server.endpoint) as client:
            assert [(kv.key, kv.value) for kv in client.range(b"ours", b"ourt").kvs] == sorted(ours)
            assert [kv.value for kv in client.range(b"theirs").kvs] == [b"1"]
            assert not client.range(b"torn").kvs
            client.put(b"theirs", b"3")
        server.stop()
    log, recovered = Log.open(directory, SnapshotMark())
    log.close()
    assert puts(recovered.entries) == [(b"theirs", b"1"), *ours, (b"theirs", b"3")]


@pytest.mark.slow
def test_segments_that_etcd_cut_are_read(reference: Kind, tmp_path: Path) -> None:
    """Etcd cuts at 64 MB only, so this writes 140."""
    with Server(reference, tmp_path) as server:
        with Client(server.endpoint) as client:
            for number in range(140):
                client.put(b"key%d" % number, bytes((number,)) * 1_000_000)
        server.stop()
        directory = server.data_directory / "member" / "wal"
    assert len(list(directory.glob("*.wal"))) == 3
    log, recovered = Log.open(directory, SnapshotMark())
    log.close()
    expected = [(b"key%d" % number, bytes((number,)) * 1_000_000) for number in range(140)]
    assert puts(recovered.entries) == expected
