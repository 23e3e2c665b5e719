"""When the others are lost for good: `--force-new-cluster`, and a snapshot restored by real etcdutl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client
from tests.support.programs import wheel_program
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster


def test_one_member_of_three_becomes_a_cluster_of_one(candidate: Kind, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, [candidate] * 3) as cluster:
        survivor, *lost = cluster.members
        with Client(survivor.endpoint) as client:
            client.put(b"kept", b"1")
            revision = client.revision()
        for member in cluster.members:
            cluster.kill(member)
        cluster.flags = ("--force-new-cluster",)
        cluster.start_member(survivor)
        with Client(survivor.endpoint) as client:
            assert client.range(b"kept").kvs[0].value == b"1"
            assert client.put(b"more", b"2").header.revision == revision + 1
        assert cluster.ctl("member", "list", members=[survivor]).count("\n") == 1
        # It is an ordinary cluster from now on: restarts without the flag, and grows.
        cluster.stop_member(survivor)
        cluster.flags = ()
        cluster.start_member(survivor)
        cluster.members = [survivor]
        newcomer = cluster.new_member("newcomer", candidate)
        cluster.join(newcomer)
        with Client(newcomer.endpoint) as client:
            assert client.range(b"more").kvs[0].value == b"2"
        assert lost[0].process is None


def test_real_etcdutl_restores_what_real_etcdctl_saved_from_us(
    candidate: Kind, reference: Kind, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.db"
    with MixedCluster(tmp_path / "ours", [candidate]) as cluster:
        with Client(cluster.members[0].endpoint) as client:
            for number in range(200):
                client.put(b"key-%d" % (number % 50), b"x" * number)
            client.delete(b"key-7")
            revision = client.revision()
        hashes = cluster.hashes(revision)
        assert cluster.ctl("snapshot", "save", str(saved)) is not None
    status = etcdutl("snapshot", "status", str(saved))
    assert f" {revision}," in status
    broken = tmp_path / "broken.db"
    broken.write_bytes(saved.read_bytes()[:-40] + b"x" * 40)
    with pytest.raises(subprocess.CalledProcessError):
        etcdutl("snapshot", "restore", str(broken), f"--data-dir={tmp_path / 'never'}")
    # Real etcd serves it, with the same history.
    restored = MixedCluster(tmp_path / "theirs", [reference])
    member = restored.members[0]
    restored.directory.mkdir()
    etcdutl(
        "snapshot",
        "restore",
        str(saved),
        f"--name={member.name}",
        f"--data-dir={restored.directory / member.name}",
        f"--initial-cluster={member.name}={member.peer_url}",
        f"--initial-advertise-peer-urls={member.peer_url}",
    )
    with restored:
        eventually(lambda: restored.hashes(revision) == hashes)


def etcdutl(*arguments: str) -> str:
    done = subprocess.run(
        [wheel_program("etcdutl"), *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
