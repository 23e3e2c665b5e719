"""Linearizable reads without a log entry (thesis 6.4).

A leader notes its commit index when a read is asked for, then proves with one round of heartbeats that it
still leads. Requests queue in order; a heartbeat round carries the context of one request, and when a quorum
has echoed it, that request *and all before it* are proven, because the echo is later than all of them.
"""

from dataclasses import dataclass, field

from .messages import Message


@dataclass(slots=True)
class PendingRead:
    """A read that waits for a quorum to echo its context."""

    request: Message
    index: int
    acks: dict[int, bool] = field(default_factory=dict)


class ReadQueue:
    """Reads waiting for a heartbeat round, oldest first, by context (dicts keep their order)."""

    def __init__(self) -> None:
        self._pending: dict[bytes, PendingRead] = {}

    @property
    def newest_context(self) -> bytes:
        """What the next heartbeat should carry: proving the newest proves all."""
        return next(reversed(self._pending)) if self._pending else b""

    def add(self, index: int, request: Message, own_id: int) -> None:
        """Queue a request; we count as having echoed it. A context that waits already is not asked twice."""
        context = request.entries[0].data
        if context not in self._pending:
            self._pending[context] = PendingRead(request, index, {own_id: True})

    def acknowledge(self, from_: int, context: bytes) -> dict[int, bool]:
        """Who echoed `context` so far, with `from_` now among them. Empty if nobody waits for it."""
        read = self._pending.get(context)
        if read is None:
            return {}
        read.acks[from_] = True
        return read.acks

    def release_to(self, context: bytes) -> list[PendingRead]:
        """Take out everything up to and including `context`."""
        count = list(self._pending).index(context) + 1
        return [self._pending.pop(key) for key in list(self._pending)[:count]]

    def clear(self) -> None:
        self._pending.clear()
