"""What can go wrong between a client and its lease."""


class LeaseError(Exception):
    """Base of everything the lease room raises."""


class LeaseNotFound(LeaseError):
    """No lease has this id."""


class LeaseExists(LeaseError):
    """A lease with the requested id is there already."""


class LeaseTTLTooLarge(LeaseError):
    """The requested TTL is above what etcd accepts."""


class LeaseExpired(LeaseError):
    """The lease ran out and its revocation is under way: wait with `Lessor.when_revoked`."""


class NotPrimary(LeaseError):
    """Only the leader's lessor measures time; this one belongs to a follower."""
