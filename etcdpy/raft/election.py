"""Winning and granting votes: the campaign of a member that misses its leader, and its answers to other
campaigns.

With pre-vote on, a campaign has two rounds. The first asks "would you vote for me?" for the next term without
anybody entering that term; only a member that would win goes on to the second, real one (thesis 9.6). So a
member that was cut off does not come back with a high term and depose a leader that everybody else was
content with.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from . import follower, replication
from .messages import CAMPAIGN_TRANSFER, EntryType, Message, MessageType, Role
from .quorum import VoteResult

if TYPE_CHECKING:
    from .core import Core, Handler


class Campaign(Enum):
    """Kinds of campaign: ask first, ask in earnest, take over because the leader told us to."""

    PRE_ELECTION = 1
    ELECTION = 2
    TRANSFER = 3


_RESPONSE_TO = {
    MessageType.VOTE: MessageType.VOTE_RESP,
    MessageType.PRE_VOTE: MessageType.PRE_VOTE_RESP,
}


def tick(core: Core) -> None:
    """Time of everybody who does not lead."""
    core.election_elapsed += 1
    if core.election_elapsed >= core.election_timeout and core.is_promotable:
        core.election_elapsed = 0
        campaign(core)


def campaign(core: Core) -> None:
    start(core, Campaign.PRE_ELECTION if core.config.pre_vote else Campaign.ELECTION)


def start(core: Core, kind: Campaign) -> None:
    """Begin a campaign if we may."""
    if core.role is Role.LEADER or not core.is_promotable:
        return
    if any(entry.type is not EntryType.NORMAL for entry in core.log.unapplied()):
        # We would count votes by a configuration that is known to be outdated.
        core.trace("campaign_refused", reason="unapplied configuration change")
        return
    if kind is Campaign.PRE_ELECTION:
        core.become_pre_candidate()
        _ask_for_votes(core, MessageType.PRE_VOTE, core.term + 1)
    else:
        core.become_candidate()
        _ask_for_votes(
            core, MessageType.VOTE, core.term, CAMPAIGN_TRANSFER if kind is Campaign.TRANSFER else b""
        )


def _ask_for_votes(core: Core, type_: MessageType, term: int, context: bytes = b"") -> None:
    last_index, last_term = core.log.last_index, core.log.last_term
    for id_ in core.membership.all_voters():
        if id_ == core.id:
            core.own_votes.append(Message(_RESPONSE_TO[type_], to=id_, from_=id_, term=term))
            continue
        core.send(Message(type_, to=id_, term=term, index=last_index, log_term=last_term, context=context))


# ---- the voter's side


def handle_vote_request(core: Core, message: Message) -> None:
    """Answer VOTE and PRE_VOTE, in any role. Learners too: they may be voters without knowing it yet."""
    is_real = message.type is MessageType.VOTE
    may_vote = (
        core.vote == message.from_
        or (core.vote == 0 and core.leader == 0)
        or (not is_real and message.term > core.term)
    )
    granted = may_vote and core.log.is_up_to_date(message.index, message.log_term)
    # A granted answer carries the candidate's term, because for a pre-vote ours may be lower and the
    # candidate would take that for old news.
    term = message.term if granted else core.term
    core.send(Message(_RESPONSE_TO[message.type], to=message.from_, term=term, reject=not granted))
    core.trace("answered_vote", candidate=message.from_, real=is_real, granted=granted)
    if granted and is_real:
        core.election_elapsed = 0
        core.vote = message.from_


# ---- the candidate's side


def _handle_vote_response(core: Core, message: Message) -> None:
    core.votes.setdefault(message.from_, not message.reject)
    result = core.membership.vote_result(core.votes)
    if result is VoteResult.LOST:
        core.become_follower(core.term, 0)
    elif result is VoteResult.WON and core.role is Role.PRE_CANDIDATE:
        start(core, Campaign.ELECTION)
    elif result is VoteResult.WON:
        core.become_leader()
        replication.broadcast_append(core)


def handle_timeout_now(core: Core, message: Message) -> None:
    """Our leader wants us to take over. It knows that we have everything, so nobody is asked first."""
    start(core, Campaign.TRANSFER)


def _follow(core: Core, message: Message) -> None:
    """Somebody leads our own term: then it is not us."""
    core.become_follower(message.term, message.from_)
    follower.HANDLERS[message.type](core, message)


_COMMON: dict[MessageType, Handler] = {
    MessageType.APP: _follow,
    MessageType.HEARTBEAT: _follow,
    MessageType.SNAP: _follow,
}
PRE_CANDIDATE_HANDLERS: dict[MessageType, Handler] = {
    **_COMMON,
    MessageType.PRE_VOTE_RESP: _handle_vote_response,
}
CANDIDATE_HANDLERS: dict[MessageType, Handler] = {**_COMMON, MessageType.VOTE_RESP: _handle_vote_response}
