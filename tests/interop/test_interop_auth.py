"""Users, roles and tokens in one cluster of real etcd 3.5.1 and etcdpy, whoever leads and is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from etcdpy.proto import rpc_pb2 as pb
from tests.auth.conftest import (
    BAD_TOKEN,
    DENIED,
    NOBODY,
    OLD_REVISION,
    QUICK_PASSWORDS,
    READ,
    READWRITE,
    grant,
    make_root,
    make_user,
)
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually, local_revision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.protobuf.message import Message

    from etcdpy.testing.cluster import ClusterMember
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SOON_A_SNAPSHOT = ("--snapshot-count=100", "--strict-reconfig-check=false")
# So many entries real etcd 3.5 keeps behind a raft snapshot.
CATCH_UP_ENTRIES = 5000


@contextmanager
def clients_of(members: list[ClusterMember]) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Client(member.endpoint)) for member in members]


def same(clients: list[Client], request: Message) -> object:
    """The one answer that all members give."""
    answers = [client.outcome(request) for client in clients]
    for answer in answers:
        if not isinstance(answer, Refusal):
            answer.ClearField("header")
    assert all(answer == answers[0] for answer in answers), answers
    return answers[0]


@pytest.mark.parametrize("leader", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_both_kinds_know_each_others_users_and_tokens(
    reference: Kind, candidate: Kind, tmp_path: Path, leader: int
) -> None:
    kinds = [reference, candidate, candidate] if leader else [reference, reference, candidate]
    with MixedCluster(tmp_path, kinds, (QUICK_PASSWORDS,)) as cluster:
        cluster.move_leader(cluster.members[leader])
        with clients_of(cluster.members) as clients:
            go, python = clients[0], clients[2]
            make_root(go)
            python.log_in("root", "rootpw")
            make_user(python, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
            go.log_in("root", "rootpw")
            make_user(go, "bob", grant("bob", READ, b"ann/", b"ann0"), grant("bob", READWRITE, b"bob"))
            for name, login_at in (("ann", go), ("bob", python)):
                token = login_at.log_in(name, f"{name}pw").token
                for client in clients:
                    client.token = token
                assert same(clients, pb.PutRequest(key=b"other")) == DENIED
                assert same(clients, pb.RangeRequest(key=b"ann/", range_end=b"\0")) == DENIED
                for number, client in enumerate(clients):
                    assert client.range(b"ann/", b"ann0").count >= 0
                    client.put(b"bob" if name == "bob" else b"ann/%d" % number)
                same(clients, pb.AuthUserGetRequest(name=name))
                assert same(clients, pb.AuthUserListRequest()) == DENIED
            for client in clients:
                client.token = ""
            assert same(clients, pb.RangeRequest(key=b"ann/1")) == NOBODY
            token = python.log_in("root", "rootpw").token
            for client in clients:
                client.token = token
            for request in (
                pb.AuthUserListRequest(),
                pb.AuthRoleListRequest(),
                pb.AuthStatusRequest(),
                pb.AuthRoleGetRequest(role="bob"),
            ):
                same(clients, request)
            # A change of the password ends a user's tokens on both.
            token = go.log_in("ann", "annpw").token
            python.call(pb.AuthUserChangePasswordRequest(name="ann", password="new"))
            for client in clients:
                client.token = token
            assert same(clients, pb.RangeRequest(key=b"ann/1")) == BAD_TOKEN
            for client in clients:
                client.log_in("ann", "new").put(b"ann/new")
            revision = clients[0].log_in("root", "rootpw").revision()
            for client in clients:
                client.log_in("root", "rootpw")
                eventually(lambda client=client: local_revision(client) >= revision)  # type: ignore[misc]
            assert len({client.hash_kv(revision).hash for client in clients}) == 1
            lease = python.ask(pb.LeaseGrantRequest(TTL=2), pb.LeaseGrantResponse).ID
            python.put(b"leased", lease=lease)
            # Whoever leads proposes its end, as root.
            eventually(lambda: python.range(b"leased").count == 0)
            python.call(pb.AuthDisableRequest())
            for client in clients:
                client.token = ""
            eventually(lambda: all(client.outcome(pb.RangeRequest(key=b"a")) != NOBODY for client in clients))


SLOWLY = [pytest.param(method, marks=pytest.mark.slow) for method in ("PS384", "HS512")]


@pytest.mark.parametrize("method", ["RS256", "ES256", *SLOWLY])
def test_both_kinds_sign_for_each_other(
    reference: Kind, candidate: Kind, tmp_path: Path, method: str
) -> None:
    (tmp_path / "key").write_bytes(key_file(method))
    flag = f"--auth-token=jwt,sign-method={method},priv-key={tmp_path / 'key'}"
    members = MixedCluster(tmp_path, [reference, candidate], (QUICK_PASSWORDS, flag))
    with members as cluster, clients_of(cluster.members) as (go, python):
        make_root(go)
        for signer, other in ((go, python), (python, go)):
            other.token = signer.log_in("root", "rootpw").token
            assert other.token.count(".") == 2
            other.put(b"k")
            signer.put(b"k")
        python.call(pb.AuthRoleAddRequest(name="r"))
        # A token says at which revision it was signed, and that is over. 3.5 has no words for it yet.
        for request in (pb.RangeRequest(key=b"k"), pb.PutRequest(key=b"k")):
            assert go.outcome(request) == Refusal("UNKNOWN", "auth: revision in header is old")
            assert python.outcome(request) == OLD_REVISION


def key_file(method: str) -> bytes:
    if method.startswith("HS"):
        return b"what all members have in common"
    rsa_or_ec = (
        ec.generate_private_key(ec.SECP256R1())
        if method.startswith("ES")
        else rsa.generate_private_key(65537, 2048)
    )
    return rsa_or_ec.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def test_users_cross_over_with_snapshots_between_members(
    reference: Kind, candidate: Kind, tmp_path: Path
) -> None:
    """etcdpy joins etcd with auth on, then etcd joins them both; each by snapshot."""
    flags = (*SOON_A_SNAPSHOT, QUICK_PASSWORDS)
    with MixedCluster(tmp_path, [reference], flags) as cluster:
        newcomers = [cluster.new_member("python", candidate), cluster.new_member("go", reference)]
        with Client(cluster.members[0].endpoint) as root:
            make_root(root)
            root.log_in("root", "rootpw")
            make_user(root, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda _: root.put(b"k"), range(CATCH_UP_ENTRIES + 300)))
            for newcomer in newcomers:
                root.call(pb.MemberAddRequest(peerURLs=[newcomer.peer_url]))
                cluster.members.append(newcomer)
                cluster.start_member(newcomer)
                assert "applied snapshot" in newcomer.log_path.read_text()
                if cluster.kind_of(newcomer) is reference:
                    # 3.5.1 learns by a snapshot that auth is on, but remembers no token before a restart.
                    cluster.kill(newcomer)
                    cluster.start_member(newcomer)
                with Client(newcomer.endpoint) as client:
                    assert client.outcome(pb.RangeRequest(key=b"k", serializable=True)) == NOBODY
                    client.log_in("ann", "annpw")
                    assert client.outcome(pb.RangeRequest(key=b"k", serializable=True)) == DENIED, (
                        newcomer.name
                    )
                    client.put(b"ann/" + newcomer.name.encode())
                    root.log_in("root", "rootpw")
                    same([root, client], pb.AuthRoleGetRequest(role="ann"))
