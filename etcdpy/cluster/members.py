"""One member, and its JSON: in the backend, on `GET /members`, and in the context of a configuration
change.

The JSON is read by Go members, whose encoder fixes the order of the keys, leaves empty ones out and escapes
`<`, `>`, `&`; we write the same bytes. Numbers beyond 2**53 stay exact because both sides read integers as
integers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etcdpy.cluster.ids import ID_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class MalformedMember(ValueError):
    """JSON from a peer, a log or a disk that does not describe members."""


@dataclass(frozen=True, slots=True)
class Member:
    """A configured identity. It has no name and no client URLs until it has started and published them."""

    id: int
    peer_urls: tuple[str, ...] = ()
    name: str = ""
    client_urls: tuple[str, ...] = ()
    is_learner: bool = False

    @property
    def is_started(self) -> bool:
        return self.name != ""

    def with_attributes(self, name: str, client_urls: Iterable[str]) -> Member:
        return replace(self, name=name, client_urls=tuple(client_urls))


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """What travels in `ConfChange.context`: the member, and whether a learner is to become a voter."""

    member: Member
    is_promote: bool = False


def go_json(value: object) -> bytes:
    """JSON as Go's encoder writes it: no spaces, UTF-8, HTML characters escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_GO_ESCAPES).encode("utf-8", "replace")


def member_fields(member: Member) -> dict[str, object]:
    """The keys of a member in Go's order. A learner to be promoted has no URLs, which Go writes as null."""
    fields: dict[str, object] = {
        "id": member.id,
        "peerURLs": list(member.peer_urls) if member.peer_urls else None,
    }
    if member.is_learner:
        fields["isLearner"] = True
    if member.name:
        fields["name"] = member.name
    if member.client_urls:
        fields["clientURLs"] = list(member.client_urls)
    return fields


def encode_member(member: Member) -> bytes:
    return go_json(member_fields(member))


def decode_member(data: bytes) -> Member:
    return member_of(load_object(data))


def encode_members(members: Iterable[Member]) -> bytes:
    """The array of `GET /members`, sorted by id; the endpoint adds the newline."""
    return go_json([member_fields(member) for member in sorted(members, key=lambda member: member.id)])


def decode_members(data: bytes) -> list[Member]:
    """The array of `GET /members`. An empty one is an answer of nobody, hence refused."""
    array = load_json(data)
    if not isinstance(array, list) or not array:
        raise MalformedMember("not an array of members")
    return [member_of(fields) for fields in array]


def encode_context(context: ChangeContext) -> bytes:
    fields = member_fields(context.member)
    if context.is_promote:
        fields["isPromote"] = True
    return go_json(fields)


def decode_context(data: bytes) -> ChangeContext:
    fields = without_nulls(load_object(data))
    is_promote = fields.get("isPromote", False)
    if not isinstance(is_promote, bool):
        raise MalformedMember(f"isPromote is {is_promote!r}")
    return ChangeContext(member_of(fields), is_promote)


def load_json(data: bytes) -> object:
    try:
        parsed: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedMember(f"not JSON: {error}") from error
    return parsed


def load_object(data: bytes) -> Mapping[str, object]:
    fields = load_json(data)
    if not isinstance(fields, dict):
        raise MalformedMember(f"a JSON {type(fields).__name__} where an object is needed")
    return fields


def without_nulls(fields: Mapping[str, object]) -> dict[str, object]:
    """Go takes null for a key that is not there."""
    return {key: value for key, value in fields.items() if value is not None}


def member_of(fields: object) -> Member:
    if not isinstance(fields, dict):
        raise MalformedMember(f"a JSON {type(fields).__name__} where a member is needed")
    fields = without_nulls(fields)
    identity = fields.get("id", 0)
    is_learner = fields.get("isLearner", False)
    name = fields.get("name", "")
    if not isinstance(identity, int) or isinstance(identity, bool) or not 0 <= identity <= ID_MAX:
        raise MalformedMember(f"id is {identity!r}")
    if not isinstance(is_learner, bool):
        raise MalformedMember(f"isLearner is {is_learner!r}")
    if not isinstance(name, str):
        raise MalformedMember(f"name is {name!r}")
    return Member(identity, text_list(fields, "peerURLs"), name, text_list(fields, "clientURLs"), is_learner)


def text_list(fields: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedMember(f"{key} is {value!r}")
    return tuple(value)
