"""Leases that are kept alive, on both sides, on real etcd and on us."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import AsyncClient, Client, LeaseExists, LeaseNotFound

if TYPE_CHECKING:
    from tests.support.server import Server

SECONDS = 10.0


def test_grant_and_revoke(client: Client) -> None:
    lease = client.grant(60)
    client.put("leased", "1", lease=lease)
    kv = client.get("leased").kv
    assert kv is not None
    assert kv.lease == lease
    assert lease in client.leases()
    left = client.time_to_live(lease, keys=True)
    assert (left.id, left.granted_ttl, left.keys) == (lease, 60, [b"leased"])
    assert 0 < left.ttl <= 60
    assert client.keep_alive_once(lease) == 60
    with pytest.raises(LeaseExists):
        client.grant(60, id=lease)
    client.revoke(lease)
    assert client.get("leased").kv is None
    for call in (client.revoke, client.time_to_live, client.keep_alive_once):
        with pytest.raises(LeaseNotFound):
            call(lease)


def test_kept_alive_beyond_its_time_and_gone_with_its_block(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        with client.lease(1) as lease:
            client.put("kept", "1", lease=lease)
            time.sleep(lease.ttl + 1.2)
            assert client.get("kept").value == b"1"
            assert not lease.is_lost
            lease.check()
        assert client.get("kept").kv is None
        assert not lease.is_lost


def test_loss_is_told(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        lease = client.lease(1)
        told = threading.Event()
        lease.on_lost(told.set)
        assert not lease.wait_lost(0.01)
        client.revoke(lease)
        assert lease.wait_lost(SECONDS)
        assert told.wait(SECONDS)
        with pytest.raises(LeaseNotFound):
            lease.check()
        late = threading.Event()
        lease.on_lost(late.set)
        assert late.is_set()
        lease.revoke()


def test_released_lease_expires(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        lease = client.lease(1)
        lease.release()
        with client.watch("never"):
            assert not lease.wait_lost(0.1)
        again = client.keep_alive(lease)
        assert again.id == lease.id
        again.revoke()


def test_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client:
            async with client.lease(1) as lease:
                await client.put("kept", "1", lease=lease)
                await asyncio.sleep(lease.ttl + 1.2)
                assert (await client.get("kept")).value == b"1"
                assert (await lease.time_to_live(keys=True)).keys == [b"kept"]
            assert (await client.get("kept")).kv is None
            lease = await client.lease(1)
            lost = asyncio.Event()
            lease.on_lost(lost.set)
            await client.revoke(lease)
            await asyncio.wait_for(lost.wait(), SECONDS)
            assert await lease.wait_lost()

    asyncio.run(asyncio.wait_for(scenario(), 30))
