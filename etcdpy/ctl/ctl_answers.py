"""Answers of the server, each with the texts that `etcdpyctl` knows for it, one for each format.

An `Answer` holds functions, not texts: only the format that is asked for is made. A format that an answer
does not have is refused when the answer is there, and not before, as etcdctl does it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from etcdpy.ctl import ctl_fields, ctl_json
from etcdpy.ctl.go_text import json_text
from etcdpy.ctl.output import EXIT_BAD_FEATURE, Fault, human_bytes, table_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from etcdpy.proto import auth_pb2 as auth
    from etcdpy.proto import kv_pb2 as kv
    from etcdpy.proto import rpc_pb2 as pb

    Table = tuple[list[str], list[list[str]]]

FORMATS: Final = ("fields", "json", "protobuf", "simple", "table")
OPEN_END: Final = b"\0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to print in each format; None where there is nothing."""

    simple: Callable[[], bytes | str] | None = None
    json: Callable[[], object] | None = None
    fields: Callable[[], Iterator[str]] | None = None
    protobuf: Callable[[], bytes] | None = None
    table: Callable[[], Table] | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How to print: the format, and the flags that change the simple one."""

    form: str = "simple"
    hex: bool = False
    values_only: bool = False

    def check(self) -> None:
        """Refuse a format that nobody knows."""
        if self.form not in FORMATS:
            raise Fault("unsupported output format", EXIT_BAD_FEATURE)

    def show(self, answer: Answer) -> None:
        """Print. Raises Fault."""
        write(self.render(answer))

    def render(self, answer: Answer) -> bytes:
        """What `show` prints."""
        made: bytes | str | None = None
        if self.form == "simple" and answer.simple is not None:
            made = answer.simple()
        elif self.form == "json" and answer.json is not None:
            made = json_text(answer.json()) + "\n"
        elif self.form == "fields" and answer.fields is not None:
            made = ctl_fields.text_of(answer.fields())
        elif self.form == "protobuf" and answer.protobuf is not None:
            made = answer.protobuf()
        elif self.form == "table" and answer.table is not None:
            made = table_text(*answer.table())
        if made is None:
            raise Fault(f"{self.form} not supported as output format", EXIT_BAD_FEATURE)
        return made.encode("utf-8", "surrogateescape") if isinstance(made, str) else made

    def pair(self, found: kv.KeyValue) -> bytes:
        """A key and its value, a line each."""
        key, value = (_hex(found.key), _hex(found.value)) if self.hex else (found.key, found.value)
        return value + b"\n" if self.values_only else b"%b\n%b\n" % (key, value)

    def pairs(self, found: Iterable[kv.KeyValue]) -> bytes:
        """Any number of them."""
        return b"".join(map(self.pair, found))


def write(text: bytes | str) -> None:
    """Print at once: whoever reads our output may wait for it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    sys.stdout.buffer.flush()


def _hex(value: bytes) -> bytes:
    return "".join(f"\\x{byte:02x}" for byte in value).encode()


def plain(response: Any, simple: str, *, has_fields: bool = True) -> Answer:
    """An answer whose simple form is a sentence, and which has nothing but a header."""
    return Answer(
        simple=lambda: simple + "\n",
        json=lambda: ctl_json.message_members(response),
        fields=(lambda: ctl_fields.header(response)) if has_fields else None,
        protobuf=response.SerializeToString,
    )


def _whole(
    response: Any, simple: Callable[[], bytes | str], fields: Callable[[Any], Iterator[str]] | None
) -> Answer:
    return Answer(
        simple=simple,
        json=lambda: ctl_json.message_members(response),
        fields=None if fields is None else lambda: fields(response),
        protobuf=response.SerializeToString,
    )


def get(response: pb.RangeResponse, shape: Shape) -> Answer:
    """Pairs."""
    return _whole(response, lambda: shape.pairs(response.kvs), ctl_fields.get)


def put(response: pb.PutResponse, shape: Shape) -> Answer:
    """`OK`, and what was there before."""
    return _whole(response, lambda: _put_text(response, shape), ctl_fields.put)


def _put_text(response: pb.PutResponse, shape: Shape) -> bytes:
    return b"OK\n" + (shape.pair(response.prev_kv) if response.HasField("prev_kv") else b"")


def delete(response: pb.DeleteRangeResponse, shape: Shape) -> Answer:
    """How many, and which."""
    return _whole(response, lambda: _delete_text(response, shape), ctl_fields.delete)


def _delete_text(response: pb.DeleteRangeResponse, shape: Shape) -> bytes:
    return b"%d\n" % response.deleted + shape.pairs(response.prev_kvs)


