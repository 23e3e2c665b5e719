"""What `/v2/stats` tells of this member and its followers. Kept only where the v2 API is switched on.

As in etcd a follower's latency is the time that it takes to hand an append to its connection.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.ids import format_id
from etcdpy.raft.messages import MessageType, Role
from etcdpy.v2store import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etcdpy.raft.messages import Message
    from etcdpy.server.member import Member

RATE_MESSAGES_MAX = 200
RATE_SILENCE_S = 1.0
STATES = {
    Role.LEADER: "StateLeader",
    Role.CANDIDATE: "StateCandidate",
    Role.PRE_CANDIDATE: "StatePreCandidate",
}


class Sender(Protocol):
    """Hands messages to the connections of other members."""

    def send(self, messages: Sequence[Message]) -> None:
        """Send them."""


class Rate:
    """Messages and bytes a second, over the last few messages."""

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=RATE_MESSAGES_MAX)

    def add(self, now: float, size_bytes: int) -> None:
        """A message has passed."""
        self.count += 1
        self._recent.append((now, size_bytes))

    def fields(self, prefix: str, now: float) -> dict[str, object]:
        """The JSON keys; rates of nothing are left out."""
        fields: dict[str, object] = {f"{prefix}AppendRequestCnt": self.count}
        recent = self._recent
        if recent and now - recent[-1][0] <= RATE_SILENCE_S and recent[-1][0] > recent[0][0]:
            duration_s = recent[-1][0] - recent[0][0]
            fields[f"{prefix}PkgRate"] = len(recent) / duration_s
            fields[f"{prefix}BandwidthRate"] = sum(size for _, size in recent) / duration_s
        return fields


@dataclass(slots=True)
class Follower:
    """Latencies of the appends to one follower, in milliseconds."""

    success: int = 0
    fail: int = 0
    current: float = 0.0
    total: float = 0.0
    total_squares: float = 0.0
    minimum: float = math.inf
    maximum: float = 0.0

    def add(self, latency_ms: float) -> None:
        """One more has been sent."""
        self.success += 1
        self.current = latency_ms
        self.total += latency_ms
        self.total_squares += latency_ms * latency_ms
        self.minimum = min(self.minimum, latency_ms)
        self.maximum = max(self.maximum, latency_ms)

    def fields(self) -> dict[str, object]:
        """The JSON object."""
        count = max(self.success, 1)
        average = self.total / count
        latency = {
            "current": self.current,
            "average": average,
            "standardDeviation": math.sqrt(max(self.total_squares / count - average * average, 0.0)),
            "minimum": self.minimum if self.success else 0,
            "maximum": self.maximum,
        }
        return {"latency": latency, "counts": {"fail": self.fail, "success": self.success}}


class Statistics:
    """Counts appends of one member."""

    def __init__(self, member: Member, sender: Sender, now_ns: Callable[[], int]) -> None:
        self._member = member
        self._sender = sender
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._received, self._sent = Rate(), Rate()
        self._followers: dict[int, Follower] = {}

    def received(self, message: Message) -> None:
        """A peer's message has come."""
        if message.type is MessageType.APP:
            self._received.add(self._member.clock(), _size_of(message))

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages, and look how long that takes. This stands in the place of the sender."""
        appends = [message for message in messages if message.type is MessageType.APP]
        started = self._member.clock()
        self._sender.send(messages)
        now = self._member.clock()
        for message in appends:
            self._sent.add(now, _size_of(message))
            self._followers.setdefault(message.to, Follower()).add((now - started) * 1000 / len(appends))

    def unreachable(self, member_id: int) -> None:
        """A message to a follower could not be sent."""
        self._followers.setdefault(member_id, Follower()).fail += 1

    def server_fields(self) -> dict[str, object]:
        """The answer of `/v2/stats/self`."""
        member = self._member
        now, now_ns = member.clock(), self._now_ns()
        since = member.leader_found_at
        uptime_ns = 0 if since is None else int((now - since) * 1e9)
        leader = {
            "leader": format_id(member.leader_id) if member.leader_id else "",
            "uptime": f"{uptime_ns / 1e9:.9f}".rstrip("0").rstrip(".") + "s",
            "startTime": format_time(now_ns - uptime_ns),
        }
        return {
            "name": member.config.name,
            "id": format_id(member.member_id),
            "state": STATES.get(member.role, "StateFollower"),
            "startTime": format_time(self._started_ns),
            "leaderInfo": leader,
            **self._received.fields("recv", now),
            **self._sent.fields("send", now),
        }

    def leader_fields(self) -> dict[str, object]:
        """The answer of `/v2/stats/leader`."""
        followers = {format_id(one): self._followers[one].fields() for one in sorted(self._followers)}
        return {"leader": format_id(self._member.member_id), "followers": followers}


def _size_of(message: Message) -> int:
    return sum(len(entry.data) for entry in message.entries)
