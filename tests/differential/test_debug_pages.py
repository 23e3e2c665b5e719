"""`--enable-pprof`, and CORS on answers that come in pieces: real etcd beside the candidate."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

from tests.support.scrape import fetch
from tests.support.server import Server, pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

Servers = tuple[Server, Server]

ORIGIN = "http://a.example:80"
FLAGS = ("--enable-pprof", "--enable-v2", f"--cors={ORIGIN}")
PROFILES = ("cmdline", "goroutine", "heap?seconds=1", "threadcreate", "profile?seconds=1")
SECONDS_MAX = 20


@pytest.fixture(scope="module")
def servers(reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with pair(reference, candidate, tmp_path_factory.mktemp("debug"), FLAGS) as both:
        yield both


@pytest.mark.parametrize("name", PROFILES)
def test_profiles(servers: Servers, name: str) -> None:
    """The same paths; Go's are for Go's tools, ours are text."""
    theirs = raw(servers[0], "GET", f"/debug/pprof/{name}")
    ours = fetch(servers[1].endpoint, f"/debug/pprof/{name}")
    assert (theirs.status, ours.status) == (200, 200)
    assert ours.text
    assert ours.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_profile_says_what_the_server_does(servers: Servers) -> None:
    ours = servers[1].endpoint
    assert str(servers[1].data_directory) in fetch(ours, "/debug/pprof/cmdline").text
    assert "MainThread" in fetch(ours, "/debug/pprof/goroutine").text


def test_the_index(servers: Servers) -> None:
    theirs, ours = (fetch(server.endpoint, "/debug/pprof/") for server in servers)
    assert theirs.headers["content-type"] == ours.headers["content-type"] == "text/html; charset=utf-8"
    for name in PROFILES:
        kind = name.partition("?")[0]
        for page in (theirs, ours):
            assert f"'{kind}" in page.text or f'"{kind}' in page.text, kind


@pytest.mark.parametrize("path", ["/debug/pprof/nothing", "/debug/pprof", "/debug/pprof/heap/x"])
def test_what_is_not_there(servers: Servers, path: str) -> None:
    theirs, ours = (raw(server, "GET", path) for server in servers)
    assert ours.status == theirs.status


def raw(
    server: Server, method: str, path: str, body: str | None = None, **headers: str
) -> http.client.HTTPResponse:
    """The answer's head; the rest may never end."""
    connection = http.client.HTTPConnection(server.endpoint, timeout=SECONDS_MAX)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    connection.close()
    return answer


STREAMS = (
    ("GET", "/v2/keys/w?wait=true", None),
    ("GET", "/v2/keys/w?wait=true&stream=true&recursive=true", None),
    ("POST", "/v3/watch", '{"create_request":{"key":"dw=="}}'),
    ("POST", "/v3/lease/keepalive", '{"ID":5}'),
)


@pytest.mark.parametrize(("method", "path", "body"), STREAMS)
@pytest.mark.parametrize("origin", [ORIGIN, "http://b.example"])
def test_cors_of_answers_in_pieces(
    servers: Servers, method: str, path: str, body: str | None, origin: str
) -> None:
    theirs, ours = (raw(server, method, path, body, Origin=origin) for server in servers)
    assert (ours.status, theirs.status) == (200, 200)
    for name in ("Origin", "Methods", "Headers"):
        header = f"Access-Control-Allow-{name}"
        assert ours.getheader(header) == theirs.getheader(header)
    assert ours.getheader("Access-Control-Allow-Origin") == (ORIGIN if origin == ORIGIN else None)
    assert ours.getheader("Content-Type") == theirs.getheader("Content-Type")
    assert ours.getheader("Transfer-Encoding") == theirs.getheader("Transfer-Encoding") == "chunked"
