"""Automatic compaction: which revision the history may be cut at, and when.

Periodic mode keeps the history of the last retention period: it notes the revision at every tenth
of the check interval and compacts to the one it noted a period ago. Revision mode keeps the last N
revisions and looks every five minutes. Only the leader compacts; the request goes through the log
like a client's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.server.log import Logger

HOUR_S = 3600.0
REVISION_CHECK_S = 300.0
SAMPLES_A_CHECK = 10


class Compactor:
    """Decides; the caller proposes.

    Args:
        mode: `periodic` or `revision`.
        retention: seconds to keep in periodic mode, revisions in revision mode; 0 turns it off.
    """

    def __init__(self, mode: str, retention: float, log: Logger) -> None:
        self._log = log
        self._retention = retention
        self._periodic = mode == "periodic"
        check_s = min(retention, HOUR_S) if self._periodic else REVISION_CHECK_S
        self._pause_s = check_s / SAMPLES_A_CHECK if self._periodic else check_s
        self._next_at: float | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._compacted = 0
        self._running = False

    def due(self, now: float, revision: int) -> int | None:
        """The revision to compact to now, or None."""
        if not self._retention or self._running:
            return None
        if self._next_at is None:
            self._next_at = now + self._pause_s
            self._samples.append((now, revision))
            return None
        if now < self._next_at:
            return None
        self._next_at = now + self._pause_s
        target = self._periodic_target(now, revision) if self._periodic else revision - int(self._retention)
        if target is None or target <= self._compacted:
            return None
        self._running = True
        self._log.info("starting auto compaction", revision=target)
        return target

    def _periodic_target(self, now: float, revision: int) -> int | None:
        self._samples.append((now, revision))
        target = None
        while self._samples and now - self._samples[0][0] >= self._retention:
            target = self._samples.popleft()[1]
        return target

    def finished(self, now: float, revision: int, error: Exception | None) -> None:
        """The proposed compaction has been applied, or refused."""
        self._running = False
        if error is None:
            self._compacted = revision
            self._log.info("completed auto compaction", revision=revision)
        else:
            self._log.warn("failed auto compaction", revision=revision, error=str(error))
