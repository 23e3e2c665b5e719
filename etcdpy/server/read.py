"""Linearizable reads: one read-index round for all that wait.

A reader may be served once the member has applied everything that was committed when the reader
came. Raft's ReadIndex gives that index (Raft thesis, section 6.4): the leader notes its commit
index and confirms with a quorum that it still leads. Readers that arrive while a round is under way
share the next one, so a thousand readers cost one exchange of heartbeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from etcdpy.server.errors import Timeout

ReadDone = Callable[[Exception | None], None]

# A round whose answer may have been lost is asked again with a new id.
RETRY_S = 0.5


@dataclass(slots=True)
class _Round:
    started: float
    asked: float
    contexts: set[bytes]
    readers: list[ReadDone] = field(default_factory=list)


class ReadQueue:
    """Readers on their way from arrival, through a round, to the applied index they need."""

    def __init__(self, new_id: Callable[[], int], timeout_s: float) -> None:
        self._new_id = new_id
        self._timeout_s = timeout_s
        self._arrived: list[ReadDone] = []
        self._round: _Round | None = None
        self._confirmed: deque[tuple[int, list[ReadDone]]] = deque()
        # Rounds that had to be asked again, and rounds that were given up.
        self.slow = 0
        self.failed = 0

    def add(self, done: ReadDone) -> None:
        """Queue a reader for the next round."""
        self._arrived.append(done)

    def next_round(self, now: float) -> bytes | None:
        """Start a round if readers wait and none is under way; the context to hand to raft."""
        if self._round is not None or not self._arrived:
            return None
        context = self._new_id().to_bytes(8, "big")
        self._round = _Round(now, now, {context}, self._arrived)
        self._arrived = []
        return context

    def retry(self, now: float) -> bytes | None:
        """A new context for a round that got no answer for a while."""
        round_ = self._round
        if round_ is None or now - round_.asked < RETRY_S:
            return None
        return self._ask_again(round_, now)

    def ask_again(self, now: float) -> bytes | None:
        """A new context at once: raft forgot what it had queued, or could not take it before."""
        return None if self._round is None else self._ask_again(self._round, now)

    def _ask_again(self, round_: _Round, now: float) -> bytes:
        self.slow += 1
        context = self._new_id().to_bytes(8, "big")
        round_.contexts.add(context)
        round_.asked = now
        return context

    def confirm(self, context: bytes, index: int) -> None:
        """Raft's answer: the readers of this round may be served once `index` is applied."""
        round_ = self._round
        if round_ is None or context not in round_.contexts:
            return
        self._round = None
        self._confirmed.append((index, round_.readers))

    def wait_for(self, index: int, done: ReadDone) -> None:
        """Call back once `index` is applied, without asking anybody."""
        self._confirmed.append((index, [done]))

    def release(self, applied: int) -> None:
        """Call back the readers whose index has been applied."""
        while self._confirmed and self._confirmed[0][0] <= applied:
            _, readers = self._confirmed.popleft()
            for done in readers:
                done(None)

    def expire(self, now: float) -> None:
        """Give up on a round that has lasted for the request timeout."""
        round_ = self._round
        if round_ is not None and now - round_.started >= self._timeout_s:
            self._round = None
            self.failed += 1
            for done in round_.readers:
                done(Timeout())

    def fail(self, error: Exception) -> None:
        """Refuse every reader that has no confirmed index yet."""
        round_, self._round = self._round, None
        arrived, self._arrived = self._arrived, []
        readers = [] if round_ is None else round_.readers
        for done in readers + arrived:
            done(error)
