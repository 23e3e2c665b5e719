"""The v2 API of etcdpy beside that of real etcd: one random sequence of requests on both, in lock-step.

Bodies, statuses, indexes and the order of JSON keys are compared, and what waits and streams deliver.
Debian's 3.4.23 differs in one answer, so its sequence leaves that request out.
"""

from __future__ import annotations

import random
import re
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import Kind, clean_environment, durable_etcd_kind, etcdctl_programs
from tests.support.quorum import eventually
from tests.support.server import Server
from tests.support.v2_client import Answer, V2Client, Wait, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

KEYS = (
    "/a",
    "/b",
    "/d",
    "/d/a",
    "/d/b",
    "/d/e",
    "/d/e/f",
    "/_h",
    "/_h/a",
    "/d/_h",
    "/d/_h/x",
    "/ab",
    "/",
    "",
)
VALUES = ("", "1", "2", "<&>", "äöü", "a b+c%")
QUIET_S = 0.3
STEPS = 400
WAITS = 8


class Pair:
    """A reference and a candidate, asked the same."""

    def __init__(self, reference: Server, candidate: Server) -> None:
        self.clients = (V2Client(reference.endpoint), V2Client(candidate.endpoint))
        self.story: list[object] = []
        self._open: list[Wait] = []

    def keys(self, method: str, key: str, **form: str) -> Answer:
        return self.call(method, "/v2/keys" + key, form)

    def call(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        self.story.append((method, path, form))
        left, right = (client.call(method, path, form, **headers) for client in self.clients)
        assert right == left, self.story[-10:]
        return left

    def wait(self, key: str, **form: str) -> list[Wait]:
        waits = [client.wait(key, **form) for client in self.clients]
        self._open += waits
        return waits

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for wait in self._open:
            wait.close()


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, reference: Kind, candidate: Kind
) -> Iterator[tuple[Server, Server]]:
    yield from started(tmp_path_factory.mktemp("v2"), reference, candidate)


def started(directory: Path, *kinds: Kind) -> Iterator[tuple[Server, Server]]:
    left, right = (Server(kind, directory / kind.name, ["--enable-v2"]) for kind in kinds)
    with left, right:
        for server in (left, right):
            with closing(V2Client(server.endpoint)) as client:
                # The member, its name and the cluster version, which is decided soon after the start.
                eventually(lambda client=client: client.keys("GET", "/").index == "3")  # type: ignore[misc]
        yield left, right


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> Iterator[Pair]:
    pair = Pair(*servers)
    yield pair
    pair.close()


# For each field of a form: the methods that know it, how often it is there, and its values.
FIELDS = (
    ("value", "PUT POST", 0.8, VALUES),
    ("dir", "PUT POST", 0.2, ("true",)),
    ("ttl", "PUT POST", 0.2, ("1000", "", "5000", "x", "-1")),
    ("refresh", "PUT POST", 0.1, ("true", "false")),
    ("noValueOnSuccess", "PUT POST DELETE", 0.1, ("true", "f", "x")),
    ("prevValue", "PUT DELETE", 0.15, VALUES),
    ("prevExist", "PUT", 0.3, ("true", "false", "maybe")),
    ("recursive", "GET HEAD DELETE", 0.4, ("true", "false")),
    ("sorted", "GET HEAD", 0.3, ("true", "0")),
    ("quorum", "GET", 0.2, ("true",)),
    ("dir", "DELETE", 0.3, ("true", "false")),
    ("wait", "PUT DELETE", 0.02, ("true",)),
)
METHODS = ("GET", "GET", "HEAD", "PUT", "PUT", "PUT", "PUT", "POST", "DELETE", "DELETE")


def random_request(
    chance: random.Random, index: int, *, dir_updates: bool
) -> tuple[str, str, dict[str, str]]:
    method, key = chance.choice(METHODS), chance.choice(KEYS)
    form = {
        name: chance.choice(values)
        for name, methods, likely, values in FIELDS
        if method in methods.split() and chance.random() < likely
    }
    if method in ("PUT", "DELETE") and chance.random() < 0.15:
        form["prevIndex"] = str(max(0, index - chance.randrange(8)))
    if not dir_updates and form.get("prevExist") == "true" and not form.get("value"):
        form["value"] = "1"  # an update of a directory fails in one way in 3.5 and not at all in 3.4
    return method, key, form


