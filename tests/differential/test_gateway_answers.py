"""The JSON gateway: the same requests to real etcd 3.5.1 and to the candidate.

Bodies are compared as text, so that order, quoting and omitted defaults count. What 3.6 does differently
is undone by `as_in_3_5`, or written down in the tests where 3.5 has words of its own.
"""

from __future__ import annotations

import http.client
import json
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.server import Server, pair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 20.0
_IDENTITY = re.compile(r'"(cluster_id|member_id|raft_term|ID|leader)":"\d{15,}"|"raft_term":"\d+"')


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    from_grpc: str
    body: str


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def ask(server: Server, path: str, body: str = "{}", method: str = "POST", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(server.endpoint, timeout=SECONDS_MAX)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body.encode(), named)
        response = connection.getresponse()
        return Answer(
            response.status,
            response.getheader("Content-Type", ""),
            response.getheader("Grpc-Metadata-Content-Type", ""),
            _IDENTITY.sub("identity", response.read().decode()),
        )
    finally:
        connection.close()


def as_in_3_5(answer: Answer) -> Answer:
    """The answer of 3.6 in the form of 3.5, in which errors carried their text twice."""
    if not answer.body.startswith('{"code":'):
        return answer
    fields = json.loads(answer.body)
    body = json.dumps({"error": fields["message"], **fields}, separators=(",", ":"))
    return Answer(answer.status, answer.content_type, answer.from_grpc, body)


def check_same(servers: tuple[Server, Server], path: str, body: str = "{}", **headers: str) -> Answer:
    reference, candidate = (ask(server, path, body, **headers) for server in servers)
    assert as_in_3_5(candidate) == reference, (path, body)
    return reference


DEADLINE_BODY = '{"code":4,"message":"context deadline exceeded"}'
KEY, OTHER = b64(b"key"), b64(b"other?>")
COMPARE = f'{{"key":"{KEY}","target":"VALUE","value":"{b64(b"two")}"}}'

# In order: each finds what the ones before have written.
SCRIPT = [
    ("kv/put", f'{{"key":"{KEY}","value":"{b64(b"one")}"}}', 200),
    ("kv/put", f'{{"key":"{KEY}","value":"{b64(b"two")}","prev_kv":true}}', 200),
    ("kv/put", f'{{"key":"{KEY}","ignoreValue":true,"prevKv":true}}', 200),
    ("kv/put", f'{{"key":"{OTHER}","unknown":{{"a":[1,2]}},"value":null}}', 200),
    ("kv/put", "{}", 400),
    ("kv/put", f'{{"key":"{KEY}","lease":"77"}}', 404),
    ("kv/range", f'{{"key":"{KEY}"}}', 200),
    ("kv/range", f'{{"key":"{KEY}"}} trailing words', 200),
    ("kv/range", f'{{"key":"{OTHER}"}}', 200),
    ("kv/range", f'{{"key":"{b64(b"k")}","rangeEnd":"{b64(b"z")}","limit":1}}', 200),
    ("kv/range", f'{{"key":"{b64(b"k")}","range_end":"{b64(b"z")}","limit":"1","keys_only":true}}', 200),
    ("kv/range", '{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sort_target":"MOD"}', 200),
    ("kv/range", '{"key":"AA==","range_end":"AA==","sort_order":2,"sort_target":1,"count_only":true}', 200),
    ("kv/range", f'{{"key":"{KEY}","revision":"99"}}', 400),
    ("kv/range", f'{{"key":"{KEY}","revision":-1}}', 200),
    ("kv/range", "", 400),
    ("kv/range", "null", 400),
    ("kv/range", "   ", 400),
    ("kv/range", "{", 400),
    (
        "kv/txn",
        f'{{"compare":[{COMPARE}],"success":[{{"request_range":{{"key":"{KEY}"}}}},'
        f'{{"requestPut":{{"key":"{KEY}"}}}}],"failure":[]}}',
        200,
    ),
    (
        "kv/txn",
        f'{{"compare":[{COMPARE}],"failure":[{{"request_delete_range":{{"key":"{KEY}","prev_kv":true}}}},'
        f'{{"request_txn":{{"success":[{{"request_range":{{"key":"{KEY}"}}}}]}}}}]}}',
        200,
    ),
    ("kv/txn", "{}", 200),
    ("kv/deleterange", f'{{"key":"{OTHER}","prev_kv":true}}', 200),
    ("kv/deleterange", f'{{"key":"{OTHER}"}}', 200),
    ("kv/compaction", '{"revision":"3"}', 200),
    ("kv/compaction", '{"revision":3}', 400),
    ("kv/compaction", '{"revision":99}', 400),
    ("lease/grant", '{"ID":"901","TTL":"600"}', 200),
    ("lease/grant", '{"ID":901,"TTL":600}', 400),
    ("lease/grant", '{"ID":902,"TTL":99000000000}', 400),
    ("lease/timetolive", '{"ID":903}', 200),
    ("kv/lease/timetolive", '{"ID":903,"keys":true}', 200),
    ("lease/leases", "{}", 200),
    ("kv/lease/leases", "", 200),
    ("lease/keepalive", '{"ID":901}', 200),
    ("lease/keepalive", '{"ID":"901"} {"ID":5}\n', 200),
    ("lease/keepalive", '{"ID":901}{x', 200),
    ("lease/keepalive", "", 200),
    ("lease/revoke", '{"ID":901}', 200),
    ("kv/lease/revoke", '{"ID":901}', 404),
    ("election/leader", f'{{"name":"{KEY}"}}', 500),
    ("election/resign", "{}", 500),
    ("election/proclaim", "{}", 500),
    ("lock/unlock", f'{{"key":"{KEY}"}}', 200),
    ("lock/unlock", "{}", 500),
    ("lock/lock", f'{{"name":"{KEY}","lease":904}}', 500),
    ("maintenance/alarm", "{}", 200),
    ("maintenance/alarm", '{"action":"GET"}', 200),
    ("maintenance/defragment", "{}", 200),
    ("maintenance/transfer-leadership", '{"targetID":"5"}', 400),
    ("cluster/member/remove", '{"ID":"5"}', 404),
]


