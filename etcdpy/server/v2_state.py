"""The v2 store as a part of a member's state: its bucket, its clock, and what membership adds to it.

In etcd the members are keys of this store, so each change of the membership moves its index by one or two. We
keep the members elsewhere and move the index all the same, as clients count by it.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from etcdpy.backend import Bucket
from etcdpy.cluster.ids import format_id
from etcdpy.cluster.members import decode_context
from etcdpy.raft.messages import ConfChangeType
from etcdpy.v2store import Action, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.cluster.membership import BucketWriter
    from etcdpy.raft.messages import ConfChange
    from etcdpy.v2store import Watchers

MEMBERS, REMOVED, VERSION = "/0/members", "/0/removed_members", "/0/version"


class V2Bucket:
    """The bucket as the store wants it."""

    def __init__(self, buckets: BucketWriter) -> None:
        self._buckets = buckets

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row."""
        self._buckets.put(Bucket.V2, key, value)

    def delete(self, key: bytes) -> None:
        """Remove a row."""
        self._buckets.delete(Bucket.V2, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows."""
        return self._buckets.items(Bucket.V2)


def open_store(buckets: BucketWriter, watchers: Watchers | None = None) -> Store:
    """The store as the backend has it. Its clock only tells how many seconds keys have left to live."""
    return Store(V2Bucket(buckets), time_ns, watchers)


def note_change(store: Store, change: ConfChange) -> None:
    """A change of the configuration has been applied."""
    path = f"{MEMBERS}/{format_id(change.node_id)}"
    if change.type is ConfChangeType.REMOVE_NODE:
        store.note(Action.DELETE, path, None)
        store.note(Action.CREATE, f"{REMOVED}/{format_id(change.node_id)}")
        return
    is_new = change.type is not ConfChangeType.UPDATE_NODE and not decode_context(change.context).is_promote
    store.note(Action.CREATE if is_new else Action.UPDATE, f"{path}/raftAttributes")


def note_attributes(store: Store, member_id: int) -> None:
    """A member has made itself known."""
    store.note(Action.SET, f"{MEMBERS}/{format_id(member_id)}/attributes")


def note_version(store: Store) -> None:
    """The cluster version has been set."""
    store.note(Action.SET, VERSION)
