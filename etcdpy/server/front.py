"""The member as its clients see it: the log, the reads, and everything that is asked of one member
alone.

The hot calls (`propose`, `confirm_read`) are the member's own, taken over without a detour. The
rest is composed here so that the member itself stays the loop of propose, apply and answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.backend import BackendError
from etcdpy.cluster.version import Version, is_too_old
from etcdpy.lease import LeaseError, LeaseExpired, NotPrimary
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server.alarms import NOSPACE
from etcdpy.server.downgrade import Downgrades
from etcdpy.server.errors import BadLeaderTransferee, LeaderChanged, NotLeader
from etcdpy.server.results import Result
from etcdpy.server.status import StatusReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.mvcc import HashKV
    from etcdpy.server.hashing import Hashing
    from etcdpy.server.logins import Logins
    from etcdpy.server.member import Member
    from etcdpy.server.quota import Costly
    from etcdpy.server.reconfigure import Reconfiguration
    from etcdpy.server.request_ids import RequestIds
    from etcdpy.server.results import Done
    from etcdpy.server.snapshots import SnapshotFile, SnapshotMaker
    from etcdpy.server.state import State
    from etcdpy.server.statistics import Statistics

    MemberChange = (
        pb.MemberAddRequest | pb.MemberRemoveRequest | pb.MemberUpdateRequest | pb.MemberPromoteRequest
    )


class Forwarding(Protocol):
    """Asks the leader what only the leader knows."""

    def renew_lease(self, lease_id: int, done: Done) -> None:
        """LeaseKeepAlive at the leader."""

    def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest, done: Done) -> None:
        """LeaseTimeToLive at the leader."""

    def promote(self, member_id: int, token: str, done: Done) -> None:
        """MemberPromote at the leader, for a caller who has shown this token."""


class Front:
    """Implements `etcdpy.rpc.member_view.MemberView`."""

    def __init__(
        self,
        member: Member,
        reconfiguration: Reconfiguration,
        forwarding: Forwarding,
        snapshots: SnapshotMaker,
        hashing: Hashing,
        logins: Logins,
    ) -> None:
        self._member = member
        self._reconfiguration = reconfiguration
        self._forwarding = forwarding
        self._snapshots = snapshots
        self._hashing = hashing
        self.config = member.config
        self.cluster_id = member.cluster_id
        self.member_id = member.member_id
        self.request_ids: RequestIds = member.request_ids
        self.statistics: Statistics | None = None
        self._downgrades = Downgrades(member)
        self._status = StatusReport(member)
        self._judged_version: Version | None = None
        self._is_capable = True
        self.propose = member.propose
        self.propose_v2 = member.propose_v2
        self.confirm_read = member.confirm_read
        self.when_applied = member.when_applied
        self.authenticate = logins.authenticate
        self.hash_password = logins.hash_password

    @property
    def raft_term(self) -> int:
        """Current term."""
        return self._member.node.term

    @property
    def commit_index(self) -> int:
        """Last entry known to be on a quorum."""
        return self._member.node.commit

    @property
    def leader_id(self) -> int:
        """The leader as this member knows it, 0 for none."""
        return self._member.node.leader

    @property
    def applied_index(self) -> int:
        """The last entry that has been applied here."""
        return self._member.applied_index

    @property
    def is_learner(self) -> bool:
        """Whether this member only listens."""
        return self._member.is_learner

    @property
    def is_capable(self) -> bool:
        """Whether this release can serve clients at the present cluster version."""
        version = self._member.state.membership.cluster_version
        if version is not self._judged_version:
            self._judged_version = version
            self._is_capable = not is_too_old(Version.parse(ETCD_VERSION), version)
        return self._is_capable

    @property
    def state(self) -> State:
        """The replicated state."""
        return self._member.state

    def has_space(self, request: Costly) -> bool:
        """Whether the quota has room; if not, propose the alarm that tells the whole cluster."""
        state = self._member.state
        if state.quota.available(request):
            return True
        if not state.alarms.is_active(NOSPACE):
            alarm = pb.AlarmRequest(
                action=pb.AlarmRequest.ACTIVATE, memberID=self.member_id, alarm=pb.AlarmType.NOSPACE
            )
            self._member.propose_own("alarm", alarm)
        return False

    # The cluster.

    def member_list(self) -> list[pb.Member]:
        """All members, sorted by id."""
        return self._reconfiguration.member_list()

    def change_members(self, request: MemberChange, done: Done, token: str = "") -> None:
        """Add, remove, update or promote a member."""
        if isinstance(request, pb.MemberAddRequest):
            self._reconfiguration.add(request, done)
        elif isinstance(request, pb.MemberRemoveRequest):
            self._reconfiguration.remove(request, done)
        elif isinstance(request, pb.MemberUpdateRequest):
            self._reconfiguration.update(request, done)
        elif self._member.is_leader:
            self._reconfiguration.promote(request.ID, done)
        else:
            self._forwarding.promote(request.ID, token, done)

    def move_leader(self, target_id: int, done: Done) -> None:
        """Hand leadership over."""
        member = self._member
        if not member.is_leader:
            done(Result(error=NotLeader()))
        elif target_id not in member.node.conf_state.voters:
            done(Result(error=BadLeaderTransferee()))
        else:
            member.transfer_leadership(target_id, lambda error: done(Result(pb.MoveLeaderResponse(), error)))

    def downgrade(self, request: pb.DowngradeRequest, done: Done) -> None:
        """Validate, enable or cancel a downgrade."""
        self._downgrades.answer(request, done)

    # Leases.

    def maybe_renew_lease(self, lease_id: int) -> int | None:
        """Renew a lease if it is measured here, runs, and its renewal changes nothing in the log: its TTL, or
        None, and nothing was done.
        """
        member = self._member
        if not member.is_leader:
            return None
        lessor = member.state.lessor
        lease = lessor.lookup(lease_id)
        if lease is None or lease.remaining_ttl:
            return None
        try:
            return lessor.renew(lease_id, member.clock())
        except LeaseError:
            return None

    def renew_lease(self, lease_id: int, done: Done) -> None:
        """Renew a lease where the time is measured."""
        member = self._member
        if not member.is_leader:
            self._forwarding.renew_lease(lease_id, done)
            return
        lessor = member.state.lessor
        lease = lessor.lookup(lease_id)
        if lease is not None and lease.remaining_ttl:
            # The checkpoint is in the log and would shorten the lease again under the next leader.
            reset = pb.LeaseCheckpoint(ID=lease_id, remaining_TTL=0)
            member.propose_own("lease_checkpoint", pb.LeaseCheckpointRequest(checkpoints=[reset]))
        try:
            ttl = lessor.renew(lease_id, member.clock())
        except LeaseExpired:
            lessor.when_revoked(lease_id, lambda: done(Result(pb.LeaseKeepAliveResponse(ID=lease_id))))
            return
        except NotPrimary:
            # Elected, but what the leader before has committed is not applied yet.
            self._forwarding.renew_lease(lease_id, done)
            return
        except LeaseError as error:
            done(Result(error=error))
            return
        done(Result(pb.LeaseKeepAliveResponse(ID=lease_id, TTL=ttl)))

    def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest, done: Done) -> None:
        """How long a lease will live, as the leader sees it."""
        member = self._member
        if not member.is_leader:
            self._forwarding.lease_time_to_live(request, done)
            return
        lessor = member.state.lessor
        lease = lessor.lookup(request.ID)
        revision = member.state.store.revision
        if lease is None:
            done(Result(pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=-1), revision=revision))
            return
        try:
            remaining = lessor.time_to_live(lease.id, member.clock())
        except NotPrimary:
            done(Result(error=LeaderChanged()))
            return
        response = pb.LeaseTimeToLiveResponse(ID=lease.id, TTL=remaining, grantedTTL=lease.ttl)
        if request.keys:
            response.keys.extend(lessor.keys(lease.id))
        done(Result(response, revision=revision))

    def lease_ids(self) -> list[int]:
        """All leases by remaining time."""
        return [lease.id for lease in self._member.state.lessor.leases()]

    # One member's care.

    def status(self) -> bytes:
        """All of Status but the header, serialized."""
        return self._status.encoded()

    def defragment(self, done: Done) -> None:
        """Give unused space back to the file system, also what the writes so far have freed."""
        backend = self._member.state.backend

        def ended(error: BackendError | None) -> None:
            done(Result(pb.DefragmentResponse(), error))

        try:
            backend.flush(lambda: backend.defragment(ended))
        except BackendError as error:
            ended(error)

    def hash(self, done: Callable[[int | None, Exception | None], None]) -> None:
        """Hash of the whole backend, a few milliseconds at a time."""
        self._hashing.hash(done)

    def hash_kv(self, revision: int, done: Callable[[HashKV | None, Exception | None], None]) -> None:
        """HashKV, likewise."""
        self._hashing.hash_kv(revision, done)

    def open_snapshot(self, done: Callable[[SnapshotFile | None, Exception | None], None]) -> None:
        """A snapshot of what has been applied so far."""
        self._snapshots.make(done)