def test_script(both_servers: tuple[Server, Server]) -> None:
    for path, body, status in SCRIPT:
        answer = check_same(both_servers, "/v3/" + path, body)
        assert answer.status == status, (path, body, answer)


def test_old_prefix(both_servers: tuple[Server, Server]) -> None:
    assert check_same(both_servers, "/v3beta/kv/range", f'{{"key":"{KEY}"}}').status == 200


@pytest.mark.parametrize(
    "body",
    [
        "x",
        "[]",
        '"key"',
        '{"key":"Zm9v!"}',
        '{"key":7}',
        '{"limit":"7x"}',
        '{"limit":1.5}',
        '{"limit":"9223372036854775808"}',
        '{"keys_only":"true"}',
        '{"sort_order":"2x","key":{}}',
        '{"key":"Zm9v",}',
    ],
)
def test_malformed_json(both_servers: tuple[Server, Server], body: str) -> None:
    """The words are the parser's, and 3.6 has another parser than 3.5."""
    for server in both_servers:
        answer = ask(server, "/v3/kv/range", body)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, 3), answer


def test_headers(both_servers: tuple[Server, Server]) -> None:
    body = f'{{"key":"{KEY}"}}'
    assert check_same(both_servers, "/v3/kv/range", body, Grpc_Timeout="20S").status == 200
    for timeout in ("5", "S", "1x", "5 S"):
        assert check_same(both_servers, "/v3/kv/range", body, Grpc_Timeout=timeout).status == 400
    assert check_same(both_servers, "/v3/kv/range", body, Grpc_Metadata_hasleader="true").status == 200
    assert check_same(both_servers, "/v3/kv/range", body, Content_Type="text/plain").status == 200


def results(answer: Answer) -> list[str]:
    return [line for line in answer.body.splitlines() if line.startswith('{"result":')]


def check_same_results(servers: tuple[Server, Server], path: str, body: str, timeout: str) -> list[str]:
    """What a stream says until its deadline. 3.5 has several ways to say that the deadline has come."""
    reference, candidate = (ask(server, path, body, Grpc_Timeout=timeout) for server in servers)
    assert results(candidate) == results(reference), (path, body)
    assert (candidate.status, candidate.from_grpc) == (reference.status, reference.from_grpc)
    end = candidate.body.splitlines(keepends=True)[-1]
    assert end == '{"error":{"code":4,"message":"context deadline exceeded"}}\n'
    return results(candidate)


