"""A member's view of raft in the JSON that etcd publishes as `raft.status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.raft.messages import Role

if TYPE_CHECKING:
    from etcdpy.raft.raw_node import RawNode

_ROLES = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}


def raft_status(node: RawNode) -> dict[str, object]:
    """Its fields in etcd's order; `progress` is filled on a leader only."""
    status = node.status()
    progress = {
        f"{member_id:x}": {
            "match": follower.match,
            "next": follower.next,
            "state": f"State{follower.state.name.capitalize()}",
        }
        for member_id, follower in sorted(status.progress_by_id.items())
    }
    return {
        "id": f"{status.id:x}",
        "term": status.term,
        "vote": f"{status.vote:x}",
        "commit": status.commit,
        "lead": f"{status.leader:x}",
        "raftState": _ROLES[status.role],
        "applied": status.applied,
        "progress": progress,
        "leadtransferee": f"{status.transferee:x}",
    }
