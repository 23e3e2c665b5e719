"""The door of the raft room: calls go in, one `Ready` at a time comes out.

The shell turns a crank: `ready()`, save and send and apply what it says, `advance(ready)`. Between the two it
may go on calling `step`, `propose` and `tick`, so messages that arrive while the disk is busy are not kept
waiting; what they cause comes out with the next Ready. Whatever must be durable first is therefore tied to
the Ready that carried it: our own vote, and our own copy of entries, count only in `advance` of that Ready. A
member that is the only voter commits nothing before that, and needs no case of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import codec, election, leader
from .config import Config
from .core import Core
from .errors import ProposalDropped
from .messages import (
    FORWARDED_TYPES,
    LOCAL_TYPES,
    RESPONSE_TYPES,
    ConfChange,
    ConfChangeV2,
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
from .progress import ProgressState

__all__ = ["Config", "FollowerStatus", "RawNode", "Status"]


@dataclass(slots=True, frozen=True)
class FollowerStatus:
    """One member as its leader sees it."""

    match: int
    next: int
    state: ProgressState
    is_learner: bool
    is_active: bool
    is_paused: bool
    pending_snapshot: int
    inflight_messages: int


@dataclass(slots=True, frozen=True)
class Status:
    """A member's own view of things; `progress_by_id` is filled on a leader only."""

    id: int
    term: int
    vote: int
    leader: int
    role: Role
    commit: int
    applied: int
    transferee: int
    conf_state: ConfState
    progress_by_id: Mapping[int, FollowerStatus] = field(default_factory=dict)


