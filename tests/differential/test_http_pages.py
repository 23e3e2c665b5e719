"""Health, versions, the host whitelist, CORS and the metrics port: real etcd beside the candidate.

`/livez` and `/readyz` came after the etcd that stands beside us here: what they answer is told
by its documentation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.scrape import Page, fetch
from tests.support.server import Server, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

Servers = tuple[Server, Server]

ORIGIN = "http://a.example:80"
FLAGS = (f"--cors={ORIGIN}", "--host-whitelist=good.example,127.0.0.1", "--enable-v2", "--metrics=extensive")
OURS_ALONE = ("server", "date")
"""Headers that are not compared."""
WELL = ("serializable_read", "linearizable_read", "non_learner")


@pytest.fixture(scope="module")
def servers(
    reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Servers, tuple[str, str]]]:
    """Both, and the endpoints of their `--listen-metrics-urls`."""
    metrics = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    first, second = (
        Server(kind, tmp_path_factory.mktemp(kind.name), [*FLAGS, f"--listen-metrics-urls=http://{endpoint}"])
        for kind, endpoint in zip((reference, candidate), metrics, strict=True)
    )
    with first, second:
        yield (first, second), (metrics[0], metrics[1])


@pytest.fixture
def both(servers: tuple[Servers, tuple[str, str]]) -> Iterator[Servers]:
    """Both, without alarms afterwards."""
    yield servers[0]
    set_alarms(servers[0], pb.AlarmRequest.DEACTIVATE, pb.NOSPACE, pb.CORRUPT)


def set_alarms(both: Servers, action: int, *alarms: int) -> None:
    for server in both:
        with Client(server.endpoint) as client:
            for alarm in alarms:
                client.call(pb.AlarmRequest(action=action, memberID=5, alarm=alarm))  # type: ignore[arg-type]


def same(both: Servers, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Page:
    """The answer that both give."""
    theirs, ours = (plain(fetch(server.endpoint, path, method, headers)) for server in both)
    assert ours == theirs
    return ours


def plain(page: Page) -> Page:
    headers = {name: value for name, value in page.headers.items() if name not in OURS_ALONE}
    return Page(page.status, page.text, headers)


def test_health(both: Servers) -> None:
    assert same(both, "/health").text == '{"health":"true","reason":""}'
    assert same(both, "/health?serializable=true").status == 200
    assert same(both, "/health", "POST").status == 405


def test_alarms_are_told_and_can_be_excluded(both: Servers) -> None:
    set_alarms(both, pb.AlarmRequest.ACTIVATE, pb.NOSPACE)
    assert "ALARM NOSPACE" in same(both, "/health").text
    # Of two alarms etcd names either.
    set_alarms(both, pb.AlarmRequest.ACTIVATE, pb.CORRUPT)
    assert "ALARM CORRUPT" in same(both, "/health?exclude=NOSPACE").text
    assert same(both, "/health?exclude=NOSPACE&exclude=CORRUPT").status == 200


def test_versions(both: Servers) -> None:
    theirs, ours = (json.loads(fetch(server.endpoint, "/version").text) for server in both)
    assert set(ours) == {*theirs, "storage"}
    assert same(both, "/version", "POST").status == 405


def test_other_pages(both: Servers) -> None:
    assert same(both, "/nothing").status == 404
    assert same(both, "/debug/pprof/").status == 404
    theirs, ours = (json.loads(fetch(server.endpoint, "/debug/vars").text) for server in both)
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize("path", ["/health", "/v2/keys/x", "/v3/kv/range"])
def test_cors(both: Servers, path: str) -> None:
    page = same(both, path, "OPTIONS", {"Origin": ORIGIN})
    assert page.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in same(both, path, "OPTIONS", {"Origin": "http://b"}).headers
    if path == "/health":
        assert same(both, path, headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v2/keys/x", "/v3/kv/range"])
def test_cve_2018_1099_unknown_hosts_are_refused(both: Servers, path: str) -> None:
    for host in ("bad.example", "[::1]:1"):
        assert same(both, path, headers={"Host": host}).status == 421
    assert same(both, "/health", headers={"Host": "good.example:1"}).status == 200


def test_the_metrics_port(servers: tuple[Servers, tuple[str, str]]) -> None:
    """It answers any host, and has no other pages."""
    theirs, ours = servers[1]
    for path in ("/metrics", "/health", "/version", "/debug/vars"):
        first, second = (
            fetch(endpoint, path, headers={"Host": "bad.example"}) for endpoint in (theirs, ours)
        )
        assert second.status == first.status, path
    assert fetch(ours, "/readyz").text == "ok\n"


def test_extensive_metrics(both: Servers) -> None:
    with Client(both[1].endpoint) as client:
        client.put(b"a")
    theirs, ours = (fetch(server.endpoint, "/metrics").text for server in both)
    assert "# TYPE grpc_server_handling_seconds histogram" in theirs
    assert "# TYPE grpc_server_handling_seconds histogram" in ours


def test_livez_and_readyz(both: Servers) -> None:
    ours = both[1].endpoint
    assert fetch(ours, "/livez?verbose").text == "[+]serializable_read ok\nok\n"
    assert fetch(ours, "/readyz").text == "ok\n"
    assert fetch(ours, "/readyz/nonsense").status == 404
    set_alarms(both, pb.AlarmRequest.ACTIVATE, pb.NOSPACE)
    assert fetch(ours, "/readyz").status == 200
    set_alarms(both, pb.AlarmRequest.ACTIVATE, pb.CORRUPT)
    page = fetch(ours, "/readyz?exclude=nonsense")
    assert page.status == 503
    lines = page.text.splitlines()
    assert "[-]data_corruption failed: alarm activated: CORRUPT" in lines
    assert {f"[+]{name} ok" for name in WELL} < set(lines)
    assert fetch(ours, "/readyz/data_corruption").status == 503
    assert fetch(ours, "/readyz?exclude=data_corruption").text == "ok\n"
    assert [fetch(ours, f"/readyz/{name}").text for name in WELL] == ["ok\n"] * 3
    assert fetch(ours, "/livez").text == "ok\n"
