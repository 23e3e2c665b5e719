"""What a log and its snapshot files count of themselves.

Saves run in one thread at a time; a scrape that reads meanwhile is off by the one that is being counted.
"""

from etcdpy.metrics import Histogram, doubling

_BOUNDS = doubling(0.001, 14)


class WalObserved:
    """Times in seconds, and the bytes written."""

    __slots__ = ("syncs_s", "writes_s", "written_bytes")

    def __init__(self) -> None:
        self.written_bytes = 0
        self.writes_s = Histogram(_BOUNDS)
        self.syncs_s = Histogram(_BOUNDS)


class SnapshotFilesObserved:
    """Times in seconds of saving a `.snap` file: encoding it, bringing it to disk, and all of that."""

    __slots__ = ("encodes_s", "saves_s", "syncs_s")

    def __init__(self) -> None:
        self.encodes_s = Histogram(_BOUNDS)
        self.syncs_s = Histogram(_BOUNDS)
        self.saves_s = Histogram(_BOUNDS)
