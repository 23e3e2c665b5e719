"""The same names, bytes and dumps as a running etcd."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest

from etcdpy.cluster.bootstrap import found_cluster
from etcdpy.cluster.ids import format_id
from etcdpy.cluster.members import decode_members, encode_members
from etcdpy.cluster.urls import parse_initial_cluster
from etcdpy.cluster.v2 import dump_store, load_store
from etcdpy.proto import snap_pb2
from etcdpy.proto.raft_pb2 import Snapshot
from tests.support.programs import clean_environment, wheel_program
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.cluster.members import Member
    from tests.support.programs import Kind

TOKEN = "a token of its own"


@pytest.fixture(scope="module")
def server(reference: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Real etcd with a learner, a removed member and raft snapshots after every few entries."""
    flags = [f"--initial-cluster-token={TOKEN}", "--snapshot-count=2"]
    with Server(reference, tmp_path_factory.mktemp("golden"), flags) as running:
        control(running, "member", "add", "gone", "--learner", "--peer-urls=http://127.0.0.1:1")
        gone = [member for member in fetch_members(running) if member.is_learner]
        control(running, "member", "remove", format_id(gone[0].id))
        urls = "--peer-urls=http://127.0.0.1:3,http://127.0.0.1:2"
        control(running, "member", "add", "learner", "--learner", urls)
        for number in range(6):
            control(running, "put", f"key{number}", "<&>")
        yield running


def control(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [wheel_program("etcdctl"), f"--endpoints={server.endpoint}", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=30,
        check=True,
    )
    return done.stdout


def fetch(server: Server) -> tuple[bytes, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.peer_port}/members", timeout=10) as answer:
        return answer.read(), answer.headers["X-Etcd-Cluster-ID"]


def fetch_members(server: Server) -> list[Member]:
    return decode_members(fetch(server)[0])


def newest_dump(server: Server) -> bytes:
    directory: Path = server.data_directory / "member" / "snap"
    newest = max(directory.glob("*.snap"), key=lambda path: path.name)
    return Snapshot.FromString(snap_pb2.snapshot.FromString(newest.read_bytes()).data).data


def test_ids_are_those_of_etcd(server: Server) -> None:
    text = f"default=http://127.0.0.1:{server.peer_port}"
    cluster = found_cluster(parse_initial_cluster(text), TOKEN, "default")
    log = [json.loads(line) for line in server.log_path.read_text().splitlines() if line.startswith("{")]
    started = next(line for line in log if line["msg"] == "starting local member")
    assert format_id(cluster.local.id) == started["local-member-id"]
    assert format_id(cluster.id) == started["cluster-id"]


def test_the_array_of_members_is_byte_for_byte_that_of_etcd(server: Server) -> None:
    body, cluster = fetch(server)
    members = decode_members(body)
    assert len(members) == 2
    assert encode_members(members) + b"\n" == body
    assert int(cluster, 16)


def test_a_dump_of_etcd_says_what_its_members_say(server: Server) -> None:
    state = load_store(newest_dump(server))
    assert sorted(state.members) == [member.id for member in fetch_members(server)]
    assert state.members == {member.id: member for member in fetch_members(server)}
    assert len(state.removed) == 1
    assert str(state.version) == "3.5.0"
    assert load_store(dump_store(state)) == state


def shape(node: dict[str, object]) -> object:
    """A tree without the indexes, which differ from history to history."""
    children = node["Children"]
    assert children is None or isinstance(children, dict)
    below = None if children is None else {name: shape(child) for name, child in children.items()}
    return node["Path"], node["Value"], node["ExpireTime"], below


def test_our_dump_has_the_tree_of_etcd(server: Server) -> None:
    theirs = json.loads(newest_dump(server))
    ours = json.loads(dump_store(load_store(newest_dump(server))))
    assert shape(ours["Root"]) == shape(theirs["Root"])
    assert ours["CurrentVersion"] == theirs["CurrentVersion"]
