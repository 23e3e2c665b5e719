"""The metrics of a member: names, types and help as etcd has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etcdpy.metrics import Histogram

METRICS: Mapping[str, tuple[str, str]] = {
    "etcd_cluster_version": (
        "gauge",
        "Which version is running. 1 for 'cluster_version' label with current cluster version",
    ),
    "etcd_debugging_auth_revision": ("gauge", "The current revision of auth store."),
    "etcd_debugging_disk_backend_commit_rebalance_duration_seconds": (
        "histogram",
        "The latency distributions of commit.rebalance called by bboltdb backend.",
    ),
    "etcd_debugging_disk_backend_commit_spill_duration_seconds": (
        "histogram",
        "The latency distributions of commit.spill called by bboltdb backend.",
    ),
    "etcd_debugging_disk_backend_commit_write_duration_seconds": (
        "histogram",
        "The latency distributions of commit.write called by bboltdb backend.",
    ),
    "etcd_debugging_lease_granted_total": ("counter", "The total number of granted leases."),
    "etcd_debugging_lease_renewed_total": ("counter", "The number of renewed leases seen by the leader."),
    "etcd_debugging_lease_revoked_total": ("counter", "The total number of revoked leases."),
    "etcd_debugging_lease_ttl_total": ("histogram", "Bucketed histogram of lease TTLs."),
    "etcd_debugging_mvcc_compact_revision": ("gauge", "The revision of the last compaction in store."),
    "etcd_debugging_mvcc_current_revision": ("gauge", "The current revision of store."),
    "etcd_debugging_mvcc_db_compaction_keys_total": ("counter", "Total number of db keys compacted."),
    "etcd_debugging_mvcc_db_compaction_last": (
        "gauge",
        "The unix time of the last db compaction. Resets to 0 on start.",
    ),
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds": (
        "histogram",
        "Bucketed histogram of db compaction pause duration.",
    ),
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds": (
        "histogram",
        "Bucketed histogram of db compaction total duration.",
    ),
    "etcd_debugging_mvcc_events_total": ("counter", "Total number of events sent by this member."),
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds": (
        "histogram",
        "Bucketed histogram of index compaction pause duration.",
    ),
    "etcd_debugging_mvcc_keys_total": ("gauge", "Total number of keys."),
    "etcd_debugging_mvcc_pending_events_total": ("gauge", "Total number of pending events to be sent."),
    "etcd_debugging_mvcc_range_total": ("counter", "Total number of ranges seen by this member."),
    "etcd_debugging_mvcc_slow_watcher_total": ("gauge", "Total number of unsynced slow watchers."),
    "etcd_debugging_mvcc_total_put_size_in_bytes": (
        "gauge",
        "The total size of put kv pairs seen by this member.",
    ),
    "etcd_debugging_mvcc_watch_stream_total": ("gauge", "Total number of watch streams."),
    "etcd_debugging_mvcc_watcher_total": ("gauge", "Total number of watchers."),
    "etcd_debugging_server_alarms": (
        "gauge",
        "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for "
        "'alarm_type' label with type of this alarm",
    ),
    "etcd_debugging_server_lease_expired_total": ("counter", "The total number of expired leases."),
    "etcd_debugging_snap_save_marshalling_duration_seconds": (
        "histogram",
        "The marshalling cost distributions of save called by snapshot.",
    ),
    "etcd_debugging_snap_save_total_duration_seconds": (
        "histogram",
        "The total latency distributions of save called by snapshot.",
    ),
    "etcd_debugging_store_expires_total": ("counter", "Total number of expired keys."),
    "etcd_debugging_store_reads_total": (
        "counter",
        "Total number of reads action by (get/getRecursive), local to this member.",
    ),
    "etcd_debugging_store_watch_requests_total": (
        "counter",
        "Total number of incoming watch requests (new or reestablished).",
    ),
    "etcd_debugging_store_watchers": ("gauge", "Count of currently active watchers."),
    "etcd_debugging_store_writes_total": (
        "counter",
        "Total number of writes (e.g. set/compareAndDelete) seen by this member.",
    ),
    "etcd_disk_backend_commit_duration_seconds": (
        "histogram",
        "The latency distributions of commit called by backend.",
    ),
    "etcd_disk_backend_defrag_duration_seconds": (
        "histogram",
        "The latency distribution of backend defragmentation.",
    ),
    "etcd_disk_backend_snapshot_duration_seconds": (
        "histogram",
        "The latency distribution of backend snapshots.",
    ),
    "etcd_disk_defrag_inflight": (
        "gauge",
        "Whether or not defrag is active on the member. 1 means active, 0 means not.",
    ),
    "etcd_disk_wal_fsync_duration_seconds": (
        "histogram",
        "The latency distributions of fsync called by WAL.",
    ),
    "etcd_disk_wal_write_bytes_total": ("gauge", "Total number of bytes written in WAL."),
    "etcd_disk_wal_write_duration_seconds": (
        "histogram",
        "The latency distributions of write called by WAL.",
    ),
    "etcd_mvcc_db_open_read_transactions": ("gauge", "The number of currently open read transactions"),
    "etcd_mvcc_db_total_size_in_bytes": (
        "gauge",
        "Total size of the underlying database physically allocated in bytes.",
    ),
    "etcd_mvcc_db_total_size_in_use_in_bytes": (
        "gauge",
        "Total size of the underlying database logically in use in bytes.",
    ),
    "etcd_mvcc_delete_total": ("counter", "Total number of deletes seen by this member."),
    "etcd_mvcc_hash_duration_seconds": ("histogram", "The latency distribution of storage hash operation."),
    "etcd_mvcc_hash_rev_duration_seconds": (
        "histogram",
        "The latency distribution of storage hash by revision operation.",
    ),
    "etcd_mvcc_put_total": ("counter", "Total number of puts seen by this member."),
    "etcd_mvcc_range_total": ("counter", "Total number of ranges seen by this member."),
    "etcd_mvcc_txn_total": ("counter", "Total number of txns seen by this member."),
    "etcd_server_apply_duration_seconds": (
        "histogram",
        "The latency distributions of v2 apply called by backend.",
    ),
    "etcd_server_feature_enabled": ("gauge", "Whether or not a feature is enabled. 1 is enabled, 0 is not."),
    "etcd_server_go_version": (
        "gauge",
        "Which Go version server is running with. 1 for 'server_go_version' label with current version.",
    ),
    "etcd_server_has_leader": ("gauge", "Whether or not a leader exists. 1 is existence, 0 is not."),
    "etcd_server_heartbeat_send_failures_total": (
        "counter",
        "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
    ),
    "etcd_server_id": (
        "gauge",
        "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
    ),
    "etcd_server_is_leader": ("gauge", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
    "etcd_server_is_learner": ("gauge", "Whether or not this member is a learner. 1 if is, 0 otherwise."),
    "etcd_server_leader_changes_seen_total": ("counter", "The number of leader changes seen."),
    "etcd_server_learner_promote_failures": (
        "counter",
        "The total number of failed learner promotions (likely learner not ready) while this member"
        " is leader.",
    ),
    "etcd_server_learner_promote_successes": (
        "counter",
        "The total number of successful learner promotions while this member is leader.",
    ),
    "etcd_server_proposals_applied_total": ("gauge", "The total number of consensus proposals applied."),
    "etcd_server_proposals_committed_total": ("gauge", "The total number of consensus proposals committed."),
    "etcd_server_proposals_failed_total": ("counter", "The total number of failed proposals seen."),
    "etcd_server_proposals_pending": ("gauge", "The current number of pending proposals to commit."),
    "etcd_server_quota_backend_bytes": ("gauge", "Current backend storage quota size in bytes."),
    "etcd_server_read_indexes_failed_total": ("counter", "The total number of failed read indexes seen."),
    "etcd_server_slow_apply_total": (
        "counter",
        "The total number of slow apply requests (likely overloaded from slow disk).",
    ),
    "etcd_server_slow_read_indexes_total": (
        "counter",
        "The total number of pending read indexes not in sync with leader's or timed out read index"
        " requests.",
    ),
    "etcd_server_snapshot_apply_in_progress_total": (
        "gauge",
        "1 if the server is applying the incoming snapshot. 0 if none.",
    ),
    "etcd_server_version": (
        "gauge",
        "Which version is running. 1 for 'server_version' label with current version.",
    ),
    "etcd_snap_db_fsync_duration_seconds": (
        "histogram",
        "The latency distributions of fsyncing .snap.db file",
    ),
    "etcd_snap_db_save_total_duration_seconds": (
        "histogram",
        "The total latency distributions of v3 snapshot save",
    ),
    "etcd_snap_fsync_duration_seconds": ("histogram", "The latency distributions of fsync called by snap."),
}


def family(name: str) -> Family:
    """A metric of this table, without series."""
    kind, text = METRICS[name]
    return Family(name, kind, text)


def single(name: str, value: float) -> Family:
    """A metric with one series that has no labels."""
    made = family(name)
    made.add(value)
    return made


def times(name: str, histogram: Histogram) -> Family:
    """A histogram without labels."""
    made = family(name)
    made.add_histogram(histogram)
    return made
