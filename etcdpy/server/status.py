"""What a member says of itself: all of Status but the header.

Probes and client libraries ask for it all the time, and between two changes it is the same. So the encoded
answer is kept together with what it was made of, and made anew when any of that is different.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.cluster.version import Version
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server.alarms import name_of

if TYPE_CHECKING:
    from etcdpy.server.member import Member
    from etcdpy.server.state import State


class StatusReport:
    """The answer to Status, for one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._parts: tuple[object, ...] = ()
        self._encoded = b""

    def encoded(self) -> bytes:
        """StatusResponse without its header, serialized."""
        member, state = self._member, self._member.state
        node, backend, membership = member.node, state.backend, state.membership
        parts: tuple[object, ...] = (
            node.leader,
            node.term,
            node.commit,
            member.applied_index,
            member.is_learner,
            backend.size_bytes,
            backend.size_in_use_bytes,
            state.quota.limit_bytes,
            membership.cluster_version,
            membership.downgrade,
            _alarm_texts(state) if state.alarms else (),
        )
        if parts != self._parts:
            self._encoded = self._message().SerializeToString()
            self._parts = parts
        return self._encoded

    def _message(self) -> pb.StatusResponse:
        member, state = self._member, self._member.state
        errors = [] if member.leader_id else ["etcdserver: no leader"]
        response = pb.StatusResponse(
            version=ETCD_VERSION,
            dbSize=state.backend.size_bytes,
            dbSizeInUse=state.backend.size_in_use_bytes,
            leader=member.leader_id,
            raftIndex=member.commit_index,
            raftTerm=member.raft_term,
            raftAppliedIndex=member.applied_index,
            errors=errors + _alarm_texts(state),
            isLearner=member.is_learner,
            storageVersion=storage_version(state),
            dbSizeQuota=state.quota.limit_bytes,
        )
        job = state.membership.downgrade
        response.downgradeInfo.SetInParent()
        if job is not None:
            response.downgradeInfo.enabled = True
            response.downgradeInfo.targetVersion = str(job.target)
        return response


def storage_version(state: State) -> str:
    """The schema of the backend, which follows the cluster version; empty before 3.6."""
    version = state.membership.cluster_version
    return str(version) if version is not None and version >= Version(3, 6) else ""


def _alarm_texts(state: State) -> list[str]:
    return [f"memberID:{alarm.memberID} alarm:{name_of(alarm.alarm)} " for alarm in state.alarms.list()]
