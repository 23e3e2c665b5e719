"""Ids that no other proposal of the cluster carries, now or after a restart.

Layout as etcd's: the low 16 bits of the member id, then 40 bits of unix milliseconds, then an 8-bit
counter; each id is the one before plus one, so that a burst borrows from the milliseconds to come
instead of repeating.
"""


class RequestIds:
    """Hands out request ids (uint64) and lease ids (positive int64)."""

    def __init__(self, member_id: int, unix_ms: int) -> None:
        self._prefix = (member_id & 0xFFFF) << 48
        self._suffix = (unix_ms & 0xFF_FFFF_FFFF) << 8

    def next(self) -> int:
        """The next request id."""
        self._suffix = (self._suffix + 1) & 0xFFFF_FFFF_FFFF
        return self._prefix | self._suffix

    def next_lease_id(self) -> int:
        """The next id with the sign bit cleared: lease ids are int64 on the wire and never negative."""
        return self.next() & 0x7FFF_FFFF_FFFF_FFFF
