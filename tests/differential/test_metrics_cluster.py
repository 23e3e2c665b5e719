"""`/metrics` of a leader and of a follower of three: real etcd 3.5.1 and the candidate after the same
load.

Every series of etcd's is one of ours, with the members' ids replaced by their roles; and what both count
alike on one member they count alike on each of three.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.quorum import MixedCluster, eventually
from tests.support.scrape import Labels, Scrape, scrape

from .test_metrics import CLUSTER_DASHBOARDS, DASHBOARDS, EQUAL, EXCEPTIONS, counted, load, missing, watch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

LEADER, FOLLOWER, OTHER, LEARNER = "leader", "follower", "other", "learner"
ROLES = (LEADER, FOLLOWER)
FLAGS = ("--metrics=extensive", "--strict-reconfig-check=false")
ROUND_TRIPS = "etcd_network_peer_round_trip_time_seconds_bucket"
WHO_ASKS = (
    *("etcd_mvcc_txn_total", "etcd_mvcc_range_total"),
    *("etcd_debugging_mvcc_txn_total", "etcd_debugging_mvcc_range_total"),
)
"""Of a Txn etcd runs the reads only where somebody waits for them: a leader that was not asked counts fewer.
And who waits for a member to catch up reads there.
"""
BY_TIME = (
    "etcd_network_peer_sent_failures_total",
    "etcd_network_peer_received_failures_total",
    "etcd_network_disconnected_peers_total",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_slow_apply_total",
    "etcd_server_slow_read_indexes_total",
)
"""Whether these have happened depends on who started first and on the machine."""
OWN_VALUES = {
    "etcd_cluster_version": "the version is in the label",
    "etcd_server_version": "the version is in the label",
    "etcd_server_go_version": "the language is in the label",
    "etcd_server_apply_duration_seconds": "members publish themselves through requests of v3, as in 3.6",
}
PEERS = (
    "etcd_network_active_peers",
    "etcd_network_known_peers",
    "etcd_server_learner_promote_failures",
    "etcd_server_learner_promote_successes",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_has_leader",
    "etcd_debugging_server_alarms",
    "etcd_debugging_auth_revision",
)
"""Alike on both, besides `EQUAL`."""


@dataclass
class Seen:
    """One kind's cluster."""

    pages: dict[str, Scrape]
    """By role, with roles in the place of ids."""


def change_members(leader: Client, voter: int) -> int:
    """A learner that never starts, and promotions that are refused. Its id."""
    request = pb.MemberAddRequest(peerURLs=["http://127.0.0.1:9"], isLearner=True)
    learner = leader.ask(request, pb.MemberAddResponse).member.ID
    leader.put(b"k")  # etcd passes over a change while it still finishes the one before
    for identity in (5, learner, voter):
        refused = leader.outcome(pb.MemberPromoteRequest(ID=identity))
        assert isinstance(refused, Refusal)
    return learner


def by_role(page: Scrape, roles: dict[str, str]) -> Scrape:
    def renamed(labels: Labels) -> Labels:
        return tuple((name, roles.get(value, value)) for name, value in labels)

    return Scrape(
        page.types, {(name, renamed(labels)): value for (name, labels), value in page.values.items()}
    )


def observe(kind: Kind, directory: Path) -> Seen:
    with MixedCluster(directory, [kind] * 3, FLAGS) as cluster:
        leader = cluster.leader()
        follower, other = (member for member in cluster.members if member is not leader)
        members = {LEADER: leader, FOLLOWER: follower, OTHER: other}
        ids = {cluster.id_of(member): role for role, member in members.items()}
        with Client(leader.endpoint) as first, Client(follower.endpoint) as second:
            load(second)
            watch(second)
            voter = next(identity for identity, role in ids.items() if role == FOLLOWER)
            ids[change_members(first, voter)] = LEARNER
            watch(first)
            cluster.wait_for_revision(first.revision())
            # Round trips are measured by probes that go out every few seconds.
            for role in ROLES:
                eventually(lambda: bool(scrape(members[role].endpoint).all_of(ROUND_TRIPS)))  # noqa: B023
            names = {f"{identity:x}": role for identity, role in ids.items()}
            return Seen({role: by_role(scrape(members[role].endpoint), names) for role in ROLES})


@pytest.fixture(scope="module")
def both(reference: Kind, candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(
            lambda kind: observe(kind, tmp_path_factory.mktemp(kind.name)), (reference, candidate)
        )
    return theirs, ours


@pytest.fixture(params=ROLES)
def pages(request: pytest.FixtureRequest, both: tuple[Seen, Seen]) -> tuple[Scrape, Scrape]:
    theirs, ours = both
    return theirs.pages[request.param], ours.pages[request.param]


def test_every_name_and_every_label_of_etcd_is_there(pages: tuple[Scrape, Scrape]) -> None:
    theirs, ours = pages
    assert {one for one in missing(theirs, ours) if not one.startswith(BY_TIME)} == set()


def test_every_series_of_etcd_is_there(pages: tuple[Scrape, Scrape]) -> None:
    """Values of labels too: peers, methods, codes, reasons, bounds of histograms."""
    theirs, ours = pages
    left_out = (*EXCEPTIONS, *OWN_VALUES, *BY_TIME)
    series = {one for one in theirs.values if not one[0].startswith(left_out)}
    assert series - set(ours.values) == set()


def test_each_counts_the_same(pages: tuple[Scrape, Scrape]) -> None:
    theirs, ours = pages
    for name in (*EQUAL, *PEERS):
        if not name.startswith((*WHO_ASKS, *BY_TIME, "grpc_", "etcd_server_client_requests")):
            assert theirs.all_of(name) == ours.all_of(name), name


def test_calls_are_counted_alike_but_for_those_of_the_test(pages: tuple[Scrape, Scrape]) -> None:
    """Status and serializable reads ask again until something has happened."""
    theirs, ours = pages
    for name in ("grpc_server_started_total", "grpc_server_handled_total"):
        first, second = (
            {labels: count for labels, count in counted(page, name).items() if not is_asked_again(labels)}
            for page in pages
        )
        assert first == second, name
    assert ours.value("grpc_server_handling_seconds_count", **KV_PUT) == theirs.value(
        "grpc_server_handling_seconds_count", **KV_PUT
    )


KV_PUT = {"grpc_type": "unary", "grpc_service": "etcdserverpb.KV", "grpc_method": "Put"}


def is_asked_again(labels: Labels) -> bool:
    return dict(labels)["grpc_method"] in ("Status", "Range", "MemberList")


def test_failed_promotions_have_the_reasons_of_etcd(both: tuple[Seen, Seen]) -> None:
    reasons = {
        "membership: ID not found",
        "membership: can only promote a learner member",
        "etcdserver: can only promote a learner member which is in sync with leader",
    }
    for seen in both:
        found = seen.pages[LEADER].all_of("etcd_server_learner_promote_failures")
        assert {dict(labels)["Reason"] for labels in found} == reasons


def test_dashboards_and_alerts_find_what_they_ask_for(pages: tuple[Scrape, Scrape]) -> None:
    names = {name for name, _ in pages[1].values}
    assert [name for name in (*DASHBOARDS, *CLUSTER_DASHBOARDS) if name not in names] == []
