"""PING: who may send how many, and who is still there. The rules are gRPC's, because gRPC clients are what
connects.

A client that pings too often gets strikes and then GOAWAY with "too_many_pings". Clients also ping to measure
the bandwidth, once a round trip while data flows; on a fast network that is thousands a second. So whenever
we sent HEADERS or DATA since the last PING, it is excused and the strikes are forgotten: such PINGs are never
more than our answers.
"""

from etcdpy.http2.limits import Bucket, Limits


class PingPolice:
    """Counts the peer's PINGs."""

    __slots__ = ("_bucket", "_idle_seconds", "_interval_seconds", "_last_at", "_strikes", "_strikes_max")

    def __init__(self, limits: Limits, now: float) -> None:
        self._bucket = Bucket(limits.ping_burst, limits.ping_per_second, now)
        self._interval_seconds = limits.ping_interval_seconds
        self._idle_seconds = limits.ping_interval_idle_seconds
        self._strikes_max = limits.ping_strikes_max
        self._strikes = 0
        self._last_at = -float("inf")

    def allows(self, now: float, *, answered: bool, busy: bool) -> bool:
        """Count one PING: `answered` if we sent HEADERS or DATA since the one before, `busy` if a request is
        running."""
        elapsed = now - self._last_at
        self._last_at = now
        if answered:
            self._strikes = 0
            return True
        if not self._bucket.take(now):
            return False
        if elapsed < (self._interval_seconds if busy else self._idle_seconds):
            self._strikes += 1
        return self._strikes <= self._strikes_max


class Keepalive:
    """Pings a silent peer and says when to give it up."""

    __slots__ = ("_interval_seconds", "_pinged_at", "_timeout_seconds")

    def __init__(self, limits: Limits) -> None:
        self._interval_seconds = limits.keepalive_seconds
        self._timeout_seconds = limits.keepalive_timeout_seconds
        self._pinged_at: float | None = None

    def should_ping(self, now: float, received_at: float) -> bool:
        """Whether to send a PING now; remembers that it was sent."""
        if self._pinged_at is not None and received_at >= self._pinged_at:
            self._pinged_at = None
        if self._pinged_at is not None or not self._interval_seconds:
            return False
        if now - received_at < self._interval_seconds:
            return False
        self._pinged_at = now
        return True

    def is_dead(self, now: float, received_at: float) -> bool:
        """Whether the PING stayed without any answer for too long."""
        if self._pinged_at is None or received_at >= self._pinged_at:
            return False
        return now - self._pinged_at >= self._timeout_seconds
