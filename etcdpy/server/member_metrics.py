"""What Prometheus gets to see of a member: everything of etcd's that is not about connections.

Values are read when somebody asks; a scrape costs the loop about as much as a hundred requests. What bbolt
does and LMDB does not (rebalancing and spilling pages) is there and stays at zero.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from etcdpy.metrics import Histogram, doubling, labels
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server.alarms import name_of
from etcdpy.server.config_features import GATES
from etcdpy.server.metric_names import family, single, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.metrics import Family
    from etcdpy.server.member import Member
    from etcdpy.server.storage import Storage

_NEVER = Histogram(doubling(0.001, 14))
_NEVER_INDEX = Histogram(doubling(0.5, 14))
_OLD_READS = ("get", "getRecursive")
_OLD_WRITES = ("create", "set", "update", "delete", "compareAndSwap", "compareAndDelete")


def member_families(member: Member, storage: Storage, unix_s: float) -> Iterator[Family]:
    """All of them; `unix_s` is the present time."""
    yield from _identity(member)
    yield from _raft(member)
    yield from _applying(member)
    yield from _mvcc(member)
    yield from _compaction(member, unix_s)
    yield from _watching(member)
    yield from _leases(member)
    yield from _backend(member)
    yield from _log(member, storage)
    yield from _old_store()


def _labelled(name: str, **values: str) -> Family:
    made = family(name)
    made.add(1, labels(**values))
    return made


def _identity(member: Member) -> Iterator[Family]:
    version = member.state.membership.cluster_version
    if version is not None:
        yield _labelled("etcd_cluster_version", cluster_version=f"{version.major}.{version.minor}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield _labelled("etcd_server_version", server_version=ETCD_VERSION)
    yield _labelled("etcd_server_go_version", server_go_version=python)
    yield _labelled("etcd_server_id", server_id=f"{member.member_id:x}")
    features = family("etcd_server_feature_enabled")
    for name, on in member.config.features.items():
        features.add(int(on), labels(name=name, stage=GATES[name].stage.value))
    yield features
    alarms = family("etcd_debugging_server_alarms")
    for alarm in member.state.alarms.list():
        kind = name_of(alarm.alarm)
        alarms.add(1, labels(server_id=f"{alarm.memberID:x}", alarm_type=kind))
    yield alarms
    yield single("etcd_debugging_auth_revision", member.state.auth.revision)


def _raft(member: Member) -> Iterator[Family]:
    seen = member.observed
    yield single("etcd_server_has_leader", int(member.leader_id != 0))
    yield single("etcd_server_is_leader", int(member.is_leader))
    yield single("etcd_server_is_learner", int(member.is_learner))
    yield single("etcd_server_leader_changes_seen_total", seen.leader_changes)
    yield single("etcd_server_heartbeat_send_failures_total", seen.late_heartbeats)
    yield single("etcd_server_learner_promote_successes", seen.promotions)
    failures = family("etcd_server_learner_promote_failures")
    for reason, count in seen.failed_promotions.items():
        failures.add(count, labels(Reason=reason))
    yield failures
    yield single("etcd_server_slow_read_indexes_total", member.slow_reads)
    yield single("etcd_server_read_indexes_failed_total", member.failed_reads)


def _applying(member: Member) -> Iterator[Family]:
    seen = member.observed
    yield single("etcd_server_proposals_applied_total", member.applied_index)
    yield single("etcd_server_proposals_committed_total", member.commit_index)
    yield single("etcd_server_proposals_pending", member.pending_proposals)
    yield single("etcd_server_proposals_failed_total", seen.proposals_failed)
    yield single("etcd_server_slow_apply_total", seen.slow_applies)
    yield single("etcd_server_snapshot_apply_in_progress_total", seen.installing_snapshot)
    durations = family("etcd_server_apply_duration_seconds")
    for (kind, success), histogram in sorted(seen.applied.histograms.items()):
        op = "".join(word.capitalize() for word in kind.split("_"))
        durations.add_histogram(histogram, labels(version="v3", op=op, success=str(success).lower()))
    yield durations


def _mvcc(member: Member) -> Iterator[Family]:
    store = member.state.store
    seen = store.observed
    yield single("etcd_mvcc_range_total", seen.ranges)
    yield single("etcd_mvcc_put_total", seen.puts)
    yield single("etcd_mvcc_delete_total", seen.deletes)
    yield single("etcd_mvcc_txn_total", seen.txns)
    yield single("etcd_debugging_mvcc_range_total", seen.ranges)
    yield single("etcd_debugging_mvcc_total_put_size_in_bytes", seen.put_bytes)
    yield single("etcd_debugging_mvcc_keys_total", store.counts.total)
    yield single("etcd_debugging_mvcc_current_revision", store.revision)
    yield single("etcd_debugging_mvcc_compact_revision", store.compact_revision)
    yield times("etcd_mvcc_hash_duration_seconds", seen.hashes_s)
    yield times("etcd_mvcc_hash_rev_duration_seconds", seen.revision_hashes_s)


def _compaction(member: Member, unix_s: float) -> Iterator[Family]:
    seen, prefix = member.state.store.observed, "etcd_debugging_mvcc_"
    ended_at = seen.compaction_ended_at
    last = 0 if ended_at is None else int(unix_s - (member.clock() - ended_at))
    yield single(prefix + "db_compaction_keys_total", seen.compacted_records)
    yield single(prefix + "db_compaction_last", last)
    yield times(prefix + "db_compaction_pause_duration_milliseconds", seen.compaction_pauses_ms)
    yield times(prefix + "db_compaction_total_duration_milliseconds", seen.compactions_ms)
    # Index and records are compacted in the same steps.
    yield times(prefix + "index_compaction_pause_duration_milliseconds", _NEVER_INDEX)


def _watching(member: Member) -> Iterator[Family]:
    hub, prefix = member.state.hub, "etcd_debugging_mvcc_"
    yield single(prefix + "events_total", hub.delivered_events)
    # A slow watcher keeps its place in history, not events.
    yield single(prefix + "pending_events_total", 0)
    yield single(prefix + "watch_stream_total", hub.streams)
    yield single(prefix + "watcher_total", hub.synced_watchers + hub.slow_watchers)
    yield single(prefix + "slow_watcher_total", hub.slow_watchers)


def _leases(member: Member) -> Iterator[Family]:
    seen, prefix = member.state.lessor.observed, "etcd_debugging_lease_"
    yield single(prefix + "granted_total", seen.granted)
    yield single(prefix + "revoked_total", seen.revoked)
    yield single(prefix + "renewed_total", seen.renewed)
    yield times(prefix + "ttl_total", seen.ttls_s)
    yield single("etcd_debugging_server_lease_expired_total", member.observed.leases_expired)


def _backend(member: Member) -> Iterator[Family]:
    backend = member.state.backend
    seen, prefix = backend.observed, "etcd_debugging_disk_backend_commit_"
    yield times("etcd_disk_backend_commit_duration_seconds", seen.commits_s)
    yield times(prefix + "rebalance_duration_seconds", _NEVER)
    yield times(prefix + "spill_duration_seconds", _NEVER)
    yield times(prefix + "write_duration_seconds", seen.writes_s)
    yield times("etcd_disk_backend_defrag_duration_seconds", seen.defragments_s)
    yield times("etcd_disk_backend_snapshot_duration_seconds", seen.snapshots_s)
    yield single("etcd_disk_defrag_inflight", seen.defragmenting)
    yield single("etcd_mvcc_db_total_size_in_bytes", backend.size_bytes)
    yield single("etcd_mvcc_db_total_size_in_use_in_bytes", backend.size_in_use_bytes)
    yield single("etcd_mvcc_db_open_read_transactions", backend.open_readers)
    yield single("etcd_server_quota_backend_bytes", member.state.quota.limit_bytes)


def _log(member: Member, storage: Storage) -> Iterator[Family]:
    log, files, seen = storage.log_observed, storage.files_observed, member.observed
    yield times("etcd_disk_wal_fsync_duration_seconds", log.syncs_s)
    yield times("etcd_disk_wal_write_duration_seconds", log.writes_s)
    yield single("etcd_disk_wal_write_bytes_total", log.written_bytes)
    yield times("etcd_snap_fsync_duration_seconds", files.syncs_s)
    yield times("etcd_debugging_snap_save_marshalling_duration_seconds", files.encodes_s)
    yield times("etcd_debugging_snap_save_total_duration_seconds", files.saves_s)
    yield times("etcd_snap_db_fsync_duration_seconds", seen.received_database_syncs_s)
    yield times("etcd_snap_db_save_total_duration_seconds", seen.received_databases_s)


def _old_store() -> Iterator[Family]:
    """The store of the v2 API."""
    prefix = "etcd_debugging_store_"
    for name in ("expires_total", "watchers", "watch_requests_total"):
        yield single(prefix + name, 0)
    for name, actions in (("reads_total", _OLD_READS), ("writes_total", _OLD_WRITES)):
        made = family(prefix + name)
        for action in actions:
            made.add(0, labels(action=action))
        yield made
