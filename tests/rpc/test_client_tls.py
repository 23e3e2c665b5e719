"""TLS on the client port: who is let in, with what, and how files may change under a running server."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.cluster.urls import Url
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.port import PortLimits
from etcdpy.rpc.tls import ServerTls
from etcdpy.rpc.tls_transport import REJECTIONS_LOGGED_PER_S
from etcdpy.server.config import Config
from etcdpy.server.config_rules import CIPHER_SUITES
from etcdpy.tls.settings import OPENSSL_NAMES, SUITES_OF_TLS13, BadTls
from tests.http2 import wire
from tests.rpc.grpc_wire import packed
from tests.rpc.listening import (
    STATUS,
    WATCH,
    GrpcPeer,
    LogRecorder,
    Peer,
    client_port,
    on_both_loops,
    port_member,
)
from tests.support.pki import Authority, Identity

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://127.0.0.1:0"
REJECTED = "rejected connection on client endpoint"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.server()


@pytest.fixture(scope="module")
def client(authority: Authority) -> Identity:
    return authority.client("alice", ["alice.example"])


def files(server: Identity, **more: Any) -> dict[str, Any]:
    return {"cert_file": str(server.cert), "key_file": str(server.key)} | more


async def grpc_status(url: str, tls: ssl.SSLContext) -> int:
    """Status of one call on a connection of its own."""
    peer = await GrpcPeer.connect(url, tls)
    peer.greet()
    code, _ = (await peer.call()).status
    peer.close()
    return code


async def is_refused(url: str, tls: ssl.SSLContext) -> bool:
    """Whether the server lets nobody in who comes like this.

    In TLS 1.3 the client is through before its certificate has been looked at, so only the first answer
    tells.
    """
    try:
        await grpc_status(url, tls)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


# What is spoken.


@on_both_loops
async def test_grpc_and_http1_over_tls(tmp_path: Path, authority: Authority, server: Identity) -> None:
    async with client_port(tmp_path, URL, **files(server)) as listeners:
        (url,) = listeners.urls
        assert url.startswith("https://127.0.0.1:")
        for protocols in (["h2"], ["h2", "http/1.1"], []):
            assert await grpc_status(url, authority.trust(alpn=protocols)) == 0
        for protocols in (["http/1.1"], []):
            peer = await Peer.connect(url, authority.trust(alpn=protocols))
            status, body = await peer.http()
            assert (status, json.loads(body)["etcdcluster"]) == (200, "3.6.0")
            peer.close()


@on_both_loops
async def test_unix_sockets_with_tls(tmp_path: Path, authority: Authority, server: Identity) -> None:
    url = f"unixs://{tmp_path}/secure.sock"
    async with client_port(tmp_path, url, **files(server)):
        assert await grpc_status(url, authority.trust(alpn=["h2"])) == 0


@on_both_loops
async def test_plain_and_secure_urls_side_by_side(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    async with client_port(tmp_path, "http://127.0.0.1:0", URL, **files(server)) as listeners:
        plain, secure = listeners.urls
        assert await grpc_status(secure, authority.trust(alpn=["h2"])) == 0
        peer = await Peer.connect(plain)
        assert (await peer.http())[0] == 200
        peer = await Peer.connect(secure)
        peer.say(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in await peer.rest()


@on_both_loops
async def test_large_messages_both_ways(tmp_path: Path, authority: Authority, server: Identity) -> None:
    member = port_member()
    value = bytes(range(256)) * 4000
    async with client_port(tmp_path, URL, member=member, **files(server)) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0], authority.trust(alpn=["h2"]))
        peer.greet()
        stream_id = peer.begin("/etcdserverpb.KV/Put")
        body = packed(pb.PutRequest(key=b"k", value=value).SerializeToString())
        for start in range(0, len(body), 16_384):
            peer.say(wire.body(stream_id, body[start : start + 16_384], end=start + 16_384 >= len(body)))
        assert (await peer.answer(stream_id)).status == (0, "")
        answer = await peer.call("/etcdserverpb.KV/Range", b"\x0a\x01k")
        assert answer.status == (0, "")
        assert value in answer.data


@on_both_loops
async def test_bytes_that_come_right_behind_the_handshake(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    """The client's last flight of the handshake and its first request in one segment."""
    async with client_port(tmp_path, URL, **files(server)) as listeners:
        _, _, number = listeners.urls[0].rpartition(":")
        context = authority.trust(alpn=["h2"])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        peer = await Peer.connect(f"http://127.0.0.1:{number}")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.say(outgoing.read())
                incoming.write(await peer.reader.read(65_536))
        tls.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wire.settings())
        peer.say(outgoing.read())
        incoming.write(await peer.reader.read(65_536))
        assert tls.read(9)[3] == wire.SETTINGS


