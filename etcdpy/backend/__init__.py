"""The database under a member: LMDB behind two batches of writes.

Everything a member must remember beyond its log lies in a bucket here: key-values, leases, users, members,
alarms and the raft position that all of them belong to. The room stores bytes and knows nothing of what they
mean.
"""

from etcdpy.backend.backend import Backend
from etcdpy.backend.buckets import ETCD_BUCKETS, NAMES, Bucket
from etcdpy.backend.errors import BackendCorrupt, BackendError, BackendFull, BackendLocked
from etcdpy.backend.reader import Reader

__all__ = [
    "Backend",
    "Bucket",
    "NAMES",
    "ETCD_BUCKETS",
    "Reader",
    "BackendError",
    "BackendFull",
    "BackendCorrupt",
    "BackendLocked",
]
