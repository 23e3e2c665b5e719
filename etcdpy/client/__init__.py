"""A client library for etcd, for threads (`Client`) and for asyncio (`AsyncClient`).

It knows the wire and nothing of the server: it works with every etcd from 3.4 on. See `docs/client.md`.
"""

from etcdpy.client.client import AsyncClient, Client
from etcdpy.client.errors import (
    AuthFailed,
    Cancelled,
    Closed,
    CompactedError,
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
    NotSent,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WatchEnded,
)
from etcdpy.client.settings import BadEndpoint, Settings, Tls

__all__ = [
    "AsyncClient",
    "Client",
    "Settings",
    "Tls",
    "BadEndpoint",
    "EtcdError",
    "AuthFailed",
    "Cancelled",
    "Closed",
    "CompactedError",
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
    "NotSent",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "WatchEnded",
]
