"""What a lessor counts of itself. It outlives the lessor, which a snapshot replaces."""

from etcdpy.metrics import Histogram, doubling


class LeaseObserved:
    """Counters since the member has started; `ttls_s` are those that were granted."""

    __slots__ = ("granted", "renewed", "revoked", "ttls_s")

    def __init__(self) -> None:
        self.granted = 0
        self.revoked = 0
        self.renewed = 0
        self.ttls_s = Histogram(doubling(1, 24))
