"""The leader's care for the cluster version: what every member can do, and not more.

Every few seconds the leader asks all members for their versions and proposes the lowest, when it is news, or
the target of a downgrade job; and it ends a job when all members run the release that it is for (peer
protocol reference, section 16.2). A member that cannot be asked leaves things as they are, except that a
cluster which has no version yet gets the lowest there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.version import Version, decide_cluster_version, minimum_version
from etcdpy.proto.membership_pb2 import ClusterVersionSetRequest, DowngradeInfoSetRequest
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
        self._downgrade_interval_s = member.config.downgrade_check_time_s
        self._downgrade_due_at = 0.0
        self._is_ending = False

    def tick(self, now: float) -> None:
        """About every heartbeat interval."""
        if not self._member.is_leader:
            self._due_at = 0.0
        elif now >= self._due_at and not self._busy:
            self._due_at = now + ASK_INTERVAL_S
            self._busy = True
            self._peers.ask_versions(self._decide)
        elif self._downgrade_interval_s > 0 and self._member.state.membership.downgrade is not None:
            self._look_after_downgrade(now)

    def _look_after_downgrade(self, now: float) -> None:
        if now >= self._downgrade_due_at and not self._is_ending:
            self._downgrade_due_at = now + self._downgrade_interval_s
            self._peers.ask_versions(self._maybe_end_downgrade)

    def _maybe_end_downgrade(self, versions: Mapping[int, Version | None]) -> None:
        """A job has done its work when every member runs the release that it is for."""
        job = self._member.state.membership.downgrade
        if job is None or self._is_ending or not self._member.is_leader:
            return
        target = job.target.cluster_form
        if any(version is None or version.cluster_form != target for version in self._all(versions)):
            return
        self._member.log.info("the cluster has been downgraded", **{"cluster-version": target.short})
        self._is_ending = True
        self._member.propose_own("downgrade_info_set", DowngradeInfoSetRequest(), self._downgrade_ended)

    def _downgrade_ended(self, result: Result) -> None:
        self._is_ending = False
        if result.error is not None:
            self._member.log.warn("failed to cancel downgrade", error=str(result.error))

    def _all(self, versions: Mapping[int, Version | None]) -> list[Version | None]:
        """The versions of all members, ours among them."""
        members = self._member.state.membership.members
        others = (versions.get(member.id) for member in members if member.id != self._member.member_id)
        return [Version.parse(ETCD_VERSION), *others]

    def _decide(self, versions: Mapping[int, Version | None]) -> None:
        membership = self._member.state.membership
        lowest = minimum_version(self._all(versions))
        job = membership.downgrade
        wanted = decide_cluster_version(
            membership.cluster_version, lowest, None if job is None else job.target
        )
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
