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


def test_etcd_continues_a_log_that_we_continued(reference: Kind, tmp_path: Path) -> None:
    """We append a put to etcd's log, as a member that crashed right after its sync; etcd applies it."""
    with Server(reference, tmp_path) as server:
        with Client(server.endpoint) as client:
            client.put(b"theirs", b"1")
        server.stop()
        directory = server.data_directory / "member" / "wal"
        log, recovered = Log.open(directory, SnapshotMark())
        state = recovered.hard_state
        assert state is not None
        request = raft_internal_pb2.InternalRaftRequest()
        request.header.ID = 12345
        request.put.key, request.put.value = b"ours", b"2"
        entry = raft_pb2.Entry(
            Type=raft_pb2.EntryNormal,
            Term=state.term,
            Index=log.last_index + 1,
            Data=request.SerializeToString(),
        )
        state.commit = entry.Index
        log.append([(entry.Index, entry.SerializeToString())], state.SerializeToString(), sync=True)
        log.close()
        server.start()
        with Client(server.endpoint) as client:
            assert [kv.value for kv in client.range(b"ours").kvs] == [b"2"]
            assert [kv.value for kv in client.range(b"theirs").kvs] == [b"1"]
            client.put(b"theirs", b"3")
        server.stop()
    log, recovered = Log.open(directory, SnapshotMark())
    log.close()
    assert puts(recovered.entries)[-3:] == [(b"theirs", b"1"), (b"ours", b"2"), (b"theirs", b"3")]
