"""The store as the JSON that raft snapshots carry, for Go members and from them.

The membership in it comes from those who keep it; the rest of the tree, the index and the history are the
store's. Directories may lie deeper than Python's encoder goes, so the tree is written without recursion.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from etcdpy.cluster.members import MalformedMember, go_json, load_object
from etcdpy.cluster.v2 import MalformedStore, store_json
from etcdpy.v2store.events import (
    NO_TIME,
    Event,
    MalformedEvent,
    event_of,
    format_time,
    integer_of,
    parse_time,
)
from etcdpy.v2store.history import CAPACITY
from etcdpy.v2store.node import Node
from etcdpy.v2store.requests import KEYS_ROOT
from etcdpy.v2store.rows import Journal, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from etcdpy.cluster.v2 import ClusterState
    from etcdpy.v2store.store import Store

# An index of zero would read as a store that nobody has ever written to.
INDEX_MIN = 1


def dump(cluster: ClusterState, store: Store) -> bytes:
    """The data of a raft snapshot."""
    trees = {node.name: _tree(node) for node in store.directories}
    return store_json(cluster, trees, max(store.index, INDEX_MIN), _hub(store))


def _tree(top: Node) -> bytes:
    pieces: list[bytes] = []
    # What is still to be written, the next last: nodes, and the text between them.
    rest: list[Node | bytes] = [top]
    while rest:
        part = rest.pop()
        if isinstance(part, bytes):
            pieces.append(part)
            continue
        pieces.append(_head(part))
        if part.children is None:
            pieces.append(b"null}")
            continue
        pieces.append(b"{")
        rest.append(b"}}")
        for number, child in enumerate(reversed(part.children.values())):
            if number:
                rest.append(b",")
            rest += [child, go_json(child.name) + b":"]
    return b"".join(pieces)


def _head(node: Node) -> bytes:
    fields = {
        "Path": node.path,
        "CreatedIndex": node.created_index,
        "ModifiedIndex": node.modified_index,
        "ExpireTime": format_time(node.expire_ns) if node.expire_ns else NO_TIME,
        "Value": node.value,
    }
    return go_json(fields)[:-1] + b',"Children":'


def _hub(store: Store) -> dict[str, object]:
    events: list[object] = [event.fields() for event in store.history]
    size = len(events)
    queue = {
        "Events": events + [None] * (CAPACITY - size),
        "Size": size,
        "Front": 0,
        "Back": size % CAPACITY,
        "Capacity": CAPACITY,
    }
    history = store.history
    return {
        "EventHistory": {
            "Queue": queue,
            "StartIndex": history.start_index,
            "LastIndex": history.last_index,
        }
    }


def import_dump(data: bytes, rows: Rows) -> None:
    """Write what a dump holds besides membership into empty rows.

    Raises:
        MalformedStore: it is no dump.
    """
    try:
        fields = load_object(data)
        journal = Journal(rows)
        index = integer_of(fields, "CurrentIndex")
        for node in _nodes(fields):
            journal.save_node(node)
        for event in _events(fields, index):
            journal.save_event(event, None)
        journal.save_index(index)
    except (MalformedMember, MalformedEvent) as error:
        raise MalformedStore(f"raft snapshot data: {error}") from error


def _nodes(fields: Mapping[str, object]) -> Iterator[Node]:
    """All keys but those of the membership, directories before what is in them."""
    root = dict(_children(fields.get("Root")))
    root.pop("0", None)
    top = _children(root.pop(KEYS_ROOT[1:], None))
    rest = deque((f"{KEYS_ROOT}/{name}", node) for name, node in top.items())
    rest += [(f"/{name}", node) for name, node in root.items()]
    while rest:
        path, node = rest.popleft()
        value = node.get("Value", "") if isinstance(node, dict) else None
        if not isinstance(node, dict) or not isinstance(value, str) or node.get("Path") != path:
            raise MalformedEvent(f"the node at {path!r} is {node!r}")
        is_dir = node.get("Children") is not None
        yield Node(
            path,
            integer_of(node, "CreatedIndex"),
            integer_of(node, "ModifiedIndex"),
            value=None if is_dir else value,
            parent=None,
            expire_ns=parse_time(node.get("ExpireTime", NO_TIME)),
        )
        rest += [(f"{path}/{name}", child) for name, child in _children(node).items()]


def _children(node: object) -> Mapping[str, object]:
    children = node.get("Children") if isinstance(node, dict) else None
    if children is not None and not isinstance(children, dict):
        raise MalformedEvent("children are not an object")
    return children or {}


def _events(fields: Mapping[str, object], index: int) -> list[Event]:
    """The history, as far as it leads up to the index without a gap."""
    hub = fields.get("WatcherHub")
    history = hub.get("EventHistory") if isinstance(hub, dict) else None
    queue = history.get("Queue") if isinstance(history, dict) else None
    if not isinstance(queue, dict):
        return []
    ring, front = queue.get("Events"), integer_of(queue, "Front")
    if not isinstance(ring, list):
        return []
    events = [event_of(one) for one in ring[front:] + ring[:front] if one is not None]
    kept: list[Event] = []
    for event in reversed(events):
        if event.index != index - len(kept):
            break
        kept.append(event)
    return kept[::-1]
