"""The state of one raft member and the rules that every role shares.

A member is follower, pre-candidate, candidate or leader. A message first meets the rules about terms
(`_settle_term`), which may drop it, answer it, or make us a follower; then the handler of the present role
for its type. The handlers are plain functions in `follower`, `election` and `leader`, one for each type,
looked up in a table by role; what is not in the table is ignored by that role.

The core never does anything outside itself. Messages to send pile up in `messages`, confirmed reads in
`read_states`, and the log knows what is unsaved and what is newly committed; `raw_node` carries them out as
`Ready`.

Our own vote is special. It counts only when it is on disk, like anybody else's, so it is not counted when it
is cast but waits in `own_votes` until the shell reports the save. Our own log is treated likewise through
`Log.stable`.
"""

from collections.abc import Callable

from . import election, follower, leader
from .confchange import Membership
from .config import Config
from .errors import LogDiverged
from .log import Log
from .messages import (
    CAMPAIGN_TRANSFER,
    ConfState,
    Entry,
    HardState,
    Message,
    MessageType,
    ReadState,
    Role,
    Snapshot,
    SoftState,
)
from .progress import Inflights
from .read_only import ReadQueue

_FROM_LEADER = frozenset({MessageType.APP, MessageType.HEARTBEAT, MessageType.SNAP})
_VOTE_REQUESTS = frozenset({MessageType.VOTE, MessageType.PRE_VOTE})
_CARRY_NO_TERM = frozenset({MessageType.PROP, MessageType.READ_INDEX})
_CHOOSE_THEIR_TERM = frozenset(
    {MessageType.VOTE, MessageType.VOTE_RESP, MessageType.PRE_VOTE, MessageType.PRE_VOTE_RESP}
)

Handler = Callable[["Core", Message], None]


