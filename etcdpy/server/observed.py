"""What a member counts of itself: applied requests with their times, and what went wrong.

Applying takes microseconds, so it is not timed request by request: the time of a batch of entries is shared
out among them. `Operation` counts the requests of one kind, `AppliedTimes` turns counts and time into
histograms at the end of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.metrics import Histogram, doubling

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.server.results import Response

_APPLY_BOUNDS = doubling(0.0001, 20)


class Operation:
    """How to apply requests of one kind, and how many of this batch have been, those that failed included."""

    __slots__ = ("applied", "failed", "handler", "kind")

    def __init__(self, kind: str, handler: Callable[[Any], Response]) -> None:
        self.kind = kind
        self.handler = handler
        self.applied = 0
        self.failed = 0


class AppliedTimes:
    """Times of applied requests by kind and success."""

    def __init__(self) -> None:
        self.histograms: dict[tuple[str, bool], Histogram] = {}

    def batch_ended(self, operations: list[Operation], seconds: float) -> None:
        """The operations of a batch have been applied in this time; their counts begin anew."""
        each = seconds / sum(operation.applied for operation in operations)
        for operation in operations:
            succeeded = operation.applied - operation.failed
            if succeeded:
                self._observe(operation.kind, True, each, succeeded)
            if operation.failed:
                self._observe(operation.kind, False, each, operation.failed)
            operation.applied = operation.failed = 0
        operations.clear()

    def _observe(self, kind: str, success: bool, each: float, times: int) -> None:
        histogram = self.histograms.get((kind, success))
        if histogram is None:
            histogram = self.histograms[kind, success] = Histogram(_APPLY_BOUNDS)
        histogram.observe(each, times)


class MemberObserved:
    """Counters since the member has started."""

    def __init__(self) -> None:
        self.applied = AppliedTimes()
        self.slow_applies = 0
        self.leader_changes = 0
        self.proposals_failed = 0
        self.late_heartbeats = 0
        self.leases_expired = 0
        self.installing_snapshot = 0
        self.promotions = 0
        self.failed_promotions: dict[str, int] = {}
        self.received_databases_s = Histogram(doubling(0.1, 10))
        self.received_database_syncs_s = Histogram(doubling(0.001, 14))
