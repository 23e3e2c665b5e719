"""What a store counts of itself. It outlives the store, which a snapshot replaces."""

from typing import Final

from etcdpy.metrics import Histogram, doubling

_HASH_BOUNDS: Final = doubling(0.01, 15)


class StoreObserved:
    """Counters since the member has started.

    Attributes:
        ranges: looks at keys, also those that puts and transactions take.
        puts, deletes: operations, not keys. put_bytes: keys and values.
        txns: transactions of more than one operation.
        compacted_records: records removed. compaction_ended_at: on the member's clock; None before.
        compaction_pauses_ms, compactions_ms: how long a step kept the loop, and a whole compaction took.
        hashes_s, revision_hashes_s: Hash and HashKV.
    """

    __slots__ = (
        "compacted_records",
        "compaction_ended_at",
        "compaction_pauses_ms",
        "compactions_ms",
        "deletes",
        "hashes_s",
        "put_bytes",
        "puts",
        "ranges",
        "revision_hashes_s",
        "txns",
    )

    def __init__(self) -> None:
        self.ranges = 0
        self.puts = 0
        self.put_bytes = 0
        self.deletes = 0
        self.txns = 0
        self.compacted_records = 0
        self.compaction_ended_at: float | None = None
        self.compaction_pauses_ms = Histogram(doubling(1, 13))
        self.compactions_ms = Histogram(doubling(100, 14))
        self.hashes_s = Histogram(_HASH_BOUNDS)
        self.revision_hashes_s = Histogram(_HASH_BOUNDS)

    def ended(self, operations: int) -> None:
        """A transaction has ended."""
        if operations > 1:
            self.txns += 1
