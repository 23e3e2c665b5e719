"""A cluster whose members know nothing but a domain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from etcdpy import embed, wal
from etcdpy.cluster.urls import Url
from etcdpy.peer.srv import LookupFailed, SrvRecord
from etcdpy.server.log import Logger
from tests.support.inprocess import configurations, leader_of, put, read, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.peer.srv import Address
    from etcdpy.server.config import Config


class Domain:
    """All members are at this machine, each at a port of its own."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports

    async def services(self, name: str) -> list[SrvRecord]:
        if name != "_etcd-server-blue._tcp.example.org":
            raise LookupFailed(f"lookup {name}: no such host")
        return [SrvRecord(0, 0, "localhost.", port) for port in self._ports]

    async def address(self, host: str, port: int) -> Address:
        assert host == "localhost"
        return "127.0.0.1", port


def test_a_founder_that_dies_right_after_it_has_made_its_log_takes_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the others then, whatever DNS says by now."""

    async def scenario() -> None:
        configs, domain = configurations_by_srv(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(wal, "SnapshotFiles", fail)  # what comes next
            with pytest.raises(OSError, match="the end"):
                await embed.start(configs[0], Logger.silent(), domain)
        configs[0].initial_cluster = ""
        domains = (Domain([]), domain, domain)
        starts = (
            embed.start(config, Logger.silent(), one) for config, one in zip(configs, domains, strict=True)
        )
        servers = list(await asyncio.wait_for(asyncio.gather(*starts), 30))
        try:
            assert [await read(server, b"a") for server in servers] == [b""] * 3
        finally:
            for server in servers:
                await server.stop()

    run(scenario())


def fail(*arguments: object, **named: object) -> None:
    raise OSError("the end")


def configurations_by_srv(directory: Path) -> tuple[list[Config], Domain]:
    configs = configurations(directory, 3, discovery_srv="example.org", discovery_srv_name="blue")
    domain = Domain([config.listen_peer_urls[0].port for config in configs])
    for config in configs:
        config.initial_cluster = ""
        port = config.listen_peer_urls[0].port
        config.initial_advertise_peer_urls = (Url(f"http://localhost:{port}"),)
    return configs, domain


def test_members_find_each_other_by_srv_records(tmp_path: Path) -> None:
    async def scenario() -> None:
        configs, domain = configurations_by_srv(tmp_path)
        starts = (embed.start(config, Logger.silent(), domain) for config in configs)
        servers = list(await asyncio.gather(*starts))
        try:
            await until(lambda: leader_of(servers) is not None)
            assert (await put(servers[0], b"a", b"1")).error is None
            assert [await read(server, b"a") for server in servers] == [b"1"] * 3
            names = {member.name for member in servers[0].member.state.membership.members}
            assert names == {"m0", "m1", "m2"}
            configs[2].initial_cluster = ""
            # A member with data does not ask again.
            await servers.pop().stop()
            servers.append(await embed.start(configs[2], Logger.silent(), Domain([])))
            assert await read(servers[2], b"a") == b"1"
        finally:
            for server in servers:
                await server.stop()

    run(scenario())
