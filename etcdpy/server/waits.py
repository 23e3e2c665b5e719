"""Who waits for which entry to be applied.

The key is the entry's data: it holds a request id that no other entry has, and the bytes object
that comes back from raft is the one that went in, so that finding our own request again costs
neither a decoding nor a comparison. All waits last equally long, so the order of arrival, in which a dict
keeps its keys, is the order of expiry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from etcdpy.auth import NOBODY, AuthInfo
from etcdpy.server.plain import PlainRequest
from etcdpy.server.results import Done, Result

# Callers whose token speaks of an entry that is not here yet. Strangers can make up such tokens.
INDEX_WAITS_MAX = 10_000


@dataclass(slots=True, eq=False, init=False)
class Wait:
    """A proposal on its way."""

    data: bytes
    kind: str
    request: Message | PlainRequest
    done: Done
    started: float
    info: AuthInfo

    def __init__(
        self,
        data: bytes,
        kind: str,
        request: Message | PlainRequest,
        done: Done,
        started: float,
        info: AuthInfo = NOBODY,
    ) -> None:
        self.data = data
        self.kind = kind
        self.request = request
        self.done = done
        self.started = started
        self.info = info


class Waits:
    """Proposals by their entry data, the oldest first."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiting: dict[bytes, Wait] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, wait: Wait) -> None:
        """Keep a proposal until it is taken or too old."""
        self._waiting[wait.data] = wait

    def find(self, data: bytes) -> Wait | None:
        """The proposal that this entry answers, which goes on waiting: applying it may fail."""
        return self._waiting.get(data)

    def take(self, data: bytes) -> Wait | None:
        """The proposal that this entry answers; None when it is not ours or nobody waits any more."""
        return self._waiting.pop(data, None)

    def expire(self, now: float, error: Callable[[Wait], Exception]) -> None:
        """Fail the proposals that are older than the timeout."""
        while self._waiting:
            wait = next(iter(self._waiting.values()))
            if now - wait.started < self._timeout_s:
                return
            del self._waiting[wait.data]
            wait.done(Result(error=error(wait)))

    def fail_all(self, error: Exception) -> None:
        """Fail everything that waits."""
        waiting, self._waiting = self._waiting, {}
        for wait in waiting.values():
            wait.done(Result(error=error))


class IndexWaits:
    """Who waits until an entry has been applied, whatever it holds, or until it has taken too long."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiting: list[tuple[int, float, Callable[[], None]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, index: int, now: float, done: Callable[[], None]) -> None:
        """Call back when `index` has been applied; at once when too many wait already."""
        if len(self._waiting) >= INDEX_WAITS_MAX:
            done()
        else:
            self._waiting.append((index, now, done))

    def release(self, applied: int) -> None:
        """Call back those whose entry has been applied."""
        self._part(lambda index, started: index <= applied)

    def expire(self, now: float) -> None:
        """Call back those who have waited for too long."""
        self._part(lambda index, started: now - started >= self._timeout_s)

    def _part(self, is_over: Callable[[int, float], bool]) -> None:
        waiting, self._waiting = self._waiting, []
        for index, started, done in waiting:
            if is_over(index, started):
                done()
            else:
                self._waiting.append((index, started, done))
