"""What a member does by itself: publish its name, expire leases, flush, snapshot and compact.

Driven by the member's tick and by every applied batch; what must come sooner than the next tick
goes through the injected timer. All of it is proposed or done in small steps, so no call waits long
behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.etcdserver_pb2 import Request
from etcdpy.proto.membership_pb2 import ClusterMemberAttrSetRequest
from etcdpy.proto.raft_pb2 import Snapshot
from etcdpy.raft import codec as raft_codec
from etcdpy.server.compactor import Compactor
from etcdpy.server.deliveries import Deliveries
from etcdpy.server.versions import NobodyElse, PeerVersions, VersionMonitor
from etcdpy.v2store import dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.server.corruption import CorruptionMonitor
    from etcdpy.server.disk import Disk
    from etcdpy.server.member import Member
    from etcdpy.server.results import Result
    from etcdpy.server.storage import Storage

LEASE_SCAN_S = 0.5
# Between two removals of expired keys of the v2 store.
V2_SYNC_S = 0.5
# Revokes of expired leases under way at once.
REVOKES_MAX = 16
# For how long the log is kept whole for a follower that has got a snapshot.
LOG_KEPT_AFTER_SNAPSHOT_S = 30.0
# A compaction waits while so much of anybody's doing is on its way to the disk: clients' writes come first.
COMPACTION_OPERATIONS_MAX = 10_000
COMPACTION_WAIT_S = 0.05
# It rests for so many times as long as a step has taken.
COMPACTION_PAUSE_RATIO = 4


class Timer(Protocol):
    """Calls back on the loop thread."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> object:
        """Run `callback` after `delay_s` seconds."""


