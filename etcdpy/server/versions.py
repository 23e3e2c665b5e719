"""The leader's care for the cluster version: what every member can do, and not more.

Every few seconds the leader asks all members for their versions and proposes the lowest, when it is news
(peer protocol reference, section 16.2). A member that cannot be asked leaves things as they are, except that
a cluster which has no version yet gets the lowest there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.version import Version, decide_cluster_version, minimum_version
from etcdpy.proto.membership_pb2 import ClusterVersionSetRequest
from etcdpy.proto.version import ETCD_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etcdpy.server.member import Member
    from etcdpy.server.results import Result

ASK_INTERVAL_S = 4.0


class PeerVersions(Protocol):
    """Asks the other members."""

    def ask_versions(self, done: Callable[[Mapping[int, Version | None]], None]) -> None:
        """`done` with the version of each other member, None for those that did not say."""


class NobodyElse:
    """A cluster of one."""

    def ask_versions(self, done: Callable[[Mapping[int, Version | None]], None]) -> None:
        """There is nobody to ask."""
        done({})


class VersionMonitor:
    """Works while this member leads."""

    def __init__(self, member: Member, peers: PeerVersions) -> None:
        self._member = member
        self._peers = peers
        self._due_at = 0.0
        self._busy = False

    def tick(self, now: float) -> None:
        """About every heartbeat interval."""
        if not self._member.is_leader:
            self._due_at = 0.0
        elif now >= self._due_at and not self._busy:
            self._due_at = now + ASK_INTERVAL_S
            self._busy = True
            self._peers.ask_versions(self._decide)

    def _decide(self, versions: Mapping[int, Version | None]) -> None:
        membership = self._member.state.membership
        others = [
            versions.get(member.id) for member in membership.members if member.id != self._member.member_id
        ]
        lowest = minimum_version([Version.parse(ETCD_VERSION), *others])
        wanted = decide_cluster_version(membership.cluster_version, lowest)
        if wanted is None or not self._member.is_leader:
            self._busy = False
            return
        self._member.log.info("setting the cluster version", **{"cluster-version": wanted.short})
        request = ClusterVersionSetRequest(ver=str(wanted))
        self._member.propose_own("cluster_version_set", request, self._done)

    def _done(self, result: Result) -> None:
        self._busy = False
        if result.error is not None:
            self._member.log.warn("failed to update cluster version", error=str(result.error))