# Requests over HTTP/2 that are not gRPC.


async def plain_request(
    peer: GrpcPeer, path: str, method: str = "GET", *, body: list[bytes] | None = None
) -> tuple[str, dict[str, str], bytes]:
    stream_id = peer.next_id
    peer.next_id += 2
    pairs = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "x")]
    flags = wire.END_HEADERS | (wire.END_STREAM if body is None else 0)
    peer.say(wire.frame(wire.HEADERS, flags, stream_id, wire.encode_static([*pairs, ("accept", "*/*")])))
    for number, piece in enumerate(body or ()):
        peer.say(wire.body(stream_id, piece, end=number == len(body or ()) - 1))
    answer = await peer.answer(stream_id)
    assert answer.reset is None, answer
    return answer.headers[":status"], answer.headers, bytes(answer.data)


@on_both_loops
async def test_http2_that_is_not_grpc_goes_to_the_http_handlers(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    async with client_port(tmp_path, URL, **files(server)) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0], authority.trust(alpn=["h2"]))
        peer.greet()
        status, headers, body = await plain_request(peer, "/health")
        assert (status, json.loads(body)) == ("200", {"health": "true", "reason": ""})
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert not {"connection", "transfer-encoding"} & headers.keys()
        assert (await plain_request(peer, "/version?x=1"))[0] == "200"
        assert (await plain_request(peer, "/nowhere"))[0] == "404"
        status, headers, body = await plain_request(peer, "/health", "HEAD")
        assert (status, body) == ("405", b"")
        assert (await plain_request(peer, "/health", "POST", body=[b"some", b"", b"thing"]))[0] == "405"
        assert (await plain_request(peer, "/a b"))[0] == "400"
        # And calls on the same connection.
        assert (await peer.call()).status == (0, "")
        await asyncio.sleep(0)
        assert len(listeners.port.open) == 1


@on_both_loops
async def test_requests_that_are_not_grpc_are_bounded_and_cancelled(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    member = port_member()
    member.is_holding = True
    limits = PortLimits(connections_max=10, receive_bytes_max=1 << 20, plain_requests_max=3)
    async with client_port(tmp_path, URL, member=member, limits=limits, **files(server)) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0], authority.trust(alpn=["h2"]))
        peer.greet()
        pairs = [(":method", "GET"), (":scheme", "https"), (":path", "/health"), (":authority", "x")]
        for stream_id in (1, 3, 5, 7):
            block = wire.encode_static(pairs)
            peer.say(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream_id, block))
        assert (await peer.answer(7)).reset == 7  # REFUSED_STREAM
        peer.say(wire.reset(1))
        peer.next_id = 9
        while len(member.held) < 3:
            await asyncio.sleep(0.001)
        member.release()
        assert (await peer.answer(3)).headers[":status"] == "200"
        assert (await peer.answer(5)).headers[":status"] == "200"
        member.is_holding = False
        assert (await plain_request(peer, "/health"))[0] == "200"


# Client certificates.


