"""Users who show a certificate instead of a token, and gateways that show their own."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from etcdpy import embed
from etcdpy.cluster.urls import Url
from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.config import Config
from etcdpy.server.log import Logger
from tests.support.client import Client, Refusal
from tests.support.inprocess import run
from tests.support.pki import Authority

from .conftest import BAD_TOKEN, DENIED, NOBODY, READWRITE, grant, make_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.support.pki import Identity

IGNORED = "CommonName of client sending a request against gateway will be ignored and not used as expected\n"


@asynccontextmanager
async def member(tmp_path: Path, authority: Authority, *, client_cert_auth: bool) -> AsyncIterator[str]:
    """The endpoint of a member behind TLS that demands certificates."""
    config = Config.for_test(tmp_path / "data")
    server = authority.server()
    config.listen_client_urls = config.advertise_client_urls = (Url("https://127.0.0.1:0"),)
    config.cert_file, config.key_file = str(server.cert), str(server.key)
    config.trusted_ca_file = str(authority.ca)
    config.client_cert_auth = client_cert_auth
    config.bcrypt_cost = 4
    running = await embed.start(config, Logger.silent())
    try:
        yield running.client_urls[0].removeprefix("https://")
    finally:
        await running.stop()


def client(endpoint: str, authority: Authority, identity: Identity) -> Client:
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(), identity.key.read_bytes(), identity.cert.read_bytes()
    )
    return Client(endpoint, credentials=credentials)


def make_users(root: Client) -> None:
    """root, and ann, who has no password."""
    root.call(pb.AuthUserAddRequest(name="ann", options=auth_pb2.UserAddOptions(no_password=True)))
    root.call(pb.AuthRoleAddRequest(name="ann"))
    root.call(pb.AuthUserGrantRoleRequest(user="ann", role="ann"))
    root.call(grant("ann", READWRITE, b"ann/", b"ann0"))
    make_root(root)


def play(tmp_path: Path, asks: Callable[[str, Authority], None], *, client_cert_auth: bool = True) -> None:
    authority = Authority(tmp_path / "ca")

    async def scenario() -> None:
        async with member(tmp_path, authority, client_cert_auth=client_cert_auth) as endpoint:
            await asyncio.to_thread(asks, endpoint, authority)

    run(scenario())


def test_the_common_name_of_a_certificate_is_a_user(tmp_path: Path) -> None:
    def asks(endpoint: str, authority: Authority) -> None:
        identities = [authority.client(name) for name in ("root", "ann", "stranger")]
        root, ann, stranger = (client(endpoint, authority, identity) for identity in identities)
        with root, ann, stranger:
            make_users(root)
            root.put(b"secret")
            ann.put(b"ann/1")
            lease = ann.ask(pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse).ID
            assert not isinstance(ann.keep_alive(lease), Refusal)
            assert ann.outcome(pb.RangeRequest(key=b"secret")) == DENIED
            assert ann.outcome(pb.AuthUserListRequest()) == DENIED
            assert stranger.outcome(pb.RangeRequest(key=b"secret")) == DENIED
            not_found = Refusal("FAILED_PRECONDITION", "etcdserver: user name not found")
            assert stranger.outcome(pb.AuthUserListRequest()) == not_found
            # A token counts more than the certificate, and a bad one is not made good by it.
            ann.log_in("root", "rootpw").put(b"secret")
            ann.token = "wrong.1"
            assert ann.outcome(pb.PutRequest(key=b"ann/1")) == BAD_TOKEN
            # Users change while the name stays: it is looked up as of now.
            root.call(pb.AuthRoleRevokePermissionRequest(role="ann", key=b"ann/", range_end=b"ann0"))
            ann.token = ""
            assert ann.outcome(pb.PutRequest(key=b"ann/1")) == DENIED

    play(tmp_path, asks)


def test_a_certificate_is_nobody_unless_that_is_asked_for(tmp_path: Path) -> None:
    """A CA to trust demands certificates; only --client-cert-auth makes users of them."""

    def asks(endpoint: str, authority: Authority) -> None:
        with client(endpoint, authority, authority.client("root")) as root:
            make_users(root)
            assert root.outcome(pb.RangeRequest(key=b"k")) == NOBODY

    play(tmp_path, asks, client_cert_auth=False)


def test_cve_2018_16886_the_certificate_of_a_gateway_is_nobodys(tmp_path: Path) -> None:
    """Calls that came through a gateway are not its own. What it adds to each tells them."""

    def asks(endpoint: str, authority: Authority) -> None:
        identity = authority.client("root")
        with client(endpoint, authority, identity) as root:
            make_users(root)
            root.put(b"k")
            root.metadata = (("grpcgateway-accept", "*/*"),)
            asks: list[Message] = [
                pb.RangeRequest(key=b"k"),
                pb.PutRequest(key=b"k"),
                pb.AuthUserListRequest(),
            ]
            for request in asks:
                assert root.outcome(request) == NOBODY
        # Our own gateway knows who connects to it, and tells them that it does not count.
        answer = post(endpoint, authority, identity, "/v3/kv/range", '{"key":"aw=="}')
        assert answer == (400, IGNORED)

    play(tmp_path, asks)


def post(endpoint: str, authority: Authority, identity: Identity, path: str, body: str) -> tuple[int, str]:
    host, _, port = endpoint.partition(":")
    tls = ssl.create_default_context(cafile=str(authority.ca))
    tls.load_cert_chain(identity.cert, identity.key)
    connection = http.client.HTTPSConnection(host, int(port), context=tls, timeout=20)
    try:
        connection.request("POST", path, body.encode())
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
