"""A client library for etcd, for threads (`Client`) and for asyncio (`AsyncClient`).

It knows the wire and nothing of the server: it works with every etcd from 3.4 on. See `docs/client.md`.
"""

from etcdpy.client import compare, op
from etcdpy.client.auth import AuthStatus, Permission
from etcdpy.client.client import AsyncClient, Client
from etcdpy.client.cluster import Alarm, HashKv, Member, Status
from etcdpy.client.election import AsyncElection, Election
from etcdpy.client.errors import (
    AuthFailed,
    Cancelled,
    Closed,
    CompactedError,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    EtcdError,
    FailedPrecondition,
    FutureRevision,
    InvalidArgument,
    LeaseExists,
    LeaseNotFound,
    NoLeader,
    NoSpace,
    NotFound,
    NotHeld,
    NotSent,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WatchEnded,
)
from etcdpy.client.keys import KeyRange, between, from_key, prefix
from etcdpy.client.lease import AsyncLease, Lease, TimeToLive
from etcdpy.client.lock import AsyncLock, Lock
from etcdpy.client.settings import BadEndpoint, Settings, Tls
from etcdpy.client.transaction import AsyncTransaction, Transaction
from etcdpy.client.values import (
    DeleteResult,
    Event,
    GetResult,
    Header,
    KeyValue,
    PutResult,
    TxnResult,
)
from etcdpy.client.watch import AsyncWatch, Watch
from etcdpy.client.watch_hub import Batch

__all__ = [
    "AsyncClient",
    "Client",
    "Settings",
    "Tls",
    "KeyRange",
    "prefix",
    "between",
    "from_key",
    "op",
    "compare",
    "KeyValue",
    "Event",
    "Header",
    "GetResult",
    "PutResult",
    "DeleteResult",
    "TxnResult",
    "Watch",
    "AsyncWatch",
    "Batch",
    "Lease",
    "AsyncLease",
    "TimeToLive",
    "Lock",
    "AsyncLock",
    "Election",
    "AsyncElection",
    "Transaction",
    "AsyncTransaction",
    "Member",
    "Status",
    "HashKv",
    "Alarm",
    "Permission",
    "AuthStatus",
    "BadEndpoint",
    "EtcdError",
    "AuthFailed",
    "Cancelled",
    "Closed",
    "CompactedError",
    "Conflict",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FutureRevision",
    "InvalidArgument",
    "LeaseExists",
    "LeaseNotFound",
    "NoLeader",
    "NoSpace",
    "NotFound",
    "NotHeld",
    "NotSent",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "WatchEnded",
]
