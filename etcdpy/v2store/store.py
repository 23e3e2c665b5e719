"""The operations on the tree. Each either changes it and gives one event at the next index, or refuses.

Refusals, their causes and which of them count as what in the statistics are etcd's. Nothing here depends on a
clock but the seconds to live that events show: keys are removed when a request in the log says so.
"""

from __future__ import annotations

import heapq
import itertools
import posixpath
from typing import TYPE_CHECKING

from etcdpy.v2store.errors import Code, StoreFault, V2Error
from etcdpy.v2store.events import SECOND_NS, Action, Event, NodeView
from etcdpy.v2store.history import History
from etcdpy.v2store.node import Node
from etcdpy.v2store.rows import CorruptRows, Journal, Rows, read_rows
from etcdpy.v2store.stats import Stats
from etcdpy.v2store.watchers import Watcher, Watchers

if TYPE_CHECKING:
    from collections.abc import Callable

# Membership, and what clients see.
ROOTS = ("/0", "/1")
_READ_ONLY = frozenset(("/", *ROOTS))
# A key that is made to expire before the year 2000 was not meant to expire.
EXPIRE_NS_MIN = 946_684_800 * SECOND_NS
# A key that is refreshed again and again leaves this many old deadlines behind before they are cleared away.
STALE_DEADLINES_MAX = 1000