def play(pair: Pair, seed: int, *, dir_updates: bool = True) -> None:
    chance = random.Random(seed)
    index = 3
    for _ in range(WAITS):
        watched = [chance.choice(KEYS) for _ in range(4)]
        options = [
            {name: "true" for name in ("recursive", "stream") if chance.random() < 0.6} for _ in watched
        ]
        waits = [pair.wait(key, **option) for key, option in zip(watched, options, strict=True)]
        for _ in range(STEPS // WAITS):
            method, key, form = random_request(chance, index, dir_updates=dir_updates)
            answer = pair.keys(method, key, **form)
            index = max(index, int(answer.index or 0))
        drain([wait for both in waits for wait in both], QUIET_S)
        for number, (left, right) in enumerate(waits):
            assert (left.status, left.headers.get("x-etcd-index")) == (
                right.status,
                right.headers.get("x-etcd-index"),
            )
            assert right.events == left.events, (seed, watched[number], options[number], pair.story[-60:])


@pytest.mark.parametrize("seed", [1, 2])
def test_random_requests(pair: Pair, seed: int) -> None:
    play(pair, seed)


def test_random_requests_beside_3_4(tmp_path: Path, candidate: Kind) -> None:
    older = durable_etcd_kind()
    if older is None:
        pytest.skip("no etcd 3.4 on this machine")
    for servers in started(tmp_path, older, candidate):
        pair = Pair(*servers)
        play(pair, 4, dir_updates=False)
        pair.close()


def test_waits_look_back_a_thousand_events(pair: Pair) -> None:
    first = int(pair.keys("PUT", "/past/key", value="first").index or 0)
    for number in range(1, 1001):
        pair.keys("PUT", f"/past/{number % 7}", value=str(number))
    assert pair.keys("GET", "/past/key", wait="true", waitIndex=str(first)).status == 400
    for index in (first + 1, first + 500, first + 1000):
        for recursive in ("true", "false"):
            for key in ("/past", "/past/3", "/"):
                form = {"waitIndex": str(index), "recursive": recursive}
                left, right = waits = pair.wait(key, **form)
                drain(waits, QUIET_S / 10)
                assert right.events == left.events, form
                assert right.is_over == left.is_over, form


def test_streams_of_who_reads_too_slowly_end(pair: Pair) -> None:
    """A stream that was begun, then ninety events while nobody reads: all of them are delivered."""
    left, right = waits = pair.wait("/slow", stream="true", recursive="true")
    for number in range(90):
        pair.keys("PUT", f"/slow/{number}", value="x")
    drain(waits, QUIET_S)
    assert len(left.events) == 90
    assert right.events == left.events


def test_keys_expire(pair: Pair) -> None:
    waits = pair.wait("/ttl", stream="true", recursive="true")
    pair.keys("PUT", "/ttl/dir", dir="true", ttl="1")
    pair.keys("PUT", "/ttl/dir/below", value="x")
    pair.keys("PUT", "/ttl/refreshed", value="x", ttl="1")
    pair.keys("PUT", "/ttl/refreshed", ttl="1000", refresh="true")
    pair.keys("PUT", "/ttl/stays", value="x", ttl="1")
    pair.keys("PUT", "/ttl/stays", value="y")
    for wait in waits:
        while "expire" not in str(wait.events[-1:]):
            assert wait.heard()
    assert waits[0].events == waits[1].events
    pair.keys("GET", "/ttl", recursive="true")
    pair.keys("GET", "/ttl/dir/below")


def test_members_and_the_rest(pair: Pair) -> None:
    form = {"Content-Type": "application/json"}
    for method, path in (
        ("POST", "/v2/members"),
        ("PUT", "/v2/members"),
        ("DELETE", "/v2/members/"),
        ("DELETE", "/v2/members/x"),
        ("PUT", "/v2/members/x"),
        ("POST", "/v2/members/leader"),
        ("GET", "/v2/members/x"),
        ("PATCH", "/v2/members"),
        ("POST", "/v2/machines"),
        ("POST", "/v2/stats/self"),
        ("GET", "/v2/stats"),
        ("GET", "/v2/"),
        ("GET", "/v2/keys%zz"),
        ("PATCH", "/v2/keys/a"),
        ("GET", "/v2/keys//doubled"),
        ("PUT", "/v2/keys/../keys/dots"),
        ("GET", "/v2/keys/a?wait=%zz"),
    ):
        pair.call(method, path, None, **form)
    shapes = [shape(client.call("GET", "/v2/stats/self").body) for client in pair.clients]
    assert shapes[0] == shapes[1]
    for path in ("/v2/members", "/v2/members/leader"):
        left, right = (shape(client.call("GET", path).body) for client in pair.clients)
        assert right == left


def shape(body: object) -> object:
    """A body without its values."""
    if isinstance(body, dict):
        return {name: shape(value) for name, value in body.items()}
    return [shape(one) for one in body] if isinstance(body, list) else type(body)


def test_a_restart_loses_nothing(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    """The tree, the index and the history are there again, after a clean end and after none."""
    for servers in started(tmp_path, reference, candidate):
        with closing(Pair(*servers)) as pair:
            random_requests(pair, 5)
        for end in (Server.stop, Server.kill):
            for server in servers:
                # What the reference has acknowledged, and not yet written, would be lost when it is killed.
                (end if server.kind.name == candidate.name else Server.stop)(server)
                server.start()
            with closing(Pair(*servers)) as pair:
                pair.keys("GET", "/", recursive="true")
                for index in (1, 4, 50, 100):
                    waits = pair.wait("/", recursive="true", waitIndex=str(index))
                    drain(waits, QUIET_S)
                    assert waits[0].events == waits[1].events
                random_requests(pair, 6)


def random_requests(pair: Pair, seed: int) -> None:
    chance = random.Random(seed)
    for index in range(150):
        method, key, form = random_request(chance, index, dir_updates=True)
        pair.keys(method, key, **form)


CTL_SESSION = """
set /one 1
set /one 2 --swap-with-value 1
set /one 3 --swap-with-value 1
get /one
-o extended get /one
-o json get /one
mk /one x
mk /two 2 --ttl 1000
mkdir /dir
mkdir /dir
mk --in-order /dir first
setdir /dir2 --ttl 1000
update /one 5
update /none 5
ls --sort --recursive -p /
rm /dir
rmdir /dir
rm --recursive /dir
rm --with-value 7 /one
rm --with-index 999 /one
rm /one
get /one
get --quorum /two
watch --after-index 3 /one
watch --recursive --after-index 8 /
""".strip().splitlines()


def test_a_session_of_etcdctl(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """etcdctl 3.4 is the last that speaks v2; it says the same of both servers."""
    program = etcdctl_programs().get("3.4")
    if program is None:
        pytest.skip("no etcdctl 3.4 on this machine")
    for fresh in started(tmp_path, servers[0].kind, servers[1].kind):
        sessions = [
            [(line, run_ctl(program, server.endpoint, line)) for line in CTL_SESSION] for server in fresh
        ]
        assert sessions[1] == sessions[0]
        assert sum(code for _, (code, _, _) in sessions[0]) > 0
        listed = [run_ctl(program, server.endpoint, "member list") for server in fresh]
        assert [(code, "isLeader=true" in out) for code, out, _ in listed] == [(0, True), (0, True)]


def run_ctl(program: str, endpoint: str, line: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [program, "--endpoints", f"http://{endpoint}", *line.split()],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=clean_environment(ETCDCTL_API="2"),
    )
    hidden = re.compile(re.escape(endpoint) + r"|\b20\d\d-[-0-9T:.Z]+|ttl: \d+|TTL: \d+")
    return done.returncode, hidden.sub("*", done.stdout), hidden.sub("*", done.stderr)


def test_members_are_not_changed_by_v2_while_auth_is_on(candidate: Kind, tmp_path: Path) -> None:
    headers = {"Content-Type": "application/json"}
    with Server(candidate, tmp_path, ["--enable-v2"]) as server, closing(V2Client(server.endpoint)) as client:
        with Client(server.endpoint) as v3:
            v3.ask(pb.AuthUserAddRequest(name="root", password="r"), pb.AuthUserAddResponse)
            v3.ask(pb.AuthUserGrantRoleRequest(user="root", role="root"), pb.AuthUserGrantRoleResponse)
            v3.ask(pb.AuthEnableRequest(), pb.AuthEnableResponse)
        body = '{"peerURLs":["http://127.0.0.1:9"]}'
        assert client.call("POST", "/v2/members", None, body, **headers).status == 401
        assert client.call("GET", "/v2/members").status == 200
