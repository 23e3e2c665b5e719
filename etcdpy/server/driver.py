"""Turns the crank: raft's output to the disk and to the peers, and back.

One `Ready` is under way at a time. Its entries go to the WAL thread while the loop applies what an
earlier turn has committed, and while more requests come in: they make the next batch. A leader
sends at once, beside its own write (Raft thesis, section 10.2.1); a follower's answers wait for the
disk, because they promise what the disk holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.raft.messages import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etcdpy.raft.messages import Message, Ready
    from etcdpy.server.disk import Disk
    from etcdpy.server.member import Member


class Transport(Protocol):
    """What the driver needs of the peer port."""

    def send(self, messages: Sequence[Message]) -> None:
        """Take the messages; never blocks, may drop."""


class Driver:
    """Drives one member. Everything here runs on the loop thread."""

    def __init__(
        self,
        member: Member,
        disk: Disk,
        transport: Transport,
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._member = member
        self._disk = disk
        self._transport = transport
        self._call_soon = call_soon
        self._scheduled = False
        self._saving: Ready | None = None
        self._held: Sequence[Message] = ()  # sent once the save they promise is done
        self._stopped = False
        # Whoever was answered in a turn may be told at its end.
        self.on_turn_end: Callable[[], None] = _nothing
        member.on_work = self.wake

    def wake(self) -> None:
        """There may be something to do: take a turn once the loop has read what else has arrived."""
        if not self._scheduled and self._saving is None and not self._stopped:
            self._scheduled = True
            self._call_soon(self._turn)

    def tick(self) -> None:
        """One heartbeat interval has passed."""
        if not self._stopped:
            self._member.tick()
            self.wake()

    def stop(self) -> None:
        """Take no more turns; a save that is under way still reaches the disk."""
        self._stopped = True

    def _turn(self) -> None:
        self._scheduled = False
        try:
            self._take_turns()
        except Exception as error:
            self._give_up(error)
            raise
        self.on_turn_end()

    def _give_up(self, error: Exception) -> None:
        """A fault of our own, in the middle of a change: what is in memory can no longer be trusted."""
        self._stopped = True
        self._member.fail("member stops because of a fault of its own", error)

    def _take_turns(self) -> None:
        while not self._stopped and self._saving is None:
            ready = self._member.ready()
            if ready is None:
                return
            job = self._member.save_job(ready)
            self._held = ()
            if job is None or self._member.role is Role.LEADER:
                self._transport.send(ready.messages)
            else:
                self._held = ready.messages
            if job is not None:
                self._saving = ready
                if self._disk.submit(job, self._saved):
                    self._saving = None
                    self._transport.send(self._held)
            if ready.snapshot is None:
                self._member.apply(ready)
            if self._saving is None:
                self._finish(ready)

    def _saved(self, failure: Exception | None) -> None:
        ready, self._saving = self._saving, None
        assert ready is not None, "a save was reported that nobody had asked for"
        if failure is not None:
            self._stopped = True
            self._member.disk_failed(failure)
            return
        try:
            self._transport.send(self._held)
            self._finish(ready)
        except Exception as error:
            self._give_up(error)
            raise
        self._turn()

    def _finish(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            # The state may only be replaced once the log says so too.
            self._member.apply(ready)
        self._member.advance(ready)


def _nothing() -> None:
    """Nobody wants to know."""