@on_both_loops
async def test_client_certificates(
    tmp_path: Path, authority: Authority, server: Identity, client: Identity
) -> None:
    stranger = Authority(tmp_path / "other").client("mallory")
    log = LogRecorder()
    settings = files(server, trusted_ca_file=str(authority.ca), client_cert_auth=True)
    async with client_port(tmp_path, URL, log=log, **settings) as listeners:
        (url,) = listeners.urls
        assert await grpc_status(url, authority.trust(client, ["h2"])) == 0
        assert await is_refused(url, authority.trust(alpn=["h2"]))
        assert await is_refused(url, authority.trust(stranger, ["h2"]))
        # A certificate for servers is none for clients.
        assert await is_refused(url, authority.trust(server, ["h2"]))
        while len(log.said(REJECTED)) < 3:
            await asyncio.sleep(0.001)
        assert str(log.said(REJECTED)[0]["remote_addr"]).startswith("127.0.0.1:")
        while listeners.port.open:
            await asyncio.sleep(0.001)


@on_both_loops
async def test_a_ca_to_trust_is_enough_to_demand_certificates(
    tmp_path: Path, authority: Authority, server: Identity, client: Identity
) -> None:
    async with client_port(tmp_path, URL, **files(server, trusted_ca_file=str(authority.ca))) as listeners:
        assert await is_refused(listeners.urls[0], authority.trust(alpn=["h2"]))
        assert await grpc_status(listeners.urls[0], authority.trust(client, ["h2"])) == 0


@on_both_loops
async def test_the_common_name_of_the_client_reaches_the_call(
    tmp_path: Path, authority: Authority, server: Identity, client: Identity
) -> None:
    member = port_member()
    names: list[str] = []

    def watching(call: Any, data: bytes) -> None:
        names.append(call.certificate_name)
        call.fail(RpcError(Code.ABORTED, ""))

    for certificate, settings, name in (
        (client, {"trusted_ca_file": str(authority.ca)}, "alice"),
        (client, {}, ""),
    ):
        async with client_port(tmp_path, URL, member=member, **files(server, **settings)) as listeners:
            method = listeners.port.router.method(WATCH)
            assert method is not None
            object.__setattr__(method, "handler", watching)
            peer = await GrpcPeer.connect(listeners.urls[0], authority.trust(certificate, ["h2"]))
            peer.greet()
            await peer.answer(peer.begin(WATCH))
            assert names.pop() == name


@pytest.mark.parametrize("der", [True, False])
def test_revoked_certificates(
    tmp_path: Path, authority: Authority, server: Identity, client: Identity, der: bool
) -> None:
    gone = authority.client("bob")
    crl = authority.revoke(gone, der=der)
    log = LogRecorder()

    @on_both_loops
    async def run() -> None:
        settings = files(server, trusted_ca_file=str(authority.ca), client_crl_file=str(crl))
        async with client_port(tmp_path, URL, log=log, **settings) as listeners:
            (url,) = listeners.urls
            assert await grpc_status(url, authority.trust(client, ["h2"])) == 0
            assert await is_refused(url, authority.trust(gone, ["h2"]))
            # And whoever is revoked while the server runs.
            authority.revoke(gone, client, der=der)
            assert await is_refused(url, authority.trust(client, ["h2"]))
            authority.revoke(gone, der=der)
            assert await grpc_status(url, authority.trust(client, ["h2"])) == 0
            assert "has been revoked" in str(log.said(REJECTED)[0]["error"])

    for loop_name in ("asyncio", "uvloop"):
        run(loop_name)  # type: ignore[call-arg]  # the decorator adds the name


@on_both_loops
async def test_allowed_host_names(
    tmp_path: Path, authority: Authority, server: Identity, client: Identity
) -> None:
    settings = files(
        server,
        trusted_ca_file=str(authority.ca),
        client_cert_allowed_hostname=("other.example", "alice.example"),
    )
    async with client_port(tmp_path, URL, **settings) as listeners:
        (url,) = listeners.urls
        assert await grpc_status(url, authority.trust(client, ["h2"])) == 0
        nobody = authority.client("alice.example", ["bob.example"])
        assert await is_refused(url, authority.trust(nobody, ["h2"]))


