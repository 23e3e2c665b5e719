"""A queue of deadlines that costs nothing while nothing is due.

A heap whose entries are never moved. Each lease owns at most one live entry: scheduling it again makes the
older entry void, and a void entry is dropped when it reaches the top. So renewing a lease a thousand times
leaves one entry, and a tick over a hundred thousand leases looks at one. Void entries with far deadlines
would pile up under grant-and-revoke traffic; when they outnumber the live ones the heap is rebuilt, which
keeps memory in proportion to the leases alive.
"""

from __future__ import annotations

import heapq

# Below this size a rebuild would not be worth its own cost.
REBUILD_ENTRIES_MIN = 64


class Deadlines:
    """Lease ids by the moment they are due, earliest first; equal moments in order of scheduling."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._serial_by_lease: dict[int, int] = {}
        self._next_serial = 0

    def __len__(self) -> int:
        return len(self._serial_by_lease)

    @property
    def entries(self) -> int:
        """Heap entries including void ones; what the rebuild keeps in bounds."""
        return len(self._heap)

    def schedule(self, lease_id: int, at: float) -> None:
        """Make `at` the only deadline of this lease."""
        self._next_serial += 1
        self._serial_by_lease[lease_id] = self._next_serial
        heapq.heappush(self._heap, (at, self._next_serial, lease_id))
        self._maybe_rebuild()

    def forget(self, lease_id: int) -> None:
        """Drop the deadline of this lease, if it has one."""
        if self._serial_by_lease.pop(lease_id, None) is not None:
            self._maybe_rebuild()

    def pop_due(self, now: float) -> int | None:
        """Take out the earliest lease whose deadline is not after `now`."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, lease_id = heapq.heappop(heap)
            if self._serial_by_lease.get(lease_id) == serial:
                del self._serial_by_lease[lease_id]
                return lease_id
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._serial_by_lease.clear()

    def _maybe_rebuild(self) -> None:
        if len(self._heap) < REBUILD_ENTRIES_MIN + 2 * len(self._serial_by_lease):
            return
        serials = self._serial_by_lease
        self._heap = [entry for entry in self._heap if serials.get(entry[2]) == entry[1]]
        heapq.heapify(self._heap)
        assert len(self._heap) == len(serials), f"{len(self._heap)} live entries for {len(serials)} leases"
