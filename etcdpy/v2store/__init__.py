"""The store of etcd's v2 API: a tree of keys in memory, with times to live, a short history and watchers.

Members apply v2 requests from the same log as all others, so the tree is part of the replicated state. It is
kept in memory and mirrored row by row into one bucket of the backend, so that it belongs to the same
consistent index as the rest, and it travels in raft snapshots as etcd's JSON. Membership changes count here
as well: in etcd they are keys of this store, and an index that left them out would differ from that of
other members.
"""

from etcdpy.v2store.dump import dump, import_dump
from etcdpy.v2store.errors import StoreFault, V2Error
from etcdpy.v2store.events import Action, Event, NodeView, format_time
from etcdpy.v2store.requests import KEYS_ROOT, Get, apply_request
from etcdpy.v2store.rows import CorruptRows, Rows
from etcdpy.v2store.store import Store
from etcdpy.v2store.watchers import Watcher, Watchers

__all__ = [
    "KEYS_ROOT",
    "Action",
    "CorruptRows",
    "Event",
    "Get",
    "NodeView",
    "Rows",
    "Store",
    "StoreFault",
    "V2Error",
    "Watcher",
    "Watchers",
    "apply_request",
    "dump",
    "format_time",
    "import_dump",
]