class Duties:
    """The standing tasks of one member."""

    def __init__(
        self,
        member: Member,
        storage: Storage,
        disk: Disk,
        timer: Timer,
        peers: PeerVersions | None = None,
    ) -> None:
        self._member = member
        self._storage = storage
        self._disk = disk
        self._timer = timer
        self._lease_scan_at = 0.0
        self._v2_sync_at = 0.0
        self.deliveries = Deliveries(member, timer)
        self._revoking: set[int] = set()
        self._checkpoints_leases = member.config.features["LeaseCheckpoint"]
        self._publishing = False
        self._versions = VersionMonitor(member, peers or NobodyElse())
        self._snapshotting = False
        self._compacting = False
        self._compaction_started_at = 0.0
        self._when_compacted: list[Callable[[], None]] = []
        self._compactor = Compactor(
            member.config.auto_compaction_mode, member.config.compaction_retention, member.log
        )
        member.state.hub.on_unsynced = self._catch_up_soon
        self.corruption: CorruptionMonitor | None = None
        self.on_published: Callable[[], None] = lambda: None
        self.published = False
        if member.state.store.compaction_pending:
            self._run_compaction()

    def tick(self, now: float) -> None:
        """About every heartbeat interval."""
        state = self._member.state
        self._maybe_publish()
        self._versions.tick(now)
        if self.corruption is not None:
            self.corruption.tick(now)
        if self._member.is_leader:
            self._expire_leases(now)
            self._auto_compact(now)
            if state.v2.has_ttl and now >= self._v2_sync_at:
                self._v2_sync_at = now + V2_SYNC_S
                sync = Request(Method="SYNC", Time=state.v2.now_ns)
                self._member.propose_v2(sync, _ignore)
        if state.hub.has_unsynced:
            self._catch_up()
        state.hub.tick(now)
        state.quota.refresh()
        self._maybe_flush(now)

    def applied(self) -> None:
        """A batch of entries has been applied."""
        member = self._member
        if not self.published:
            self._maybe_publish()  # a new leader's first entry: clients wait for this
        self._maybe_flush(member.clock())
        behind = member.applied_index - self._storage.snapshot_index
        if behind > member.config.snapshot_count and not self._snapshotting:
            self._snapshot()
        if member.state.store.compaction_pending and not self._compacting:
            self._run_compaction()

    def leader_found(self) -> None:
        """There is a leader: what a start waits for does not wait for the next tick as well."""
        if not self.published:
            self.later(0, self._introduce)

    def _introduce(self) -> None:
        if not self._member.is_stopped:
            self._maybe_publish()
            self._versions.tick(self._member.clock())

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back after `delay_s` seconds."""
        self._timer.call_later(delay_s, callback)

    def state_replaced(self) -> None:
        """The state is another member's now, with its unfinished work."""
        if self._member.state.store.compaction_pending and not self._compacting:
            self._run_compaction()
        self._catch_up_soon()

    def _catch_up_soon(self) -> None:
        self._timer.call_later(0, self._catch_up)

    def _catch_up(self) -> None:
        """One pass over the watchers that are behind; another one right after other work, while there
        is more.
        """
        if not self._member.is_stopped and self._member.state.hub.catch_up():
            self._catch_up_soon()

    # Publishing.

    def _maybe_publish(self) -> None:
        member = self._member
        if self.published or self._publishing or not member.leader_id:
            return
        self._publishing = True
        request = ClusterMemberAttrSetRequest(member_ID=member.member_id)
        request.member_attributes.name = member.config.name
        request.member_attributes.client_urls.extend(member.config.advertise_client_urls)
        member.propose_own("cluster_member_attr_set", request, self._published)

    def _published(self, result: Result) -> None:
        self._publishing = False
        if result.error is not None:
            self._member.log.warn(
                "failed to publish local member to cluster through raft", error=str(result.error)
            )
            return
        self.published = True
        self._member.log.info(
            "published local member to cluster through raft",
            **{
                "local-member-id": f"{self._member.member_id:x}",
                "cluster-id": f"{self._member.cluster_id:x}",
            },
        )
        self.on_published()

    # Leases.

    def _expire_leases(self, now: float) -> None:
        if now < self._lease_scan_at:
            return
        self._lease_scan_at = now + LEASE_SCAN_S
        if self._checkpoints_leases:
            self._checkpoint_leases(now)
        free = REVOKES_MAX - len(self._revoking)
        if free > 0:
            for lease_id in self._member.state.lessor.expired(now, free):
                self._revoke(lease_id)

    def _checkpoint_leases(self, now: float) -> None:
        """Tell the others how long leases have left, so that a new leader does not start them anew."""
        due = self._member.state.lessor.checkpoints_due(now)
        if due:
            checkpoints = [pb.LeaseCheckpoint(ID=lease_id, remaining_TTL=left) for lease_id, left in due]
            self._member.propose_own("lease_checkpoint", pb.LeaseCheckpointRequest(checkpoints=checkpoints))

    def _revoke(self, lease_id: int) -> None:
        self._revoking.add(lease_id)

        def revoked(result: Result) -> None:
            self._revoking.discard(lease_id)
            if result.error is None:
                self._member.observed.leases_expired += 1
            # More may have expired than may be under way at once.
            self._lease_scan_at = 0.0

        self._member.propose_own("lease_revoke", pb.LeaseRevokeRequest(ID=lease_id), revoked)

    # Compaction.

    def when_compacted(self, done: Callable[[], None]) -> None:
        """Call back when no scheduled compaction is left to do."""
        if self._member.state.store.compaction_pending:
            self._when_compacted.append(done)
        else:
            done()

    def _run_compaction(self) -> None:
        if not self._compacting:
            self._compaction_started_at = self._member.clock()
        self._compacting = True
        if self._member.is_stopped:
            return
        config, store, clock = self._member.config, self._member.state.store, self._member.clock
        if self._member.state.backend.pending_operations > COMPACTION_OPERATIONS_MAX:
            self._timer.call_later(COMPACTION_WAIT_S, self._run_compaction)
            return
        began = clock()
        goes_on = store.compact_step(config.compaction_batch_limit)
        took_s = clock() - began
        store.observed.compaction_pauses_ms.observe(1000 * took_s)
        if goes_on:
            pause_s = max(config.compaction_sleep_interval_s, COMPACTION_PAUSE_RATIO * took_s)
            self._timer.call_later(pause_s, self._run_compaction)
            return
        self._compacting = False
        store.observed.compactions_ms.observe(1000 * (clock() - self._compaction_started_at))
        store.observed.compaction_ended_at = clock()
        waiting, self._when_compacted = self._when_compacted, []
        for done in waiting:
            done()

    def _auto_compact(self, now: float) -> None:
        revision = self._compactor.due(now, self._member.state.store.revision)
        if revision is None:
            return

        def compacted(result: Result) -> None:
            self._compactor.finished(self._member.clock(), revision, result.error)

        self._member.propose_own("compaction", pb.CompactionRequest(revision=revision), compacted)

    # The backend and raft snapshots.

    def _maybe_flush(self, now: float) -> None:
        backend = self._member.state.backend
        self._member.is_overloaded = backend.is_overloaded
        if backend.failure is not None:
            # What it holds back would grow without end. The log has all of it, so stopping loses nothing.
            self._member.fail("failed to write the backend", backend.failure)
        elif backend.should_flush(now):
            backend.flush(_nothing)

    def _snapshot(self) -> None:
        """Flush the backend, then write a raft snapshot of what the flush covered and cut the logs."""
        self._snapshotting = True
        member = self._member
        snapshot = member.node.create_snapshot(
            member.applied_index,
            member.node.conf_state,
            dump(member.state.membership.state(), member.state.v2),
        )
        encoded = Snapshot.FromString(raft_codec.encode_snapshot(snapshot))
        member.state.backend.flush(lambda: self._write_snapshot(encoded))

    def _write_snapshot(self, snapshot: Snapshot) -> None:
        if self._disk.submit(self._storage.snapshot_job(snapshot), self._snapshot_written):
            self._snapshot_written(None)
        member, index = self._member, snapshot.metadata.index
        catch_up = member.config.snapshot_catchup_entries
        if index > catch_up and index - catch_up >= member.node.first_index and not self._is_log_needed():
            member.node.compact(index - catch_up)
        member.log.info("saved snapshot", **{"snapshot-index": index})

    def _is_log_needed(self) -> bool:
        """Whether a follower is being sent a snapshot, or has just got one and needs what comes after it."""
        member, sent_at = self._member, self._member.snapshot_sent_at
        return member.snapshots_under_way > 0 or (
            sent_at is not None and member.clock() - sent_at < LOG_KEPT_AFTER_SNAPSHOT_S
        )

    def _snapshot_written(self, error: Exception | None) -> None:
        self._snapshotting = False
        if error is not None:
            self._member.disk_failed(error)


def _ignore(result: Result) -> None:
    """Nobody waits for it."""


def _nothing() -> None:
    """The flush is its own purpose."""