# Versions and suites.


@pytest.mark.parametrize(
    ("settings", "client_version", "agreed"),
    [
        ({}, None, "TLSv1.3"),
        ({}, ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ({"tls_min_version": "TLS1.3"}, None, "TLSv1.3"),
        ({"tls_min_version": "TLS1.3"}, ssl.TLSVersion.TLSv1_2, None),
        ({"tls_max_version": "TLS1.2"}, None, "TLSv1.2"),
    ],
)
def test_versions(
    tmp_path: Path,
    authority: Authority,
    server: Identity,
    settings: dict[str, str],
    client_version: ssl.TLSVersion | None,
    agreed: str | None,
) -> None:
    assert negotiated(tmp_path, authority, server, settings, client_version) == (agreed and (agreed, None))


def negotiated(
    tmp_path: Path,
    authority: Authority,
    server: Identity,
    settings: dict[str, Any],
    version: ssl.TLSVersion | None = None,
    suites: str | None = None,
) -> tuple[str, str | None] | None:
    """Version, and the suite when one was asked for; None if the two do not come together."""
    result: list[tuple[str, str | None]] = []

    @on_both_loops
    async def run() -> None:
        async with client_port(tmp_path, URL, **files(server, **settings)) as listeners:
            context = authority.trust(alpn=["h2"])
            if version is not None:
                context.maximum_version = version
            if suites is not None:
                context.set_ciphers(suites)
            try:
                peer = await Peer.connect(listeners.urls[0], context)
            except (ssl.SSLError, ConnectionError):
                return
            tls = peer.writer.get_extra_info("ssl_object")
            result.append((tls.version(), tls.cipher()[0] if suites is not None else None))

    run("uvloop")  # type: ignore[call-arg]  # the decorator adds the name
    return result[0] if result else None


def test_cipher_suites_by_the_names_of_go(tmp_path: Path, authority: Authority, server: Identity) -> None:
    version = ssl.TLSVersion.TLSv1_2
    settings = {"cipher_suites": ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)}
    suite = "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert negotiated(tmp_path, authority, server, settings, version, "ALL") == ("TLSv1.2", suite)
    other = "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert negotiated(tmp_path, authority, server, settings, version, other) is None
    settings = {"cipher_suites": ("TLS_AES_128_GCM_SHA256",)}
    assert negotiated(tmp_path, authority, server, settings, version, "ALL") is None
    assert negotiated(tmp_path, authority, server, settings) == ("TLSv1.3", None)


def test_every_suite_that_etcd_knows_is_mapped_or_refused(authority: Authority, tmp_path: Path) -> None:
    gone = {name for name in CIPHER_SUITES if "RC4" in name or "3DES" in name}
    assert gone | OPENSSL_NAMES.keys() | SUITES_OF_TLS13 == CIPHER_SUITES
    server = authority.rsa_server()
    for name in OPENSSL_NAMES:
        config = Config(data_dir=tmp_path, **files(server, cipher_suites=(name,)))
        context = ServerTls(config, log_of(LogRecorder())).context()
        assert OPENSSL_NAMES[name] in [one["name"] for one in context.get_ciphers()]
    for name in gone:
        config = Config(data_dir=tmp_path, **files(server, cipher_suites=(name,)))
        with pytest.raises(BadTls, match=f"does not have the cipher suites {name}"):
            ServerTls(config, log_of(LogRecorder()))


def log_of(recorder: LogRecorder) -> Any:
    return recorder


# Files that change, and files that are wrong.


def server_name(url: str) -> str:
    """Common name of the certificate that the server shows."""
    _, _, number = url.rpartition(":")
    pem = ssl.get_server_certificate(("127.0.0.1", int(number)))
    from etcdpy.tls.certificates import common_name

    return common_name(ssl.PEM_cert_to_DER_cert(pem))


