"""A cluster under every fault at once, with the promises of raft checked after each of its steps.

Messages are lost, repeated and delivered in any order; members stop at the worst moments (with nothing, a
part, or all of a Ready saved, and as leaders with their messages already out) and come back from their disks;
snapshots are taken, logs compacted, members added, demoted and removed, leadership moved. All of it follows
from one seed.

What is checked, in the words of the paper's figure 3:

- election safety: one leader in a term;
- log matching: an entry is named by its index and term, and so is everything before it;
- leader completeness: whoever leads has every entry that was committed in an earlier term;
- state machine safety: nobody applies anything else at the same index;

and further that a vote is never changed, that what is committed is on the disks of a majority, and that a
confirmed read sees all that was committed when it was asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from etcdpy.raft import codec
from etcdpy.raft.errors import ProposalDropped
from etcdpy.raft.messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Ready,
    Role,
    Snapshot,
)
from etcdpy.raft.raw_node import Config, RawNode
from tests.raft.network import Disk

if TYPE_CHECKING:
    import random

IN_FLIGHT_MAX = 200


class ChaosMember:
    """A member that can be caught in the middle of a turn."""

    def __init__(self, config: Config, disk: Disk) -> None:
        self.config = config
        self.disk = disk
        self.synced_commit = disk.hard_state.commit
        self.start()

    def start(self) -> None:
        disk = self.disk
        self.node = RawNode(
            self.config, hard_state=disk.hard_state, snapshot=disk.snapshot, entries=list(disk.entries)
        )
        self.conf_state = disk.snapshot.conf_state
        self.outstanding: Ready | None = None
        self.is_sent = False


class Chaos:
    """The cluster, the faults and the checks."""

    def __init__(self, source: random.Random, size: int, *, reconfigure: bool, **options: object) -> None:
        self.source = source
        self.reconfigure = reconfigure
        self.options = {"election_ticks": 4, **options}  # short, for many elections in few steps
        self.in_flight: list[Message] = []
        self.members: dict[int, ChaosMember] = {}
        self.cut_off: set[int] = set()
        self.loss = 0.05
        voters = list(range(1, size + 1))
        for id_ in voters:
            self._add(id_, Disk(HardState(1, 0, 1), Snapshot(1, 1, ConfState(voters))))
        if reconfigure:
            self._add(size + 1, Disk())
            self._add(size + 2, Disk())
        self.proposals = 0
        self.contexts: dict[bytes, int] = {}
        # What was ever true.
        self.leader_by_term: dict[int, int] = {}
        self.votes: dict[tuple[int, int], int] = {}
        self.entries: dict[tuple[int, int], tuple[Entry, int | None]] = {}
        self.committed: dict[int, Entry] = {}
        self.known_committed_in: dict[int, int] = {}  # the term in which somebody first applied it

    def _add(self, id_: int, disk: Disk) -> None:
        config = replace(Config(id=id_, randrange=self.source.randrange), **self.options)  # type: ignore[arg-type]
        self.members[id_] = ChaosMember(config, disk)

    # ---- what may happen

    def step(self) -> None:
        draw = self.source.random()
        member = self.source.choice(list(self.members.values()))
        if draw < 0.08:
            member.node.tick()
        elif draw < 0.53:
            self._turn(member := self._busy_member())
        elif draw < 0.93:
            self._deliver()
        elif draw < 0.96:
            self._propose(member)
        elif draw < 0.97:
            self._read(member)
        elif draw < 0.975:
            self._crash(member)
        elif draw < 0.985:
            self._compact(member)
        elif draw < 0.990:
            self._cut_off()
        else:
            self._disturb(member)
        self._check(member)

    def _busy_member(self) -> ChaosMember:
        members = list(self.members.values())
        busy = [one for one in members if one.outstanding is not None or one.node.has_ready()]
        return self.source.choice(busy or members)

    def _turn(self, member: ChaosMember) -> None:
        """Half a turn: take a Ready, or finish the one that was taken."""
        ready = member.outstanding
        if ready is not None:
            self._save(member, ready)
            self._send(member, ready)
            self._apply(member, ready)
            member.outstanding = None
            member.node.advance(ready)
        elif member.node.has_ready():
            member.outstanding = member.node.ready()
            member.is_sent = False
            if member.node.role is Role.LEADER and self.source.random() < 0.5:
                self._send(member, member.outstanding)

    def _save(self, member: ChaosMember, ready: Ready) -> None:
        member.disk.save(ready)
        if ready.must_sync:
            member.synced_commit = member.disk.hard_state.commit
        state = member.disk.hard_state
        if state.vote:
            known = self.votes.setdefault((member.config.id, state.term), state.vote)
            assert known == state.vote, (
                f"{member.config.id} voted for {known} and {state.vote} in {state.term}"
            )
        for entry in ready.entries:
            self._check_matching(member, entry)

    def _send(self, member: ChaosMember, ready: Ready) -> None:
        if member.is_sent:
            return
        member.is_sent = True
        for message in ready.messages:
            is_cut = message.to in self.cut_off or message.from_ in self.cut_off
            if is_cut or message.to not in self.members or self.source.random() < self.loss:
                if message.type is MessageType.SNAP:
                    member.node.report_snapshot(message.to, False)
                continue
            # Over the wire and back: what is delivered is what the bytes say.
            self.in_flight.append(codec.decode_message(codec.encode_message(message)))
        while len(self.in_flight) > IN_FLIGHT_MAX:
            self.in_flight.pop(self.source.randrange(len(self.in_flight)))

    def _apply(self, member: ChaosMember, ready: Ready) -> None:
        if ready.snapshot is not None:
            member.conf_state = ready.snapshot.conf_state
        for entry in ready.committed_entries:
            known = self.committed.setdefault(entry.index, entry)
            self.known_committed_in.setdefault(entry.index, member.node.term)
            assert known == entry, f"{member.config.id} applies {entry}, somebody applied {known}"
            if not self.reconfigure:
                self._check_durable(entry)
            if entry.type is not EntryType.NORMAL:
                member.conf_state = member.node.apply_conf_change(codec.conf_change_of(entry))
        for read in ready.read_states:
            asked_at = self.contexts[read.context]
            assert read.index >= asked_at, f"read at {read.index}, but {asked_at} was committed before"

    def _deliver(self) -> None:
        if not self.in_flight:
            return
        position = self.source.randrange(len(self.in_flight)) if self.source.random() < 0.3 else 0
        message = self.in_flight[position]
        if self.source.random() > 0.05:  # else it comes once more
            del self.in_flight[position]
        member = self.members[message.to]
        member.node.step(message)
        sender = self.members.get(message.from_)
        if message.type is MessageType.SNAP and sender is not None:
            sender.node.report_snapshot(message.to, self.source.random() < 0.8)

    def _propose(self, member: ChaosMember) -> None:
        self.proposals += 1
        try:
            member.node.propose([b"%d" % self.proposals] * self.source.randrange(1, 4))
        except ProposalDropped:
            pass

    def _read(self, member: ChaosMember) -> None:
        context = b"read %d" % len(self.contexts)
        self.contexts[context] = max(self.committed, default=0)
        member.node.read_index(context)

    def _crash(self, member: ChaosMember) -> None:
        """Stop with whatever of the outstanding Ready reached the disk, and come back."""
        ready = member.outstanding
        if ready is not None:
            draw = self.source.random()
            if draw < 0.3:
                self._save(member, ready)
                self._send(member, ready)
            elif draw < 0.6:  # torn between the entries and the hard state
                self._save(member, replace(ready, hard_state=None, must_sync=False))
        disk = member.disk
        if self.source.random() < 0.5:  # a commit index is not synced for its own sake
            disk.hard_state = replace(disk.hard_state, commit=member.synced_commit)
        commit = min(disk.hard_state.commit, disk.last_index)
        disk.hard_state = replace(disk.hard_state, commit=max(commit, disk.snapshot.index))
        member.start()

    def _compact(self, member: ChaosMember) -> None:
        node = member.node
        if member.outstanding is None and node.applied > node.snapshot.index:
            member.disk.save_snapshot(node.create_snapshot(node.applied, member.conf_state))
        node.compact(min(node.snapshot.index, max(node.applied - self.source.randrange(4), 0)))

    def _cut_off(self) -> None:
        size = self.source.randrange(0, len(self.members) // 2 + 1)
        self.cut_off = set(self.source.sample(sorted(self.members), size))

    def _disturb(self, member: ChaosMember) -> None:
        other = self.source.choice(list(self.members))
        match self.source.randrange(5 if self.reconfigure else 3):
            case 0:
                member.node.transfer_leader(other)
            case 1:
                member.node.report_unreachable(other)
            case 2:
                member.node.campaign()
            case _:
                try:
                    member.node.propose_conf_change(self._some_change(other))
                except ProposalDropped:
                    pass

    def _some_change(self, id_: int) -> ConfChange | ConfChangeV2:
        kinds = (ConfChangeType.ADD_NODE, ConfChangeType.REMOVE_NODE, ConfChangeType.ADD_LEARNER_NODE)
        if self.source.random() < 0.5:
            return ConfChange(self.source.choice(kinds), id_)
        ids = self.source.sample(sorted(self.members), 2)
        return ConfChangeV2([ConfChangeSingle(self.source.choice(kinds), one) for one in ids])

    # ---- what must hold

    def _check(self, member: ChaosMember) -> None:
        node = member.node
        assert node.applied <= node.commit <= node.last_index, node.status()
        if node.role is not Role.LEADER:
            return
        known = self.leader_by_term.setdefault(node.term, node.id)
        assert known == node.id, f"{known} and {node.id} both lead term {node.term}"
        for index, entry in self.committed.items():
            if index >= node.first_index and self.known_committed_in[index] < node.term:
                assert node.term_at(index) == entry.term, f"leader {node.id} of {node.term} lacks {entry}"

    def _check_matching(self, member: ChaosMember, entry: Entry) -> None:
        disk = member.disk
        position = entry.index - disk.snapshot.index - 1
        before = disk.entries[position - 1].term if position > 0 else disk.snapshot.term
        known, known_before = self.entries.setdefault((entry.index, entry.term), (entry, before))
        assert (known, known_before) == (entry, before), (
            f"{entry} after {before}, {known} after {known_before}"
        )

    def _check_durable(self, entry: Entry) -> None:
        holders = 0
        for member in self.members.values():
            position = entry.index - member.disk.snapshot.index - 1
            if position < 0 or (
                position < len(member.disk.entries) and member.disk.entries[position] == entry
            ):
                holders += 1
        assert holders > len(self.members) // 2, f"{entry} is committed but only {holders} have it"

    # ---- the end

    def calm_down(self) -> None:
        """Without faults the cluster must get to work again: one leader, and everybody with the same log."""
        self.loss = 0.0
        self.cut_off.clear()
        self.in_flight.clear()
        for member in self.members.values():
            member.start()
        for _ in range(400):
            for member in self.members.values():
                member.node.tick()
                if (
                    member.node.role is Role.LEADER
                    and member.config.id not in member.node.status().progress_by_id
                ):
                    member.start()  # a removed leader is stopped by its server
            self._run_dry()
        leaders = [member.node for member in self.members.values() if member.node.role is Role.LEADER]
        leader = max(leaders, key=lambda node: node.term)
        leader.propose([b"last"])
        for _ in range(60):
            for member in self.members.values():
                member.node.tick()
            self._run_dry()
        state = leader.conf_state
        for id_ in (*state.voters, *state.learners):
            node = self.members[id_].node
            assert (node.last_index, node.commit) == (leader.last_index, leader.last_index), (
                id_,
                node.status(),
            )

    def _run_dry(self) -> None:
        for _ in range(1000):
            moved = False
            for member in self.members.values():
                while member.outstanding is not None or member.node.has_ready():
                    moved = True
                    self._turn_calmly(member)
            batch, self.in_flight = self.in_flight, []
            for message in batch:
                self.members[message.to].node.step(message)
            if not moved and not batch:
                return
        raise AssertionError("never silent")

    def _turn_calmly(self, member: ChaosMember) -> None:
        self._turn(member)
        for message in self.in_flight:
            if message.type is MessageType.SNAP and message.from_ == member.config.id:
                node = member.node
                if member.outstanding is None and node.applied > node.snapshot.index:
                    member.disk.save_snapshot(node.create_snapshot(node.applied, member.conf_state))
                message.snapshot = node.snapshot