class Store:
    """A tree of keys, its history and its watchers."""

    def __init__(self, rows: Rows, now_ns: Callable[[], int], watchers: Watchers | None = None) -> None:
        self._now_ns = now_ns
        self.watchers = Watchers() if watchers is None else watchers
        self.stats = Stats()
        self._root = Node("/", 0, 0, value=None, parent=None)
        for path in ROOTS:
            self._add_node(Node(path, 0, 0, value=None, parent=self._root))
        self.index, nodes, events, next_row = read_rows(rows)
        self.history = History(events)
        self._journal = Journal(rows, next_row)
        # Nodes with a time to live, and when each ends; entries of nodes that have changed are passed over.
        self._expiring: set[Node] = set()
        self._deadlines: list[tuple[int, str, int, Node]] = []
        self._count = itertools.count()
        for node in nodes:
            self._load(node)

    @property
    def now_ns(self) -> int:
        """What time it is for this member, in nanoseconds since 1970."""
        return self._now_ns()

    @property
    def has_ttl(self) -> bool:
        """Whether any key may expire."""
        return bool(self._expiring)

    @property
    def directories(self) -> list[Node]:
        """What lies below the root beside the membership: clients' keys, and what Go members keep there."""
        return [node for name, node in sorted((self._root.children or {}).items()) if name != "0"]

    # Reading.

    def get(self, path: str, *, recursive: bool = False, is_sorted: bool = False) -> Event:
        """The key or directory at `path`."""
        try:
            node = self._find(clean(path))
        except V2Error:
            self.stats.getsFail += 1
            raise
        self.stats.getsSuccess += 1
        now_ns = self._now_ns()
        view = node.view(now_ns)
        if node.is_dir:
            try:
                view.nodes = node.listing(now_ns, recursive=recursive, is_sorted=is_sorted)
            except RecursionError:
                # Only Go members let clients make such directories.
                raise StoreFault(f"{path} is nested too deeply to be listed") from None
        return Event(Action.GET, view, etcd_index=self.index)

    def watch(self, path: str, *, recursive: bool, stream: bool, since_index: int = 0) -> Watcher:
        """Wait for the first event at or after `since_index`, 0 for what comes next; a stream for all.

        An event that has happened already is the only one a watcher gets, as in etcd.
        """
        key = clean(path)
        since_index = since_index or self.index + 1
        try:
            found = self.history.scan(key, recursive, since_index)
        except V2Error as error:
            error.index = self.index
            raise
        watcher = Watcher(
            self.watchers,
            key,
            recursive=recursive,
            stream=stream,
            since_index=since_index,
            start_index=self.index,
        )
        if found is None:
            self.watchers.add(watcher)
        else:
            watcher.events.append(found)
        return watcher

    # Writing.

    def set(
        self, path: str, value: str, *, is_dir: bool = False, expire_ns: int = 0, refresh: bool = False
    ) -> Event:
        """Make the key what is said, whatever it was."""
        path = clean(path)
        try:
            before = self._find_or_none(path)
            if refresh:
                if before is None:
                    before = self._find(path)  # raises
                value = before.value
            prev_node = None
            if before is not None:
                prev_node = before.view(self._now_ns())
            event = self._create(path, value, is_dir, Action.SET, expire_ns, replace=True)
        except V2Error:
            self.stats.setsFail += 1
            raise
        event.prev_node = prev_node
        event.is_refresh = refresh
        self.stats.setsSuccess += 1
        return self._tell(event)

    def create(
        self, path: str, value: str, *, is_dir: bool = False, unique: bool = False, expire_ns: int = 0
    ) -> Event:
        """Make a key that is not there yet; with `unique` one below `path` that is named by its index."""
        try:
            if unique:
                path = f"{path}/{self.index + 1:020}"
            event = self._create(clean(path), value, is_dir, Action.CREATE, expire_ns, replace=False)
        except V2Error:
            self.stats.createFail += 1
            raise
        self.stats.createSuccess += 1
        return self._tell(event)

    def update(self, path: str, value: str, *, expire_ns: int = 0, refresh: bool = False) -> Event:
        """Give a key that is there a new value and time to live."""
        path = clean(path)
        self._check_writable(path, "update")
        try:
            node = self._find(path)
            if node.is_dir and value:
                raise V2Error(Code.NOT_FILE, path, self.index)
        except V2Error:
            self.stats.updateFail += 1
            raise
        self.stats.updateSuccess += 1
        if node.is_dir:
            raise StoreFault(f"nodePath {path} : {V2Error(Code.NOT_FILE, '')}")
        return self._rewrite(Action.UPDATE, node, node.value if refresh else value, expire_ns, refresh)

    def compare_and_swap(
        self,
        path: str,
        prev_value: str,
        prev_index: int,
        value: str,
        *,
        expire_ns: int = 0,
        refresh: bool = False,
    ) -> Event:
        """The same if value and index are what is said; an empty value and index 0 are not asked for."""
        path = clean(path)
        self._check_writable(path, "compareAndSwap")
        try:
            node = self._find_file(path)
            self._compare(node, prev_value, prev_index)
        except V2Error:
            self.stats.compareAndSwapFail += 1
            raise
        self.stats.compareAndSwapSuccess += 1
        new_value = node.value if refresh else value
        return self._rewrite(Action.COMPARE_AND_SWAP, node, new_value, expire_ns, refresh)

    def delete(self, path: str, *, is_dir: bool = False, recursive: bool = False) -> Event:
        """Remove a key, an empty directory with `is_dir`, any with `recursive`."""
        path = clean(path)
        self._check_writable(path, "delete")
        try:
            node = self._find(path)
            if node.is_dir and not (is_dir or recursive):
                raise V2Error(Code.NOT_FILE, path, self.index)
            if node.children and not recursive:
                raise V2Error(Code.DIRECTORY_NOT_EMPTY, path, self.index)
        except V2Error:
            self.stats.deleteFail += 1
            raise
        self.stats.deleteSuccess += 1
        return self._take_away(Action.DELETE, node)

    def compare_and_delete(self, path: str, prev_value: str, prev_index: int) -> Event:
        """Remove a key if its value and index are what is said."""
        path = clean(path)
        try:
            node = self._find(path)
        except V2Error:
            self.stats.compareAndDeleteFail += 1
            raise
        self.stats.compareAndDeleteSuccess += 1
        if node.is_dir:
            raise V2Error(Code.NOT_FILE, path, self.index)
        self._compare(node, prev_value, prev_index)
        return self._take_away(Action.COMPARE_AND_DELETE, node)

    def delete_expired(self, cutoff_ns: int) -> list[Event]:
        """Remove what has expired by then, in the order in which it did."""
        events = []
        while self._deadlines:
            expire_ns, _, _, node = self._deadlines[0]
            if node not in self._expiring or node.expire_ns != expire_ns:
                heapq.heappop(self._deadlines)
                continue
            if expire_ns > cutoff_ns:
                break
            self.stats.expireCount += 1
            events.append(self._take_away(Action.EXPIRE, node))
        return events

    def note(self, action: Action, path: str, value: str | None = "") -> None:
        """Count a change of the membership, which is not kept in the tree; None is a directory."""
        name = {Action.SET: "sets", Action.UPDATE: "update", Action.DELETE: "delete"}.get(action, "create")
        self.stats.count(name, success=True)
        following = self.index + 1
        node = NodeView(path, following, following, value, is_dir=value is None)
        if action is Action.DELETE:
            node.value = None
        self._tell(Event(action, node))

    # How.

    def _check_writable(self, path: str, what: str) -> None:
        if path in _READ_ONLY:
            self.stats.count(what, success=True)
            raise V2Error(Code.ROOT_READ_ONLY, "/", self.index)

    def _find(self, path: str) -> Node:
        node = self._root
        for name in path.split("/")[1:]:
            if not name:
                return node
            if node.children is None:
                raise V2Error(Code.NOT_DIRECTORY, node.path, self.index)
            child = node.children.get(name)
            if child is None:
                raise V2Error(Code.KEY_NOT_FOUND, posixpath.join(node.path, name), self.index)
            node = child
        return node

    def _find_or_none(self, path: str) -> Node | None:
        try:
            return self._find(path)
        except V2Error as error:
            if error.code is not Code.KEY_NOT_FOUND:
                raise
            return None

    def _find_file(self, path: str) -> Node:
        node = self._find(path)
        if node.is_dir:
            raise V2Error(Code.NOT_FILE, path, self.index)
        return node

    def _compare(self, node: Node, prev_value: str, prev_index: int) -> None:
        is_index_right = prev_index in (0, node.modified_index)
        is_value_right = prev_value in ("", node.value)
        if is_index_right and is_value_right:
            return
        value_cause = f"[{prev_value} != {node.value}]"
        index_cause = f"[{prev_index} != {node.modified_index}]"
        if is_value_right:
            cause = index_cause
        else:
            cause = value_cause if is_index_right else f"{value_cause} {index_cause}"
        raise V2Error(Code.TEST_FAILED, cause, self.index)

    def _directory(self, path: str) -> Node:
        """The directory at `path`, made with all above it if it is not there."""
        node = self._root
        for name in path.split("/")[1:]:
            if not name:
                break
            assert node.children is not None, node.path
            child = node.children.get(name)
            if child is None:
                child = Node(
                    posixpath.join(node.path, name), self.index + 1, self.index + 1, value=None, parent=node
                )
                self._add_node(child)
                self._journal.save_node(child)
            elif not child.is_dir:
                raise V2Error(Code.NOT_DIRECTORY, child.path, self.index)
            node = child
        return node

    def _create(
        self, path: str, value: str, is_dir: bool, action: Action, expire_ns: int, *, replace: bool
    ) -> Event:
        if path in _READ_ONLY:
            raise V2Error(Code.ROOT_READ_ONLY, "/", self.index)
        if expire_ns < EXPIRE_NS_MIN:
            expire_ns = 0
        parent = self._directory(path.rpartition("/")[0])
        assert parent.children is not None, parent.path
        before = parent.children.get(path.rpartition("/")[2])
        if before is not None:
            if not replace:
                raise V2Error(Code.NODE_EXISTS, path, self.index)
            if before.is_dir:
                raise V2Error(Code.NOT_FILE, path, self.index)
            self._detach(before)
        following = self.index + 1
        node = Node(path, following, following, value=None if is_dir else value, parent=parent)
        self._add_node(node)
        self._set_expiry(node, expire_ns)
        self._journal.save_node(node)
        return Event(action, node.view(self._now_ns()))

    def _rewrite(self, action: Action, node: Node, value: str, expire_ns: int, refresh: bool) -> Event:
        prev_node = node.view(self._now_ns())
        node.value = value
        node.modified_index = self.index + 1
        self._set_expiry(node, expire_ns)
        self._journal.save_node(node)
        return self._tell(Event(action, node.view(self._now_ns()), prev_node, refresh))

    def _take_away(self, action: Action, node: Node) -> Event:
        prev_node = node.view(self._now_ns())
        gone = NodeView(node.path, self.index + 1, node.created_index, is_dir=node.is_dir)
        event = Event(action, gone, prev_node, etcd_index=self.index + 1)
        for one in (*node.below(), node):
            self.watchers.notify_at(event, one.path, is_gone=True)
            self._detach(one)
        return self._tell(event)

    def _tell(self, event: Event) -> Event:
        """The event has happened: the index goes on, the history and who waits hear of it."""
        self.index += 1
        assert event.index == self.index, f"an event of {event.index} at {self.index}"
        event.etcd_index = self.index
        self._journal.save_event(event, self.history.add(event))
        if not event.is_refresh:
            self.watchers.notify(event)
        return event

    def _add_node(self, node: Node) -> None:
        assert node.parent is not None, node.path
        assert node.parent.children is not None, node.parent.path
        node.parent.children[node.name] = node

    def _detach(self, node: Node) -> None:
        assert node.parent is not None, node.path
        assert node.parent.children is not None, node.parent.path
        del node.parent.children[node.name]
        self._expiring.discard(node)
        self._journal.forget_node(node)

    def _set_expiry(self, node: Node, expire_ns: int) -> None:
        node.expire_ns = expire_ns
        if expire_ns:
            self._expiring.add(node)
            heapq.heappush(self._deadlines, (expire_ns, node.path, next(self._count), node))
            if len(self._deadlines) > 2 * len(self._expiring) + STALE_DEADLINES_MAX:
                self._deadlines = [
                    (one.expire_ns, one.path, next(self._count), one) for one in self._expiring
                ]
                heapq.heapify(self._deadlines)
        else:
            self._expiring.discard(node)

    def _load(self, node: Node) -> None:
        try:
            parent = self._find(node.path.rpartition("/")[0] or "/")
        except V2Error as error:
            raise CorruptRows(f"v2 store in the backend: {node.path} without its directory") from error
        if parent.children is None:
            raise CorruptRows(f"v2 store in the backend: {node.path} below a key")
        node.parent = parent
        self._add_node(node)
        self._set_expiry(node, node.expire_ns)


def clean(path: str) -> str:
    """The path without doubled slashes, dots and a slash at its end."""
    return posixpath.normpath("/" + path.lstrip("/"))
