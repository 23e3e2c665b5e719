"""When watchers hear of what was applied.

At once, as a rule. But with a thousand watchers it is the clients that cannot keep up, and one response with
ten events costs its client much less than ten. So when revisions come faster than they could be read one by
one, the next ones wait for a moment and are delivered together; how long depends on how many responses have
just gone out. Whoever is not at the limit never waits: a hundred watchers take four thousand revisions a
second, a thousand four hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.server.duties import Timer
    from etcdpy.server.member import Member

# What it takes to send one response and to read it, where server and clients share two processors.
RESPONSE_S = 0.000_002_5
# The pause for each response that was sent, and its bound: what a thousand watchers get.
PAUSE_S_PER_RESPONSE = 0.000_02
PAUSE_S_MAX = 0.02


class Deliveries:
    """Flushes the watch hub of one member."""

    def __init__(self, member: Member, timer: Timer) -> None:
        self._member = member
        self._timer = timer
        self._flushed_at = 0.0
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
        hub, now = self._member.state.hub, self._member.clock()
        since_s, self._flushed_at = now - self._flushed_at, now
        revisions, before = hub.collected_revisions, hub.delivered_responses
        hub.flush()
        responses = hub.delivered_responses - before
        if RESPONSE_S * revisions * responses >= since_s:
            self._not_before = now + min(PAUSE_S_PER_RESPONSE * responses, PAUSE_S_MAX)
