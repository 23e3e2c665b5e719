"""HTTP requests that are wrong in themselves, byte by byte: real etcd beside the candidate."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import durable_etcd_kind
from tests.support.scrape import fetch
from tests.support.server import Server, pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 10.0
FLAGS = ("--host-whitelist=good.example,127.0.0.1",)


@pytest.fixture(scope="module")
def servers(
    reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    with pair(reference, candidate, tmp_path_factory.mktemp("requests"), FLAGS) as both:
        yield both


def say(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer, both empty when the connection is closed or reset without one."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as peer:
        peer.sendall(request)
        try:
            while piece := peer.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass  # Go closes on what it has not read
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def health(*fields: bytes, line: bytes = b"GET /health HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *fields, b"Connection: close", b"", b""])


HOST = b"Host: 127.0.0.1"
REQUESTS: dict[str, bytes] = {
    "host with a blank": health(b"Host: a b"),
    "host with a path": health(b"Host: a/b"),
    "host with a user": health(b"Host: u@good.example"),
    "host that is no ASCII": health(b"Host: a\xff"),
    "no host": health(),
    "two hosts": health(HOST, HOST),
    "unknown host": health(b"Host: bad.example"),
    "empty host": health(b"Host: "),
    "host with two colons": health(b"Host: a:b:c"),
    "port that is none": health(b"Host: good.example:x"),
    "unknown host in the request line": health(HOST, line=b"GET http://bad.example/health HTTP/1.1"),
    "known host in the request line": health(b"Host: bad", line=b"GET http://good.example/health HTTP/1.1"),
    "no host in HTTP/1.0": health(line=b"GET /health HTTP/1.0"),
    "broken escape": health(HOST, line=b"GET /%zz HTTP/1.1"),
    "escape that is cut": health(HOST, line=b"GET /health%4 HTTP/1.1"),
    "broken escape in the query": health(HOST, line=b"GET /health?%zz HTTP/1.1"),
    "path without a slash": health(HOST, line=b"GET health HTTP/1.1"),
    "field without a colon": health(HOST, b"nonsense"),
    "length that is no number": health(HOST, b"Content-Length: x", line=b"POST /v3/kv/range HTTP/1.1"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_answer(servers: tuple[Server, Server], name: str) -> None:
    (their_head, their_body), (our_head, our_body) = (
        say(server.client_port, REQUESTS[name]) for server in servers
    )
    assert status_of(our_head) == status_of(their_head)
    assert our_body == their_body
    if status_of(our_head) == 400:
        assert our_head.split(b" ", 2)[2].split(b"\r\n")[0] == their_head.split(b" ", 2)[2].split(b"\r\n")[0]


def test_every_byte_in_a_host(servers: tuple[Server, Server]) -> None:
    """The name is unknown (421) or malformed (400); a line end is the end of the line."""
    requests = [health(b"Host: a%cb" % byte) for byte in range(256) if byte not in b"\r\n"]

    def statuses(server: Server) -> list[int]:
        with ThreadPoolExecutor(8) as pool:
            return [
                status_of(head) for head, _ in pool.map(lambda one: say(server.client_port, one), requests)
            ]

    theirs, ours = (statuses(server) for server in servers)
    assert ours == theirs
    assert set(ours) == {400, 421}


@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/nothing", "/v3/kv/range", "/version", "/debug/vars"]
)
def test_no_answer_names_the_program(servers: tuple[Server, Server], path: str) -> None:
    for server in servers:
        assert "server" not in fetch(server.endpoint, path).headers
    bad, _ = say(servers[1].client_port, health())
    assert b"\r\nServer:" not in bad


@pytest.mark.parametrize("path", ["/members", "/raft/probing", "/nothing"])
def test_nor_on_the_peer_port(servers: tuple[Server, Server], path: str) -> None:
    for server in servers:
        assert "server" not in fetch(f"127.0.0.1:{server.peer_port}", path).headers


LEVELS: list[tuple[str, bytes]] = [
    ("PUT", b'{"Level":"DEBUG"}'),
    ("PUT", b'{"Level":"info"}'),
    ("PUT", b'{"Level":"loud"}'),
    ("PUT", b'{"Level":""}'),
    ("PUT", b"no json"),
    ("GET", b""),
]


def level_request(method: str, body: bytes) -> bytes:
    line = b"%s /config/local/log HTTP/1.1" % method.encode()
    return health(HOST, b"Content-Length: %d" % len(body), line=line) + body


def test_the_level_of_the_log_is_changed_as_in_3_4(candidate: Kind, tmp_path: Path) -> None:
    older = durable_etcd_kind()
    if older is None or "3.4" not in older.name:
        pytest.skip("needs an etcd 3.4")
    with (
        Server(older, tmp_path / "older") as theirs,
        Server(candidate, tmp_path / "ours", ["--enable-pprof"]) as ours,
    ):
        for method, body in LEVELS:
            request = level_request(method, body)
            (their_head, their_body), (our_head, our_body) = (
                say(one.client_port, request) for one in (theirs, ours)
            )
            assert (status_of(our_head), our_body) == (status_of(their_head), their_body), (method, body)


def test_nobody_changes_it_unless_profiling_is_on(servers: tuple[Server, Server]) -> None:
    for server in servers:
        head, body = say(server.client_port, level_request("PUT", b'{"Level":"debug"}'))
        assert (status_of(head), body) == (404, b"404 page not found\n")
