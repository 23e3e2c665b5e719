"""Members and maintenance by both sides of the client, on real etcd and on us, alone and with three."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest

from etcdpy.client import (
    Alarm,
    Client,
    EtcdError,
    FailedPrecondition,
    FutureRevision,
    InvalidArgument,
    NoSpace,
    NotFound,
    prefix,
    rpcs,
)
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.testing.servers import Servers
from tests.support.programs import wheel_program
from tests.support.server import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.testing.servers import Cluster
    from tests.client.conftest import Connect


@pytest.fixture(scope="module", params=["reference", "candidate"])
def three(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    command = request.getfixturevalue("reference").command if request.param == "reference" else ()
    with Servers(command) as servers, servers.cluster(3) as cluster:
        cluster.leader()
        yield cluster


@pytest.fixture
def of_three(three: Cluster, connect: Connect) -> Client:
    for member in three.members:
        if not member.is_running:
            three.start_member(member)
    three.leader()
    return connect(three.endpoints)


# One member.


def test_status_and_digest(client: Client) -> None:
    revision = client.put("k", "v").header.revision
    status = client.status()
    assert status.header.revision == revision
    assert status.version.startswith("3.")
    assert status.leader == status.header.member_id
    assert 0 < status.db_size_in_use <= status.db_size
    assert 0 < status.raft_applied_index <= status.raft_index
    assert status.raft_term >= 2
    assert (status.is_learner, status.errors) == (False, [])
    before, now = client.hash_kv(revision - 1), client.hash_kv()
    assert before.hash != now.hash
    assert client.hash_kv(revision).hash == now.hash
    with pytest.raises(FutureRevision):
        client.hash_kv(revision + 1)


def test_defragment_gives_space_back(client: Client) -> None:
    for number in range(20):
        client.put(f"big/{number}", b"x" * 200_000)
    client.compact(client.delete(prefix("big/")).header.revision, physical=True)
    client.defragment()
    assert client.status().db_size < 2_000_000


def test_snapshot_is_one_that_etcdutl_takes(client: Client, tmp_path: Path) -> None:
    client.put("k", "v")
    pieces = b"".join(client.snapshot())
    path = tmp_path / "snapshot.db"
    assert client.save_snapshot(path) == path.stat().st_size
    assert len(pieces) % 512 == 32
    command = [
        wheel_program("etcdutl"),
        "snapshot",
        "restore",
        str(path),
        f"--data-dir={tmp_path / 'restored'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.part"))


def test_snapshot_that_cannot_be_saved(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.save_snapshot(tmp_path / "none" / "snapshot.db")


def test_alarms(client: Client) -> None:
    member_id = client.status().header.member_id
    assert (client.alarms(), client.disarm()) == ([], [])
    request = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member_id, alarm=pb.NOSPACE)
    client.call(rpcs.ALARM, request)
    assert client.alarms() == [Alarm(member_id, "nospace")]
    with pytest.raises(NoSpace) as caught:
        client.put("k", "v")
    assert not caught.value.maybe_applied
    assert client.disarm(Alarm(member_id + 1, "nospace")) == []
    assert client.disarm() == [Alarm(member_id, "nospace")]
    client.put("k", "v")


def test_downgrade(client: Client) -> None:
    major, minor, _ = client.status().version.split(".")
    cluster_version = client.downgrade("validate", f"{major}.{int(minor) - 1}")
    assert cluster_version.startswith(f"{major}.{minor}")
    for version, text in (
        (f"{major}.{minor}", "etcdserver: invalid downgrade target version"),
        ("yesterday", "etcdserver: wrong downgrade target version format"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            client.downgrade("validate", version)
        assert caught.value.text == text
    if minor == "5":
        with pytest.raises(EtcdError, match="etcdserver: no inflight downgrade job"):
            client.downgrade("cancel")
    else:
        assert client.downgrade("cancel") == cluster_version


def settle(client: Client) -> None:
    """Etcd passes over a change of the members that it is told of while it still finishes the one before."""
    client.put("k", "v")


def test_members_of_one(client: Client) -> None:
    (alone,) = client.member_list()
    assert alone == client.member_list(linearizable=False)[0]
    assert (alone.name, alone.is_learner) == ("default", False)
    assert (len(alone.client_urls), len(alone.peer_urls)) == (1, 1)
    # An id is made of URLs and the second: nobody may come back within it.
    peer, moved = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    learner = client.member_add([peer], learner=True)
    assert (learner.name, learner.peer_urls, learner.is_learner) == ("", [peer], True)
    settle(client)
    with pytest.raises(FailedPrecondition, match="too many learner members in cluster"):
        client.member_add([moved], learner=True)
    settle(client)
    with pytest.raises(FailedPrecondition, match="can only promote a learner member which is in sync"):
        client.member_promote(learner.id)
    settle(client)
    after = client.member_update(learner.id, [moved])
    assert {one.id: one.peer_urls for one in after} == {alone.id: alone.peer_urls, learner.id: [moved]}
    settle(client)
    assert client.member_remove(learner.id) == [alone]
    settle(client)
    with pytest.raises(NotFound, match="member not found"):
        client.member_remove(learner.id)
    with pytest.raises(InvalidArgument):
        client.member_add(["not a url"])
    assert client.sync_endpoints() == tuple(alone.client_urls)
    client.put("k", "v")


def test_move_leader_where_there_is_nobody_else(client: Client) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        client.move_leader(1)
    assert caught.value.text == "etcdserver: bad leader transferee"


# Three members.


def test_move_leader_is_sent_to_the_leader(three: Cluster, of_three: Client) -> None:
    follower = three.followers()[0]
    target = of_three.at(follower.endpoint).status().header.member_id
    of_three.move_leader(target)
    assert three.leader() is follower
    with pytest.raises(FailedPrecondition, match="etcdserver: not leader"):
        of_three.at(three.followers()[0].endpoint).move_leader(target)


def test_each_member_can_be_asked(three: Cluster, of_three: Client) -> None:
    revision = of_three.put("k", "v").header.revision
    asked = [of_three.at(endpoint) for endpoint in three.endpoints]
    assert len({one.status().header.member_id for one in asked}) == 3
    assert {one.get("k").header.revision for one in asked} == {revision}
    assert len({one.hash_kv(revision).hash for one in asked}) == 1


def test_endpoints_from_the_cluster(three: Cluster, of_three: Client, connect: Connect) -> None:
    one = connect(three.followers()[0].endpoint)
    assert set(one.sync_endpoints()) == {member.url for member in three.members}
    assert set(one.endpoints) == {member.url for member in three.members}


def test_calls_go_on_at_the_next_member(three: Cluster, of_three: Client) -> None:
    """Whoever of the three the client uses; a member that is gone costs no call, but what was under way."""
    before = of_three.put("k", "0").header.revision
    for member in three.members:
        three.stop_member(member)
        three.leader()
        try:
            of_three.put("k", member.name)
        except EtcdError as error:
            assert error.maybe_applied  # noqa: PT017 - either may happen
            assert error.code is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
            of_three.put("k", member.name)
        assert of_three.get("k").value == member.name.encode()
        three.start_member(member)
    assert of_three.get("k").header.revision == before + 3


def test_without_a_majority_nothing_is_done(three: Cluster, of_three: Client) -> None:
    of_three.put("k", "before")
    for member in three.followers():
        three.stop_member(member)
    with pytest.raises(EtcdError) as caught:
        of_three.within(1.0).put("k", "lost")
    assert caught.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    assert of_three.get("k", serializable=True).value == b"before"
