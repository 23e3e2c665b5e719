"""`--force-new-cluster`: of one member's data a cluster of one, after the others are lost for good.

The whole log of this member counts. etcd gives up what lies behind the saved commit index; we do not, because
that index is saved lazily, and the last entries may have been acknowledged to a client. Keeping them is what
electing this member would do: a leader commits the log that it has. Behind the log go entries that remove
everybody else, written as if they were committed, because nobody is left to agree (behaviour reference of
raft, section 11). Everything after that is a start like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.cluster.members import ChangeContext, encode_context
from etcdpy.cluster.members import Member as ClusterMember
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.messages import ConfChange, ConfChangeType, Entry, EntryType, HardState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.cluster.membership import Membership
    from etcdpy.proto.raft_pb2 import Entry as WireEntry
    from etcdpy.proto.raft_pb2 import HardState as WireHardState

_ADDS = (ConfChangeType.ADD_NODE, ConfChangeType.ADD_LEARNER_NODE)


def take_over(
    member_id: int,
    peer_urls: Sequence[str],
    membership: Membership,
    applied: int,
    hard_state: WireHardState,
    log: Sequence[WireEntry],
    last_index: int,
) -> tuple[list[Entry], HardState]:
    """The entries to write, and the hard state that commits them and the log before them.

    Args:
        membership: as of the entry `applied`.
        log: what follows the snapshot.
        last_index: where the log ends, at `applied` or after it.
    """
    assert last_index >= max(hard_state.commit, applied), (last_index, hard_state.commit, applied)
    changes = _changes(member_id, peer_urls, _members_at(membership, applied, log))
    entries = [
        Entry(
            hard_state.term, last_index + number, EntryType.CONF_CHANGE, raft_codec.encode_conf_change(change)
        )
        for number, change in enumerate(changes, start=1)
    ]
    return entries, HardState(hard_state.term, hard_state.vote, last_index + len(entries))


def _members_at(membership: Membership, applied: int, log: Sequence[WireEntry]) -> dict[int, bool]:
    """Ids of the members once the whole log is applied, and whether they are learners."""
    learner_by_id = {member.id: member.is_learner for member in membership.members}
    for entry in log:
        if entry.Index <= applied or EntryType(entry.Type) is not EntryType.CONF_CHANGE:
            continue
        change = raft_codec.decode_conf_change(entry.Data)
        if change.type in _ADDS:
            learner_by_id[change.node_id] = change.type is ConfChangeType.ADD_LEARNER_NODE
        elif change.type is ConfChangeType.REMOVE_NODE:
            learner_by_id.pop(change.node_id, None)
    return learner_by_id


def _changes(member_id: int, peer_urls: Sequence[str], learner_by_id: dict[int, bool]) -> list[ConfChange]:
    changes = []
    if member_id not in learner_by_id:
        added = ChangeContext(ClusterMember(member_id, tuple(peer_urls)))
        changes.append(ConfChange(ConfChangeType.ADD_NODE, member_id, encode_context(added)))
    elif learner_by_id[member_id]:
        promoted = ChangeContext(ClusterMember(member_id, ()), is_promote=True)
        changes.append(ConfChange(ConfChangeType.ADD_NODE, member_id, encode_context(promoted)))
    others = sorted(other for other in learner_by_id if other != member_id)
    return changes + [ConfChange(ConfChangeType.REMOVE_NODE, other) for other in others]
