"""Patroni with PostgreSQL on etcdpy: election, failover, a member of etcd lost, switchover."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.patroni import PatroniNode, postgresql_directory, until
from tests.support.quorum import MixedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

RECEIVERS = "select count(*) from pg_stat_wal_receiver where status = 'streaming'"


@pytest.fixture
def programs() -> Path:
    found = postgresql_directory()
    if found is None or importlib.util.find_spec("patroni") is None:
        pytest.skip("needs PostgreSQL and tests/interop/requirements.txt")
    return found


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """The path of a Unix socket of PostgreSQL may not be long."""
    with tempfile.TemporaryDirectory(prefix="patroni-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def accepts_writes(node: PatroniNode, statement: str) -> bool:
    try:
        node.sql(statement)
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize("members", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_failover(
    candidate: Kind, tmp_path: Path, short_directory: Path, programs: Path, members: int
) -> None:
    with MixedCluster(tmp_path, [candidate] * members) as etcd, ExitStack() as stack:
        endpoints = [member.endpoint for member in etcd.members]
        nodes = [PatroniNode(f"pg{n}", short_directory / f"pg{n}", endpoints, programs) for n in range(2)]
        first, second = nodes
        stack.enter_context(first)
        until(lambda: first.role() == "primary", "a primary")
        stack.enter_context(second)
        until(lambda: second.role() == "replica", "a replica")
        first.sql("create table kept (number int)")
        first.sql("insert into kept values (1)")
        until(
            lambda: second.sql("select count(*) from pg_stat_wal_receiver where status='streaming'") == "1",
            "streaming",
        )
        if members > 1:
            etcd.kill(etcd.leader())
            until(
                lambda: accepts_writes(first, "insert into kept values (2)"), "a write without the old leader"
            )
        keys = etcd.ctl("get", "/service/demo/", "--prefix", "--keys-only") or ""
        assert "/service/demo/leader" in keys.split()

        # The primary's machine dies: its lock runs out with its lease, and the replica takes over.
        first.kill()
        until(lambda: second.role() == "primary", "a new primary")
        assert second.sql("select number from kept where number = 1") == "1"
        assert accepts_writes(second, "insert into kept values (3)")

        # The old primary comes back as a replica, and the lead goes back to it by hand.
        first.start()
        until(lambda: first.role() == "replica", "the old primary as a replica")
        until(lambda: first.sql("select count(*) from kept where number = 3") == "1", "what it has missed")
        second.post("switchover", {"leader": second.name, "candidate": first.name})
        until(lambda: first.role() == "primary", "the switchover")
