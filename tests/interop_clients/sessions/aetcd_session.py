"""What a program does with aetcd."""

import asyncio
import io
import json
import sys
from pathlib import Path

import aetcd
import grpc


def use_certificates(where):
    """aetcd opens plain channels only; its channel can be replaced."""
    ca, cert, key = (Path(where[name]).read_bytes() for name in ("ca", "cert", "key"))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)

    def secure_channel(target, options=None):
        return grpc.aio.secure_channel(target, credentials, options=list(options or ()))

    aetcd.rpc.insecure_channel = secure_channel


async def keys_and_values(client):
    await client.put(b"aetcd/k", b"v")
    found = await client.get(b"aetcd/k")
    assert (found.key, found.value) == (b"aetcd/k", b"v")
    for number in range(20):
        await client.put(b"aetcd/many/%02d" % number, b"%d" % number)
    many = [kv.value async for kv in rows(await client.get_prefix(b"aetcd/many/"))]
    assert many == [b"%d" % number for number in range(20)]
    assert await client.delete(b"aetcd/k")
    assert await client.get(b"aetcd/k") is None
    assert await client.replace(b"aetcd/many/00", b"0", b"zero")
    assert not await client.replace(b"aetcd/many/00", b"0", b"zero")


async def rows(found):
    for row in found:
        yield row


async def transactions(client):
    await client.put(b"aetcd/t", b"1")
    succeeded, answers = await client.transaction(
        compare=[client.transactions.value(b"aetcd/t") == b"1", client.transactions.version(b"aetcd/t") > 0],
        success=[client.transactions.put(b"aetcd/t", b"2"), client.transactions.get(b"aetcd/t")],
        failure=[client.transactions.delete(b"aetcd/t")],
    )
    assert succeeded
    assert answers[1][0][0] == b"2"


async def watching(client):
    watch = await client.watch_prefix(b"aetcd/w/")
    for number in range(10):
        await client.put(b"aetcd/w/%d" % number, b"x")
    await client.delete(b"aetcd/w/0")
    seen = []
    async for event in watch:
        seen.append((event.kind, event.kv.key))
        if len(seen) == 11:
            await watch.cancel()
            break
    assert seen[-1] == (aetcd.rtypes.EventKind.DELETE, b"aetcd/w/0")
    assert [key for _, key in seen[:10]] == [b"aetcd/w/%d" % number for number in range(10)]


async def leases_and_locks(client):
    lease = await client.lease(60)
    await client.put(b"aetcd/l", b"v", lease=lease)
    assert await lease.keys() == [b"aetcd/l"]
    await lease.refresh()
    assert 0 < await lease.remaining_ttl() <= 60
    await lease.revoke()
    assert await client.get(b"aetcd/l") is None
    async with client.lock(b"aetcd/lock", ttl=20) as lock:
        assert await lock.is_acquired()
        assert not await client.lock(b"aetcd/lock", ttl=20).acquire(timeout=0)
    assert not await lock.is_acquired()


async def maintenance(client):
    status = await client.status()
    assert status.version
    assert status.leader is not None
    members = [member async for member in client.members()]
    assert len(members) in (1, 3)
    found = await client.get(b"aetcd/t")
    await client.compact(found.mod_revision)
    file = io.BytesIO()
    await client.snapshot(file)
    assert len(file.getvalue()) > 1000


STEPS = (keys_and_values, transactions, watching, leases_and_locks, maintenance)


async def main():
    where = json.loads(sys.argv[1])
    if "ca" in where:
        use_certificates(where)
    async with aetcd.Client(where["host"], where["port"], timeout=30) as client:
        for step in STEPS:
            await step(client)
            sys.stdout.write(f"done: {step.__name__}\n")


asyncio.run(main())
