"""What happened to a key, in the form that clients, histories and dumps have of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How Go writes the time that is none.
NO_TIME = "0001-01-01T00:00:00Z"


class Action(StrEnum):
    """What was done."""

    GET = "get"
    CREATE = "create"
    SET = "set"
    UPDATE = "update"
    DELETE = "delete"
    COMPARE_AND_SWAP = "compareAndSwap"
    COMPARE_AND_DELETE = "compareAndDelete"
    EXPIRE = "expire"


class MalformedEvent(ValueError):
    """JSON that is no event."""


@dataclass(slots=True)
class NodeView:
    """A key as it was at one index. `value` is None for a directory, `expire_ns` 0 for one that stays."""

    key: str
    modified_index: int
    created_index: int
    value: str | None = None
    is_dir: bool = False
    expire_ns: int = 0
    ttl: int = 0
    nodes: Sequence[NodeView] = ()

    def fields(self, prefix: str = "") -> dict[str, object]:
        """The JSON object in Go's order, without `prefix` at the front of keys."""
        key = self.key.removeprefix(prefix)
        fields: dict[str, object] = {"key": key} if key else {}
        if self.value is not None:
            fields["value"] = self.value
        if self.is_dir:
            fields["dir"] = True
        if self.expire_ns:
            fields["expiration"] = format_time(self.expire_ns)
        if self.ttl:
            fields["ttl"] = self.ttl
        if self.nodes:
            fields["nodes"] = [node.fields(prefix) for node in self.nodes]
        if self.modified_index:
            fields["modifiedIndex"] = self.modified_index
        if self.created_index:
            fields["createdIndex"] = self.created_index
        return fields


@dataclass(slots=True)
class Event:
    """One action on one key. `etcd_index`, the index of the store when it was told, is not in the JSON."""

    action: Action
    node: NodeView
    prev_node: NodeView | None = None
    is_refresh: bool = False
    etcd_index: int = 0

    @property
    def index(self) -> int:
        """When it happened."""
        return self.node.modified_index

    @property
    def is_created(self) -> bool:
        """Whether the key was not there before."""
        return self.action is Action.CREATE or (self.action is Action.SET and self.prev_node is None)

    def fields(self) -> dict[str, object]:
        """The JSON object that histories keep."""
        fields: dict[str, object] = {"action": self.action.value, "node": self.node.fields()}
        if self.prev_node is not None:
            fields["prevNode"] = self.prev_node.fields()
        if self.is_refresh:
            fields["refresh"] = True
        return fields


def event_of(fields: object) -> Event:
    """An event from a history's JSON.

    Raises:
        MalformedEvent: it is none.
    """
    if not isinstance(fields, dict):
        raise MalformedEvent(f"an event is {fields!r}")
    try:
        action = Action(str(fields.get("action")))
    except ValueError as error:
        raise MalformedEvent(str(error)) from error
    prev_node = fields.get("prevNode")
    return Event(
        action,
        _view_of(fields.get("node")),
        None if prev_node is None else _view_of(prev_node),
        fields.get("refresh") is True,
    )


def _view_of(fields: object) -> NodeView:
    if not isinstance(fields, dict):
        raise MalformedEvent(f"a node is {fields!r}")
    value = fields.get("value")
    if value is not None and not isinstance(value, str):
        raise MalformedEvent(f"a value is {value!r}")
    expiration = fields.get("expiration")
    return NodeView(
        str(fields.get("key", "")),
        integer_of(fields, "modifiedIndex"),
        integer_of(fields, "createdIndex"),
        value,
        fields.get("dir") is True,
        0 if expiration is None else parse_time(expiration),
        integer_of(fields, "ttl"),
    )


def integer_of(fields: Mapping[str, object], name: str) -> int:
    """A whole number out of JSON, 0 if it is left out; raises MalformedEvent."""
    value = fields.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedEvent(f"{name} is {value!r}")
    return value


def seconds_left(expire_ns: int, now_ns: int) -> int:
    """Whole seconds until then, rounded up while there are any; a time that has passed is rounded to zero."""
    left = expire_ns - now_ns
    return -(-left // SECOND_NS) if left > 0 else -(abs(left) // SECOND_NS)


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with as many decimals as it takes."""
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    decimals = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{text}{decimals}Z"


def parse_time(text: object) -> int:
    """Nanoseconds since 1970, 0 for Go's time that is none; raises MalformedEvent."""
    if text == NO_TIME:
        return 0
    try:
        assert isinstance(text, str)
        whole, _, decimals = text.removesuffix("Z").partition(".")
        moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
        return seconds * SECOND_NS + int(decimals[:9].ljust(9, "0") if decimals else 0)
    except (AssertionError, ValueError) as error:
        raise MalformedEvent(f"a time is {text!r}") from error
