"""How often something took how long."""

from bisect import bisect_left


def doubling(first: float, count: int) -> tuple[float, ...]:
    """Upper bounds of buckets, each twice the one before."""
    return tuple(first * 2**power for power in range(count))


class Histogram:
    """Observations by bucket; not cumulative until they are written down.

    Attributes:
        bounds: upper bounds of the buckets but the last, which has none. A bound belongs to its bucket.
        counts: observations in each bucket.
        sum: of all that was observed.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)
