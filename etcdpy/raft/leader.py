"""What a leader does: take proposals, learn from answers what is committed, prove reads, hand over, step
down.

The commit rule is in `_maybe_commit`: only an entry of the present term is committed by counting; everything
before it is then committed along with it (paper 5.4.2). Our own copy counts like any other, once it is on
disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import codec, replication
from .confchange import as_v2
from .errors import IllegalConfChange, ProposalDropped
from .messages import (
    ConfChangeV2,
    Entry,
    EntryType,
    Message,
    MessageType,
    ReadState,
    Role,
)
from .progress import Progress, ProgressState
from .quorum import VoteResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .core import Core, Handler


# ---- time


def tick(core: Core) -> None:
    core.heartbeat_elapsed += 1
    core.election_elapsed += 1
    if core.election_elapsed >= core.config.election_ticks:
        core.election_elapsed = 0
        _abort_transfer(core)  # it had an election timeout's time, we must take proposals again
        if core.config.check_quorum and not _has_active_quorum(core):
            core.trace("lost_quorum")
            core.become_follower(core.term, 0)
            return
    if core.heartbeat_elapsed >= core.config.heartbeat_ticks:
        core.heartbeat_elapsed = 0
        replication.broadcast_heartbeat(core, core.reads.newest_context)


def _has_active_quorum(core: Core) -> bool:
    """Did we hear from a quorum since the last round (thesis 6.2)? Begins the next round."""
    is_active = core.membership.is_quorum_active()
    for id_, progress in core.membership.progress_by_id.items():
        progress.is_active = id_ == core.id
    return is_active


# ---- proposals


def propose(core: Core, datas: Sequence[bytes]) -> None:
    """Append normal entries and send them. The hot path: one call for all proposals of a turn."""
    _check_may_propose(core)
    if core.config.uncommitted_bytes_max:
        _take_on(core, sum(map(len, datas)))
    term, normal = core.term, EntryType.NORMAL
    core.log.append(
        [Entry(term, index, normal, data) for index, data in enumerate(datas, core.log.last_index + 1)]
    )
    replication.broadcast_append(core)


def _handle_propose(core: Core, message: Message) -> None:
    """Proposals passed on by a follower, and our own configuration changes."""
    _check_may_propose(core)
    # Foreign bytes are decoded before anything is changed.
    changes = [None if one.type is EntryType.NORMAL else codec.conf_change_of(one) for one in message.entries]
    if core.config.uncommitted_bytes_max:
        _take_on(core, sum(len(one.data) for one in message.entries))
    entries = []
    for index, (proposed, change) in enumerate(
        zip(message.entries, changes, strict=True), core.log.last_index + 1
    ):
        type_, data = proposed.type, proposed.data
        if change is not None:
            refusal = _conf_change_refusal(core, as_v2(change))
            if refusal:
                # It still takes its place in the log, as an entry without effect, like in etcd.
                core.trace("refused_conf_change", reason=refusal)
                type_, data = EntryType.NORMAL, b""
            else:
                core.pending_conf_index = index
        entries.append(Entry(core.term, index, type_, data))
    core.log.append(entries)
    replication.broadcast_append(core)


def _check_may_propose(core: Core) -> None:
    if core.id not in core.membership.progress_by_id:
        raise ProposalDropped("this leader was removed from the configuration")
    if core.transferee != 0:
        raise ProposalDropped(f"leadership is being transferred to {core.transferee:x}")


def _take_on(core: Core, size: int) -> None:
    """Count proposed bytes against the limit. What adds nothing, or comes first, is never refused."""
    if (
        core.uncommitted_bytes > 0
        and size > 0
        and core.uncommitted_bytes + size > core.config.uncommitted_bytes_max
    ):
        raise ProposalDropped(f"{core.uncommitted_bytes} bytes are not committed yet")
    core.uncommitted_bytes += size


def _conf_change_refusal(core: Core, change: ConfChangeV2) -> str:
    """Why this change may not enter the log now; empty if it may."""
    wants_to_leave = not change.changes
    if core.pending_conf_index > core.log.applied:
        return f"the change at {core.pending_conf_index} may not be applied yet ({core.log.applied} is)"
    if core.membership.is_joint != wants_to_leave:
        return "the configuration is joint" if core.membership.is_joint else "the configuration is not joint"
    try:
        core.membership.changed(change, core.log.last_index)
    except IllegalConfChange as error:
        return str(error)
    return ""


def maybe_leave_joint(core: Core) -> None:
    """Propose to leave a joint configuration that was entered to be left by itself, once it is applied."""
    if (
        core.membership.auto_leave
        and core.log.applied >= core.pending_conf_index
        and core.transferee == 0
        and core.id in core.membership.progress_by_id
    ):
        core.trace("leaving_joint")
        _handle_propose(core, Message(MessageType.PROP, entries=[Entry(0, 0, EntryType.CONF_CHANGE_V2)]))


def committed_handed_out(core: Core, entries: Sequence[Entry]) -> None:
    """These are no longer uncommitted. Some may stem from an earlier leader: we never counted those."""
    if core.config.uncommitted_bytes_max:
        core.uncommitted_bytes = max(core.uncommitted_bytes - sum(len(entry.data) for entry in entries), 0)


# ---- answers to appends


def own_entries_saved(core: Core) -> None:
    """Our own acknowledgement: what is on our disk counts towards commitment."""
    own = core.membership.progress_by_id.get(core.id)
    if own is not None and own.maybe_update(core.log.stable) and _maybe_commit(core):
        replication.broadcast_append(core)


def _handle_append_response(core: Core, message: Message) -> None:
    progress = core.membership.progress_by_id[message.from_]  # `RawNode.step` lets no stranger answer
    progress.is_active = True
    if message.reject:
        _handle_rejection(core, message, progress)
    elif message.index > core.log.last_index:
        core.trace("impossible_acknowledgement", from_=message.from_, index=message.index)
    elif progress.maybe_update(message.index) or (
        progress.match == message.index and progress.state is ProgressState.PROBE
    ):
        _acknowledged(core, message, progress)


def _handle_rejection(core: Core, message: Message, progress: Progress) -> None:
    hint = message.reject_hint
    if message.log_term > 0:
        # The follower skipped its entries of terms above ours; now skip ours of terms above its.
        hint, _ = core.log.find_term_at_most(hint, message.log_term)
    if progress.maybe_decrease(message.index, hint):
        if progress.state is ProgressState.REPLICATE:
            progress.become_probe()
        replication.maybe_send_append(core, message.from_, progress, allow_empty=True)


def _acknowledged(core: Core, message: Message, progress: Progress) -> None:
    to = message.from_
    if progress.state is ProgressState.PROBE:
        progress.become_replicate()
    elif progress.state is ProgressState.SNAPSHOT:
        # Whatever snapshot it was that arrived, our log goes on from there.
        if progress.match + 1 >= core.log.first_index:
            progress.become_replicate()
    else:
        progress.inflights.free_to(message.index)
    if _maybe_commit(core):
        replication.broadcast_append(core)
    elif progress.can_bump_commit(core.log.committed):
        replication.maybe_send_append(core, to, progress, allow_empty=True)
    while replication.maybe_send_append(core, to, progress, allow_empty=False):
        pass
    if to == core.transferee and progress.match == core.log.last_index:
        _send_timeout_now(core, to)


def _maybe_commit(core: Core) -> bool:
    index = core.membership.committed_index()
    if index <= core.log.committed or core.log.term_at(index) != core.term:
        return False
    core.log.commit_to(index)
    if core.postponed_reads:  # only before the first commit of a term
        postponed, core.postponed_reads = core.postponed_reads, []
        for request in postponed:
            _confirm_read(core, request)
    return True


# ---- heartbeats, reports from the transport


def _handle_heartbeat_response(core: Core, message: Message) -> None:
    progress = core.membership.progress_by_id[message.from_]  # `RawNode.step` lets no stranger answer
    progress.is_active = True
    progress.is_flow_paused = False
    # A follower that answers heartbeats but lacks entries may have missed an append: try again. One that we
    # still probe gets an empty append, so that its answer brings it back to replicate.
    if progress.match < core.log.last_index or progress.state is ProgressState.PROBE:
        replication.maybe_send_append(core, message.from_, progress, allow_empty=True)
    if message.context:
        _count_read_echo(core, message)


def report_unreachable(core: Core, id_: int) -> None:
    """Messages to a member were lost. Optimistic sending would only lose more: find out again where it is."""
    progress = core.membership.progress_by_id.get(id_)
    if progress is not None and progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def report_snapshot(core: Core, id_: int, *, ok: bool) -> None:
    progress = core.membership.progress_by_id.get(id_)
    if progress is not None and progress.state is ProgressState.SNAPSHOT:
        progress.snapshot_done(ok=ok)


# ---- reads


def _handle_read_index(core: Core, message: Message) -> None:
    if core.log.term_at(core.log.committed) != core.term:
        # Before this term's first commit we may not know how much our predecessors committed.
        core.postponed_reads.append(message)
        return
    _confirm_read(core, message)


def _confirm_read(core: Core, request: Message) -> None:
    """Answer at once if nobody else could lead; otherwise ask a quorum whether we still do."""
    if core.membership.is_only_voter(core.id):
        _answer_read(core, request, core.log.committed)
        return
    core.reads.add(core.log.committed, request, core.id)
    replication.broadcast_heartbeat(core, request.entries[0].data)


def _count_read_echo(core: Core, message: Message) -> None:
    acks = core.reads.acknowledge(message.from_, message.context)
    if acks and core.membership.vote_result(acks) is VoteResult.WON:
        for read in core.reads.release_to(message.context):
            _answer_read(core, read.request, read.index)


def _answer_read(core: Core, request: Message, index: int) -> None:
    if request.from_ in (0, core.id):
        core.read_states.append(ReadState(index, request.entries[0].data))
    else:
        core.send(
            Message(MessageType.READ_INDEX_RESP, to=request.from_, index=index, entries=request.entries)
        )


# ---- handing over


def _handle_transfer(core: Core, message: Message) -> None:
    """Hand leadership to `message.from_` (thesis 3.10): complete its log, then make it campaign at once."""
    to = message.from_
    progress = core.membership.progress_by_id.get(to)
    if progress is None or to in core.membership.learners or to in (core.id, core.transferee):
        return
    core.election_elapsed = 0  # the transfer has one election timeout from now
    core.transferee = to
    core.trace("transfer_begins", to=to)
    if progress.match == core.log.last_index:
        _send_timeout_now(core, to)
    else:
        replication.maybe_send_append(core, to, progress, allow_empty=True)


def _send_timeout_now(core: Core, to: int) -> None:
    core.send(Message(MessageType.TIMEOUT_NOW, to=to))


def _abort_transfer(core: Core) -> None:
    core.transferee = 0


# ---- membership


def membership_changed(core: Core) -> None:
    """A quorum may be smaller now, and newcomers know nothing."""
    assert core.role is Role.LEADER, core.role
    if _maybe_commit(core):
        replication.broadcast_append(core)
    else:
        replication.broadcast_pending(core)
    if core.transferee and not core.membership.is_voter(core.transferee):
        _abort_transfer(core)


HANDLERS: dict[MessageType, Handler] = {
    MessageType.PROP: _handle_propose,
    MessageType.APP_RESP: _handle_append_response,
    MessageType.HEARTBEAT_RESP: _handle_heartbeat_response,
    MessageType.READ_INDEX: _handle_read_index,
    MessageType.TRANSFER_LEADER: _handle_transfer,
}
