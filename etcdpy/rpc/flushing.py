"""The connections of a port that have something to say, written to all at once.

Answers come in bursts: a turn of raft answers the callers of many connections. Each connection is entered
here once, however many of its calls were answered, and all are written to in one step: at the end of the turn
that answered them, or else in the loop's next turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Flushable(Protocol):
    """A connection, as far as it matters here."""

    def flush(self) -> None:
        """Write what there is."""


class Flushing:
    """Connections that are to be written to."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Flushable] = []
        self._is_scheduled = False

    def add(self, connection: Flushable) -> None:
        """Write to it soon. Whoever adds makes sure to add a connection once."""
        self._waiting.append(connection)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run_scheduled)

    def run(self) -> None:
        """Write now. What that makes connections want to say in addition belongs to the loop's next turn."""
        waiting, self._waiting = self._waiting, []
        for position, connection in enumerate(waiting):
            try:
                connection.flush()
            except BaseException:
                # A fault of one connection is the loop's to report, and the others are none the worse for it.
                for other in waiting[position + 1 :]:
                    self.add(other)
                raise

    def _run_scheduled(self) -> None:
        self._is_scheduled = False
        self.run()
