"""What a program does with etcetra."""

import asyncio
import json
import sys
from pathlib import Path

import grpc
from etcetra import CompareKey, EtcdClient, HostPortPair, WatchEventType


def use_certificates(where):
    """etcetra trusts the system's authorities and shows no certificate; its credentials can be replaced."""
    ca, cert, key = (Path(where[name]).read_bytes() for name in ("ca", "cert", "key"))
    made = grpc.ssl_channel_credentials(ca, key, cert)
    grpc.ssl_channel_credentials = lambda: made


async def keys_and_values(client):
    await client.put("etcetra/k", "v")
    assert await client.get("etcetra/k") == "v"
    for number in range(10):
        await client.put(f"etcetra/many/{number}", str(number))
    assert await client.get_prefix("etcetra/many/") == {f"etcetra/many/{n}": str(n) for n in range(10)}
    assert len(await client.keys_prefix("etcetra/many/")) == 10
    await client.delete_prefix("etcetra/many/")
    assert await client.get_prefix("etcetra/many/") == {}
    await client.delete("etcetra/k")
    assert await client.get("etcetra/k") is None


async def transactions(client):
    await client.put("etcetra/t", "1")

    def build(success, failure):
        success.put("etcetra/t", "2")
        success.get("etcetra/t")
        failure.delete("etcetra/t")

    result = await client.txn_compare([CompareKey("etcetra/t").value == "1"], build)
    assert result.success, result
    assert result.values[1] == {"etcetra/t": "2"}


async def watching(client):
    ready = asyncio.Event()
    seen = []

    async def watch():
        async for event in client.watch_prefix("etcetra/w", ready_event=ready, prev_kv=True):
            seen.append((event.event, event.key, event.value, event.prev_value))
            if len(seen) == 3:
                return

    task = asyncio.create_task(watch())
    await ready.wait()
    while not seen:
        await client.put("etcetra/w1", "a")
        await asyncio.sleep(0.05)
    del seen[:]
    await client.put("etcetra/w2", "b")
    await client.put("etcetra/w2", "c")
    await client.delete("etcetra/w2")
    await asyncio.wait_for(task, 20)
    puts = [one for one in seen if one[0] is WatchEventType.PUT]
    assert len(puts) >= 2, seen


async def leases(client):
    lease = await client.grant_lease(30)
    await client.put("etcetra/l", "v", lease=lease)
    keeper = client.create_lease_keepalive_task(lease, 0.05)
    await asyncio.sleep(0.3)
    assert not keeper.done()
    keeper.cancel()
    await client.revoke_lease(lease)
    assert await client.get("etcetra/l") is None


STEPS = (keys_and_values, transactions, watching, leases)


async def main():
    where = json.loads(sys.argv[1])
    if "ca" in where:
        use_certificates(where)
    client = EtcdClient(HostPortPair(where["host"], where["port"]), secure="ca" in where)
    async with client.connect() as connection:
        for step in STEPS:
            await step(connection)
            sys.stdout.write(f"done: {step.__name__}\n")


asyncio.run(main())
