"""What a leader sends of its own accord: appends, snapshots, heartbeats.

Members are visited in ascending order of id, so that a run can be replayed. `Progress` decides how much may
be sent; here it is read from the log and put into messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import Entry, Message, MessageType
from .progress import Progress, ProgressState

if TYPE_CHECKING:
    from .core import Core


def broadcast_append(core: Core) -> None:
    """Send to everybody what they lack, or just the commit index if they lack nothing."""
    for id_, progress in core.membership.progress_by_id.items():
        if id_ != core.id:
            maybe_send_append(core, id_, progress, allow_empty=True)


def broadcast_pending(core: Core) -> None:
    """Send to everybody what they lack."""
    for id_, progress in core.membership.progress_by_id.items():
        if id_ != core.id:
            maybe_send_append(core, id_, progress, allow_empty=False)


def maybe_send_append(core: Core, to: int, progress: Progress, *, allow_empty: bool) -> bool:
    """Send a member its next entries, or a snapshot if they are compacted away. False if nothing went."""
    if progress.is_paused:
        return False
    log = core.log
    assert progress.match < progress.next <= log.last_index + 1, (
        progress.match,
        progress.next,
        log.last_index,
    )
    previous = progress.next - 1
    previous_term = log.term_at(previous)
    if previous_term is None:
        return _maybe_send_snapshot(core, to, progress)
    entries: list[Entry] = []
    if progress.next <= log.last_index and not (
        progress.state is ProgressState.REPLICATE and progress.inflights.is_full
    ):
        entries = log.entries_from(progress.next, log.last_index, core.config.message_bytes_max)
    if not entries and not allow_empty:
        return False
    core.send(
        Message(
            MessageType.APP,
            to=to,
            index=previous,
            log_term=previous_term,
            entries=entries,
            commit=log.committed,
        )
    )
    progress.sent_entries(len(entries), _payload_size(entries) if core.config.inflight_bytes_max else 0)
    progress.sent_commit = log.committed
    return True


def _maybe_send_snapshot(core: Core, to: int, progress: Progress) -> bool:
    if not progress.is_active:
        return False  # a snapshot is too dear to be sent to somebody who does not answer
    snapshot = core.snapshot
    assert core.log.before_index <= snapshot.index <= core.log.committed, (
        core.log.before_index,
        snapshot.index,
    )
    progress.become_snapshot(snapshot.index)
    core.send(Message(MessageType.SNAP, to=to, snapshot=snapshot))
    core.trace("sent_snapshot", to=to, index=snapshot.index)
    return True


def broadcast_heartbeat(core: Core, context: bytes) -> None:
    """Heartbeats go out in every progress state, to learners too: they keep elections from starting."""
    for id_, progress in core.membership.progress_by_id.items():
        if id_ == core.id:
            continue
        # The follower can vouch only for what we know it has: its log may differ from ours above that.
        commit = min(progress.match, core.log.committed)
        core.send(Message(MessageType.HEARTBEAT, to=id_, commit=commit, context=context))
        progress.sent_commit = commit


def _payload_size(entries: list[Entry]) -> int:
    return sum(len(entry.data) for entry in entries)
