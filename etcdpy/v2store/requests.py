"""What the v2 requests in the log mean, each an operation on the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.proto.etcdserver_pb2 import Request
    from etcdpy.v2store.events import Event
    from etcdpy.v2store.store import Store

# Where clients' keys lie in the tree.
KEYS_ROOT = "/1"
SYNC = "SYNC"


@dataclass(frozen=True, slots=True)
class Get:
    """A read of the local store."""

    path: str
    recursive: bool = False
    is_sorted: bool = False


def apply_request(store: Store, request: Request) -> Event | None:
    """Do what a request says; the event that its proposer waits for, None for a removal of expired keys.

    Raises:
        V2Error, StoreFault: it is refused, on all members alike, and nothing has changed.
    """
    match request.Method:
        case "POST":
            return store.create(
                request.Path, request.Val, is_dir=request.Dir, unique=True, expire_ns=request.Expiration
            )
        case "PUT":
            return _put(store, request)
        case "DELETE":
            if request.PrevIndex or request.PrevValue:
                return store.compare_and_delete(request.Path, request.PrevValue, request.PrevIndex)
            return store.delete(request.Path, is_dir=request.Dir, recursive=request.Recursive)
        case "QGET":
            return store.get(request.Path, recursive=request.Recursive, is_sorted=request.Sorted)
        case "SYNC":
            store.delete_expired(request.Time)
            return None
        case _:
            return None


def _put(store: Store, request: Request) -> Event:
    path, value, expire_ns, refresh = request.Path, request.Val, request.Expiration, request.Refresh
    is_compared = bool(request.PrevIndex or request.PrevValue)
    if request.HasField("PrevExist") and not request.PrevExist:
        return store.create(path, value, is_dir=request.Dir, expire_ns=expire_ns)
    if is_compared:
        return store.compare_and_swap(
            path, request.PrevValue, request.PrevIndex, value, expire_ns=expire_ns, refresh=refresh
        )
    if request.HasField("PrevExist"):
        return store.update(path, value, expire_ns=expire_ns, refresh=refresh)
    return store.set(path, value, is_dir=request.Dir, expire_ns=expire_ns, refresh=refresh)
