"""Founding a cluster and finding oneself in one that runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcdpy.cluster.bootstrap import (
    BootstrapError,
    check_advertised,
    check_not_bootstrapped,
    first_changes,
    found_cluster,
    join_cluster,
)
from etcdpy.cluster.members import Member, decode_context
from etcdpy.cluster.urls import parse_initial_cluster
from etcdpy.raft.messages import ConfChangeType

THREE = ",".join(f"n{number}=http://10.0.0.{number}:2380" for number in (1, 2, 3))


def test_founding() -> None:
    cluster = found_cluster(parse_initial_cluster(THREE), "etcd-cluster", "n2")
    assert f"{cluster.id:x}" == "cd11e86392339c47"
    ids = [member.id for member in cluster.members]
    assert ids == sorted(ids)
    assert cluster.local.peer_urls == ("http://10.0.0.2:2380",)
    assert len(cluster.others) == 2
    changes = first_changes(reversed(cluster.members))
    assert [change.node_id for change in changes] == ids
    assert {change.type for change in changes} == {ConfChangeType.ADD_NODE}
    assert [decode_context(change.context).member for change in changes] == list(cluster.members)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (THREE, "n4", 'couldn\'t find local name "n4" in the initial cluster configuration'),
        (
            "a=http://10.0.0.1:1,b=http://10.0.0.1:1",
            "a",
            "initial cluster a=http://10.0.0.1:1,b=http://10.0.0.1:1 has duplicate url",
        ),
        (
            "a=http://10.0.0.1:1,a=http://10.0.0.1:1",
            "a",
            "initial cluster a=http://10.0.0.1:1,a=http://10.0.0.1:1 has duplicate url",
        ),
    ],
)
def test_clusters_nobody_can_found(text: str, name: str, message: str) -> None:
    with pytest.raises(BootstrapError) as caught:
        found_cluster(parse_initial_cluster(text), "t", name)
    assert str(caught.value) == message


def test_joining_takes_ids_from_the_cluster_and_names_from_the_flags() -> None:
    running = [
        Member(7, ("http://10.0.0.2:2380",), "old", ("http://c:1",)),
        Member(3, ("http://10.0.0.3:2380",)),
        Member(5, ("http://10.0.0.1:2380",), is_learner=True),
    ]
    cluster = join_cluster(parse_initial_cluster(THREE), "n3", 99, running)
    assert cluster.id == 99
    assert [(member.id, member.name) for member in cluster.members] == [(3, "n3"), (5, "n1"), (7, "n2")]
    assert cluster.local.id == 3
    assert cluster.members[1].is_learner


def test_joining_by_address() -> None:
    urls_by_name = parse_initial_cluster("a=http://a.test:1")
    addresses = {"http://a.test:1": "http://192.0.2.1:1"}
    running = [Member(7, ("http://192.0.2.1:1",))]
    with pytest.raises(BootstrapError, match="unmatched member while checking PeerURLs"):
        join_cluster(urls_by_name, "a", 1, running)
    assert join_cluster(urls_by_name, "a", 1, running, lambda url: addresses.get(url, url)).local.id == 7


def test_joining_another_cluster() -> None:
    with pytest.raises(BootstrapError, match=r"error validating peerURLs .*: member count is unequal"):
        join_cluster(parse_initial_cluster(THREE), "n1", 1, [Member(1, ("http://10.0.0.1:2380",))])


ADVERTISED, LISTED = "http://localhost:2380", "http://127.0.0.1:2381"


def test_advertised_urls_must_be_the_listed_ones() -> None:
    check_advertised([ADVERTISED], {"a": [ADVERTISED]}, "a")
    with pytest.raises(BootstrapError) as caught:
        check_advertised([ADVERTISED], {"a": [LISTED]}, "a")
    assert str(caught.value) == (
        f"--initial-cluster has a={LISTED} but missing from --initial-advertise-peer-urls={ADVERTISED} "
        f'("{ADVERTISED}"(resolved from "{ADVERTISED}") != "{LISTED}"(resolved from "{LISTED}"))'
    )
    with pytest.raises(BootstrapError) as caught:
        check_advertised([ADVERTISED, LISTED], {"a": [ADVERTISED]}, "a")
    assert str(caught.value) == (
        f"--initial-advertise-peer-urls has {LISTED} but missing from --initial-cluster=a={ADVERTISED}"
    )


def test_a_founder_that_lost_its_data() -> None:
    local = found_cluster(parse_initial_cluster(THREE), "t", "n1").local
    check_not_bootstrapped(local, [local])
    with pytest.raises(BootstrapError, match=f"^member {local.id:x} has already been bootstrapped$"):
        check_not_bootstrapped(local, [replace(local, client_urls=("http://c:1",))])
