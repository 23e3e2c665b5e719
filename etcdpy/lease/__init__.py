"""Leases: who granted them is decided in the log, when they run out is the leader's opinion.

`Lessor` keeps every lease of the member, its keys and, on the leader, its deadline. It proposes nothing by
itself: the server asks it what is due and puts revocations and checkpoints through the log.
"""

from etcdpy.lease.errors import (
    LeaseError,
    LeaseExists,
    LeaseExpired,
    LeaseNotFound,
    LeaseTTLTooLarge,
    NotPrimary,
)
from etcdpy.lease.lessor import TTL_MAX_S, Lease, Lessor

__all__ = [
    "Lessor",
    "Lease",
    "TTL_MAX_S",
    "LeaseError",
    "LeaseNotFound",
    "LeaseExists",
    "LeaseTTLTooLarge",
    "LeaseExpired",
    "NotPrimary",
]
