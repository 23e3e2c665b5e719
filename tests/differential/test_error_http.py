"""Refusals over HTTP: numbers of the v2 API, paths with the wrong method, and the gateway's statuses."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.errors import Code as GrpcCode
from etcdpy.rpc.gateway import HTTP_STATUS
from etcdpy.v2store.errors import MESSAGES, Code
from tests.auth.conftest import QUICK_PASSWORDS, make_root
from tests.support.client import Client
from tests.support.scrape import fetch
from tests.support.server import Server, pair
from tests.support.v2_client import V2Client

from .test_gateway_answers import as_in_3_5, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

Servers = tuple[Server, Server]


@pytest.fixture(scope="module")
def servers(reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """With a file `/f`, a directory `/d` that holds one, and more history than is kept."""
    with pair(
        reference, candidate, tmp_path_factory.mktemp("http"), ["--enable-v2", QUICK_PASSWORDS]
    ) as both:
        for server in both:
            with closing(V2Client(server.endpoint)) as client:
                client.keys("PUT", "/f", value="1")
                client.keys("PUT", "/d/f", value="1")
                for number in range(1001):
                    client.keys("PUT", "/often", value=str(number))
        yield both


@dataclass(frozen=True)
class V2:
    """A request of the keys API."""

    method: str
    key: str
    form: dict[str, str] = field(default_factory=dict)


REFUSED: dict[str, tuple[Code, int, V2]] = {
    "no key": (Code.KEY_NOT_FOUND, 404, V2("GET", "/nothing")),
    "no key to update": (Code.KEY_NOT_FOUND, 404, V2("PUT", "/nothing", {"prevExist": "true"})),
    "no key to delete": (Code.KEY_NOT_FOUND, 404, V2("DELETE", "/nothing")),
    "another value": (Code.TEST_FAILED, 412, V2("PUT", "/f", {"value": "2", "prevValue": "9"})),
    "another index": (Code.TEST_FAILED, 412, V2("PUT", "/f", {"value": "2", "prevIndex": "999999"})),
    "another value to delete": (Code.TEST_FAILED, 412, V2("DELETE", "/f", {"prevValue": "9"})),
    "a value for a directory": (Code.NOT_FILE, 403, V2("PUT", "/d", {"value": "1"})),
    "delete a directory": (Code.NOT_FILE, 403, V2("DELETE", "/d")),
    "below a file": (Code.NOT_DIRECTORY, 400, V2("PUT", "/f/x", {"value": "1"})),
    "there already": (Code.NODE_EXISTS, 412, V2("PUT", "/f", {"value": "1", "prevExist": "false"})),
    "the root": (Code.ROOT_READ_ONLY, 400, V2("PUT", "/", {"value": "1"})),
    "delete the root": (Code.ROOT_READ_ONLY, 400, V2("DELETE", "/", {"recursive": "true"})),
    "not empty": (Code.DIRECTORY_NOT_EMPTY, 403, V2("DELETE", "/d", {"dir": "true"})),
    "empty condition": (Code.PREV_VALUE_REQUIRED, 400, V2("PUT", "/f", {"prevValue": ""})),
    "time to live": (Code.TTL_NOT_A_NUMBER, 400, V2("PUT", "/f", {"value": "1", "ttl": "x"})),
    "index of before": (Code.INDEX_NOT_A_NUMBER, 400, V2("PUT", "/f", {"prevIndex": "x"})),
    "index to wait for": (Code.INDEX_NOT_A_NUMBER, 400, V2("GET", "/f", {"wait": "true", "waitIndex": "-1"})),
    "a switch": (Code.INVALID_FIELD, 400, V2("GET", "/f", {"recursive": "x"})),
    "a switch of its own": (Code.INVALID_FIELD, 400, V2("PUT", "/f", {"prevExist": "x"})),
    "waiting to write": (Code.INVALID_FIELD, 400, V2("PUT", "/f", {"wait": "true"})),
    "a broken escape": (Code.INVALID_FORM, 400, V2("GET", "/f?a=%zz")),
    "a value on refresh": (
        Code.REFRESH_VALUE,
        400,
        V2("PUT", "/f", {"refresh": "true", "value": "1", "ttl": "9"}),
    ),
    "no time on refresh": (Code.REFRESH_TTL_REQUIRED, 400, V2("PUT", "/f", {"refresh": "true"})),
    "history": (Code.EVENT_INDEX_CLEARED, 400, V2("GET", "/f", {"wait": "true", "waitIndex": "1"})),
}
NEVER_SENT = {
    Code.UNAUTHORIZED: "there is no /v2/auth; changes of members are refused in words of their own",
    Code.RAFT_INTERNAL: "a cluster without a quorum: tests/rpc/test_v2_door.py",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_of_keys(servers: Servers, name: str) -> None:
    code, status, request = REFUSED[name]
    answers = []
    for server in servers:
        with closing(V2Client(server.endpoint)) as client:
            answers.append(client.keys(request.method, request.key, **request.form))
    theirs, ours = answers
    assert ours == theirs
    body = json.loads(ours.raw)
    assert (ours.status, body["errorCode"], body["message"]) == (status, code, MESSAGES[code])


def test_every_number_is_refused_or_cannot_be() -> None:
    assert {code for code, _, _ in REFUSED.values()} | set(NEVER_SENT) == set(Code)
    assert not {code for code, _, _ in REFUSED.values()} & set(NEVER_SENT)


MEMBERS: list[tuple[str, str, str | None, dict[str, str], int]] = [
    ("POST", "/v2/members", '{"peerURLs":["http://127.0.0.1:9"]}', {"Content-Type": "text/plain"}, 415),
    ("POST", "/v2/members", '{"peerURLs":["x"]}', {"Content-Type": "application/json"}, 400),
    ("POST", "/v2/members/x", "{}", {"Content-Type": "application/json"}, 400),
    (
        "PUT",
        "/v2/members/zz",
        '{"peerURLs":["http://127.0.0.1:9"]}',
        {"Content-Type": "application/json"},
        404,
    ),
    ("DELETE", "/v2/members/zz", None, {}, 404),
    ("DELETE", "/v2/members", None, {}, 405),
    ("PATCH", "/v2/members", None, {}, 405),
    ("GET", "/v2/members/99", None, {}, 404),
    ("POST", "/v2/machines", "", {}, 405),
    ("POST", "/v2/stats/self", "", {}, 405),
    ("POST", "/v2/stats/leader", "", {}, 405),
    ("POST", "/v2/stats/store", "", {}, 405),
    ("PATCH", "/v2/keys/f", None, {}, 405),
    ("GET", "/v2/nothing", None, {}, 404),
    ("GET", "/v2", None, {}, 404),
]


@pytest.mark.parametrize("request_", MEMBERS, ids=lambda one: f"{one[0]} {one[1]}")
def test_refusals_of_the_rest_of_v2(
    servers: Servers, request_: tuple[str, str, str | None, dict[str, str], int]
) -> None:
    method, path, body, headers, status = request_
    answers = []
    for server in servers:
        with closing(V2Client(server.endpoint)) as client:
            answer = client.call(method, path, None, body, **headers)
            answers.append((answer.status, answer.content_type, answer.body))
    assert answers[1] == answers[0]
    assert answers[1][0] == status


@pytest.mark.parametrize("path", ["/health", "/version", "/debug/vars"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_wrong_methods(servers: Servers, path: str, method: str) -> None:
    theirs, ours = (fetch(server.endpoint, path, method) for server in servers)
    assert (ours.status, ours.text) == (theirs.status, theirs.text)
    assert ours.headers.get("allow") == theirs.headers.get("allow")


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/health/", "/v3", "/v4/kv/range", "/metrics/x", "/debug", "/debug/pprof"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_paths(servers: Servers, path: str, method: str) -> None:
    theirs, ours = (fetch(server.endpoint, path, method) for server in servers)
    assert (ours.status, ours.text) == (theirs.status, theirs.text)


ODD = (
    *(("HEAD", path) for path in ("/health", "/version", "/debug/vars", "/nothing", "/v2/keys/x")),
    *(("HEAD", "/v2/machines"), ("HEAD", "/v2/members"), ("POST", "/metrics"), ("TRACE", "/health")),
    *(("GET", path) for path in ("//health", "/./health", "/health/../version", "/health%2f", "/%68ealth")),
    *(("GET", path) for path in ("/health?exclude=", "/health?serializable=x", "/health;x", "/v2/keysx")),
    *(("OPTIONS", "/nothing"), ("GET", "/v2/stats"), ("GET", "/v2/stats/nothing"), ("PUT", "/v2/stats/self")),
    *(("GET", "/debug/requests"), ("GET", "/debug/events")),
)
OF_THE_MOMENT = (
    "date",
    "content-length",
    "x-etcd-cluster-id",
    "x-raft-index",
    "x-raft-term",
    "transfer-encoding",
)


@pytest.mark.parametrize(("method", "path"), ODD)
def test_odd_requests(servers: Servers, method: str, path: str) -> None:
    """Status and headers; bodies of refusals too."""
    theirs, ours = (fetch(server.endpoint, path, method) for server in servers)
    assert ours.status == theirs.status
    first, second = (
        {name: value for name, value in page.headers.items() if name not in OF_THE_MOMENT}
        for page in (theirs, ours)
    )
    assert second == first
    if ours.status >= 300:
        assert ours.text == theirs.text


# A call for each status that a lone member can be brought to.
GATEWAY: dict[GrpcCode, tuple[str, str]] = {
    GrpcCode.OK: ("kv/range", '{"key":"a2V5"}'),
    GrpcCode.UNKNOWN: ("election/leader", '{"name":"a2V5"}'),
    GrpcCode.INVALID_ARGUMENT: ("kv/put", "{}"),
    GrpcCode.NOT_FOUND: ("lease/revoke", '{"ID":5}'),
    GrpcCode.FAILED_PRECONDITION: ("auth/authenticate", '{"name":"a","password":"b"}'),
    GrpcCode.OUT_OF_RANGE: ("kv/range", '{"key":"a2V5","revision":"999"}'),
    GrpcCode.RESOURCE_EXHAUSTED: ("kv/put", json.dumps({"key": "a2V5", "value": "A" * 4_000_000})),
}
GUARDED: dict[GrpcCode, tuple[str, str, str]] = {
    GrpcCode.PERMISSION_DENIED: ("kv/range", '{"key":"a2V5"}', "ann"),
    GrpcCode.UNAUTHENTICATED: ("kv/range", '{"key":"a2V5"}', "bad"),
}
ELSEWHERE = {
    GrpcCode.CANCELED: "the client has gone",
    GrpcCode.DEADLINE_EXCEEDED: "test_gateway_answers.py",
    GrpcCode.UNAVAILABLE: "tests/rpc/test_gateway.py",
    GrpcCode.UNIMPLEMENTED: "below",
    GrpcCode.DATA_LOSS: "below",
    GrpcCode.INTERNAL: "nothing that JSON can say brings it about",
    GrpcCode.ALREADY_EXISTS: "etcd never says so",
    GrpcCode.ABORTED: "etcd never says so",
}


@pytest.mark.parametrize("code", GATEWAY, ids=lambda code: code.name)
def test_statuses_of_the_gateway(servers: Servers, code: GrpcCode) -> None:
    path, body = GATEWAY[code]
    theirs, ours = (ask(server, f"/v3/{path}", body) for server in servers)
    assert ours.status == theirs.status == HTTP_STATUS[code]
    if code is not GrpcCode.OK:
        assert as_in_3_5(ours) == theirs
        assert json.loads(ours.body)["code"] == code


def test_a_corrupt_cluster_and_calls_that_are_not_there(servers: Servers) -> None:
    """3.6 answers wrong methods as calls that are not there; 3.5 in plain words."""
    alarm = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=5, alarm=pb.CORRUPT)
    answers = []
    for server in servers:
        with Client(server.endpoint) as client:
            client.call(alarm)
            answers.append(ask(server, "/v3/kv/put", '{"key":"a2V5"}'))
            alarm.action = pb.AlarmRequest.DEACTIVATE
            client.call(alarm)
            alarm.action = pb.AlarmRequest.ACTIVATE
    theirs, ours = answers
    assert as_in_3_5(ours) == theirs
    assert ours.status == HTTP_STATUS[GrpcCode.DATA_LOSS]
    wrong = ask(servers[1], "/v3/kv/range", method="GET")
    assert (wrong.status, json.loads(wrong.body)["code"]) == (501, GrpcCode.UNIMPLEMENTED)


def test_every_status_is_asked_for_or_cannot_be() -> None:
    assert set(GATEWAY) | set(GUARDED) | set(ELSEWHERE) == set(GrpcCode)


def test_statuses_while_auth_is_on(
    reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flags = [QUICK_PASSWORDS]
    with ExitStack() as stack:
        both = stack.enter_context(pair(reference, candidate, tmp_path_factory.mktemp("guarded"), flags))
        tokens = []
        for server in both:
            client = stack.enter_context(Client(server.endpoint))
            make_root(client)
            client.log_in("root", "rootpw").call(pb.AuthUserAddRequest(name="ann", password="annpw"))
            tokens.append({"ann": client.log_in("ann", "annpw").token, "bad": "x"})
        for code, (path, body, caller) in GUARDED.items():
            theirs, ours = (
                ask(server, f"/v3/{path}", body, Authorization=token[caller])
                for server, token in zip(both, tokens, strict=True)
            )
            assert as_in_3_5(ours) == theirs
            assert ours.status == HTTP_STATUS[code]
