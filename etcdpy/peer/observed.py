"""What goes between this member and the others, by the other member's id.

A peer has counters as soon as it is known and keeps them when it leaves; they are a dozen numbers. Bytes that
came without a message, the heartbeats of an idle stream, count under id 0, as etcd has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.metrics import Family, Histogram, doubling, labels

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUND_TRIP_BOUNDS = doubling(0.0001, 16)
_SNAPSHOT_BOUNDS = doubling(0.1, 10)
NOBODY = 0


class SnapshotTransfers:
    """Databases in one direction."""

    __slots__ = ("durations_s", "failed", "succeeded", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.succeeded = 0
        self.failed = 0
        self.durations_s = Histogram(_SNAPSHOT_BOUNDS)

    def ended(self, ok: bool, seconds: float) -> None:
        """One that was under way has arrived or failed."""
        self.under_way -= 1
        if ok:
            self.succeeded += 1
            self.durations_s.observe(seconds)
        else:
            self.failed += 1

    @property
    def is_used(self) -> bool:
        """Whether there has been any."""
        return bool(self.under_way or self.succeeded or self.failed)


class PeerObserved:
    """The counters of one peer."""

    __slots__ = (
        "active",
        "losses",
        "received_bytes",
        "received_databases",
        "received_failures",
        "round_trips_s",
        "sent_bytes",
        "sent_databases",
        "sent_failures",
    )

    def __init__(self) -> None:
        self.active: bool | None = None
        """Whether it is connected; None before it ever was."""
        self.losses = 0
        self.sent_bytes = 0
        self.sent_failures = 0
        self.received_bytes = 0
        self.received_failures = 0
        self.round_trips_s = Histogram(_ROUND_TRIP_BOUNDS)
        self.sent_databases = SnapshotTransfers()
        self.received_databases = SnapshotTransfers()


class PeersObserved:
    """The counters of all peers of one member."""

    def __init__(self, member_id: int) -> None:
        self._member_id = member_id
        self._by_id: dict[int, PeerObserved] = {}

    def peer(self, member_id: int) -> PeerObserved:
        """The counters of one peer."""
        found = self._by_id.get(member_id)
        if found is None:
            found = self._by_id[member_id] = PeerObserved()
        return found

    def families(self) -> Iterator[Family]:
        """What Prometheus gets to see."""
        yield from self._links()
        yield from self._traffic()
        yield from self._databases()

    def _links(self) -> Iterator[Family]:
        active = Family(
            "etcd_network_active_peers", "gauge", "The current number of active peer connections."
        )
        lost = Family(
            "etcd_network_disconnected_peers_total", "counter", "The total number of disconnected peers."
        )
        local = f"{self._member_id:x}"
        for member_id, peer in sorted(self._by_id.items()):
            labelled = labels(Local=local, Remote=f"{member_id:x}")
            if peer.active is not None:
                active.add(int(peer.active), labelled)
            if peer.losses:
                lost.add(peer.losses, labelled)
        yield from (active, lost)

    def _traffic(self) -> Iterator[Family]:
        name = "etcd_network_peer_"
        received = Family(
            name + "received_bytes_total", "counter", "The total number of bytes received from peers."
        )
        sent = Family(name + "sent_bytes_total", "counter", "The total number of bytes sent to peers.")
        not_received = Family(
            name + "received_failures_total", "counter", "The total number of receive failures from peers."
        )
        not_sent = Family(
            name + "sent_failures_total", "counter", "The total number of send failures from peers."
        )
        round_trips = Family(
            name + "round_trip_time_seconds", "histogram", "Round-Trip-Time histogram between peers"
        )
        for member_id, peer in sorted(self._by_id.items()):
            source, target = labels(From=f"{member_id:x}"), labels(To=f"{member_id:x}")
            if peer.received_bytes:
                received.add(peer.received_bytes, source)
            if peer.sent_bytes:
                sent.add(peer.sent_bytes, target)
            if peer.received_failures:
                not_received.add(peer.received_failures, source)
            if peer.sent_failures:
                not_sent.add(peer.sent_failures, target)
            if peer.round_trips_s.count:
                round_trips.add_histogram(peer.round_trips_s, target)
        yield from (received, sent, not_received, not_sent, round_trips)

    def _databases(self) -> Iterator[Family]:
        for direction, label in (("send", "To"), ("receive", "From")):
            name = f"etcd_network_snapshot_{direction}_"
            verb = "sent" if direction == "send" else "received"
            done = Family(name + "success", "counter", f"Total number of successful snapshot {direction}s")
            failed = Family(name + "failures", "counter", f"Total number of snapshot {direction} failures")
            under_way = Family(
                name + "inflights_total", "gauge", f"Total number of inflight snapshot {direction}s"
            )
            times = Family(
                name + "total_duration_seconds",
                "histogram",
                f"Total latency distributions of v3 snapshot {direction}s",
            )
            for member_id, peer in sorted(self._by_id.items()):
                transfers: SnapshotTransfers = getattr(peer, f"{verb}_databases")
                if not transfers.is_used:
                    continue
                labelled = labels(**{label: f"{member_id:x}"})
                done.add(transfers.succeeded, labelled)
                failed.add(transfers.failed, labelled)
                under_way.add(transfers.under_way, labelled)
                times.add_histogram(transfers.durations_s, labelled)
            yield from (done, failed, under_way, times)
