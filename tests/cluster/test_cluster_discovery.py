"""A cluster whose members know nothing but a token at another etcd."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy import embed
from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.server.log import Logger
from tests.support.client import Client
from tests.support.inprocess import configurations, leader_of, put, read, run, until
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.server.config import Config
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

PREFIX = b"/_etcd/registry/%b"


@pytest.fixture(scope="module")
def registry(reference: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real etcd, as most registries are."""
    with Server(reference, tmp_path_factory.mktemp("registry")) as server:
        yield server


def write(registry: Server, token: bytes, size: bytes | None) -> None:
    if size is not None:
        with Client(registry.endpoint) as client:
            client.put(PREFIX % token + b"/_config/size", size)


def discovered(directory: Path, registry: Server, token: str, size: int, **more: Any) -> list[Config]:
    configs = configurations(
        directory, size, discovery_endpoints=(f"http://{registry.endpoint}",), discovery_token=token, **more
    )
    for config in configs:
        config.initial_cluster = ""
        config.initial_advertise_peer_urls = config.listen_peer_urls
    return configs


def test_members_find_each_other_by_a_token(registry: Server, tmp_path: Path) -> None:
    write(registry, b"one", b"3")

    async def scenario() -> None:
        *configs, late = discovered(tmp_path, registry, "one", 4)
        starts = (embed.start(config, Logger.silent()) for config in configs)
        servers = list(await asyncio.gather(*starts))
        try:
            await until(lambda: leader_of(servers) is not None)
            assert (await put(servers[0], b"a", b"1")).error is None
            assert [await read(server, b"a") for server in servers] == [b"1"] * 3
            names = {member.name for member in servers[0].member.state.membership.members}
            assert names == {"m0", "m1", "m2"}
            with pytest.raises(BootstrapError, match="discovery: cluster is full"):
                await embed.start(late, Logger.silent())
            # A member with data does not ask again.
            await servers.pop().stop()
            registry.stop()
            configs[2].initial_cluster = ""
            servers.append(await embed.start(configs[2], Logger.silent()))
            assert await read(servers[2], b"a") == b"1"
        finally:
            for server in servers:
                await server.stop()
            registry.start()

    run(scenario())


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "discovery: size key not found"),
        (b"x", "discovery: size key is bad"),
        (b"0", "size key is bad"),
    ],
)
def test_what_the_registry_says_wrongly(
    registry: Server, tmp_path: Path, size: bytes | None, text: str
) -> None:
    token = f"bad-{size!r}"
    write(registry, token.encode(), size)

    async def scenario() -> None:
        (config,) = discovered(tmp_path, registry, token, 1)
        with pytest.raises(BootstrapError, match=text):
            await embed.start(config, Logger.silent())
        config.initial_cluster_state = "existing"
        with pytest.raises(BootstrapError, match="should not be set when joining"):
            await embed.start(config, Logger.silent())

    run(scenario())


def test_a_bad_line_of_another_member(registry: Server, tmp_path: Path) -> None:
    write(registry, b"lines", b"2")
    with Client(registry.endpoint) as client:
        client.put(PREFIX % b"lines" + b"/members/7", b"a=nonsense")

    async def scenario() -> None:
        (config,) = discovered(tmp_path, registry, "lines", 1)
        with pytest.raises(BootstrapError, match="invalid peer URL"):
            await embed.start(config, Logger.silent())

    run(scenario())
