"""Changing who is in the cluster: etcd's refusals before the change is proposed, then the proposal
itself.

What membership alone can say is checked again when the entry is applied, on every member alike;
what is checked here (who has started, who is connected) is only this member's view and protects the
quorum from a change that would break it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.bootstrap import new_member
from etcdpy.cluster.members import ChangeContext, encode_context
from etcdpy.cluster.members import Member as ClusterMember
from etcdpy.cluster.membership import MemberNotFound, MemberNotLearner, MembershipError, quorum
from etcdpy.cluster.urls import BadUrl, parse_urls
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.raft.messages import ConfChange, ConfChangeType
from etcdpy.server.errors import (
    CallerCanceled,
    CallerDeadline,
    LearnerNotReady,
    MemberBadUrls,
    MemberNotEnoughStarted,
    ProposalDropped,
    Stopped,
    Unhealthy,
)
from etcdpy.server.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from etcdpy.server.member import Member
    from etcdpy.server.results import Done

# A connection counts once it has lasted this long.
CONNECTED_S = 5.0
# A learner may vote once it has this share of the leader's log.
READY_SHARE = 0.9


NOT_READY = "etcdserver: can only promote a learner member which is in sync with leader"
# What the metric of failed promotions calls them: etcd's texts inside of the server.
_REASONS: dict[type[Exception], str] = {
    LearnerNotReady: NOT_READY,
    MemberNotEnoughStarted: "etcdserver: re-configuration failed due to not enough started members",
    Stopped: "etcdserver: server stopped",
    CallerDeadline: "context deadline exceeded",
    CallerCanceled: "context canceled",
    ProposalDropped: "raft proposal dropped",
}


class Connections(Protocol):
    """What the peer port knows of the others."""

    def active_since(self, member_id: int) -> float | None:
        """Since when (on the member's clock) this member is connected, None when it is not."""

    def is_lost(self, member_id: int) -> bool:
        """Whether this member was connected and is so no more."""


class Reconfiguration:
    """Answers the Cluster service."""

    def __init__(self, member: Member, connections: Connections, unix_s: Callable[[], int]) -> None:
        self._member = member
        self._connections = connections
        self._unix_s = unix_s
        self._strict = member.config.strict_reconfig_check

    def add(self, request: pb.MemberAddRequest, done: Done) -> None:
        """Add a voter or a learner under an id made from its URLs and the time."""
        try:
            urls = parse_urls(request.peerURLs)
            added = new_member(urls, self._unix_s(), is_learner=request.isLearner)
        except BadUrl:
            done(Result(error=MemberBadUrls()))
            return
        refusal = self._refuse_add(is_learner=request.isLearner)
        if refusal is not None:
            done(Result(error=refusal))
            return
        kind = ConfChangeType.ADD_LEARNER_NODE if request.isLearner else ConfChangeType.ADD_NODE
        context = encode_context(ChangeContext(added))

        def response() -> Message:
            answer = pb.MemberAddResponse(members=self.member_list())
            answer.member.ID = added.id
            answer.member.peerURLs.extend(added.peer_urls)
            answer.member.isLearner = added.is_learner
            return answer

        self._propose(ConfChange(kind, added.id, context), response, done)

    def remove(self, request: pb.MemberRemoveRequest, done: Done) -> None:
        """Remove a member for good."""
        refusal = self._refuse_remove(request.ID)
        if refusal is not None:
            done(Result(error=refusal))
            return
        self._propose(
            ConfChange(ConfChangeType.REMOVE_NODE, request.ID),
            lambda: pb.MemberRemoveResponse(members=self.member_list()),
            done,
        )

    def update(self, request: pb.MemberUpdateRequest, done: Done) -> None:
        """Replace a member's peer URLs. etcd does not look at them here, and its members do not survive the
        entry if they are none.
        """
        try:
            parse_urls(request.peerURLs)
        except BadUrl:
            done(Result(error=MemberBadUrls()))
            return
        context = encode_context(ChangeContext(ClusterMember(request.ID, tuple(request.peerURLs))))
        self._propose(
            ConfChange(ConfChangeType.UPDATE_NODE, request.ID, context),
            lambda: pb.MemberUpdateResponse(members=self.member_list()),
            done,
        )

    def promote(self, member_id: int, done: Done) -> None:
        """Make a learner a voter; only the leader knows whether it is ready."""
        done = self._counting_promotion(done)
        refusal = self._refuse_promote(member_id)
        if refusal is not None:
            done(Result(error=refusal))
            return
        context = encode_context(ChangeContext(ClusterMember(member_id, ()), is_promote=True))
        self._propose(
            ConfChange(ConfChangeType.ADD_NODE, member_id, context),
            lambda: pb.MemberPromoteResponse(members=self.member_list()),
            done,
        )

    def _counting_promotion(self, done: Done) -> Done:
        observed = self._member.observed

        def counted(result: Result) -> None:
            if result.error is None:
                observed.promotions += 1
            else:
                reason = _REASONS.get(type(result.error)) or str(result.error) or type(result.error).__name__
                observed.failed_promotions[reason] = observed.failed_promotions.get(reason, 0) + 1
            done(result)

        return counted

    def member_list(self) -> list[pb.Member]:
        """Everybody, ascending by id, as clients see them."""
        return [
            pb.Member(
                ID=member.id,
                name=member.name,
                peerURLs=member.peer_urls,
                clientURLs=member.client_urls,
                isLearner=member.is_learner,
            )
            for member in self._member.state.membership.members
        ]

    def _propose(self, change: ConfChange, response: Callable[[], Message], done: Done) -> None:
        def applied(result: Result) -> None:
            done(result if result.error is not None else Result(response()))

        self._member.propose_conf_change(change, applied)

    # etcd's strict checks.

    def _refuse_add(self, *, is_learner: bool) -> Exception | None:
        membership = self._member.state.membership
        if not self._strict:
            return None
        if not is_learner and not membership.can_add_voter():
            return MemberNotEnoughStarted()
        voters = [member.id for member in membership.voters]
        size = len(voters) + (0 if is_learner else 1)
        if len(voters) > 1 and self._connected(voters) < quorum(size):
            return Unhealthy()
        return None

    def _refuse_remove(self, member_id: int) -> Exception | None:
        membership = self._member.state.membership
        target = membership.get(member_id)
        if target is None:
            return MemberNotFound()
        if not self._strict or target.is_learner:
            return None
        if not membership.can_remove_voter(member_id):
            return MemberNotEnoughStarted()
        if member_id != self._member.member_id and self._connections.active_since(member_id) is None:
            return None
        voters = [member.id for member in membership.voters]
        if self._connected(voters) - 1 < 1 + (len(voters) - 1) // 2 and len(voters) > 1:
            return Unhealthy()
        return None

    def _refuse_promote(self, member_id: int) -> Exception | None:
        membership = self._member.state.membership
        target = membership.get(member_id)
        if target is None:
            return MemberNotFound()
        if not target.is_learner:
            return MemberNotLearner()
        progress = self._member.node.status().progress_by_id
        leader_match = progress[self._member.member_id].match
        if member_id not in progress or progress[member_id].match < leader_match * READY_SHARE:
            return LearnerNotReady()
        if self._strict and not membership.can_promote():
            return MemberNotEnoughStarted()
        return None

    def _connected(self, voters: list[int]) -> int:
        now = self._member.clock()
        count = 0
        for member_id in voters:
            since = self._connections.active_since(member_id)
            count += member_id == self._member.member_id or (since is not None and now - since >= CONNECTED_S)
        return count


__all__ = ["Connections", "MembershipError", "Reconfiguration"]