class RawNode:
    """One raft member. Not thread-safe; everything is called from the thread that decides."""

    def __init__(
        self,
        config: Config,
        *,
        hard_state: HardState | None = None,
        snapshot: Snapshot | None = None,
        entries: Iterable[Entry] = (),
        applied: int = 0,
        conf_state: ConfState | None = None,
    ) -> None:
        """Start from what is on disk; without anything, as a member of nothing that waits to be told.

        `snapshot` is the newest one (its data may be missing), `entries` what follows it. `applied` is how
        far the store is: nothing up to there is handed out again. If it lies after the snapshot, `conf_state`
        must be the configuration as of `applied`. It may be ahead of the saved commit index, which is not
        synced; entries in between *are* handed out again, since only a quorum can say that ours are the
        committed ones.
        """
        hard_state = hard_state or HardState()
        snapshot = snapshot or Snapshot(0, 0, ConfState())
        self._core = Core(config, hard_state, snapshot, conf_state or snapshot.conf_state, list(entries))
        log = self._core.log
        log.applied = log.applying = max(min(applied, log.committed), snapshot.index)
        self._outstanding: Ready | None = None
        self._outstanding_votes: list[Message] = []
        self._soft_state = self._core.soft_state()
        self._hard_state = HardState(hard_state.term, hard_state.vote, hard_state.commit)

    # ---- in

    def tick(self) -> None:
        """One tick of time has passed."""
        self._core.tick()

    def campaign(self) -> None:
        """Do not wait for the election timeout."""
        election.campaign(self._core)

    def step(self, message: Message) -> None:
        """Take a message from another member. It must have passed `codec.check_message`."""
        core = self._core
        if message.type in LOCAL_TYPES or message.from_ == 0:
            return
        if message.from_ == core.id and message.type not in FORWARDED_TYPES:
            return
        if message.type in RESPONSE_TYPES and message.from_ not in core.membership.progress_by_id:
            return
        try:
            core.step(message)
        except ProposalDropped as reason:
            core.trace("dropped_proposal", from_=message.from_, reason=str(reason))

    def propose(self, datas: Sequence[bytes]) -> None:
        """Propose entries, all or none. Raises `ProposalDropped` if there is nobody to take them."""
        assert datas, "nothing proposed"
        if self._core.role is Role.LEADER:
            leader.propose(self._core, datas)
        else:
            self._propose([Entry(0, 0, EntryType.NORMAL, data) for data in datas])

    def propose_conf_change(self, change: ConfChange | ConfChangeV2) -> None:
        """Propose a configuration change. A leader that may not take it logs an entry without effect."""
        type_ = EntryType.CONF_CHANGE if isinstance(change, ConfChange) else EntryType.CONF_CHANGE_V2
        self._propose([Entry(0, 0, type_, codec.encode_conf_change(change))])

    def _propose(self, entries: list[Entry]) -> None:
        core = self._core
        if core.leader == 0 or core.role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
            raise ProposalDropped(f"no leader in term {core.term}")
        core.step(Message(MessageType.PROP, from_=core.id, entries=entries))

    def apply_conf_change(self, change: ConfChange | ConfChangeV2) -> ConfState:
        """A committed change takes effect: call this when its entry is applied. Node id 0 changes nothing."""
        core = self._core
        core.adopt(core.membership.changed(change, core.log.last_index))
        return core.membership.conf_state()

    def read_index(self, context: bytes) -> None:
        """Ask from which index on a read is linearizable. Comes out as a `ReadState`, or never: ask again."""
        self._core.step(Message(MessageType.READ_INDEX, entries=[Entry(0, 0, EntryType.NORMAL, context)]))

    def take_read_states(self) -> list[ReadState]:
        """Confirmed reads, now instead of with the next Ready: they promise nothing that a disk must hold."""
        states, self._core.read_states = self._core.read_states, []
        return states

    def transfer_leader(self, id_: int) -> None:
        """Try to make another voter the leader."""
        self._core.step(Message(MessageType.TRANSFER_LEADER, from_=id_))

    def forget_leader(self) -> None:
        """Stop following, without campaigning: lets others win pre-votes before our lease ends."""
        self._core.step(Message(MessageType.FORGET_LEADER))

    def report_unreachable(self, id_: int) -> None:
        """The transport lost messages to a member."""
        if self._core.role is Role.LEADER:
            leader.report_unreachable(self._core, id_)

    def report_snapshot(self, id_: int, ok: bool) -> None:
        """What became of the snapshot sent to a member. Without a report the member may wait forever."""
        if self._core.role is Role.LEADER:
            leader.report_snapshot(self._core, id_, ok=ok)

    # ---- out

    def has_ready(self) -> bool:
        """Would `ready()` bring anything? Not while a Ready is outstanding."""
        if self._outstanding is not None:
            return False
        core = self._core
        return bool(
            core.messages
            or core.log.stable < core.log.last_index
            or core.log.has_next_committed
            or core.own_votes
            or core.read_states
            or core.log.pending_snapshot is not None
            or self._has_new_hard_state()
            or self._has_new_soft_state()
        )

    def _has_new_hard_state(self) -> bool:
        core, told = self._core, self._hard_state
        return core.log.committed != told.commit or core.term != told.term or core.vote != told.vote

    def _has_new_soft_state(self) -> bool:
        core, told = self._core, self._soft_state
        return core.leader != told.leader or core.role is not told.role

    def ready(self) -> Ready:
        """Everything there is to do now."""
        assert self._outstanding is None, "advance() comes before the next ready()"
        core, log = self._core, self._core.log
        ready = Ready(
            entries=log.unstable_entries(),
            snapshot=log.pending_snapshot,
            committed_entries=log.next_committed(core.config.committed_bytes_max),
            messages=core.messages,
            read_states=core.read_states,
        )
        core.messages, core.read_states = [], []
        self._outstanding_votes, core.own_votes = core.own_votes, []
        if self._has_new_soft_state():
            ready.soft_state = self._soft_state = core.soft_state()
        ready.must_sync = bool(ready.entries) or ready.snapshot is not None
        if self._has_new_hard_state():
            hard_state = core.hard_state()
            ready.must_sync = ready.must_sync or self._must_sync(hard_state)
            ready.hard_state = self._hard_state = hard_state
        if ready.snapshot is not None:
            log.applying_to(ready.snapshot.index)
        elif ready.committed_entries:
            log.applying_to(ready.committed_entries[-1].index)
        self._outstanding = ready
        return ready

    def _must_sync(self, new: HardState) -> bool:
        """Must this be on disk before anything is said? Term and vote yes. The commit index no: whoever leads
        will tell us again. But a configuration once known must not be forgotten, for after two more changes a
        majority of the old one need not meet a majority of the new.
        """
        old = self._hard_state
        if (new.term, new.vote) != (old.term, old.vote):
            return True
        return self._core.log.has_conf_change(old.commit + 1, new.commit)

    def advance(self, ready: Ready) -> None:
        """Everything in `ready` was done: saved, sent, applied."""
        assert ready is self._outstanding, "advance() takes the Ready that is outstanding"
        self._outstanding = None
        core, log = self._core, self._core.log
        if ready.snapshot is not None:
            log.snapshot_saved(ready.snapshot)
            log.applied_to(ready.snapshot.index)
        if ready.entries:
            log.stable_to(ready.entries[-1].index, ready.entries[-1].term)
        if ready.committed_entries:
            log.applied_to(ready.committed_entries[-1].index)
            leader.committed_handed_out(core, ready.committed_entries)
        for vote in self._outstanding_votes:
            core.step(vote)
        self._outstanding_votes = []
        if core.role is Role.LEADER:
            leader.own_entries_saved(core)
            leader.maybe_leave_joint(core)

    # ---- snapshots and compaction

    def create_snapshot(self, index: int, conf_state: ConfState, data: bytes = b"") -> Snapshot:
        """Note that the store has everything up to `index`; followers behind our log are offered that."""
        core = self._core
        if index <= core.snapshot.index:
            return core.snapshot
        term = core.log.term_at(index)
        assert index <= core.log.applied, (index, core.log.applied)
        assert term is not None, (index, core.log.first_index, core.log.last_index)
        core.snapshot = Snapshot(index, term, conf_state, data)
        return core.snapshot

    def compact(self, index: int) -> None:
        """Forget the log up to `index`, which the newest snapshot must cover."""
        core = self._core
        assert index <= core.snapshot.index, (index, core.snapshot.index)
        if index >= core.log.first_index:
            core.log.compact_to(index)

    # ---- observers

    @property
    def id(self) -> int:
        return self._core.id

    @property
    def term(self) -> int:
        return self._core.term

    @property
    def vote(self) -> int:
        return self._core.vote

    @property
    def leader(self) -> int:
        return self._core.leader

    @property
    def role(self) -> Role:
        return self._core.role

    @property
    def commit(self) -> int:
        return self._core.log.committed

    @property
    def applied(self) -> int:
        return self._core.log.applied

    @property
    def first_index(self) -> int:
        return self._core.log.first_index

    @property
    def last_index(self) -> int:
        return self._core.log.last_index

    @property
    def conf_state(self) -> ConfState:
        return self._core.membership.conf_state()

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot known; index 0 if there is none."""
        return self._core.snapshot

    @property
    def is_alone(self) -> bool:
        """Whether this member is the only voter, so that its own word is a quorum."""
        return self._core.membership.is_only_voter(self._core.id)

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None if it is compacted away or not there yet."""
        return self._core.log.term_at(index)

    def status(self) -> Status:
        core, membership = self._core, self._core.membership
        followers = membership.progress_by_id.items() if core.role is Role.LEADER else ()
        return Status(
            id=core.id,
            term=core.term,
            vote=core.vote,
            leader=core.leader,
            role=core.role,
            commit=core.log.committed,
            applied=core.log.applied,
            transferee=core.transferee,
            conf_state=membership.conf_state(),
            progress_by_id={
                id_: FollowerStatus(
                    match=progress.match,
                    next=progress.next,
                    state=progress.state,
                    is_learner=id_ in membership.learners,
                    is_active=progress.is_active,
                    is_paused=progress.is_paused,
                    pending_snapshot=progress.pending_snapshot,
                    inflight_messages=len(progress.inflights),
                )
                for id_, progress in followers
            },
        )