def txn(response: pb.TxnResponse, shape: Shape) -> Answer:
    """Which branch was taken, and what its operations answered."""
    return _whole(response, lambda: _txn_text(response, shape), ctl_fields.txn)


def _txn_text(response: pb.TxnResponse, shape: Shape) -> bytes:
    parts = [b"SUCCESS\n" if response.succeeded else b"FAILURE\n"]
    for one in response.responses:
        match one.WhichOneof("response"):
            case "response_range":
                parts.append(b"\n" + shape.pairs(one.response_range.kvs))
            case "response_put":
                parts.append(b"\n" + _put_text(one.response_put, shape))
            case "response_delete_range":
                parts.append(b"\n" + _delete_text(one.response_delete_range, shape))
            case other:
                parts.append(f"\nunexpected response {other}\n".encode())
    return b"".join(parts)


def watch(response: pb.WatchResponse, shape: Shape) -> Answer:
    """Events; a note about progress has none."""
    return Answer(
        simple=lambda: b"".join(_event_text(event, shape) for event in response.events),
        json=lambda: ctl_json.watch_members(response),
        fields=lambda: ctl_fields.watch(response),
        protobuf=response.SerializeToString,
    )


def _event_text(event: kv.Event, shape: Shape) -> bytes:
    before = shape.pair(event.prev_kv) if event.HasField("prev_kv") else b""
    return f"{event.EventType.Name(event.type)}\n".encode() + before + shape.pair(event.kv)


def grant(response: pb.LeaseGrantResponse) -> Answer:
    """A new lease."""
    return _lease(
        response,
        f"lease {response.ID:016x} granted with TTL({response.TTL}s)",
        lambda: ctl_json.grant_members(response),
        lambda: ctl_fields.grant(response),
    )


def keep_alive(response: pb.LeaseKeepAliveResponse) -> Answer:
    """A lease that goes on."""
    return _lease(
        response,
        f"lease {response.ID:016x} keepalived with TTL({response.TTL})",
        lambda: ctl_json.keep_alive_members(response),
        lambda: ctl_fields.grant(response),
    )


def time_to_live(response: pb.LeaseTimeToLiveResponse, *, keys: bool) -> Answer:
    """How long a lease has been granted for and has left, and what hangs on it."""
    lease = f"lease {response.ID:016x}"
    times = f"granted with TTL({response.grantedTTL}s), remaining({response.TTL}s)"
    if response.grantedTTL == 0 and response.TTL == -1:
        simple = f"{lease} already expired"
    elif keys:
        names = " ".join(key.decode("utf-8", "surrogateescape") for key in response.keys)
        simple = f"{lease} {times}, attached keys([{names}])"
    else:
        simple = f"{lease} {times}"
    return _lease(
        response,
        simple,
        lambda: ctl_json.time_to_live_members(response),
        lambda: ctl_fields.time_to_live(response),
    )


def leases(response: pb.LeaseLeasesResponse) -> Answer:
    """All leases."""
    lines = [f"found {len(response.leases)} leases", *(f"{lease.ID:016x}" for lease in response.leases)]
    return _lease(
        response,
        "\n".join(lines),
        lambda: ctl_json.leases_members(response),
        lambda: ctl_fields.leases(response),
    )


def _lease(
    response: Any, simple: str, json: Callable[[], object], fields: Callable[[], Iterator[str]]
) -> Answer:
    # etcd's client wraps these answers, and etcdctl finds no more to marshal in the wrapper than the header.
    return Answer(
        simple=lambda: simple + "\n",
        json=json,
        fields=fields,
        protobuf=response.header.SerializeToString,
    )


def _rows(table: Table) -> str:
    return "".join(", ".join(row) + "\n" for row in table[1])


def _truth(value: bool) -> str:
    return "true" if value else "false"


def member_list(response: pb.MemberListResponse, shape: Shape) -> Answer:
    """All members."""
    heads = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"]
    rows = [
        [
            f"{member.ID:x}",
            "started" if member.name else "unstarted",
            member.name,
            ",".join(member.peerURLs),
            ",".join(member.clientURLs),
            _truth(member.isLearner),
        ]
        for member in response.members
    ]
    members = ctl_json.hex_member_list if shape.hex else ctl_json.message_members
    return Answer(
        simple=lambda: _rows((heads, rows)),
        json=lambda: members(response),
        fields=lambda: ctl_fields.members(response),
        protobuf=response.SerializeToString,
        table=lambda: (heads, rows),
    )


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """Whether an endpoint answers; `took` as Go writes a span of time."""

    endpoint: str
    health: bool
    took: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """What an endpoint says of itself."""

    endpoint: str
    response: pb.StatusResponse


