"""Names of the buckets: etcd's own, and those that only etcdpy has.

A bucket is a small int so that the hot paths index a list with it. The string is the name of the LMDB
database, and for etcd's buckets also the name inside a snapshot file and under a `Hash`.
"""

from enum import IntEnum
from typing import Final


class Bucket(IntEnum):
    """One ordered map of bytes to bytes."""

    KEY = 0
    META = 1
    LEASE = 2
    ALARM = 3
    CLUSTER = 4
    MEMBERS = 5
    MEMBERS_REMOVED = 6
    AUTH = 7
    AUTH_USERS = 8
    AUTH_ROLES = 9
    INDEX = 10
    HISTORY = 11  # replaced by LINKS, and empty since
    ATTACHMENTS = 12
    COUNTS = 13
    V2 = 14
    LINKS = 15
    IDENTITY = 16


NAMES: Final[dict[Bucket, bytes]] = {
    Bucket.KEY: b"key",
    Bucket.META: b"meta",
    Bucket.LEASE: b"lease",
    Bucket.ALARM: b"alarm",
    Bucket.CLUSTER: b"cluster",
    Bucket.MEMBERS: b"members",
    Bucket.MEMBERS_REMOVED: b"members_removed",
    Bucket.AUTH: b"auth",
    Bucket.AUTH_USERS: b"authUsers",
    Bucket.AUTH_ROLES: b"authRoles",
    Bucket.INDEX: b"index",
    Bucket.HISTORY: b"history",
    Bucket.ATTACHMENTS: b"attachments",
    Bucket.COUNTS: b"counts",
    Bucket.V2: b"v2",
    Bucket.LINKS: b"links",
    Bucket.IDENTITY: b"identity",
}

# What a snapshot carries and a `Hash` covers, in name order. The rest can be rebuilt from KEY,
# but for V2, which travels as JSON.
ETCD_BUCKETS: Final[tuple[Bucket, ...]] = tuple(
    sorted((bucket for bucket in Bucket if bucket < Bucket.INDEX), key=lambda bucket: NAMES[bucket])
)

# Tails of keys that LMDB cannot hold whole; see `long_keys`. Not a bucket: it has no meaning of its own.
TAILS_NAME: Final = b"tails"

CONSISTENT_INDEX: Final = b"consistent_index"
TERM: Final = b"term"
