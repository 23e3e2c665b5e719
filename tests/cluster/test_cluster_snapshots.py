"""Snapshots between members of etcdpy, and what a crash leaves of one that was on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client, WatchStream
from tests.support.inprocess import cluster, isolate, leader_of, put, run, until
from tests.support.quorum import MixedCluster, eventually, local_revision

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

SMALL_LOG = ("--snapshot-count=100", "--snapshot-catchup-entries=20", "--strict-reconfig-check=false")


def test_a_member_that_lags_behind_the_log_gets_a_snapshot_and_its_watchers_miss_nothing(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, snapshot_count=100, snapshot_catchup_entries=20) as servers:
            leader = leader_of(servers)
            assert leader is not None
            lagging = next(server for server in servers if server is not leader)
            client = Client(lagging.client_urls[0].removeprefix("http://"))
            stream = client.watch_stream()
            stream.create(key=b"key-1")
            await asyncio.to_thread(
                stream.wait, lambda: any(response.created for response in stream.responses)
            )
            isolate(servers, lagging)
            for number in range(300):
                await put(leader, b"key-%d" % (number % 7), b"%d" % number)
            behind = lagging.member.applied_index
            assert leader.member.node.first_index > behind + 1
            isolate(servers, lagging, heal=True)
            await until(lambda: lagging.member.applied_index >= leader.member.applied_index)
            assert lagging.member.node.snapshot.index > behind
            await put(leader, b"key-1", b"last")
            assert await asyncio.to_thread(stream.wait, lambda: events_of(stream)[-1:] == [b"last"])
            wanted = [b"%d" % number for number in range(300) if number % 7 == 1]
            assert events_of(stream) == [*wanted, b"last"]
            await asyncio.to_thread(stream.close)
            client.close()
            store, other = leader.member.state.store, lagging.member.state.store
            assert store.hash_kv(store.revision) == other.hash_kv(store.revision)

    run(scenario())


def events_of(stream: WatchStream) -> list[bytes]:
    return [event.kv.value for response in stream.responses for event in response.events]


@pytest.mark.cluster
def test_a_snapshot_that_was_saved_but_not_installed_is_installed_at_the_next_start(
    candidate: Kind, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, [candidate] * 2, SMALL_LOG) as cluster:
        with Client(cluster.members[0].endpoint) as client:
            for number in range(300):
                client.put(b"key-%d" % (number % 7), b"%d" % number)
            revision = client.revision()
        newcomer = cluster.new_member("newcomer", candidate)
        cluster.join(newcomer)
        cluster.stop_member(newcomer)
        # As if it had died after the log named the snapshot and before the database was in its place.
        snap = tmp_path / newcomer.name / "member" / "snap"
        index = max(int(path.stem.partition("-")[2], 16) for path in snap.glob("*.snap"))
        (snap / "db").rename(snap / f"{index:016x}.snap.db")
        (snap / "tmp.0000000000000001.snap.db").write_bytes(b"what a transfer left")
        cluster.start_member(newcomer)
        assert sorted(path.name for path in snap.glob("*.db")) == []
        assert (snap / "db").exists()
        with Client(newcomer.endpoint) as client:
            eventually(lambda: local_revision(client) >= revision)
        assert len(cluster.hashes(revision)) == 1
