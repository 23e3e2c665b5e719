"""Who takes part, and how that changes: one step at a time, or several through a joint configuration (thesis
4).

A `Membership` is the configuration together with one `Progress` for every member of it. It is never edited in
place: a change works on a copy, the copy is checked, and only then does the core adopt it. A change that
would leave nobody to vote, or that takes two steps at once, raises `IllegalConfChange` and nothing has
happened.

While joint, `voters_outgoing` holds the old voters. A member that is to become a learner but still votes in
the old half cannot be both, so it waits in `learners_next` until the joint configuration is left.
"""

from collections.abc import Callable, Iterable, Sequence

from .errors import IllegalConfChange
from .messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
)
from .progress import Inflights, Progress
from .quorum import VoteResult, joint_index, joint_vote


class Membership:
    """Voters and learners, in one or two halves, and the progress of each."""

    __slots__ = (
        "auto_leave",
        "inflights",
        "learners",
        "learners_next",
        "progress_by_id",
        "voters",
        "voters_outgoing",
    )

    def __init__(self, inflights: Callable[[], Inflights]) -> None:
        self.inflights = inflights
        self.voters: set[int] = set()
        self.voters_outgoing: set[int] = set()
        self.learners: set[int] = set()
        self.learners_next: set[int] = set()
        self.auto_leave = False
        self.progress_by_id: dict[int, Progress] = {}  # in ascending order of id

    @classmethod
    def restored(cls, inflights: Callable[[], Inflights], state: ConfState, last_index: int) -> "Membership":
        """The membership that `state` describes, with nothing known about anybody."""
        membership = cls(inflights)
        membership.voters.update(state.voters)
        membership.voters_outgoing.update(state.voters_outgoing)
        membership.learners.update(state.learners)
        membership.learners_next.update(state.learners_next)
        membership.auto_leave = state.auto_leave
        for id_ in sorted({*state.voters, *state.voters_outgoing, *state.learners}):
            membership._add_progress(id_, last_index)
        membership._check()
        return membership

    # ---- looking

    @property
    def is_joint(self) -> bool:
        return bool(self.voters_outgoing)

    def is_voter(self, id_: int) -> bool:
        return id_ in self.voters or id_ in self.voters_outgoing

    def is_only_voter(self, id_: int) -> bool:
        return len(self.voters) == 1 and id_ in self.voters and not self.voters_outgoing

    def all_voters(self) -> list[int]:
        return sorted(self.voters | self.voters_outgoing)

    def committed_index(self) -> int:
        progress_by_id = self.progress_by_id
        return joint_index(self.voters, self.voters_outgoing, lambda id_: progress_by_id[id_].match)

    def vote_result(self, votes: dict[int, bool]) -> VoteResult:
        return joint_vote(self.voters, self.voters_outgoing, votes)

    def is_quorum_active(self) -> bool:
        active = {id_: progress.is_active for id_, progress in self.progress_by_id.items()}
        return self.vote_result(active) is VoteResult.WON

    def conf_state(self) -> ConfState:
        return ConfState(
            sorted(self.voters),
            sorted(self.learners),
            sorted(self.voters_outgoing),
            sorted(self.learners_next),
            self.auto_leave,
        )

    # ---- changing

    def changed(self, change: ConfChange | ConfChangeV2, last_index: int) -> "Membership":
        """The membership after `change`."""
        change = as_v2(change)
        after = self._copy()
        if not change.changes and change.transition is ConfChangeTransition.AUTO:
            after._leave_joint()
        elif change.transition is not ConfChangeTransition.AUTO or len(change.changes) > 1:
            after._enter_joint(change, last_index)
        else:
            after._change_one(change.changes, last_index)
        after._order_progress()
        after._check()
        return after

    def _change_one(self, changes: Sequence[ConfChangeSingle], last_index: int) -> None:
        if self.is_joint:
            raise IllegalConfChange("a simple change cannot be made in a joint configuration")
        before = set(self.voters)
        self._apply(changes, last_index)
        assert len(before ^ self.voters) <= 1, (sorted(before), sorted(self.voters))

    def _enter_joint(self, change: ConfChangeV2, last_index: int) -> None:
        if self.is_joint:
            raise IllegalConfChange("the configuration is joint already")
        if not self.voters:
            raise IllegalConfChange("a configuration without voters cannot become joint")
        self.voters_outgoing = set(self.voters)
        self.auto_leave = change.transition is not ConfChangeTransition.JOINT_EXPLICIT
        self._apply(change.changes, last_index)

    def _leave_joint(self) -> None:
        if not self.is_joint:
            raise IllegalConfChange("the configuration is not joint")
        self.learners |= self.learners_next
        self.learners_next.clear()
        for id_ in self.voters_outgoing - self.voters - self.learners:
            del self.progress_by_id[id_]
        self.voters_outgoing.clear()
        self.auto_leave = False

    def _apply(self, changes: Iterable[ConfChangeSingle], last_index: int) -> None:
        had_voters = bool(self.voters)
        for change in changes:
            if change.node_id == 0:
                continue  # what the server makes of a change that it refused
            if change.type is ConfChangeType.ADD_NODE:
                self._make_voter(change.node_id, last_index)
            elif change.type is ConfChangeType.ADD_LEARNER_NODE:
                self._make_learner(change.node_id, last_index)
            elif change.type is ConfChangeType.REMOVE_NODE:
                self._remove(change.node_id)
            # An update is about addresses: nothing here.
        if had_voters and not self.voters:
            raise IllegalConfChange("the last voter cannot be removed")

    def _make_voter(self, id_: int, last_index: int) -> None:
        if id_ not in self.progress_by_id:
            self._add_progress(id_, last_index)
        self.learners.discard(id_)
        self.learners_next.discard(id_)
        self.voters.add(id_)

    def _make_learner(self, id_: int, last_index: int) -> None:
        if id_ not in self.progress_by_id:
            self._add_progress(id_, last_index)
        self.voters.discard(id_)
        if id_ in self.voters_outgoing:
            self.learners_next.add(id_)
        else:
            self.learners.add(id_)

    def _remove(self, id_: int) -> None:
        self.voters.discard(id_)
        self.learners.discard(id_)
        self.learners_next.discard(id_)
        if id_ not in self.voters_outgoing:
            self.progress_by_id.pop(id_, None)

    def _add_progress(self, id_: int, last_index: int) -> None:
        # A newcomer counts as active, or CheckQuorum could depose the leader before it had a chance to
        # answer.
        self.progress_by_id[id_] = Progress(max(last_index, 1), self.inflights(), is_active=True)

    def _copy(self) -> "Membership":
        copy = Membership(self.inflights)
        copy.voters = set(self.voters)
        copy.voters_outgoing = set(self.voters_outgoing)
        copy.learners = set(self.learners)
        copy.learners_next = set(self.learners_next)
        copy.auto_leave = self.auto_leave
        copy.progress_by_id = dict(
            self.progress_by_id
        )  # a change adds and removes progress, it never edits one
        return copy

    def _order_progress(self) -> None:
        self.progress_by_id = dict(sorted(self.progress_by_id.items()))

    def _check(self) -> None:
        members = self.voters | self.voters_outgoing | self.learners
        assert set(self.progress_by_id) == members, (sorted(self.progress_by_id), sorted(members))
        assert self.learners.isdisjoint(self.voters | self.voters_outgoing), self.conf_state()
        assert self.learners_next <= self.voters_outgoing - self.voters, self.conf_state()
        assert self.is_joint or not self.auto_leave, self.conf_state()


def as_v2(change: ConfChange | ConfChangeV2) -> ConfChangeV2:
    """The general form of a change."""
    if isinstance(change, ConfChangeV2):
        return change
    return ConfChangeV2([ConfChangeSingle(change.type, change.node_id)], context=change.context)
