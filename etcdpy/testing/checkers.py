"""What must hold in a cluster at every moment, checked as it happens.

The first five are the promises of figure 3 of the Raft paper and what they stand on; each is looked at where
it could first be broken, so that a violation is told with the event that caused it:

- election safety and one vote a term: when a vote leaves, when somebody leads;
- log matching: when an entry is first handed out to be saved;
- leader completeness: when somebody becomes leader;
- state machine safety: when an entry is handed out to be applied, and that a quorum has it on disk by then;
- what a sync has promised is there after a crash: when a member starts again.

The last two are about the stores: every record of a revision is the same on all members, and so is everything
else that applying has written, at every applied index at which two members are seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.raft.messages import MessageType, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.raft.messages import Entry, HardState, Message, Ready
    from etcdpy.raft.raw_node import RawNode


class Violation(Exception):
    """A promise was broken; the text says which and by whom."""


class DurableLog:
    """What is on one member's disk for certain: the term of each entry, and the hard state."""

    def __init__(self) -> None:
        self.terms: list[int] = [0]
        self.term = 0
        self.vote = 0

    def save(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        """A synced save has reached the disk."""
        if entries:
            del self.terms[entries[0].index :]
            self.terms += [entry.term for entry in entries]
        if hard_state is not None:
            self.term, self.vote = hard_state.term, hard_state.vote

    def has(self, index: int, term: int) -> bool:
        """Whether the entry is there."""
        terms = self.terms
        return index < len(terms) and terms[index] == term


class RaftChecker:
    """The promises of the log. Members are named by their ids."""

    def __init__(self, ids: Sequence[int], founding: Sequence[Entry]) -> None:
        self.durable = {id_: DurableLog() for id_ in ids}
        for durable in self.durable.values():
            durable.save(founding, None)
        self.leader_by_term: dict[int, int] = {}
        self.committed: list[Entry | None] = [None, *founding]
        self._quorum = len(ids) // 2 + 1
        self._votes: dict[tuple[int, int], int] = {}
        self._entries: dict[tuple[int, int], tuple[Entry, int | None]] = {}
        # An upper bound of the term in which each entry was committed.
        self._commit_terms = [0] * len(self.committed)

    def sent(self, message: Message) -> None:
        """A message leaves: votes are promises from then on."""
        if message.type is MessageType.VOTE_RESP:
            if not message.reject:
                self._voted(message.from_, message.term, message.to)
        elif message.type is MessageType.VOTE:
            self._voted(message.from_, message.term, message.from_)

    def _voted(self, voter: int, term: int, candidate: int) -> None:
        known = self._votes.setdefault((voter, term), candidate)
        if known != candidate:
            raise Violation(f"{voter:x} votes for {candidate:x} in term {term}, after {known:x}")

    def ready(self, node: RawNode, ready: Ready) -> None:
        """A member is given this to save and to apply."""
        for entry in ready.entries:
            self._check_matching(node, entry)
        for entry in ready.committed_entries:
            self._check_committed(node, entry)

    def _check_matching(self, node: RawNode, entry: Entry) -> None:
        before = node.term_at(entry.index - 1)
        known, known_before = self._entries.setdefault((entry.index, entry.term), (entry, before))
        if known is not entry and known != entry:
            raise Violation(f"{node.id:x} has {entry}, somebody else {known}")
        if before != known_before and before is not None and known_before is not None:
            raise Violation(
                f"{node.id:x} has entry {entry.index} of term {entry.term} after one of term {before}, "
                f"somebody else after one of term {known_before}"
            )

    def _check_committed(self, node: RawNode, entry: Entry) -> None:
        committed = self.committed
        index = entry.index
        if index < len(committed):
            known = committed[index]
            if known is not entry and known != entry:
                raise Violation(f"{node.id:x} applies {entry}, somebody has applied {known}")
            return
        if index > len(committed):
            raise Violation(f"{node.id:x} applies entry {index}, but nobody has applied {len(committed)}")
        holders = [f"{id_:x}" for id_, durable in self.durable.items() if durable.has(index, entry.term)]
        if len(holders) < self._quorum:
            raise Violation(f"{node.id:x} applies {entry}, which only {holders} have on disk")
        committed.append(entry)
        self._commit_terms.append(node.term)

    def leads(self, node: RawNode) -> None:
        """A member is seen as leader."""
        known = self.leader_by_term.get(node.term)
        if known == node.id:
            return
        if known is not None:
            raise Violation(f"{known:x} and {node.id:x} both lead term {node.term}")
        self.leader_by_term[node.term] = node.id
        for index in range(node.first_index, len(self.committed)):
            entry = self.committed[index]
            assert entry is not None, f"entry {index} of {len(self.committed)}"
            if self._commit_terms[index] < node.term and node.term_at(index) != entry.term:
                raise Violation(f"{node.id:x} leads term {node.term} without the committed {entry}")

    def saved_snapshot(self, id_: int, index: int) -> None:
        """A member has a snapshot on its disk: as good as all entries up to there."""
        self.durable[id_].terms = self._committed_terms(index)

    def _committed_terms(self, index: int) -> list[int]:
        return [0, *(entry.term for entry in self.committed[1 : index + 1] if entry is not None)]

    def restarted(self, node: RawNode) -> None:
        """A member comes back with what it found on its disk."""
        before = self.durable[node.id]
        if (node.term, before.vote) != (before.term, before.vote) and node.term < before.term:
            raise Violation(f"{node.id:x} comes back in term {node.term}, it had synced {before.term}")
        if node.term == before.term and before.vote not in (0, node.vote):
            raise Violation(f"{node.id:x} comes back without its vote for {before.vote:x} in {before.term}")
        for index in range(node.first_index, min(len(before.terms), len(self.committed))):
            entry = self.committed[index]
            assert entry is not None, f"entry {index} of {len(self.committed)}"
            if before.terms[index] == entry.term and node.term_at(index) != entry.term:
                raise Violation(f"{node.id:x} comes back without the committed {entry}, which it had synced")
        terms = self._committed_terms(node.first_index - 1)
        terms += [node.term_at(index) or 0 for index in range(node.first_index, node.last_index + 1)]
        before.terms, before.term, before.vote = terms, node.term, node.vote


class MemberView:
    """One life of a member as the checkers saw it last; terms and indexes only grow."""

    __slots__ = ("_checker", "_commit", "_node", "_term", "is_leader")

    def __init__(self, checker: RaftChecker, node: RawNode) -> None:
        self._checker = checker
        self._node = node
        self._term = node.term
        self._commit = node.commit
        self.is_leader = False

    def look(self) -> None:
        """After every event of this member."""
        node = self._node
        term, commit = node.term, node.commit
        if node.role is Role.LEADER:
            if not self.is_leader or term != self._term:
                self.is_leader = True
                self._checker.leads(node)
            elif commit != self._commit and node.term_at(commit) != term:
                # Paper 5.4.2: it may be lost again.
                raise Violation(f"{node.id:x} commits {commit} of term {node.term_at(commit)} in term {term}")
        else:
            self.is_leader = False
        if term != self._term:
            if term < self._term:
                raise Violation(f"{node.id:x} goes back from term {self._term} to {term}")
            self._term = term
        if commit != self._commit:
            if commit < self._commit:
                raise Violation(f"{node.id:x} goes back from commit {self._commit} to {commit}")
            if commit > node.last_index:
                raise Violation(f"{node.id:x} has committed {commit} of {node.last_index} entries")
            self._commit = commit


class StoreChecker:
    """Equal stores at equal applied index."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self._states: dict[int, tuple[int, int]] = {}

    def record(self, key: bytes, value: bytes) -> None:
        """A member writes a record of the KEY bucket."""
        known = self.records.setdefault(key, value)
        if known is not value and known != value:
            raise Violation(f"revision {int.from_bytes(key[:8], 'big')} is {value!r}, elsewhere {known!r}")

    def applied(self, id_: int, index: int, revision: int, digest: int) -> None:
        """A member has applied everything up to `index`."""
        known = self._states.setdefault(index, (revision, digest))
        if known != (revision, digest):
            raise Violation(
                f"at index {index} {id_:x} is at revision {revision} with digest {digest:08x}, "
                f"elsewhere {known[0]} with {known[1]:08x}"
            )
