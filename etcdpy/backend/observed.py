"""What a backend counts of itself. It outlives the backend, which a snapshot replaces.

The committer thread observes its commits; nobody else does, and a scrape that reads while it adds is off by
the one that is just being counted.
"""

from etcdpy.metrics import Histogram, doubling


class BackendObserved:
    """Times in seconds: whole commits, their last step (LMDB's own commit with its sync), defragmentations,
    and snapshots from the view until the whole was read.
    """

    __slots__ = ("commits_s", "defragmenting", "defragments_s", "snapshots_s", "writes_s")

    def __init__(self) -> None:
        self.commits_s = Histogram(doubling(0.001, 14))
        self.writes_s = Histogram(doubling(0.001, 14))
        self.defragments_s = Histogram(doubling(0.1, 13))
        self.defragmenting = 0
        self.snapshots_s = Histogram(doubling(0.01, 17))
