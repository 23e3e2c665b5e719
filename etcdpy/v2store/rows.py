"""The store as rows of a bucket: one for each node, one for each event of the history, one for the rest.

Rows of nodes are numbered in the order in which nodes came to be, so that a directory is read before what is
in it, and a path may be as long as it likes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.members import go_json
from etcdpy.v2store.events import MalformedEvent, event_of
from etcdpy.v2store.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.v2store.events import Event

META_KEY = b"meta"
_NODE, _EVENT = b"n", b"e"


class CorruptRows(Exception):
    """The bucket holds what no member wrote."""


class Rows(Protocol):
    """A bucket."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row."""

    def delete(self, key: bytes) -> None:
        """Remove a row."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows, by key."""


class Journal:
    """Writes what changes in a store, each change as it happens."""

    def __init__(self, rows: Rows, next_row: int = 1) -> None:
        self._rows = rows
        self._next_row = next_row

    def save_node(self, node: Node) -> None:
        """Write a node, under a new number if it has none."""
        if not node.row:
            node.row = self._next_row
            self._next_row += 1
        value = None if node.is_dir else node.value
        fields = [node.path, node.created_index, node.modified_index, node.expire_ns, value]
        self._rows.put(_NODE + node.row.to_bytes(8, "big"), go_json(fields))

    def forget_node(self, node: Node) -> None:
        """Remove a node's row."""
        self._rows.delete(_NODE + node.row.to_bytes(8, "big"))

    def save_event(self, event: Event, fallen: Event | None) -> None:
        """Write the newest event and the index that it makes, remove the one that has fallen out."""
        self._rows.put(_EVENT + event.index.to_bytes(8, "big"), go_json(event.fields()))
        if fallen is not None:
            self._rows.delete(_EVENT + fallen.index.to_bytes(8, "big"))
        self.save_index(event.index)

    def save_index(self, index: int) -> None:
        """Write how far the store is."""
        self._rows.put(META_KEY, go_json({"index": index, "nextRow": self._next_row}))


def read_rows(rows: Rows) -> tuple[int, list[Node], list[Event], int]:
    """(index, nodes without parents in the order in which they came to be, events, next free row number).

    Raises:
        CorruptRows: nobody has written such rows.
    """
    index, next_row = 0, 1
    nodes: list[Node] = []
    events: list[Event] = []
    try:
        for key, value in rows.items():
            fields = json.loads(value)
            if key == META_KEY:
                index, next_row = int(fields["index"]), int(fields["nextRow"])
            elif key.startswith(_EVENT):
                events.append(event_of(fields))
            else:
                path, created, modified, expire_ns, text = fields
                row = int.from_bytes(key.removeprefix(_NODE), "big")
                nodes.append(
                    Node(path, created, modified, value=text, parent=None, expire_ns=expire_ns, row=row)
                )
    except (ValueError, TypeError, KeyError, MalformedEvent) as error:
        raise CorruptRows(f"v2 store in the backend: {error}") from error
    return index, nodes, events, next_row