def test_streams_that_end_at_their_deadline(both_servers: tuple[Server, Server]) -> None:
    watch = f'{{"create_request":{{"key":"{b64(b"nothing")}"}}}}'
    assert len(check_same_results(both_servers, "/v3/watch", watch, "500m")) == 1
    assert len(check_same_results(both_servers, "/v3/watch", watch + watch, "500m")) == 2
    observe = f'{{"name":"{b64(b"nothing")}"}}'
    reference, candidate = (
        ask(server, "/v3/election/observe", observe, Grpc_Timeout="300m") for server in both_servers
    )
    assert (candidate.status, candidate.body) == (504, DEADLINE_BODY)
    # 3.5's observer and its gateway race to see that the deadline has come, and tell it in different forms.
    if reference.status == 504:
        assert as_in_3_5(candidate) == reference
    else:
        assert (reference.status, "context deadline exceeded" in reference.body) == (500, True)
    assert ask(both_servers[1], "/v3/watch", "", Grpc_Timeout="300m").status == 504


def test_watch_of_the_past(both_servers: tuple[Server, Server]) -> None:
    key = b64(b"watched")
    revisions = []
    for server in both_servers:
        put = ask(server, "/v3/kv/put", f'{{"key":"{key}","value":"{key}"}}')
        revisions.append(json.loads(put.body.replace("identity", '"a":0'))["header"]["revision"])
    check_same(both_servers, "/v3/kv/deleterange", f'{{"key":"{key}"}}')
    assert revisions[0] == revisions[1]
    create = f'{{"key":"{key}","start_revision":"{revisions[0]}","prev_kv":true,"filters":["NOPUT"]}}'
    for body in (create, create.replace(',"filters":["NOPUT"]', "")):
        request = f'{{"create_request":{body}}}'
        assert '"type":"DELETE"' in check_same_results(both_servers, "/v3/watch", request, "700m")[1]


def test_what_3_6_answers_otherwise(both_servers: tuple[Server, Server]) -> None:
    """As the documents of 3.6 have it, which is not what 3.5.1 says."""
    reference, candidate = both_servers
    wrong_path, wrong_method = {"path": "/v3/nothing"}, {"path": "/v3/kv/range", "method": "PUT"}
    assert ask(reference, **wrong_path).status == 404
    assert ask(candidate, **wrong_path) == Answer(
        404, "application/json", "", '{"code":5,"message":"Not Found"}'
    )
    assert ask(reference, **wrong_method).status == 405
    assert ask(candidate, **wrong_method) == Answer(
        501, "application/json", "", '{"code":12,"message":"Method Not Allowed"}'
    )
    # protojson, new in 3.6: base64 may be that of URLs and go without padding, whole numbers may be written
    # in any way, a name of an enum that is not known is passed over; a name given twice, or two members of
    # a oneof, are refused.
    for body, before, now in (
        ('{"key":"Zm8"}', 400, 200),
        ('{"key":"_-8="}', 400, 200),
        ('{"key":"Zm9v","limit":1e0}', 400, 200),
        ('{"key":"Zm9v","sort_order":"NOPE"}', 400, 200),
        ('{"key":"Zm9v","key":"Zm9v"}', 200, 400),
    ):
        assert (ask(reference, "/v3/kv/range", body).status, ask(candidate, "/v3/kv/range", body).status) == (
            before,
            now,
        ), body
    twice = '{"compare":[{"key":"Zm9v","version":"1","value":"YmFy"}]}'
    assert ask(reference, "/v3/kv/txn", twice).status == 200
    assert ask(candidate, "/v3/kv/txn", twice).status == 400
    # A stream whose first message is malformed.
    for path in ("/v3/watch", "/v3/lease/keepalive"):
        assert (ask(reference, path, "{x}").status, ask(candidate, path, "{x}").status) == (500, 400)


def test_options(both_servers: tuple[Server, Server]) -> None:
    for server in both_servers:
        answer = ask(server, "/v3/kv/range", "", "OPTIONS")
        assert (answer.status, answer.body) == (200, "")


