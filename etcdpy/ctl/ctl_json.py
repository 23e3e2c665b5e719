"""Messages as Go's `encoding/json` shows the structs that etcd's generator makes of them.

Fields that are zero are left out, numbers are bare, enumerations are numbers, and a oneof is a member of its
own around the one that is set. A few answers are structs of etcd's client instead, with names of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from etcdpy.proto import rpc_pb2 as pb

Members = dict[str, object]


def message_members(message: Message) -> Members:
    """The members of the struct, in the order of their numbers."""
    members: Members = {}
    for field in _fields(message):
        oneof = field.containing_oneof
        if oneof is None:
            value = getattr(message, field.name)
            if message.HasField(field.name) if _is_single(field) else value:
                members[field.name] = _json_value(value)
        elif oneof.name.capitalize() not in members:
            name = message.WhichOneof(oneof.name)
            value = None if name is None else {name: _json_value(getattr(message, name))}
            members[oneof.name.capitalize()] = value
    return members


def _fields(message: Message) -> list[FieldDescriptor]:
    fields: Any = message.DESCRIPTOR.fields
    return sorted(fields, key=lambda field: int(field.number))


def _is_single(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.is_repeated


def _json_value(value: Any) -> object:
    if hasattr(value, "DESCRIPTOR"):
        return message_members(value)
    if isinstance(value, bool | int | str | bytes):
        return value
    return [_json_value(one) for one in value]


def grant_members(response: pb.LeaseGrantResponse) -> Members:
    """The client's `LeaseGrantResponse`."""
    return {**_header(response), "ID": response.ID, "TTL": response.TTL, "Error": response.error}


def keep_alive_members(response: pb.LeaseKeepAliveResponse) -> Members:
    """The client's `LeaseKeepAliveResponse`."""
    return {**_header(response), "ID": response.ID, "TTL": response.TTL}


def time_to_live_members(response: pb.LeaseTimeToLiveResponse) -> Members:
    """The client's `LeaseTimeToLiveResponse`."""
    keys = list(response.keys) or None
    numbers = {"id": response.ID, "ttl": response.TTL, "granted-ttl": response.grantedTTL}
    return {**_header(response), **numbers, "keys": keys}


def leases_members(response: pb.LeaseLeasesResponse) -> Members:
    """The client's `LeaseLeasesResponse`."""
    return {**_header(response), "leases": [{"id": lease.ID} for lease in response.leases]}


def watch_members(response: pb.WatchResponse) -> Members:
    """The client's `WatchResponse`, which knows no events at all where the stream was refused."""
    refused = response.canceled and not response.compact_revision
    events = [message_members(event) for event in response.events]
    return {
        "Header": {} if refused else message_members(response.header),
        "Events": None if refused else events,
        "CompactRevision": response.compact_revision,
        "Canceled": response.canceled,
        "Created": False,
    }


def hex_member_list(response: pb.MemberListResponse) -> Members:
    """`member list --hex`: ids as text, and etcd's own spelling of the URLs."""
    header = response.header
    ids = {"cluster_id": f"{header.cluster_id:x}", "member_id": f"{header.member_id:x}"}
    members = [
        {
            "ID": f"{member.ID:x}",
            "name": member.name,
            "peerURLs": list(member.peerURLs) or None,
            "clientURLS": list(member.clientURLs) or None,
        }
        for member in response.members
    ]
    return {"header": {**ids, "raft_term": header.raft_term}, "members": members}


def _header(response: Any) -> Members:
    return message_members(response.header)
