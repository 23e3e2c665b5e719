"""Answers as lines of `"Name" : value`, for `-w fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.ctl.go_text import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.ctl.ctl_answers import EndpointHash, EndpointHealth, EndpointStatus
    from etcdpy.proto import kv_pb2 as kv
    from etcdpy.proto import rpc_pb2 as pb


def text_of(lines: Iterator[str]) -> bytes:
    """The lines in one."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def header(response: Any) -> Iterator[str]:
    """Where and when the answer was made; all that many answers consist of."""
    found: pb.ResponseHeader = response.header
    yield f'"ClusterID" : {found.cluster_id}'
    yield f'"MemberID" : {found.member_id}'
    yield f'"Revision" : {found.revision}'
    yield f'"RaftTerm" : {found.raft_term}'


def _pair(found: kv.KeyValue, prefix: str = "") -> Iterator[str]:
    yield f'"{prefix}Key" : {quote(found.key)}'
    yield f'"{prefix}CreateRevision" : {found.create_revision}'
    yield f'"{prefix}ModRevision" : {found.mod_revision}'
    yield f'"{prefix}Version" : {found.version}'
    yield f'"{prefix}Value" : {quote(found.value)}'
    yield f'"{prefix}Lease" : {found.lease}'


def _truth(value: bool) -> str:
    return "true" if value else "false"


def get(response: pb.RangeResponse) -> Iterator[str]:
    """Pairs, and how many there are."""
    yield from header(response)
    for found in response.kvs:
        yield from _pair(found)
    yield f'"More" : {_truth(response.more)}'
    yield f'"Count" : {response.count}'


def put(response: pb.PutResponse) -> Iterator[str]:
    """The previous pair, if there is one."""
    yield from header(response)
    if response.HasField("prev_kv"):
        yield from _pair(response.prev_kv, "Prev")


def delete(response: pb.DeleteRangeResponse) -> Iterator[str]:
    """How many were deleted, and which."""
    yield from header(response)
    yield f'"Deleted" : {response.deleted}'
    for found in response.prev_kvs:
        yield from _pair(found, "Prev")


def txn(response: pb.TxnResponse) -> Iterator[str]:
    """The answer of each operation."""
    yield from header(response)
    yield f'"Succeeded" : {_truth(response.succeeded)}'
    for one in response.responses:
        match one.WhichOneof("response"):
            case "response_range":
                yield from get(one.response_range)
            case "response_put":
                yield from put(one.response_put)
            case "response_delete_range":
                yield from delete(one.response_delete_range)
            case other:
                yield f'"Unknown" : {quote(str(other))}'


def watch(response: pb.WatchResponse) -> Iterator[str]:
    """The events."""
    yield from header(response)
    for event in response.events:
        yield f'"Type" : {event.EventType.Name(event.type)}'
        if event.HasField("prev_kv"):
            yield from _pair(event.prev_kv, "Prev")
        yield from _pair(event.kv)


def grant(response: pb.LeaseGrantResponse | pb.LeaseKeepAliveResponse) -> Iterator[str]:
    """A lease and its time; of a keep-alive as well."""
    yield from header(response)
    yield f'"ID" : {response.ID}'
    yield f'"TTL" : {response.TTL}'


def time_to_live(response: pb.LeaseTimeToLiveResponse) -> Iterator[str]:
    """A lease, its times and its keys."""
    yield from header(response)
    yield f'"ID" : {response.ID}'
    yield f'"TTL" : {response.TTL}'
    yield f'"GrantedTTL" : {response.grantedTTL}'
    for key in response.keys:
        yield f'"Key" : {quote(key)}'


def leases(response: pb.LeaseLeasesResponse) -> Iterator[str]:
    """All leases."""
    yield from header(response)
    for lease in response.leases:
        yield f'"ID" : {lease.ID}'


def members(response: pb.MemberListResponse) -> Iterator[str]:
    """All members, each ended by an empty line."""
    yield from header(response)
    for member in response.members:
        yield f'"ID" : {member.ID}'
        yield f'"Name" : {quote(member.name)}'
        for url in member.peerURLs:
            yield f'"PeerURL" : {quote(url)}'
        for url in member.clientURLs:
            yield f'"ClientURL" : {quote(url)}'
        yield f'"IsLearner" : {_truth(member.isLearner)}'
        yield ""


def alarms(response: pb.AlarmResponse) -> Iterator[str]:
    """All alarms, each ended by an empty line."""
    yield from header(response)
    for alarm in response.alarms:
        yield f'"MemberID" : {alarm.memberID}'
        yield f'"AlarmType" : {alarm_name(alarm)}'
        yield ""


def alarm_name(alarm: pb.AlarmMember) -> str:
    """`NOSPACE`, `CORRUPT`; a number where we know no name."""
    kind: Any = type(alarm).DESCRIPTOR.fields_by_name["alarm"].enum_type
    known = kind.values_by_number.get(alarm.alarm)
    return str(known.name) if known is not None else str(alarm.alarm)


def endpoint_health(found: list[EndpointHealth]) -> Iterator[str]:
    """Each endpoint's, ended by an empty line."""
    for one in found:
        yield f'"Endpoint" : {quote(one.endpoint)}'
        yield f'"Health" : {_truth(one.health)}'
        yield f'"Took" : {one.took}'
        yield f'"Error" : {one.error}'
        yield ""


def endpoint_status(found: list[EndpointStatus]) -> Iterator[str]:
    """Each endpoint's, ended by an empty line."""
    for one in found:
        status = one.response
        yield from header(status)
        yield f'"Version" : {quote(status.version)}'
        yield f'"DBSize" : {status.dbSize}'
        yield f'"Leader" : {status.leader}'
        yield f'"IsLearner" : {_truth(status.isLearner)}'
        yield f'"RaftIndex" : {status.raftIndex}'
        yield f'"RaftTerm" : {status.raftTerm}'
        yield f'"RaftAppliedIndex" : {status.raftAppliedIndex}'
        yield f'"Errors" : [{" ".join(status.errors)}]'
        yield f'"Endpoint" : {quote(one.endpoint)}'
        yield ""


def endpoint_hash(found: list[EndpointHash]) -> Iterator[str]:
    """Each endpoint's, ended by an empty line."""
    for one in found:
        yield from header(one.response)
        yield f'"Endpoint" : {quote(one.endpoint)}'
        yield f'"Hash" : {one.response.hash}'
        yield ""


def role(response: pb.AuthRoleGetResponse) -> Iterator[str]:
    """A role's permissions."""
    yield from header(response)
    for permission in response.perm:
        yield f'"PermType" :  {permission.Type.Name(permission.permType)}'
        yield f'"Key" : {quote(permission.key)}'
        yield f'"RangeEnd" : {quote(permission.range_end)}'


def roles(response: pb.AuthRoleListResponse) -> Iterator[str]:
    """The names of all roles in one line."""
    yield from header(response)
    yield '"Roles" :' + "".join(f" {quote(name)}" for name in response.roles)
