"""The remains of etcd's v2 store: raft snapshots carry membership as a dump of it, old members publish
through it.

Members of 3.5 rebuild membership from the dump in a snapshot and start again every peer that the dump does
not call removed, so a dump must name all members, all removed ids and the cluster version. In the other
direction two requests of the v2 kind still come out of logs: a member's attributes and the cluster version.
Formats: a tree of nodes, the members below `/0/members`, one leaf per attribute group holding JSON text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etcdpy.cluster.ids import format_id, parse_id
from etcdpy.cluster.members import MalformedMember, Member, go_json, load_object, member_of, text_list
from etcdpy.cluster.version import BadVersion, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMBERS, REMOVED, VERSION = "members", "removed_members", "version"
RAFT_ATTRIBUTES, ATTRIBUTES = "raftAttributes", "attributes"


class MalformedStore(ValueError):
    """A dump or request of the v2 store that is not membership."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What a dump says: members by id, ids that may not return, the cluster version once decided."""

    members: Mapping[int, Member] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class PublishedAttributes:
    """A v2 request by which a member of 3.5 or older makes its name and client URLs known."""

    member_id: int
    name: str
    client_urls: tuple[str, ...]


def dump_store(state: ClusterState) -> bytes:
    """The dump that members of any 3.x take from a raft snapshot, of a store without clients' keys."""
    return store_json(state, {"1": go_json(_directory("/1", {}))})


def store_json(
    state: ClusterState,
    trees: Mapping[str, bytes],
    index: int = 1,
    hub: Mapping[str, object] | None = None,
) -> bytes:
    """The same with the JSON of the other directories by name, the store's index, and its history."""
    members = {format_id(member.id): _member_node(member) for _, member in sorted(state.members.items())}
    cluster: dict[str, object] = {MEMBERS: _directory(f"/0/{MEMBERS}", members)}
    if state.removed:
        leaves: dict[str, object] = {
            format_id(identity): _leaf(f"/0/{REMOVED}/{format_id(identity)}", "")
            for identity in sorted(state.removed)
        }
        cluster[REMOVED] = _directory(f"/0/{REMOVED}", leaves)
    if state.version is not None:
        cluster[VERSION] = _leaf(f"/0/{VERSION}", str(state.version))
    root = go_json(_directory("/", {"0": _directory("/0", cluster)}))
    assert root.endswith(b"}}"), root[-20:]
    rest = {} if hub is None else {"WatcherHub": hub}
    tail = go_json({**rest, "CurrentIndex": index, "CurrentVersion": 2})
    others = b"".join(b",%b:%b" % (go_json(name), tree) for name, tree in trees.items())
    return b'{"Root":%b%b}},%b' % (root[:-2], others, tail[1:])


def load_store(data: bytes) -> ClusterState:
    """Membership out of a dump; whatever else the tree holds is not looked at."""
    try:
        root = _children(_child(load_object(data), "Root"))
        cluster = _children(root.get("0", {}))
        members = dict(map(_load_member, _children(cluster.get(MEMBERS, {})).items()))
        removed = frozenset(parse_id(name) for name in _children(cluster.get(REMOVED, {})))
        version = _value(cluster[VERSION]) if VERSION in cluster else None
        return ClusterState(members, removed, Version.parse(version) if version is not None else None)
    except (MalformedMember, BadVersion, ValueError) as error:
        raise MalformedStore(f"raft snapshot data: {error}") from error


def decode_request(method: str, path: str, value: str) -> PublishedAttributes | Version:
    """The meaning of a v2 request from a log; only the two that members make on their own have one."""
    parts = path.split("/")
    try:
        if method == "PUT" and parts == ["", "0", VERSION]:
            return Version.parse(value)
        if method == "PUT" and parts[:3] == ["", "0", MEMBERS] and parts[4:] == [ATTRIBUTES]:
            fields = load_object(value.encode())
            named = member_of({"name": fields.get("name", "")})
            return PublishedAttributes(parse_id(parts[3]), named.name, text_list(fields, "clientURLs"))
    except ValueError as error:
        raise MalformedStore(f"v2 request {method} {path}: {error}") from error
    raise MalformedStore(f"v2 request {method} {path} has no meaning here")


def encode_attributes_request(published: PublishedAttributes) -> tuple[str, str, str]:
    """Method, path and value by which 3.4 members, who know no other form, learn of attributes."""
    fields: dict[str, object] = {}
    if published.name:
        fields["name"] = published.name
    if published.client_urls:
        fields["clientURLs"] = list(published.client_urls)
    path = f"/0/{MEMBERS}/{format_id(published.member_id)}/{ATTRIBUTES}"
    return "PUT", path, go_json(fields).decode()


def encode_version_request(version: Version) -> tuple[str, str, str]:
    return "PUT", f"/0/{VERSION}", str(version)


def _member_node(member: Member) -> dict[str, object]:
    path = f"/0/{MEMBERS}/{format_id(member.id)}"
    raft_fields: dict[str, object] = {"peerURLs": list(member.peer_urls)}
    if member.is_learner:
        raft_fields["isLearner"] = True
    leaves: dict[str, object] = {
        RAFT_ATTRIBUTES: _leaf(f"{path}/{RAFT_ATTRIBUTES}", go_json(raft_fields).decode())
    }
    if member.is_started or member.client_urls:
        fields: dict[str, object] = {"name": member.name} if member.name else {}
        if member.client_urls:
            fields["clientURLs"] = list(member.client_urls)
        leaves[ATTRIBUTES] = _leaf(f"{path}/{ATTRIBUTES}", go_json(fields).decode())
    return _directory(path, leaves)


def _directory(path: str, children: Mapping[str, object]) -> dict[str, object]:
    return _node(path, "", dict(children))


def _leaf(path: str, value: str) -> dict[str, object]:
    return _node(path, value, None)


def _node(path: str, value: str, children: dict[str, object] | None) -> dict[str, object]:
    return {
        "Path": path,
        "CreatedIndex": 1,
        "ModifiedIndex": 1,
        "ExpireTime": "0001-01-01T00:00:00Z",
        "Value": value,
        "Children": children,
    }


def _load_member(item: tuple[str, object]) -> tuple[int, Member]:
    name, node = item
    identity = parse_id(name)
    leaves = _children(node)
    if RAFT_ATTRIBUTES not in leaves:
        raise MalformedMember(f"member {name} has no {RAFT_ATTRIBUTES}")
    fields = dict(load_object(_value(leaves[RAFT_ATTRIBUTES]).encode()))
    if ATTRIBUTES in leaves:
        fields.update(load_object(_value(leaves[ATTRIBUTES]).encode()))
    return identity, member_of({**fields, "id": identity})


def _child(fields: Mapping[str, object], key: str) -> object:
    if key not in fields:
        raise MalformedMember(f"no {key}")
    return fields[key]


def _children(node: object) -> Mapping[str, object]:
    if not isinstance(node, dict):
        raise MalformedMember("a node is not an object")
    children = node.get("Children") or {}
    if not isinstance(children, dict):
        raise MalformedMember("children are not an object")
    return children


def _value(node: object) -> str:
    value = node.get("Value") if isinstance(node, dict) else None
    if not isinstance(value, str):
        raise MalformedMember("a leaf has no value")
    return value
