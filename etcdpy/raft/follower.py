"""What a follower does: it follows the leader's log and passes on what only the leader can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import Message, MessageType, ReadState

if TYPE_CHECKING:
    from .core import Core, Handler


# ---- from the leader


def _heard_from_leader(core: Core, message: Message) -> None:
    core.election_elapsed = 0
    core.leader = message.from_


def _handle_append(core: Core, message: Message) -> None:
    _heard_from_leader(core, message)
    log = core.log
    if message.index < log.committed:
        core.send(Message(MessageType.APP_RESP, to=message.from_, index=log.committed))
    elif log.maybe_append(message.index, message.log_term, message.entries):
        last_new = message.index + len(message.entries)
        log.commit_to(min(message.commit, last_new))
        core.send(Message(MessageType.APP_RESP, to=message.from_, index=last_new))
    else:
        hint, hint_term = log.find_term_at_most(min(message.index, log.last_index), message.log_term)
        core.send(
            Message(
                MessageType.APP_RESP,
                to=message.from_,
                index=message.index,
                reject=True,
                reject_hint=hint,
                log_term=hint_term,
            )
        )


def _handle_heartbeat(core: Core, message: Message) -> None:
    _heard_from_leader(core, message)
    core.log.commit_to(message.commit)
    core.send(Message(MessageType.HEARTBEAT_RESP, to=message.from_, context=message.context))


def _handle_snapshot(core: Core, message: Message) -> None:
    _heard_from_leader(core, message)
    restored = _restore(core, message)
    core.trace("snapshot_received", restored=restored, committed=core.log.committed)
    core.send(Message(MessageType.APP_RESP, to=message.from_, index=core.log.committed))


def _restore(core: Core, message: Message) -> bool:
    """Replace our log by the snapshot, unless it tells us nothing new or is not meant for us."""
    snapshot, log = message.snapshot, core.log
    assert snapshot is not None, message
    state = snapshot.conf_state
    if snapshot.index <= log.committed:
        return False
    if not any(core.id in ids for ids in (state.voters, state.learners, state.voters_outgoing)):
        return False
    if log.term_at(snapshot.index) == snapshot.term:
        log.commit_to(snapshot.index)  # we have all of it as entries: keep them
        return False
    log.restore(snapshot)
    core.snapshot = snapshot
    core.restore_membership(state)
    return True


# ---- from our own side, to be passed on


def _forward(core: Core, message: Message) -> None:
    """Pass on to the leader what only it can do. Without one it is lost; whoever asked will ask again."""
    if core.leader == 0:
        core.trace("not_forwarded", kind=message.type.name)
        return
    core.send(
        Message(
            message.type,
            to=core.leader,
            from_=message.from_,
            entries=message.entries,
            context=message.context,
        )
    )


# ---- answers to what was passed on


def _handle_read_index_response(core: Core, message: Message) -> None:
    core.read_states.append(ReadState(message.index, message.entries[0].data))


def _handle_forget_leader(core: Core, message: Message) -> None:
    core.leader = 0


HANDLERS: dict[MessageType, Handler] = {
    MessageType.APP: _handle_append,
    MessageType.HEARTBEAT: _handle_heartbeat,
    MessageType.SNAP: _handle_snapshot,
    MessageType.PROP: _forward,
    MessageType.READ_INDEX: _forward,
    MessageType.TRANSFER_LEADER: _forward,
    MessageType.READ_INDEX_RESP: _handle_read_index_response,
    MessageType.FORGET_LEADER: _handle_forget_leader,
}
