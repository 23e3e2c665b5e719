"""When watchers hear of what was applied.

At once, as a rule. Only in a burst, that is when the events of several revisions have come together, the next
ones wait for a moment in proportion to how many responses have just gone out: one response with ten events
costs its client much less than ten, and with a thousand watchers it is the clients that cannot keep up. The
moment is 20 microseconds for each response, and 20 ms at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.server.duties import Timer
    from etcdpy.server.member import Member

BURST_REVISIONS_MIN = 2
PAUSE_S_PER_RESPONSE = 0.000_02
PAUSE_S_MAX = 0.02


class Deliveries:
    """Flushes the watch hub of one member."""

    def __init__(self, member: Member, timer: Timer) -> None:
        self._member = member
        self._timer = timer
        self._not_before = 0.0
        self._is_planned = False

    def deliver(self) -> None:
        """Something has been applied that watchers are to hear of."""
        if self._is_planned:
            return
        pause_s = self._not_before - self._member.clock()
        if pause_s <= 0:
            self._flush()
        else:
            self._is_planned = True
            self._timer.call_later(pause_s, self._flush)

    def _flush(self) -> None:
        self._is_planned = False
        hub = self._member.state.hub
        is_burst = hub.collected_revisions >= BURST_REVISIONS_MIN
        before = hub.delivered_responses
        hub.flush()
        if is_burst:
            pause_s = PAUSE_S_PER_RESPONSE * (hub.delivered_responses - before)
            self._not_before = self._member.clock() + min(pause_s, PAUSE_S_MAX)