@dataclass(frozen=True, slots=True)
class EndpointHash:
    """The hash of an endpoint's keys."""

    endpoint: str
    response: pb.HashKVResponse


def endpoint_health(found: list[EndpointHealth]) -> Answer:
    """The simple form is written where it is found out: half of it is for standard error."""
    heads = ["endpoint", "health", "took", "error"]
    return Answer(
        json=lambda: [
            {"endpoint": one.endpoint, "health": one.health, "took": one.took}
            | ({"error": one.error} if one.error else {})
            for one in found
        ],
        fields=lambda: ctl_fields.endpoint_health(found),
        table=lambda: (heads, [[one.endpoint, _truth(one.health), one.took, one.error] for one in found]),
    )


def endpoint_status(found: list[EndpointStatus]) -> Answer:
    """Size, leader, term and index of each."""
    heads = ["endpoint", "ID", "version", "db size", "is leader", "is learner"]
    heads += ["raft term", "raft index", "raft applied index", "errors"]
    rows = [
        [
            one.endpoint,
            f"{one.response.header.member_id:x}",
            one.response.version,
            human_bytes(one.response.dbSize),
            _truth(one.response.leader == one.response.header.member_id),
            _truth(one.response.isLearner),
            str(one.response.raftTerm),
            str(one.response.raftIndex),
            str(one.response.raftAppliedIndex),
            ", ".join(one.response.errors),
        ]
        for one in found
    ]
    return _endpoints(
        (heads, rows),
        lambda: [_with_endpoint(one.endpoint, "Status", one.response) for one in found],
        lambda: ctl_fields.endpoint_status(found),
    )


def endpoint_hash(found: list[EndpointHash]) -> Answer:
    """Hashes to compare."""
    return _endpoints(
        (["endpoint", "hash"], [[one.endpoint, str(one.response.hash)] for one in found]),
        lambda: [_with_endpoint(one.endpoint, "HashKV", one.response) for one in found],
        lambda: ctl_fields.endpoint_hash(found),
    )


def _with_endpoint(endpoint: str, name: str, response: Any) -> dict[str, object]:
    return {"Endpoint": endpoint, name: ctl_json.message_members(response)}


def _endpoints(table: Table, json: Callable[[], object], fields: Callable[[], Iterator[str]]) -> Answer:
    return Answer(simple=lambda: _rows(table), json=json, fields=fields, table=lambda: table)


def alarms(response: pb.AlarmResponse) -> Answer:
    """A line for each, with the blank that Go's text of a message ends with."""
    return _whole(
        response,
        lambda: "".join(
            f"memberID:{alarm.memberID} alarm:{ctl_fields.alarm_name(alarm)} \n" for alarm in response.alarms
        ),
        ctl_fields.alarms,
    )


def auth_status(response: pb.AuthStatusResponse) -> Answer:
    """Whether users are asked for, and how often that was changed."""
    simple = f"Authentication Status: {_truth(response.enabled)}\nAuthRevision: {response.authRevision}"
    return plain(response, simple, has_fields=False)


def user(response: pb.AuthUserGetResponse, name: str) -> Answer:
    """A user's roles."""
    roles = "".join(f" {role}" for role in response.roles)
    return plain(response, f"User: {name}\nRoles:{roles}", has_fields=False)


def users(response: pb.AuthUserListResponse) -> Answer:
    """All users' names."""
    return _whole(response, lambda: "".join(f"{name}\n" for name in response.users), None)


def roles(response: pb.AuthRoleListResponse) -> Answer:
    """All roles' names."""
    return _whole(response, lambda: "".join(f"{name}\n" for name in response.roles), ctl_fields.roles)


def role(response: pb.AuthRoleGetResponse, name: str) -> Answer:
    """What a role may read and write."""
    return _whole(response, lambda: _role_text(response, name), ctl_fields.role)


def _role_text(response: pb.AuthRoleGetResponse, name: str) -> bytes:
    lines = [f"Role {name}".encode("utf-8", "surrogateescape")]
    for title, kinds in ((b"KV Read:", ("READ", "READWRITE")), (b"KV Write:", ("WRITE", "READWRITE"))):
        lines.append(title)
        lines += [
            b"\t" + _range_text(permission)
            for permission in response.perm
            if permission.Type.Name(permission.permType) in kinds
        ]
    return b"\n".join(lines) + b"\n"


def _range_text(permission: auth.Permission) -> bytes:
    key, end = permission.key, permission.range_end
    if not end:
        return key
    shown = b"[%b, <open ended>" % key if end == OPEN_END else b"[%b, %b)" % (key, end)
    return shown + b" (prefix %b)" % key if prefix_end(key) == end else shown


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`."""
    from etcdpy.client import keys

    return keys.prefix(prefix).end