class Core:
    """One member. Fields are used by the role modules; the door for everybody else is `RawNode`."""

    def __init__(
        self,
        config: Config,
        hard_state: HardState,
        snapshot: Snapshot,
        conf_state: ConfState,
        entries: list[Entry],
    ) -> None:
        self.config = config
        self.id = config.id
        self.log = Log(snapshot.index, snapshot.term, entries)
        if hard_state.commit > self.log.last_index:
            raise LogDiverged(f"commit {hard_state.commit} is beyond the log's end {self.log.last_index}")
        self.log.committed = max(hard_state.commit, snapshot.index)
        self.snapshot = snapshot  # the newest one: what a follower too far behind is given
        self.membership = Membership.restored(self._new_inflights, conf_state, self.log.last_index)

        # On disk before anything that depends on it is said. A crash between saving entries and saving the
        # term they came with leaves a term below theirs; to enter theirs is always allowed, to contradict our
        # log is not.
        self.term = max(hard_state.term, self.log.last_term)
        self.vote = hard_state.vote if self.term == hard_state.term else 0

        self.role = Role.FOLLOWER
        self.leader = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = 0  # drawn anew in every reset

        # Candidates.
        self.votes: dict[int, bool] = {}
        self.own_votes: list[Message] = []

        # Leaders.
        self.transferee = 0
        self.pending_conf_index = 0  # no new configuration change before this index is applied
        self.uncommitted_bytes = 0
        self.reads = ReadQueue()
        self.postponed_reads: list[Message] = []  # asked before this term's first commit

        # What comes out.
        self.messages: list[Message] = []
        self.read_states: list[ReadState] = []

        self.become_follower(self.term, 0)

    # ---- time

    def tick(self) -> None:
        if self.role is Role.LEADER:
            leader.tick(self)
        else:
            election.tick(self)

    # ---- messages in

    def step(self, message: Message) -> None:
        if message.term != 0 and not self._settle_term(message):
            return
        if message.type in _VOTE_REQUESTS:
            election.handle_vote_request(self, message)
            return
        handler = _HANDLERS[self.role].get(message.type)
        if handler is not None:
            handler(self, message)

    def _settle_term(self, message: Message) -> bool:
        """Compare terms (paper 5.1). True if the message is still to be handled: it is of our own term now,
        or of a higher one that is only asked about.
        """
        if message.term > self.term:
            return self._settle_higher_term(message)
        if message.term < self.term:
            self._answer_lower_term(message)
            return False
        return True

    def _settle_higher_term(self, message: Message) -> bool:
        kind = message.type
        if kind in _VOTE_REQUESTS and message.context != CAMPAIGN_TRANSFER and self._has_leader_lease():
            # Heard from a leader within an election timeout: whoever campaigns now was cut off or removed
            # (thesis 4.2.3).
            self.trace("ignored_vote", candidate=message.from_, candidate_term=message.term)
            return False
        if kind is MessageType.PRE_VOTE or (kind is MessageType.PRE_VOTE_RESP and not message.reject):
            return True  # a term that is only asked about changes nobody's term
        self.become_follower(message.term, message.from_ if kind in _FROM_LEADER else 0)
        return True

    def _answer_lower_term(self, message: Message) -> None:
        kind = message.type
        if kind is MessageType.PRE_VOTE:
            # A member with a longer log but an older term must learn ours, or nobody might ever win.
            self.send(Message(MessageType.PRE_VOTE_RESP, to=message.from_, term=self.term, reject=True))
        elif kind in (MessageType.APP, MessageType.HEARTBEAT) and (
            self.config.check_quorum or self.config.pre_vote
        ):
            # With pre-vote or a leader lease we do not depose a stale leader by campaigning, and it would go
            # on ignoring us at our higher term; so tell it. The answer carries nothing but the term.
            self.send(Message(MessageType.APP_RESP, to=message.from_))

    def _has_leader_lease(self) -> bool:
        return (
            self.config.check_quorum
            and self.leader != 0
            and self.election_elapsed < self.config.election_ticks
        )

    # ---- messages out

    def send(self, message: Message) -> None:
        message.from_ = message.from_ or self.id
        assert message.to not in (0, self.id), message
        if message.type in _CHOOSE_THEIR_TERM:
            assert message.term > 0, message
        elif message.type not in _CARRY_NO_TERM:
            message.term = self.term
        self.messages.append(message)

    # ---- roles

    def become_follower(self, term: int, leader_id: int) -> None:
        self._reset(term)
        self.role = Role.FOLLOWER
        self.leader = leader_id
        self.trace("became_follower", leader=leader_id)

    def become_pre_candidate(self) -> None:
        """Ask around without entering the next term: neither the term nor our vote changes (thesis 9.6)."""
        assert self.role is not Role.LEADER, self.term
        self.role = Role.PRE_CANDIDATE
        self.leader = 0
        self.votes = {}
        self.trace("became_pre_candidate")

    def become_candidate(self) -> None:
        assert self.role is not Role.LEADER, self.term
        self._reset(self.term + 1)
        self.role = Role.CANDIDATE
        self.vote = self.id
        self.trace("became_candidate")

    def become_leader(self) -> None:
        assert self.role is Role.CANDIDATE, (self.role, self.term)
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.id
        own = self.membership.progress_by_id[self.id]
        own.become_replicate()
        own.is_active = True
        # There may be a configuration change among the entries we inherited; assume the worst instead of
        # looking.
        self.pending_conf_index = self.log.last_index
        self.log.append([Entry(self.term, self.log.last_index + 1)])
        self.trace("became_leader", last_index=self.log.last_index)

    def _reset(self, term: int) -> None:
        assert term >= self.term, (term, self.term)
        if term != self.term:
            self.term = term
            self.vote = 0
        self.leader = 0
        self.election_elapsed = self.heartbeat_elapsed = 0
        self.election_timeout = self.config.election_ticks + self.config.randrange(self.config.election_ticks)
        self.votes = {}
        self.transferee = 0
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.reads.clear()
        self.postponed_reads.clear()
        for progress in self.membership.progress_by_id.values():
            progress.reset(self.log.last_index)
        own = self.membership.progress_by_id.get(self.id)
        if own is not None:
            own.match = self.log.stable

    # ---- facts about ourselves

    @property
    def is_promotable(self) -> bool:
        """May we campaign? Not as a stranger or learner, and not before a snapshot we received is on disk."""
        return self.membership.is_voter(self.id) and self.log.pending_snapshot is None

    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.committed)

    def soft_state(self) -> SoftState:
        return SoftState(self.leader, self.role)

    def adopt(self, membership: Membership) -> None:
        """Take on a new membership and do what follows from it."""
        self.membership = membership
        self.trace("changed_membership", conf_state=membership.conf_state())
        if self.role is Role.LEADER:
            leader.membership_changed(self)

    def restore_membership(self, conf_state: ConfState) -> None:
        """The membership of a snapshot that replaced our log."""
        self.membership = Membership.restored(self._new_inflights, conf_state, self.log.last_index)

    def _new_inflights(self) -> Inflights:
        return Inflights(self.config.inflight_messages_max, self.config.inflight_bytes_max)

    def trace(self, event: str, **facts: object) -> None:
        if self.config.trace is not None:
            self.config.trace(event, {"id": self.id, "term": self.term, **facts})


_HANDLERS: dict[Role, dict[MessageType, Handler]] = {
    Role.FOLLOWER: {**follower.HANDLERS, MessageType.TIMEOUT_NOW: election.handle_timeout_now},
    Role.PRE_CANDIDATE: election.PRE_CANDIDATE_HANDLERS,
    Role.CANDIDATE: election.CANDIDATE_HANDLERS,
    Role.LEADER: leader.HANDLERS,
}