@on_both_loops
async def test_certificates_are_reloaded_for_new_connections(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    first = authority.server("one")
    log = LogRecorder()
    loop = asyncio.get_running_loop()
    async with client_port(tmp_path, URL, log=log, **files(first)) as listeners:
        (url,) = listeners.urls
        peer = await GrpcPeer.connect(url, authority.trust(alpn=["h2"]))
        peer.greet()
        second = authority.server("two")
        # Half of the pair: what is served stays as it was.
        second.cert.replace(first.cert)
        assert await loop.run_in_executor(None, server_name, url) == "one"
        assert await loop.run_in_executor(None, server_name, url) == "one"
        assert len(log.said("failed to reload TLS files; the former ones stay")) == 1
        second.key.replace(first.key)
        assert await loop.run_in_executor(None, server_name, url) == "two"
        assert len(log.said("reloaded TLS files")) == 1
        # Connections that were open do not notice.
        assert (await peer.call()).status == (0, "")
        first.key.unlink()
        assert await loop.run_in_executor(None, server_name, url) == "two"


@on_both_loops
async def test_the_trusted_ca_is_reloaded(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    server, ca = old.server(), tmp_path / "ca.pem"
    ca.write_bytes(old.ca.read_bytes())
    former, current = old.client(), new.client()
    async with client_port(tmp_path, URL, **files(server, trusted_ca_file=str(ca))) as listeners:
        (url,) = listeners.urls
        assert await grpc_status(url, old.trust(former, ["h2"])) == 0
        assert await is_refused(url, old.trust(current, ["h2"]))
        ca.write_bytes(new.ca.read_bytes())
        assert await grpc_status(url, old.trust(current, ["h2"])) == 0
        assert await is_refused(url, old.trust(former, ["h2"]))


@pytest.mark.parametrize("wrong", ["cert_file", "key_file", "trusted_ca_file", "client_crl_file"])
@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_files_that_cannot_be_used(
    tmp_path: Path, authority: Authority, server: Identity, wrong: str, content: bytes | None
) -> None:
    path = tmp_path / "wrong"
    if content is not None:
        path.write_bytes(content)
    settings = files(server) | {wrong: str(path)}
    with pytest.raises(BadTls, match="cannot open a TLS port: "):
        ServerTls(Config(data_dir=tmp_path, **settings), log_of(LogRecorder()))


def test_a_key_of_another_certificate(tmp_path: Path, authority: Authority, server: Identity) -> None:
    other = authority.server("other")
    config = Config(data_dir=tmp_path, cert_file=str(server.cert), key_file=str(other.key))
    with pytest.raises(OSError, match="cannot open a TLS port: "):
        ServerTls(config, log_of(LogRecorder()))


@on_both_loops
async def test_auto_tls(tmp_path: Path) -> None:
    for _ in range(2):
        async with client_port(tmp_path, URL, auto_tls=True) as listeners:
            cert = tmp_path / "fixtures" / "client" / "cert.pem"
            context = ssl.create_default_context(cafile=str(cert))
            context.set_alpn_protocols(["h2"])
            _, _, number = listeners.urls[0].rpartition(":")
            reader, writer = await asyncio.open_connection("127.0.0.1", int(number), ssl=context)
            peer = GrpcPeer(reader, writer)
            peer.greet()
            assert (await peer.call()).status == (0, "")
            first = cert.read_bytes()
    assert cert.read_bytes() == first


# Handshakes that go wrong.


@on_both_loops
async def test_cve_2026_73500_a_handshake_that_stalls_is_cut_off(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    limits = PortLimits(connections_max=10, receive_bytes_max=1 << 20, handshake_seconds=0.2)
    log = LogRecorder()
    async with client_port(tmp_path, URL, limits=limits, log=log, **files(server)) as listeners:
        number = listeners.urls[0].rpartition(":")[2]
        silent = await Peer.connect(f"http://127.0.0.1:{number}")
        slow = await Peer.connect(f"http://127.0.0.1:{number}")
        slow.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        while len(listeners.port.open) < 2:
            await asyncio.sleep(0.001)
        assert await silent.rest() == b""
        assert await slow.rest() == b""
        while listeners.port.open:
            await asyncio.sleep(0.001)
        assert len(log.said(REJECTED)) == 2


@on_both_loops
async def test_handshakes_count_as_connections(tmp_path: Path, server: Identity) -> None:
    limits = PortLimits(connections_max=3, receive_bytes_max=1 << 20)
    async with client_port(tmp_path, URL, limits=limits, **files(server)) as listeners:
        number = listeners.urls[0].rpartition(":")[2]
        peers = [await Peer.connect(f"http://127.0.0.1:{number}") for _ in range(3)]
        while len(listeners.port.open) < 3:
            await asyncio.sleep(0.001)
        extra = await Peer.connect(f"http://127.0.0.1:{number}")
        assert await extra.rest() == b""
        assert (listeners.port.refused, len(listeners.port.open)) == (1, 3)
        for peer in peers:
            peer.abort()
        while listeners.port.open:
            await asyncio.sleep(0.001)


@on_both_loops
async def test_garbage_instead_of_a_handshake(tmp_path: Path, authority: Authority, server: Identity) -> None:
    log = LogRecorder()
    async with client_port(tmp_path, URL, log=log, **files(server)) as listeners:
        number = listeners.urls[0].rpartition(":")[2]
        for garbage in (b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x01\x00", b"x" * 70_000):
            peer = await Peer.connect(f"http://127.0.0.1:{number}")
            peer.say(garbage)
            peer.writer.write_eof()
            await peer.rest()
        for _ in range(2 * REJECTIONS_LOGGED_PER_S):
            peer = await Peer.connect(f"http://127.0.0.1:{number}")
            peer.abort()
        assert await grpc_status(listeners.urls[0], authority.trust(alpn=["h2"])) == 0
        while listeners.port.open:
            await asyncio.sleep(0.001)
        assert 3 <= len(log.said(REJECTED)) <= 2 * REJECTIONS_LOGGED_PER_S + 4


@on_both_loops
async def test_stopping_in_the_middle_of_handshakes(tmp_path: Path, server: Identity) -> None:
    async with client_port(tmp_path, URL, **files(server)) as listeners:
        number = listeners.urls[0].rpartition(":")[2]
        for _ in range(3):
            await Peer.connect(f"http://127.0.0.1:{number}")
        while len(listeners.port.open) < 3:
            await asyncio.sleep(0.001)
    assert not listeners.port.open


@on_both_loops
async def test_a_client_that_vanishes_without_a_word(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    async with client_port(tmp_path, URL, **files(server)) as listeners:
        peer = await GrpcPeer.connect(listeners.urls[0], authority.trust(alpn=["h2"]))
        peer.greet()
        peer.begin(WATCH)
        await peer.call(STATUS)
        raw = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.abort()
        while listeners.port.open:
            await asyncio.sleep(0.001)


@on_both_loops
async def test_secure_listeners_for_http_alone(
    tmp_path: Path, authority: Authority, server: Identity
) -> None:
    http_urls = (Url(URL),)
    async with client_port(tmp_path, URL, listen_client_http_urls=http_urls, **files(server)) as listeners:
        (url,), (http_url,) = listeners.urls, listeners.http_urls
        both = authority.trust(alpn=["h2", "http/1.1"])
        assert await grpc_status(url, both) == 0
        peer = await Peer.connect(http_url, both)
        assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert (await peer.http())[0] == 200
        peer = await GrpcPeer.connect(url, both)
        peer.greet()
        pairs = [(":method", "GET"), (":scheme", "https"), (":path", "/health"), (":authority", "x")]
        block = wire.encode_static(pairs)
        peer.say(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, block))
        assert (await peer.answer(1)).trailers[":status"] == "415"
