"""Auth on several members: tokens that travel, members that lag, join, restart or are left alone."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.auth.conftest import (
    BAD_TOKEN,
    DENIED,
    NOBODY,
    OLD_REVISION,
    QUICK_PASSWORDS,
    READWRITE,
    grant,
    make_root,
    make_user,
)
from tests.support.client import Client, Refusal
from tests.support.inprocess import cluster, isolate, leader_of, run, until
from tests.support.quorum import MixedCluster, eventually
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy import embed
    from tests.support.programs import Kind

SMALL_LOG = ("--snapshot-count=100", "--snapshot-catchup-entries=20", "--strict-reconfig-check=false")
LOGINS = 30


@contextmanager
def clients_of(servers: list[embed.Server]) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        endpoints = [server.client_urls[0].removeprefix("http://") for server in servers]
        yield [stack.enter_context(Client(endpoint)) for endpoint in endpoints]


def log_in_here_and_ask_there(here: Client, there: Client) -> None:
    """The other member may not have heard of the login yet; it knows that by the token, and waits."""
    for number in range(LOGINS):
        here.log_in("ann", "annpw")
        there.token = here.token
        there.put(b"ann/%d" % number)
        assert there.range(b"ann/%d" % number).count == 1
        here.call(pb.PutRequest(key=b"ann/again"))


def tokens_end_everywhere(clients: list[Client]) -> None:
    token = clients[1].token
    clients[0].log_in("root", "rootpw")
    clients[0].call(pb.AuthUserChangePasswordRequest(name="ann", password="new"))
    for client in clients:
        client.token = token
        assert client.outcome(pb.RangeRequest(key=b"ann/1", serializable=True)) == BAD_TOKEN
        client.token = ""
        assert client.outcome(pb.RangeRequest(key=b"ann/1")) == NOBODY


def test_tokens_are_good_on_all_members_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, bcrypt_cost=4) as servers:
            leader = leader_of(servers)
            assert leader is not None
            followers = [server for server in servers if server is not leader]
            with clients_of([leader, *followers]) as clients:
                await asyncio.to_thread(make_root, clients[0])
                await asyncio.to_thread(clients[0].log_in, "root", "rootpw")
                permission = grant("ann", READWRITE, b"ann/", b"ann0")
                await asyncio.to_thread(make_user, clients[0], "ann", permission)
                await asyncio.to_thread(log_in_here_and_ask_there, clients[0], clients[1])
                await asyncio.to_thread(log_in_here_and_ask_there, clients[1], clients[2])
                await asyncio.to_thread(tokens_end_everywhere, clients)
            revisions = {server.member.state.auth.revision for server in servers}
            assert len(revisions) == 1

    run(scenario())


@pytest.mark.slow
def test_a_token_of_an_entry_that_never_comes_is_refused_in_the_end(tmp_path: Path) -> None:
    """Anybody can make one up; it may neither stop the calls of others nor wait for ever."""

    def ask(client: Client) -> None:
        make_root(client)
        client.log_in("root", "rootpw")
        good, client.token = client.token, "abcdefghijklmnop.99999999"
        waiting = time.monotonic()
        with pytest.raises(grpc.RpcError) as late:
            client.call(pb.RangeRequest(key=b"k"), timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.outcome(pb.RangeRequest(key=b"k")) == BAD_TOKEN
        assert time.monotonic() - waiting > 5
        client.token = good
        client.put(b"k")

    async def scenario() -> None:
        async with cluster(tmp_path, size=1, bcrypt_cost=4) as servers:
            with clients_of(servers) as clients:
                await asyncio.to_thread(ask, clients[0])

    run(scenario())


def test_a_member_that_lags_gets_users_and_auth_with_the_snapshot(tmp_path: Path) -> None:
    def fill(root: Client) -> str:
        make_root(root)
        root.log_in("root", "rootpw")
        make_user(root, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
        for number in range(300):
            root.put(b"key-%d" % (number % 7), b"%d" % number)
        return root.token

    def ask(lagging: Client, token: str) -> None:
        lagging.token = ""
        assert lagging.outcome(pb.RangeRequest(key=b"ann/1", serializable=True)) == NOBODY
        # It was given out while the member was away, and is in nobody's state but the others' memory.
        lagging.token = token
        assert lagging.outcome(pb.RangeRequest(key=b"ann/1")) == BAD_TOKEN
        lagging.log_in("ann", "annpw")
        lagging.put(b"ann/1", b"through the member that lagged")
        assert lagging.outcome(pb.RangeRequest(key=b"key-1", serializable=True)) == DENIED

    async def scenario() -> None:
        settings = {"snapshot_count": 100, "snapshot_catchup_entries": 20, "bcrypt_cost": 4}
        async with cluster(tmp_path, **settings) as servers:
            leader = leader_of(servers)
            assert leader is not None
            lagging = next(server for server in servers if server is not leader)
            isolate(servers, lagging)
            with clients_of([leader, lagging]) as (root, other):
                token = await asyncio.to_thread(fill, root)
                isolate(servers, lagging, heal=True)
                await until(lambda: lagging.member.applied_index >= leader.member.applied_index)
                assert lagging.member.node.snapshot.index > 0
                assert lagging.member.state.auth.is_enabled
                await asyncio.to_thread(ask, other, token)

    run(scenario())


def test_leases_run_out_while_auth_is_on(tmp_path: Path) -> None:
    """The member proposes that by itself, and may."""

    def attach(root: Client) -> None:
        make_root(root)
        root.log_in("root", "rootpw")
        make_user(root, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
        lease = root.ask(pb.LeaseGrantRequest(TTL=1), pb.LeaseGrantResponse).ID
        root.put(b"secret", lease=lease)
        stream = root.watch_stream()
        try:
            stream.create(key=b"secret")
            assert stream.wait(lambda: any(response.events for response in stream.responses))
        finally:
            stream.close()
        assert root.range(b"secret").count == 0

    async def scenario() -> None:
        async with cluster(tmp_path, bcrypt_cost=4) as servers:
            follower = next(server for server in servers if server is not leader_of(servers))
            with clients_of([follower]) as clients:
                await asyncio.to_thread(attach, clients[0])

    run(scenario())


@pytest.mark.cluster
def test_a_new_member_enforces_and_so_does_the_last_one_left(candidate: Kind, tmp_path: Path) -> None:
    flags = (*SMALL_LOG, QUICK_PASSWORDS)
    with MixedCluster(tmp_path, [candidate] * 2, flags) as members:
        newcomer = members.new_member("newcomer", candidate)
        with Client(members.members[0].endpoint) as root:
            make_root(root)
            root.log_in("root", "rootpw")
            make_user(root, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
            for number in range(300):
                root.put(b"key-%d" % (number % 7), b"%d" % number)
            root.call(pb.MemberAddRequest(peerURLs=[newcomer.peer_url]))
            revision = root.range(b"key-1").header.revision
        members.members.append(newcomer)
        members.start_member(newcomer)
        assert "applied snapshot" in newcomer.log_path.read_text()
        with Client(newcomer.endpoint) as client:
            assert client.outcome(pb.RangeRequest(key=b"key-1", serializable=True)) == NOBODY
            client.log_in("ann", "annpw")
            assert client.outcome(pb.PutRequest(key=b"key-1")) == DENIED
            client.put(b"ann/1")
        for member in members.members:
            members.kill(member)
        members.flags = (*flags, "--force-new-cluster")
        members.start_member(newcomer)
        with Client(newcomer.endpoint) as client:
            assert client.outcome(pb.RangeRequest(key=b"key-1")) == NOBODY
            client.log_in("root", "rootpw")
            assert client.range(b"key-1").header.revision == revision + 1
            assert len(client.ask(pb.MemberListRequest(), pb.MemberListResponse).members) == 1
        members.members = [newcomer]


@pytest.mark.cluster
def test_what_a_restart_keeps(candidate: Kind, tmp_path: Path) -> None:
    """Users and the switch, not the tokens; but a signed one says everything by itself, until something
    changes. The quota's alarm comes from the member itself.
    """
    secret = tmp_path / "secret"
    secret.write_bytes(b"a secret of all members, in one file")
    jwt_flag = f"--auth-token=jwt,sign-method=HS256,priv-key={secret}"
    server = Server(candidate, tmp_path, (QUICK_PASSWORDS,))
    with server, Client(server.endpoint) as first:
        make_root(first)
        simple = first.log_in("root", "rootpw").token
        make_user(first, "ann", grant("ann", READWRITE, b"ann/", b"ann0"))
        server.restart()
        with Client(server.endpoint, simple) as client:
            assert client.outcome(pb.RangeRequest(key=b"k")) == BAD_TOKEN
            client.token = ""
            assert client.outcome(pb.RangeRequest(key=b"k")) == NOBODY
        server.flags = (QUICK_PASSWORDS, jwt_flag, "--quota-backend-bytes=400000")
        server.restart()
        with Client(server.endpoint, simple) as client:
            assert client.outcome(pb.RangeRequest(key=b"k")) == BAD_TOKEN
            signed = client.log_in("ann", "annpw").token
            assert signed.count(".") == 2
            client.put(b"ann/1")
        server.restart()
        with Client(server.endpoint, signed) as client, Client(server.endpoint) as root:
            client.put(b"ann/2")
            root.log_in("root", "rootpw")
            root.call(pb.AuthRoleAddRequest(name="more"))
            assert client.outcome(pb.PutRequest(key=b"ann/3")) == OLD_REVISION
            assert client.outcome(pb.RangeRequest(key=b"ann/1")) == OLD_REVISION
            assert client.outcome(pb.RangeRequest(key=b"ann/1", serializable=True)) == OLD_REVISION
            client.log_in("ann", "annpw")
            too_much = client.outcome(pb.PutRequest(key=b"ann/4", value=bytes(400_000)))
            assert isinstance(too_much, Refusal)
            assert too_much.code == "RESOURCE_EXHAUSTED"
            root.log_in("root", "rootpw")
            eventually(lambda: len(root.ask(pb.AlarmRequest(), pb.AlarmResponse).alarms) == 1)
