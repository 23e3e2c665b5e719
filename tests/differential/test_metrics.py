"""`/metrics` of real etcd and of the candidate after the same load: names, types, labels, and numbers.

Everything etcd has, we have, apart from what `EXCEPTIONS` lists with its reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.scrape import Labels, Scrape, scrape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

EXCEPTIONS = {
    "go_": "of Go's runtime, which we do not have",
    "etcd_grpc_proxy_": "of etcd's grpc-proxy, which is another program; always zero in a server",
}
EQUAL = (
    "etcd_server_has_leader",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_learner_promote_successes",
    "etcd_server_client_requests_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_mvcc_delete_total",
    "etcd_debugging_mvcc_put_total",
    "etcd_debugging_mvcc_range_total",
    "etcd_debugging_mvcc_txn_total",
    "etcd_debugging_mvcc_delete_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_server_lease_expired_total",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
)
PROPOSALS_APART_MAX = 4
"""Members publish themselves and raise the cluster version by proposals of their own."""
DASHBOARDS = (
    *("etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_leader_changes_seen_total"),
    *("etcd_server_proposals_failed_total", "etcd_server_proposals_pending"),
    *("etcd_server_proposals_committed_total", "etcd_server_proposals_applied_total"),
    *("etcd_server_heartbeat_send_failures_total", "etcd_server_slow_apply_total"),
    *("etcd_server_slow_read_indexes_total", "etcd_server_quota_backend_bytes", "etcd_server_version"),
    *("etcd_server_health_success", "etcd_server_health_failures", "etcd_cluster_version"),
    *("etcd_disk_wal_fsync_duration_seconds_bucket", "etcd_disk_wal_fsync_duration_seconds_sum"),
    *("etcd_disk_backend_commit_duration_seconds_bucket", "etcd_disk_backend_commit_duration_seconds_sum"),
    *("etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes"),
    "etcd_debugging_mvcc_keys_total",
    *("etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_slow_watcher_total"),
    *("etcd_debugging_snap_save_total_duration_seconds_sum", "etcd_debugging_mvcc_events_total"),
    *("etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total"),
    *("grpc_server_started_total", "grpc_server_handled_total"),
    *("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"),
    *("process_start_time_seconds", "process_virtual_memory_bytes"),
)
"""What the dashboards and alert rules that etcd's project publishes ask of any member."""
CLUSTER_DASHBOARDS = (
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_round_trip_time_seconds_bucket",
    "etcd_network_active_peers",
)
"""And of one that has peers."""


def load(client: Client) -> None:
    """Some of everything that is counted; refusals too."""
    for number in range(20):
        client.put(b"key%d" % number, b"value")
        client.range(b"key%d" % number)
    client.range(b"key", b"kez")
    client.range(b"key", b"kez", serializable=True)
    client.delete(b"key0")
    client.delete(b"key1", b"key2")
    client.delete(b"nothing")
    write = [pb.RequestOp(request_put=pb.PutRequest(key=b"a", value=b"1"))]
    read = [pb.RequestOp(request_range=pb.RangeRequest(key=b"a"))]
    for success in (write + read, read, []):
        client.call(pb.TxnRequest(success=success))
    assert isinstance(client.outcome(pb.PutRequest(key=b"")), Refusal)
    assert isinstance(client.outcome(pb.RangeRequest(key=b"a", revision=1_000_000)), Refusal)
    for identity in (71, 72, 73):
        client.call(pb.LeaseGrantRequest(ID=identity, TTL=600))
    client.put(b"leased", lease=71)
    client.keep_alive(72)
    client.call(pb.LeaseRevokeRequest(ID=71))
    assert isinstance(client.outcome(pb.LeaseRevokeRequest(ID=79)), Refusal)
    client.call(pb.CompactionRequest(revision=10, physical=True))
    client.call(pb.StatusRequest())
    client.call(pb.MemberListRequest())