RANGE = f'{{"key":"{KEY}"}}'
PERMISSION = f'{{"name":"r","perm":{{"permType":"READWRITE","key":"{KEY}"}}}}'
# Before auth is on, and as root afterwards; the status is for both servers to agree on.
AUTH_SCRIPT = [
    ("auth/status", "{}"),
    ("auth/enable", "{}"),
    ("auth/authenticate", '{"name":"root","password":"pw"}'),
    ("auth/user/add", '{"name":"root","password":"pw"}'),
    ("auth/user/add", '{"name":"root","password":"pw"}'),
    ("auth/user/add", '{"name":"kim","options":{"no_password":true}}'),
    ("auth/user/add", "{}"),
    ("auth/role/add", '{"name":"root"}'),
    ("auth/role/add", '{"name":"r"}'),
    ("auth/role/add", "{}"),
    ("auth/user/grant", '{"user":"root","role":"root"}'),
    ("auth/user/grant", '{"user":"kim","role":"r"}'),
    ("auth/user/grant", '{"user":"kim","role":"x"}'),
    ("auth/role/grant", PERMISSION),
    ("auth/role/grant", '{"name":"r"}'),
    ("auth/role/get", '{"role":"r"}'),
    ("auth/role/list", "{}"),
    ("auth/user/get", '{"name":"kim"}'),
    ("auth/user/list", ""),
    ("auth/role/revoke", f'{{"role":"r","key":"{KEY}","range_end":"{OTHER}"}}'),
    ("auth/user/changepw", '{"name":"absent","password":"pw"}'),
    ("auth/user/revoke", '{"name":"kim","role":"root"}'),
    ("auth/user/delete", '{"name":"absent"}'),
    ("auth/role/delete", '{"role":"absent"}'),
]
AS_ROOT_SCRIPT = [
    ("auth/enable", "{}"),
    ("auth/status", "{}"),
    ("kv/put", f'{{"key":"{KEY}","value":"{KEY}"}}'),
    ("kv/range", RANGE),
    ("auth/user/delete", '{"name":"root"}'),
    ("auth/role/delete", '{"role":"root"}'),
    ("auth/user/revoke", '{"name":"root","role":"root"}'),
    ("auth/user/delete", '{"name":"kim"}'),
    ("auth/disable", "{}"),
]


def token_of(server: Server) -> str:
    answer = ask(server, "/v3/auth/authenticate", '{"name":"root","password":"pw"}')
    found = re.search(r'"token":"([A-Za-z]{16}\.[0-9]+)"', answer.body)
    assert found is not None, answer
    return found[1]


def test_users_and_roles(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with pair(reference, candidate, tmp_path, ("--bcrypt-cost=4",)) as servers:
        for path, body in AUTH_SCRIPT:
            check_same(servers, "/v3/" + path, body)
        assert check_same(servers, "/v3/auth/enable").status == 200
        assert check_same(servers, "/v3/kv/range", RANGE).status == 400
        assert check_same(servers, "/v3/kv/range", RANGE, Authorization="wrong").status == 401
        assert check_same(servers, "/v3/auth/authenticate", '{"name":"root","password":"no"}').status == 400
        assert check_same(servers, "/v3/auth/authenticate", '{"name":"kim","password":"pw"}').status == 500
        tokens = [token_of(server) for server in servers]
        for path, body in AS_ROOT_SCRIPT:
            expected, answer = (
                ask(server, "/v3/" + path, body, Authorization=token)
                for server, token in zip(servers, tokens, strict=True)
            )
            assert as_in_3_5(answer) == expected, (path, body)
        assert check_same(servers, "/v3/kv/range", RANGE).status == 200


def test_a_token_may_be_called_one(candidate: Kind, tmp_path: Path) -> None:
    """`Authorization: Bearer <token>`, which 3.6 takes."""
    with Server(candidate, tmp_path, ("--bcrypt-cost=4",)) as server:
        for path, body in (*AUTH_SCRIPT, ("auth/enable", "{}")):
            ask(server, "/v3/" + path, body)
        token = token_of(server)
        for header in (token, f"Bearer {token}"):
            assert ask(server, "/v3/kv/range", RANGE, Authorization=header).status == 200
            assert ask(server, "/v3/kv/range", RANGE, Grpc_Metadata_Token=header).status == 200
        assert ask(server, "/v3/kv/range", RANGE, Authorization=f"bearer{token}").status == 401
