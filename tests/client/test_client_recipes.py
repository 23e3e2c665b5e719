"""Locks, elections and transactions that are run again, on real etcd and on us, beside etcd's own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import (
    AsyncClient,
    AsyncTransaction,
    Client,
    Conflict,
    LeaseNotFound,
    NotHeld,
    Transaction,
    op,
    prefix,
    rpcs,
)
from etcdpy.client import transaction as transactions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

SECONDS = 10.0


@pytest.fixture
def plain(either_server: Server) -> Iterator[Client]:
    with Client(either_server.endpoint) as client:
        client.delete(prefix(""))
        yield client


def in_thread(job: object) -> threading.Thread:
    thread = threading.Thread(target=job, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


# Locks.


def test_only_one_holds_a_lock(plain: Client) -> None:
    counter = {"inside": 0, "max": 0, "done": 0}

    def work() -> None:
        for _ in range(5):
            with plain.lock("only") as lock:
                counter["inside"] += 1
                counter["max"] = max(counter["max"], counter["inside"])
                assert lock.is_held
                counter["inside"] -= 1
                counter["done"] += 1

    threads = [in_thread(work) for _ in range(4)]
    for thread in threads:
        thread.join(SECONDS)
    assert counter == {"inside": 0, "max": 1, "done": 20}
    assert plain.get(prefix("only/")).count == 0
    assert plain.leases() == []


def test_lock_that_is_taken(plain: Client) -> None:
    with plain.lock("taken") as first:
        second = plain.lock("taken")
        assert not second.acquire(timeout=0.1)
        assert not second.is_held
        assert plain.get(prefix("taken/")).count == 1
        assert plain.txn(first.condition, op.put("guarded", "1")).succeeded
        condition, revision = first.condition, first.revision
        with pytest.raises(NotHeld):
            first.acquire()
    assert not plain.txn(condition, op.put("guarded", "2")).succeeded
    assert second.acquire(timeout=SECONDS)
    assert second.revision > revision
    second.release()
    with pytest.raises(NotHeld):
        second.release()


def test_lock_goes_to_the_next_when_its_lease_is_lost(plain: Client) -> None:
    first = plain.lock("lost")
    assert first.acquire()
    got = threading.Event()
    second = plain.lock("lost")
    thread = in_thread(lambda: second.acquire() and got.set())
    plain.revoke(int(first.key.rpartition(b"/")[2], 16))
    assert got.wait(SECONDS)
    thread.join(SECONDS)
    second.release()


def test_waiter_is_told_that_its_lease_is_lost(plain: Client) -> None:
    with plain.lock("told"), plain.lease(3) as lease:
        waiter = plain.lock("told", lease=lease)
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                waiter.acquire()
            except LeaseNotFound as error:
                caught.append(error)

        with plain.watch(prefix("told/"), only="put", start_revision=1) as line:
            thread = in_thread(wait)
            while next(line).kv.lease != lease.id:
                pass
        plain.revoke(lease)
        thread.join(SECONDS)
        assert len(caught) == 1


def test_excludes_etcds_own_lock(plain: Client) -> None:
    """The service that `etcdctl lock` and other clients use has the same keys."""
    theirs = plain.call(rpcs.LOCK, rpcs.LOCK.request(name=b"shared", lease=plain.grant(30))).key
    ours = plain.lock("shared")
    assert not ours.acquire(timeout=0.1)
    plain.call(rpcs.UNLOCK, rpcs.UNLOCK.request(key=theirs))
    assert ours.acquire(timeout=SECONDS)
    with pytest.raises(Exception, match=r"(?i)deadline"):
        plain.call(rpcs.LOCK, rpcs.LOCK.request(name=b"shared", lease=plain.grant(5)), timeout=0.2)
    ours.release()


def test_lock_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client:
            inside, most = 0, 0

            async def work() -> None:
                nonlocal inside, most
                async with client.lock("only"):
                    inside += 1
                    most = max(most, inside)
                    await client.put("inside", str(inside))
                    inside -= 1

            await asyncio.gather(*(work() for _ in range(10)))
            assert most == 1
            async with client.lock("taken"):
                other = client.lock("taken")
                assert not await other.acquire(timeout=0.05)
                waiting = asyncio.create_task(other.acquire())
                await asyncio.sleep(0.05)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert (await client.get(prefix("taken/"))).count == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))


# Elections.


def test_election(plain: Client) -> None:
    first, second = plain.election("boss"), plain.election("boss")
    assert first.leader() is None
    seen: list[bytes] = []
    begun, enough = threading.Event(), threading.Event()

    def observe() -> None:
        for kv in first.observe():
            seen.append(kv.value)
            begun.set()
            if kv.value == b"two":
                enough.set()
                return

    observer = in_thread(observe)
    assert first.campaign("one")
    assert begun.wait(SECONDS)
    thread = in_thread(lambda: second.campaign("two"))
    leader = second.leader()
    assert leader is not None
    assert (leader.value, leader.key) == (b"one", first.key)
    first.proclaim("uno")
    first.resign()
    thread.join(SECONDS)
    assert second.is_held
    assert enough.wait(SECONDS)
    observer.join(SECONDS)
    assert seen == [b"one", b"uno", b"two"]
    with pytest.raises(NotHeld):
        first.proclaim("again")
    assert not first.campaign("late", timeout=0.05)
    plain.delete(second.key)
    with pytest.raises(NotHeld):
        second.proclaim("gone")
    second.resign()


def test_election_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client, client.election("boss") as first:
            assert await first.campaign("one")
            second = client.election("boss")
            waiting = asyncio.create_task(second.campaign("two"))
            async for kv in second.observe():
                if kv.value == b"one":
                    await first.resign()
                else:
                    assert kv.value == b"two"
                    break
            assert await waiting
            await second.resign()
            assert await second.leader() is None

    asyncio.run(asyncio.wait_for(scenario(), 30))


# Transactions.


def test_transact_is_run_again_until_nobody_interferes(plain: Client) -> None:
    plain.put("count", "0")
    attempts = []

    def add(txn: Transaction) -> int:
        attempts.append(1)
        count = int(txn.get("count") or b"0") + 1
        txn.put("count", str(count))
        assert txn.get("count") == b"%d" % count
        return count

    threads = [in_thread(lambda: [plain.transact(add) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.join(SECONDS)
    assert plain.get("count").value == b"40"
    assert len(attempts) >= 40


def test_transact_reads_at_one_revision_and_sees_its_own_writes(plain: Client) -> None:
    plain.put("a", "1")
    plain.put("b", "1")

    def move(txn: Transaction) -> tuple[bytes | None, bytes | None, bytes | None]:
        a = txn.get("a")
        if a == b"1":
            plain.txn((), [op.put("a", "2"), op.put("b", "2")])
        b = txn.get("b")
        txn.delete("b")
        txn.put("c", "new")
        return a, b, txn.get("b")

    assert plain.transact(move) == (b"2", b"2", None)
    assert plain.get("c").value == b"new"
    assert plain.get("b").kv is None


def test_transact_gives_up(plain: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def meddled(txn: Transaction) -> None:
        txn.get("x")
        plain.put("x", "")
        txn.put("x", "mine")

    with pytest.raises(Conflict, match=str(transactions.ATTEMPTS_MAX)):
        plain.transact(meddled)


def test_transact_on_the_asyncio_side(either_server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(either_server.endpoint) as client:
            await client.delete("count")

            async def add(txn: AsyncTransaction) -> None:
                txn.put("count", str(int(await txn.get("count") or b"0") + 1))

            await asyncio.gather(*(client.transact(add) for _ in range(8)))
            assert (await client.get("count")).value == b"8"

    asyncio.run(asyncio.wait_for(scenario(), 30))