def watch(client: Client) -> None:
    """Two watchers on one stream that stay, and three events for them."""
    stream = client.watch_stream()
    stream.create(key=b"w")
    stream.create(key=b"w", range_end=b"x")
    assert stream.wait(lambda: sum(one.created for one in stream.responses) == 2)
    for value in (b"1", b"2", b"3"):
        client.put(b"w", value)
    assert stream.wait(lambda: sum(len(one.events) for one in stream.responses) == 6)


def missing(theirs: Scrape, ours: Scrape) -> set[str]:
    """Families, by name and type, and samples, by name and names of labels, that only etcd has."""
    families = {f"{name} {kind}" for name, kind in theirs.types.items() if ours.types.get(name) != kind}
    samples = {f"{name}{{{','.join(names)}}}" for name, names in theirs.label_names() - ours.label_names()}
    return {one for one in families | samples if not one.startswith(tuple(EXCEPTIONS))}


def unequal(theirs: Scrape, ours: Scrape) -> dict[str, object]:
    """What both count, and count differently."""
    pairs = {name: (counted(theirs, name), counted(ours, name)) for name in EQUAL}
    return {
        name: (sorted(first.items() - second.items()), sorted(second.items() - first.items()))
        for name, (first, second) in pairs.items()
        if first != second
    }


def counted(page: Scrape, name: str) -> dict[Labels, float]:
    """All but how the stream of renewals has ended: whether the client's farewell or its reset comes first is
    chance, and etcd calls them by different codes.
    """
    return {
        labels: value
        for labels, value in page.all_of(name).items()
        if not (name == "grpc_server_handled_total" and ("grpc_method", "LeaseKeepAlive") in labels)
    }


def proposals_apart(theirs: Scrape, ours: Scrape) -> float:
    name = "etcd_server_proposals_committed_total"
    return abs(theirs.value(name) - ours.value(name))


@pytest.fixture(scope="module")
def pages(both_servers: tuple[Server, Server]) -> Iterator[tuple[Scrape, Scrape]]:
    """Of one member each, after the load and while the watchers are there."""
    clients = [Client(server.endpoint) for server in both_servers]
    for client in clients:
        load(client)
        watch(client)
    theirs, ours = (scrape(server.endpoint) for server in both_servers)
    yield theirs, ours
    for client in clients:
        client.close()


def test_every_metric_of_etcd_is_there(pages: tuple[Scrape, Scrape]) -> None:
    assert missing(*pages) == set()


def test_every_exception_is_one(pages: tuple[Scrape, Scrape]) -> None:
    theirs, ours = pages
    for prefix in EXCEPTIONS:
        assert any(name.startswith(prefix) for name in theirs.types)
        assert not any(name.startswith(prefix) for name in ours.types)


def test_both_count_the_same(pages: tuple[Scrape, Scrape]) -> None:
    assert unequal(*pages) == {}
    assert proposals_apart(*pages) <= PROPOSALS_APART_MAX


def test_the_load_was_counted(pages: tuple[Scrape, Scrape]) -> None:
    _, ours = pages
    assert ours.value("etcd_mvcc_put_total") >= 25
    assert ours.value("etcd_debugging_mvcc_watcher_total") == 2
    assert ours.value("etcd_debugging_mvcc_watch_stream_total") == 1
    assert ours.value("etcd_debugging_lease_granted_total") == 3


def test_dashboards_and_alerts_find_what_they_ask_for(pages: tuple[Scrape, Scrape]) -> None:
    _, ours = pages
    names = {name for name, _ in ours.values}
    assert [name for name in DASHBOARDS if name not in names] == []
    kinds = {dict(labels)["grpc_type"] for labels in ours.all_of("grpc_server_started_total")}
    assert {"unary", "bidi_stream"} <= kinds
    refused = {"grpc_service": "etcdserverpb.KV", "grpc_method": "Put", "grpc_code": "InvalidArgument"}
    assert ours.value("grpc_server_handled_total", grpc_type="unary", **refused) == 1
