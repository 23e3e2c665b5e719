"""A client library for etcd, for threads (`Client`) and for asyncio (`AsyncClient`).

It knows the wire and nothing of the server: it works with every etcd from 3.4 on. See `docs/client.md`.

Nothing is imported before it is asked for (PEP 562), so that who needs a part, like `etcdpyctl`, waits for
that part alone. Type checkers read the imports, Python the table.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from etcdpy.client import compare as compare
    from etcdpy.client import op as op
    from etcdpy.client.auth import AuthStatus as AuthStatus
    from etcdpy.client.auth import Permission as Permission
    from etcdpy.client.client import AsyncClient as AsyncClient
    from etcdpy.client.client import Client as Client
    from etcdpy.client.cluster import Alarm as Alarm
    from etcdpy.client.cluster import HashKv as HashKv
    from etcdpy.client.cluster import Member as Member
    from etcdpy.client.cluster import Status as Status
    from etcdpy.client.election import AsyncElection as AsyncElection
    from etcdpy.client.election import Election as Election
    from etcdpy.client.errors import AuthFailed as AuthFailed
    from etcdpy.client.errors import Cancelled as Cancelled
    from etcdpy.client.errors import Closed as Closed
    from etcdpy.client.errors import CompactedError as CompactedError
    from etcdpy.client.errors import Conflict as Conflict
    from etcdpy.client.errors import DataLoss as DataLoss
    from etcdpy.client.errors import DeadlineExceeded as DeadlineExceeded
    from etcdpy.client.errors import EtcdError as EtcdError
    from etcdpy.client.errors import FailedPrecondition as FailedPrecondition
    from etcdpy.client.errors import FutureRevision as FutureRevision
    from etcdpy.client.errors import InvalidArgument as InvalidArgument
    from etcdpy.client.errors import LeaseExists as LeaseExists
    from etcdpy.client.errors import LeaseNotFound as LeaseNotFound
    from etcdpy.client.errors import NoLeader as NoLeader
    from etcdpy.client.errors import NoSpace as NoSpace
    from etcdpy.client.errors import NotFound as NotFound
    from etcdpy.client.errors import NotHeld as NotHeld
    from etcdpy.client.errors import NotSent as NotSent
    from etcdpy.client.errors import OutOfRange as OutOfRange
    from etcdpy.client.errors import PermissionDenied as PermissionDenied
    from etcdpy.client.errors import ResourceExhausted as ResourceExhausted
    from etcdpy.client.errors import Unauthenticated as Unauthenticated
    from etcdpy.client.errors import Unavailable as Unavailable
    from etcdpy.client.errors import Unimplemented as Unimplemented
    from etcdpy.client.errors import WatchEnded as WatchEnded
    from etcdpy.client.keys import KeyRange as KeyRange
    from etcdpy.client.keys import between as between
    from etcdpy.client.keys import from_key as from_key
    from etcdpy.client.keys import prefix as prefix
    from etcdpy.client.lease import AsyncLease as AsyncLease
    from etcdpy.client.lease import Lease as Lease
    from etcdpy.client.lease import TimeToLive as TimeToLive
    from etcdpy.client.lock import AsyncLock as AsyncLock
    from etcdpy.client.lock import Lock as Lock
    from etcdpy.client.settings import BadEndpoint as BadEndpoint
    from etcdpy.client.settings import Settings as Settings
    from etcdpy.client.settings import Tls as Tls
    from etcdpy.client.transaction import AsyncTransaction as AsyncTransaction
    from etcdpy.client.transaction import Transaction as Transaction
    from etcdpy.client.values import DeleteResult as DeleteResult
    from etcdpy.client.values import Event as Event
    from etcdpy.client.values import GetResult as GetResult
    from etcdpy.client.values import Header as Header
    from etcdpy.client.values import KeyValue as KeyValue
    from etcdpy.client.values import PutResult as PutResult
    from etcdpy.client.values import TxnResult as TxnResult
    from etcdpy.client.watch import AsyncWatch as AsyncWatch
    from etcdpy.client.watch import Watch as Watch
    from etcdpy.client.watch_hub import Batch as Batch

_NAMES: Final = {
    "auth": "AuthStatus Permission",
    "client": "AsyncClient Client",
    "cluster": "Alarm HashKv Member Status",
    "election": "AsyncElection Election",
    "errors": (
        "AuthFailed Cancelled Closed CompactedError Conflict DataLoss DeadlineExceeded EtcdError "
        "FailedPrecondition FutureRevision InvalidArgument LeaseExists LeaseNotFound NoLeader NoSpace "
        "NotFound NotHeld NotSent OutOfRange PermissionDenied ResourceExhausted Unauthenticated Unavailable "
        "Unimplemented WatchEnded"
    ),
    "keys": "KeyRange between from_key prefix",
    "lease": "AsyncLease Lease TimeToLive",
    "lock": "AsyncLock Lock",
    "settings": "BadEndpoint Settings Tls",
    "transaction": "AsyncTransaction Transaction",
    "values": "DeleteResult Event GetResult Header KeyValue PutResult TxnResult",
    "watch": "AsyncWatch Watch",
    "watch_hub": "Batch",
}
# Submodules that are part of the interface themselves.
_MODULES: Final = ("compare", "op")
_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # hidden from type checkers, to which any name at all would be one of ours
    __all__ = [*_MODULES, *_MODULE_OF]

    def __getattr__(name: str) -> object:
        """Import what is asked for, once: afterwards it is an attribute like any other."""
        if name in _MODULES:
            return import_module(f"etcdpy.client.{name}")
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"etcdpy.client.{module}"), name)
        setattr(sys.modules[__name__], name, found)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
