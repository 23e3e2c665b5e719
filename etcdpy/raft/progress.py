"""A leader's view of one follower: what it is known to have, what to send next, and how fast.

Three states, after the paper's remark that a leader may optimise how it finds the place where logs agree:

- *probe*: we do not know where the logs agree. One message with entries at a time, `next` stays until it is
  answered.
- *replicate*: we know. Entries are sent as they come, `next` runs ahead of `match`; the window limits how
  far.
- *snapshot*: what the follower needs is compacted away. Nothing is sent until the snapshot's fate is known.

`match < next` always holds: the follower is known to have `match`, `next` is the first entry to send.
"""

from collections import deque
from enum import IntEnum


class ProgressState(IntEnum):
    """How the leader feeds this follower."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class Inflights:
    """The window of append messages sent and not yet acknowledged: the last index and the bytes of each."""

    __slots__ = ("_bytes", "_bytes_max", "_messages", "_messages_max")

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._messages_max = messages_max
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Full by either limit. One message may exceed the byte limit, or nothing large could be sent."""
        return len(self._messages) >= self._messages_max or (0 < self._bytes_max <= self._bytes)

    def add(self, last_index: int, size: int) -> None:
        assert not self._messages or self._messages[-1][0] < last_index, (self._messages[-1], last_index)
        self._messages.append((last_index, size))
        self._bytes += size

    def free_to(self, index: int) -> None:
        """Forget every message that an acknowledgement of `index` covers."""
        messages = self._messages
        while messages and messages[0][0] <= index:
            self._bytes -= messages.popleft()[1]

    def clear(self) -> None:
        self._messages.clear()
        self._bytes = 0


class Progress:
    """One follower as its leader sees it."""

    __slots__ = (
        "inflights",
        "is_active",
        "is_flow_paused",
        "match",
        "next",
        "pending_snapshot",
        "sent_commit",
        "state",
    )

    def __init__(self, next_index: int, inflights: Inflights, *, is_active: bool) -> None:
        assert next_index > 0, next_index
        self.match = 0
        self.next = next_index
        self.state = ProgressState.PROBE
        self.inflights = inflights
        self.is_active = is_active  # heard from since the last CheckQuorum round
        self.is_flow_paused = False  # probe: an append is out; replicate: the window is full
        self.pending_snapshot = 0
        self.sent_commit = 0

    @property
    def is_paused(self) -> bool:
        return self.state is ProgressState.SNAPSHOT or self.is_flow_paused

    def reset(self, last_index: int) -> None:
        """Know nothing: what every new term begins with."""
        self.match = 0
        self.next = last_index + 1
        self.is_active = False
        self.sent_commit = 0
        self._enter(ProgressState.PROBE)

    def become_probe(self) -> None:
        after_snapshot = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self._enter(ProgressState.PROBE)
        self.next = max(self.match, after_snapshot) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        self._enter(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def snapshot_done(self, *, ok: bool) -> None:
        """What the transport says; only an answer to an append proves where the follower is."""
        if not ok:
            self.pending_snapshot = 0
        self.become_probe()
        self.is_flow_paused = True

    def sent_entries(self, count: int, size: int) -> None:
        """Account for an append message that just left with `count` entries."""
        assert self.state is not ProgressState.SNAPSHOT, self.next
        if count == 0:
            return
        if self.state is ProgressState.PROBE:
            self.is_flow_paused = True
            return
        self.next += count
        self.inflights.add(self.next - 1, size)
        self.is_flow_paused = self.inflights.is_full

    def maybe_update(self, index: int) -> bool:
        """The follower has everything up to `index`. False if that is old news."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.is_flow_paused = False
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """The follower refused what follows `rejected` and may agree at `hint`. False if that is stale."""
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
            return True
        if rejected != self.next - 1:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.is_flow_paused = False
        return True

    def can_bump_commit(self, commit: int) -> bool:
        """Would an empty append tell the follower of a commit index that it can use and was not told yet?"""
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.is_flow_paused = False
        self.pending_snapshot = 0
        self.inflights.clear()
