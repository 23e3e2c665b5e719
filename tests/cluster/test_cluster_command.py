"""`python -m etcdpy.testing.cluster`, and members that cannot find their cluster."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from etcdpy import embed
from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.cluster.urls import Url
from etcdpy.server.config import Config
from etcdpy.server.log import Logger
from etcdpy.testing.cluster import free_ports
from tests.support.client import Client
from tests.support.inprocess import cluster, configurations, leader_of, run
from tests.support.programs import clean_environment
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

SECONDS_MAX = 30


@pytest.mark.cluster
def test_one_command_starts_three_members_and_an_interrupt_stops_them() -> None:
    command = [sys.executable, "-m", "etcdpy.testing.cluster"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        endpoints = re.fullmatch(r"endpoints: (.*)\n", line)
        assert endpoints is not None, line
        for endpoint in endpoints[1].split(","):
            with Client(endpoint) as client:
                client.put(b"a", endpoint.encode())
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS_MAX) == 0


@pytest.mark.cluster
def test_a_founder_that_waits_for_the_others_can_be_told_to_go(candidate: Kind, tmp_path: Path) -> None:
    waiting = MixedCluster(tmp_path, [candidate] * 3)
    member = waiting.members[0]
    waiting.launch(member)
    try:
        with pytest.raises(AssertionError, match="not within"):
            # It serves nobody: it has found no quorum.
            eventually(lambda: waiting.status(member).leader != 0, 2)
        assert waiting.stop_member(member) == -signal.SIGTERM
    finally:
        waiting.stop()


def newcomer(directory: Path, initial_cluster: str, name: str, peer: Url) -> Config:
    client = Url("http://127.0.0.1:0")
    return Config(
        name=name,
        data_dir=directory / name,
        listen_client_urls=(client,),
        advertise_client_urls=(client,),
        listen_peer_urls=(peer,),
        initial_advertise_peer_urls=(peer,),
        initial_cluster=initial_cluster,
        initial_cluster_state="existing",
    )


def test_who_was_not_announced_may_not_join(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path) as servers:
            peer = Url(f"http://127.0.0.1:{free_ports(1)[0]}")
            listed = servers[0].config.initial_cluster
            config = newcomer(tmp_path, f"{listed},late={peer}", "late", peer)
            with pytest.raises(BootstrapError, match="member count is unequal"):
                await embed.start(config, Logger.silent())

    run(scenario())


def test_nobody_to_ask(tmp_path: Path) -> None:
    async def scenario() -> None:
        one, other = (Url(f"http://127.0.0.1:{port}") for port in free_ports(2))
        config = newcomer(tmp_path, f"gone={one},late={other}", "late", other)
        with pytest.raises(BootstrapError, match="could not retrieve cluster information"):
            await embed.start(config, Logger.silent())

    run(scenario())


def test_a_founder_that_lost_its_data_may_not_come_back_as_new(tmp_path: Path) -> None:
    """Its peers know what it acknowledged; it does not. It has to be removed and added again."""

    async def scenario() -> None:
        configs = configurations(tmp_path, 3)
        servers = list(await asyncio.gather(*(embed.start(config, Logger.silent()) for config in configs)))
        leader = leader_of(servers)
        lost = next(server for server in servers if server is not leader)
        await lost.stop()
        config = lost.config
        config.data_dir = tmp_path / "empty"
        with pytest.raises(BootstrapError, match="has already been bootstrapped"):
            await embed.start(config, Logger.silent())
        for server in servers:
            if server is not lost:
                await server.stop()

    run(scenario())


def test_founders_must_be_found_where_the_others_look(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = configurations(tmp_path, 3)[0]
        config.initial_advertise_peer_urls = (Url("http://127.0.0.1:1"),)
        with pytest.raises(BootstrapError, match="missing from"):
            await embed.start(config, Logger.silent())
        config.name = "somebody-else"
        with pytest.raises(BootstrapError, match="couldn't find local name"):
            await embed.start(config, Logger.silent())

    run(scenario())
