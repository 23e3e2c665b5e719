"""Which ranges contain a key: a treap of half-open intervals, each node knowing the largest end below it.

A put must find its watchers among thousands of distinct ranges in a few microseconds, and watches come and
go all the time, so both a scan and a structure rebuilt on change are out. A treap keeps itself balanced by
random priorities with the least code. The priorities come from Python's keyed string hash, so nobody can
choose ranges that degenerate the tree; the shape has no influence on answers, which come ordered by start,
then end.

Ends are compared as `b"\\0" + end`, and an open end is `b"\\1"`: one plain bytes comparison covers both.
"""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")

OPEN_END = b"\0"


def _bound(range_end: bytes) -> bytes:
    return b"\1" if range_end == OPEN_END else b"\0" + range_end


class _Node(Generic[V]):
    __slots__ = ("end", "left", "max_end", "priority", "right", "start", "value")

    def __init__(self, start: bytes, end: bytes, value: V) -> None:
        self.start = start
        self.end = end
        self.max_end = end
        self.value = value
        self.priority = hash((start, end))
        self.left: _Node[V] | None = None
        self.right: _Node[V] | None = None

    def settle(self) -> None:
        """Compute `max_end` again after a child changed."""
        largest = self.end
        left, right = self.left, self.right
        if left is not None and left.max_end > largest:
            largest = left.max_end
        if right is not None and right.max_end > largest:
            largest = right.max_end
        self.max_end = largest


class IntervalIndex(Generic[V]):
    """Values by interval [start, range_end), where a range_end of `\\0` leaves it open."""

    def __init__(self) -> None:
        self._root: _Node[V] | None = None
        self._nodes: dict[tuple[bytes, bytes], _Node[V]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, start: bytes, range_end: bytes) -> V | None:
        """The value of exactly this interval."""
        node = self._nodes.get((start, range_end))
        return None if node is None else node.value

    def add(self, start: bytes, range_end: bytes, value: V) -> None:
        """Add an interval that is not there yet."""
        assert (start, range_end) not in self._nodes, f"interval [{start!r}, {range_end!r}) is there already"
        node = _Node(start, _bound(range_end), value)
        self._nodes[start, range_end] = node
        below, above = _split(self._root, node.start, node.end)
        self._root = _merge(_merge(below, node), above)

    def remove(self, start: bytes, range_end: bytes) -> None:
        """Remove an interval that is there."""
        node = self._nodes.pop((start, range_end))
        self._root = _without(self._root, node)

    def containing(self, key: bytes) -> list[V]:
        """The values of all intervals that contain `key`, ordered by start and end."""
        found: list[V] = []
        if self._root is not None:
            _collect(self._root, key, b"\0" + key, found)
        return found


def _collect(node: _Node[V], key: bytes, probe: bytes, found: list[V]) -> None:
    left = node.left
    if left is not None and left.max_end > probe:
        _collect(left, key, probe, found)
    if node.start > key:
        return
    if node.end > probe:
        found.append(node.value)
    right = node.right
    if right is not None and right.max_end > probe:
        _collect(right, key, probe, found)


def _split(node: _Node[V] | None, start: bytes, end: bytes) -> tuple[_Node[V] | None, _Node[V] | None]:
    """Part a tree into what orders before (start, end) and what orders after."""
    if node is None:
        return None, None
    if node.start < start or (node.start == start and node.end < end):
        node.right, above = _split(node.right, start, end)
        node.settle()
        return node, above
    below, node.left = _split(node.left, start, end)
    node.settle()
    return below, node


def _merge(below: _Node[V] | None, above: _Node[V] | None) -> _Node[V] | None:
    """Join two trees of which the first orders wholly before the second."""
    if below is None:
        return above
    if above is None:
        return below
    if below.priority > above.priority:
        below.right = _merge(below.right, above)
        below.settle()
        return below
    above.left = _merge(below, above.left)
    above.settle()
    return above


def _without(node: _Node[V] | None, gone: _Node[V]) -> _Node[V] | None:
    assert node is not None, f"interval from {gone.start!r} is in the table but not in the tree"
    if node is gone:
        return _merge(node.left, node.right)
    if (gone.start, gone.end) < (node.start, node.end):
        node.left = _without(node.left, gone)
    else:
        node.right = _without(node.right, gone)
    node.settle()
    return node
