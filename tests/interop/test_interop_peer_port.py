"""What the peer port answers to requests by hand: the same from real etcd and from etcdpy.

Go members compare these bodies, so they must be equal to the letter.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import raft_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.lease_pb2 import LeaseInternalRequest
from tests.support.client import Client
from tests.support.server import Server, pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

NOBODY = "1234"
HEADERS = {"X-Server-From": NOBODY, "X-Server-Version": "3.5.0", "X-Min-Cluster-Version": "3.0.0"}

REQUESTS: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("GET", "/nowhere", None, {}),
    ("POST", "/members", b"", {}),
    ("POST", "/version", b"", {}),
    ("GET", "/raft", None, {}),
    ("GET", "/raft/snapshot", None, {}),
    ("POST", "/raft", b"", {}),
    ("POST", "/raft", b"", {"X-Server-Version": "2.0.0"}),
    ("POST", "/raft", b"", {**HEADERS, "X-Min-Cluster-Version": "4.0.0"}),
    ("POST", "/raft", b"", {**HEADERS, "X-Etcd-Cluster-ID": "abc"}),
    ("POST", "/raft", b"\xff\xff", {**HEADERS, "X-Etcd-Cluster-ID": "{cluster}"}),
    ("GET", "/raft/stream/other/" + NOBODY, None, {**HEADERS, "X-Etcd-Cluster-ID": "{cluster}"}),
    ("GET", "/raft/stream/message/xyz", None, {**HEADERS, "X-Etcd-Cluster-ID": "{cluster}"}),
    ("GET", "/raft/stream/msgapp/" + NOBODY, None, {**HEADERS, "X-Etcd-Cluster-ID": "{cluster}"}),
    ("GET", "/raft/stream/msgapp/" + NOBODY, None, {**HEADERS, "X-Etcd-Cluster-ID": "abc"}),
    ("POST", "/members/promote/99", b"", {}),
    ("POST", "/members/promote/xyz", b"", {}),
    ("POST", "/leases", pb.LeaseKeepAliveRequest(ID=99).SerializeToString(), {}),
    ("POST", "/leases", b"\xff", {}),
    ("POST", "/leases/internal", b"\xff", {}),
    (
        "POST",
        "/leases/internal",
        LeaseInternalRequest(LeaseTimeToLiveRequest=pb.LeaseTimeToLiveRequest(ID=99)).SerializeToString(),
        {},
    ),
    ("GET", "/members/hashkv", b'{"revision":1000}', {}),
    ("GET", "/members/hashkv", b"no json", {}),
    ("GET", "/downgrade/enabled", None, {}),
]


def ask(
    server: Server, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, str, bytes]:
    with Client(server.endpoint) as client:
        cluster = f"{client.ask(pb.StatusRequest(), pb.StatusResponse).header.cluster_id:x}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.peer_port}{path}",
        data=body,
        method=method,
        headers={
            "Content-Type": "application/x",
            **{name: value.format(cluster=cluster) for name, value in headers.items()},
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers.get("Content-Type", ""), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Content-Type", ""), whole_or_part(error)


def whole_or_part(answer: urllib.error.HTTPError) -> bytes:
    """Of some refusals etcd breaks off the connection before their end."""
    try:
        return answer.read()
    except http.client.IncompleteRead as part:
        return part.partial


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: f"{request_[0]} {request_[1]}")
def test_the_same_answer(
    both_servers: tuple[Server, Server], request_: tuple[str, str, bytes | None, dict[str, str]]
) -> None:
    theirs, ours = (ask(server, *request_) for server in both_servers)
    assert (ours[0], ours[2]) == (theirs[0], theirs[2])


def test_hashes_and_members_are_told_alike(both_servers: tuple[Server, Server]) -> None:
    answers = []
    for server in both_servers:
        with Client(server.endpoint) as client:
            client.put(b"k", b"v")
        hashes = json.loads(ask(server, "GET", "/members/hashkv", b'{"revision":0}', {})[2])
        members = json.loads(ask(server, "GET", "/members", None, {})[2])
        versions = json.loads(ask(server, "GET", "/version", None, {})[2])
        assert versions["etcdserver"].startswith("3.")
        answers.append((hashes["hash"], hashes["header"], hashes["compact_revision"], sorted(members[0])))
    assert answers[0] == answers[1]


@pytest.fixture(scope="module")
def strangers(
    reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Server, str, str]]]:
    """Servers with a learner that never came, and the id of one that was removed."""
    with pair(reference, candidate, tmp_path_factory.mktemp("strangers")) as servers:
        found = []
        for server in servers:
            with Client(server.endpoint) as client:
                ids = []
                for port in (9, 10):
                    request = pb.MemberAddRequest(peerURLs=[f"http://127.0.0.1:{port}"], isLearner=True)
                    ids.append(client.ask(request, pb.MemberAddResponse).member.ID)
                    client.put(b"k")  # etcd passes over a change while it still finishes the one before
                    if port == 9:
                        client.call(pb.MemberRemoveRequest(ID=ids[0]))
                        client.put(b"k")
            found.append((server, f"{ids[1]:x}", f"{ids[0]:x}"))
        yield found


def of_raft(server: Server, sender: str, kind: str) -> tuple[int, bytes]:
    """A message of that member, or a stream that it asks for."""
    with Client(server.endpoint) as client:
        header = client.ask(pb.StatusRequest(), pb.StatusResponse).header
    headers = {**HEADERS, "X-Server-From": sender, "X-Etcd-Cluster-ID": "{cluster}"}
    if kind == "wrong":
        answer = ask(server, "GET", f"/raft/stream/message/{sender}", None, {**headers, "X-Raft-To": "1"})
    elif kind == "stream":
        headers["X-Raft-To"] = f"{header.member_id:x}"
        answer = ask(server, "GET", f"/raft/stream/message/{sender}", None, headers)
    else:
        message = raft_pb2.Message(type=raft_pb2.MsgHeartbeatResp, to=header.member_id, term=1)
        setattr(message, "from", int(sender, 16))
        answer = ask(server, "POST", "/raft", message.SerializeToString(), headers)
    return answer[0], answer[2]


@pytest.mark.parametrize(
    ("kind", "is_removed", "expected"),
    [
        ("message", True, (500, b"error processing raft message\n")),
        ("message", False, (204, b"")),
        ("stream", True, (410, b"removed member\n")),
        ("wrong", False, (412, b"to field mismatch\n")),
    ],
)
def test_who_was_removed_and_who_means_another(
    strangers: list[tuple[Server, str, str]], kind: str, is_removed: bool, expected: tuple[int, bytes]
) -> None:
    for server, learner, removed in strangers:
        assert of_raft(server, removed if is_removed else learner, kind) == expected, server.kind.name
