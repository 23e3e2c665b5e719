"""A network that delays, loses, repeats, reorders and cuts.

Messages wait in the clock's queue; each has its own delay, so they overtake each other. A cut is a pair
(sender, receiver), so that partitions may be lame in one direction only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.raft import codec
from etcdpy.raft.messages import MessageType

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from etcdpy.raft.messages import Message
    from etcdpy.testing.backend import Database
    from etcdpy.testing.clock import SimClock

    Deliver = Callable[[Message], None]

# Share of the messages that are turned into bytes and back on the way.
ENCODED = 0.03
SNAPSHOT_S = 0.3


class SimNetwork:
    """All links between the members.

    Attributes:
        loss, repeat: share of the messages that are lost, or arrive once more.
        delay_s: shortest delay; `jitter_s` is the mean of what comes on top.
        slow: share of the messages that take ten times as long.
        deliver: hands a message to its receiver.
        lost: told (sender, receiver) when the transport notices a loss.
        snapshot_arrived: hands over a snapshot; whether there was somebody to take it.
        snapshot_reported: told (sender, receiver, ok) what became of a snapshot.
    """

    deliver: Deliver
    lost: Callable[[int, int], None]
    snapshot_arrived: Callable[[Message, Database], bool]
    snapshot_reported: Callable[[int, int, bool], None]

    def __init__(self, clock: SimClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._random = chance.random
        self.loss = 0.0
        self.repeat = 0.0
        self.delay_s = 0.001
        self.jitter_s = 0.002
        self.slow = 0.0
        self._cut: set[tuple[int, int]] = set()

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """From now on nothing passes from the first to the second of each pair; other cuts are healed."""
        self._cut = set(pairs)

    @property
    def is_whole(self) -> bool:
        return not self._cut

    def is_cut(self, sender: int, receiver: int) -> bool:
        return (sender, receiver) in self._cut

    def send(self, sender: int, message: Message) -> None:
        """Put a message on its way, or not."""
        draw = self._random
        if self._cut and (sender, message.to) in self._cut:
            if draw() < 0.3:
                self.lost(sender, message.to)
            return
        if draw() < self.loss:
            if draw() < 0.3:
                self.lost(sender, message.to)
            return
        if draw() < ENCODED:
            message = codec.decode_message(codec.encode_message(message))
        self._clock.later(self._delay(), self.deliver, message)
        # A proposal that came twice would be two entries. Connections do not repeat; that raft bears with
        # repeated messages of all other kinds is more than it has to.
        if draw() < self.repeat and message.type is not MessageType.PROP:
            self._clock.later(self._delay() * 3, self.deliver, message)

    def _delay(self) -> float:
        draw = self._random
        delay = self.delay_s + 2 * draw() * self.jitter_s
        return delay * 10 if draw() < self.slow else delay

    def send_snapshot(self, sender: int, message: Message, database: Database) -> None:
        """A snapshot goes over its own connection and takes its time."""
        self._clock.later(SNAPSHOT_S * (0.1 + self._random()), self._arrive, (sender, message, database))

    def _arrive(self, sent: tuple[int, Message, Database]) -> None:
        sender, message, database = sent
        arrives = (sender, message.to) not in self._cut and self._random() >= 2 * self.loss
        ok = arrives and self.snapshot_arrived(message, database)
        self.snapshot_reported(sender, message.to, ok)
