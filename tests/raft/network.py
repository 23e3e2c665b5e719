"""Members in one process, joined by a list of messages: the bench on which the raft core is tested.

A `Member` is what the server room is to the core, in forty lines: it saves what a Ready says to a `Disk`,
hands its messages over, applies committed entries, advances. A `Network` holds the messages in flight;
nothing moves unless a test says so. A member can be restarted at any time from what its disk holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from etcdpy.raft import codec
from etcdpy.raft.messages import (
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    ReadState,
    Ready,
    Role,
    Snapshot,
)
from etcdpy.raft.raw_node import Config, RawNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STEPS_MAX = 10_000
"""A network that has not fallen silent after so many messages never will."""


@dataclass
class Disk:
    """What a member would find after a restart."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, 0, ConfState()))
    entries: list[Entry] = field(default_factory=list)

    @property
    def last_index(self) -> int:
        return self.snapshot.index + len(self.entries)

    def save(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            self.snapshot, self.entries = ready.snapshot, []
        if ready.entries:
            first = ready.entries[0].index
            assert self.snapshot.index < first <= self.last_index + 1, (first, self.last_index)
            self.entries[first - self.snapshot.index - 1 :] = ready.entries
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state

    def save_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.index > self.snapshot.index:
            self.entries = self.entries[snapshot.index - self.snapshot.index :]
            self.snapshot = snapshot


class Member:
    """One raft member with a disk and a store; the store is the list of what was applied."""

    def __init__(self, config: Config, disk: Disk) -> None:
        self.config = config
        self.disk = disk
        self.applied: list[Entry] = []
        self.reads: list[ReadState] = []
        self.refused_ids: set[int] = set()
        self.conf_state = disk.snapshot.conf_state
        self.node = self._node()

    def _node(self) -> RawNode:
        return RawNode(
            self.config,
            hard_state=self.disk.hard_state,
            snapshot=self.disk.snapshot,
            entries=self.disk.entries,
        )

    @property
    def id(self) -> int:
        return self.config.id

    def restart(self) -> None:
        self.applied = []
        self.conf_state = self.disk.snapshot.conf_state
        self.node = self._node()

    def turn(self) -> Ready:
        """One whole turn of the crank."""
        ready = self.node.ready()
        self.disk.save(ready)
        self.apply(ready)
        self.node.advance(ready)
        for message in ready.messages:
            if message.type is MessageType.SNAP:
                message.snapshot = self.make_snapshot()  # of what the store has now, like the server sends
        return ready

    def apply(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            self.conf_state = ready.snapshot.conf_state
            self.applied = []
        for entry in ready.committed_entries:
            self.applied.append(entry)
            if entry.type is not EntryType.NORMAL:
                self.conf_state = self.node.apply_conf_change(codec.conf_change_of(entry))
        self.reads += ready.read_states

    def make_snapshot(self, index: int | None = None) -> Snapshot:
        """Of everything applied, or less. The disk forgets what it covers; the core does when told."""
        snapshot = self.node.create_snapshot(index or self.node.applied, self.conf_state)
        self.disk.save_snapshot(snapshot)
        return snapshot

    @property
    def applied_data(self) -> list[bytes]:
        return [entry.data for entry in self.applied if entry.type is EntryType.NORMAL and entry.data]


def fixed(offset: int = 0) -> Callable[[int], int]:
    """A source of chance that has made up its mind: election timeouts are `election_ticks + offset`."""
    return lambda n: min(offset, n - 1)


class Network:
    """Members and the messages between them, delivered in the order they were sent."""

    def __init__(
        self,
        voters: Iterable[int],
        *,
        learners: Iterable[int] = (),
        strangers: Iterable[int] = (),
        index: int = 0,
        term: int = 0,
        **options: Any,
    ) -> None:
        """Members that know each other and share a snapshot at `index`; strangers know nobody yet."""
        state = ConfState(sorted(voters), sorted(learners))
        if strangers and index == 0:
            index = term = 1  # or the entries they will get would not tell them of the first members
        self.options = options
        self.members: dict[int, Member] = {}
        self.in_flight: list[Message] = []
        self.lost: list[Message] = []
        self.cuts: set[tuple[int, int]] = set()
        self.dropped_types: set[MessageType] = set()
        self.lose: Callable[[Message], bool] = lambda _: False
        for id_ in (*state.voters, *state.learners):
            snapshot = Snapshot(index, term, state)
            self.add(id_, Disk(HardState(term, 0, index), snapshot))
        for id_ in strangers:
            self.add(id_, Disk())

    def add(self, id_: int, disk: Disk | None = None, **options: Any) -> Member:
        config = replace(Config(id=id_, randrange=fixed(id_ % 10)), **{**self.options, **options})
        member = self.members[id_] = Member(config, disk or Disk())
        return member

    def __getitem__(self, id_: int) -> RawNode:
        return self.members[id_].node

    # ---- faults

    def cut(self, *pairs: tuple[int, int]) -> None:
        """Lose whatever goes between these members, both ways."""
        for one, other in pairs:
            self.cuts |= {(one, other), (other, one)}

    def isolate(self, id_: int) -> None:
        self.cut(*((id_, other) for other in self.members if other != id_))

    def heal(self) -> None:
        self.cuts.clear()
        self.dropped_types.clear()
        self.lose = lambda _: False

    # ---- moving

    def turn(self, id_: int) -> Ready:
        ready = self.members[id_].turn()
        self.send(ready.messages)
        return ready

    def turn_all(self) -> bool:
        """Turn every crank that has something; false if none had."""
        ids = [id_ for id_, member in sorted(self.members.items()) if member.node.has_ready()]
        for id_ in ids:
            self.turn(id_)
        return bool(ids)

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            is_lost = (
                message.to not in self.members
                or (message.from_, message.to) in self.cuts
                or message.type in self.dropped_types
                or self.lose(message)
            )
            (self.lost if is_lost else self.in_flight).append(message)

    def deliver(self, wanted: Callable[[Message], bool] = lambda _: True) -> int:
        """Hand over what of the messages in flight is wanted; what that causes waits for the next turn."""
        batch = [message for message in self.in_flight if wanted(message)]
        self.in_flight = [message for message in self.in_flight if not wanted(message)]
        for message in batch:
            self[message.to].step(message)
        return len(batch)

    def settle(self) -> None:
        """Turn and deliver until nothing moves any more."""
        for _ in range(STEPS_MAX):
            moved = self.turn_all()
            if not self.deliver() and not moved:
                return
        raise AssertionError(f"never silent: {self.in_flight[:5]}")

    def tick(self, id_: int, count: int = 1) -> None:
        for _ in range(count):
            self[id_].tick()

    # ---- short cuts

    def elect(self, id_: int) -> RawNode:
        self[id_].campaign()
        self.settle()
        assert self[id_].role is Role.LEADER, (id_, self[id_].role)
        return self[id_]

    def propose(self, id_: int, *datas: bytes) -> None:
        self[id_].propose(list(datas))
        self.settle()

    def leaders(self) -> list[int]:
        return [id_ for id_, member in sorted(self.members.items()) if member.node.role is Role.LEADER]

    def terms(self, id_: int) -> list[int | None]:
        """The terms of a member's whole log in memory."""
        node = self[id_]
        return [node.term_at(index) for index in range(node.first_index, node.last_index + 1)]


def log_of(*terms: int, first: int = 1) -> list[Entry]:
    """Entries with these terms, each with its position as data."""
    return [Entry(term, index, EntryType.NORMAL, b"%d" % index) for index, term in enumerate(terms, first)]


def member_with(
    id_: int,
    voters: Iterable[int],
    *terms: int,
    term: int | None = None,
    vote: int = 0,
    commit: int = 0,
    learners: Iterable[int] = (),
    **options: Any,
) -> Member:
    """A member on its own whose log has these terms: what the paper draws."""
    disk = Disk(
        HardState(term if term is not None else max(terms, default=0), vote, commit),
        Snapshot(0, 0, ConfState(sorted(voters), sorted(learners))),
        log_of(*terms),
    )
    config = replace(Config(id=id_, randrange=fixed(0)), **options)
    return Member(config, disk)


def role_of(member: Member) -> Role:
    """The role now: a call, so that a type checker does not take the answer of a moment ago for it."""
    return member.node.role


def answers(member: Member) -> list[Message]:
    """What a member sends when its crank is turned until it stands still."""
    messages: list[Message] = []
    while member.node.has_ready():
        messages += member.turn().messages
    return messages
