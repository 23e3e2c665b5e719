"""What the stopped members do: a whole life, a restore by the offline tool, and taking over a snapshot."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from etcdpy import embed, wal
from etcdpy.backend import defragment
from etcdpy.ctl import utl
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.raft.messages import HardState, Ready, Snapshot
from etcdpy.server import bootstrap
from etcdpy.server.config import Config
from etcdpy.server.log import Logger
from etcdpy.server.snapshots import Received, SnapshotFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from etcdpy.embed import Server

WAIT_S = 20.0
SEGMENT_BYTES = 4096
LONG_KEY = b"long" * 200


def make_everything_small() -> None:
    """Segments, steps and batches that a few calls fill."""
    for function in (wal.Log.open, wal.Log.create):
        function.__func__.__kwdefaults__["segment_bytes"] = SEGMENT_BYTES  # type: ignore[union-attr]
    vars(defragment)["STEP_ROWS"] = 16


def configuration(directory: Path) -> Config:
    config = Config.for_test(directory)
    config.snapshot_count = 12
    config.snapshot_catchup_entries = 4
    config.max_wals = config.max_snapshots = 1
    config.backend_batch_interval_s = 0.02
    config.backend_batch_limit = 40
    config.compaction_batch_limit = 4
    config.compaction_sleep_interval_s = 0.001
    return config


@dataclass(frozen=True)
class State:
    """What a client can see of a store."""

    revision: int
    keys: tuple[tuple[bytes, bytes, int, int, int, int], ...]
    leases: tuple[int, ...]


Seen = tuple[State, int]


class Life:
    """One run of a member."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._member = server.member

    async def propose(self, kind: str, request: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._member.propose(kind, request, request.SerializeToString(), done.set_result)
        result = await asyncio.wait_for(done, WAIT_S)
        assert result.error is None, result.error
        return result.response

    async def put(self, key: bytes, value: bytes, lease: int = 0) -> None:
        await self.propose("put", pb.PutRequest(key=key, value=value, lease=lease))

    async def compact(self, back: int) -> None:
        request = pb.CompactionRequest(revision=self._member.state.store.revision - back)
        await self.propose("compaction", request)

    async def compacted(self) -> None:
        finished = asyncio.get_running_loop().create_future()
        assert self._member.duties is not None
        self._member.duties.when_compacted(lambda: finished.set_result(None))
        await asyncio.wait_for(finished, WAIT_S)

    async def flushed(self) -> None:
        done = asyncio.get_running_loop().create_future()
        self._member.state.backend.flush(lambda: done.set_result(None))
        await asyncio.wait_for(done, WAIT_S)

    async def defragmented(self) -> None:
        done = asyncio.get_running_loop().create_future()
        self._member.state.backend.defragment(done.set_result)
        error = await asyncio.wait_for(done, WAIT_S)
        assert error is None, error

    async def saved_snapshot(self) -> tuple[Snapshot, bytes]:
        """A snapshot for a client or a follower."""
        done: asyncio.Future[tuple[Snapshot, bytes]] = asyncio.get_running_loop().create_future()

        def made(file: SnapshotFile | None, error: Exception | None) -> None:
            assert file is not None, error
            with file.file:
                done.set_result((file.head, file.read(file.size_bytes)))

        self._server.front.open_snapshot(made)
        return await asyncio.wait_for(done, WAIT_S)

    def state(self) -> State:
        store = self._member.state.store
        kvs = [KeyValue.FromString(data) for data in store.range(b"\x00", b"\x00").kvs]
        keys = tuple(
            (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in kvs
        )
        return State(
            store.revision, keys, tuple(sorted(lease.id for lease in self._member.state.lessor.leases()))
        )

    async def stop(self) -> None:
        await self._server.stop()

    def hash_kv(self) -> int:
        return self._member.state.store.hash_kv().hash


# What the member is asked, one call after the other. Background work that is waited for is no call.
Call = tuple[str, "Callable[[Life], Awaitable[object]]"]


def calls() -> list[Call]:
    def put(key: bytes, value: bytes, lease: int = 0) -> Call:
        return "call", lambda life: life.put(key, value, lease)

    def work(what: Callable[[Life], Awaitable[object]]) -> Call:
        return "work", what

    first = [put(b"key%d" % (n % 7), b"%d" % n * 60) for n in range(16)]
    grant: Call = ("call", lambda life: life.propose("lease_grant", pb.LeaseGrantRequest(ID=7, TTL=3600)))
    delete: Call = (
        "call",
        lambda life: life.propose("delete_range", pb.DeleteRangeRequest(key=b"key1", range_end=b"key3")),
    )
    compact: Call = ("call", lambda life: life.compact(6))
    second = [put(LONG_KEY + b"%d" % (n % 3), b"v" * 50) for n in range(6)]
    third = [put(b"key%d" % n, b"later") for n in range(4)]
    return [
        *first,
        grant,
        put(b"leased", b"x", 7),
        compact,
        *second,
        work(Life.compacted),
        delete,
        work(Life.flushed),
        work(Life.defragmented),
        *third,
        work(Life.saved_snapshot),
        compact,
        work(Life.compacted),
        put(b"last", b"one"),
        work(Life.flushed),
    ]


async def live(directory: Path, acknowledge: Callable[[int, Life], None], wanted: list[Call]) -> Life:
    """Start, make these calls, and leave the server running."""
    life = Life(await embed.start(configuration(directory), Logger.silent()))
    answered = 0
    acknowledge(answered, life)
    for kind, call in wanted:
        await call(life)
        if kind == "call":
            answered += 1
            acknowledge(answered, life)
    return life


async def come_back(directory: Path) -> Seen:
    """Start on what is there, look, write something, and end cleanly."""
    life = await live(directory, _nobody, [])
    state = life.state()
    await life.compacted()
    hashed = life.hash_kv()
    await life.put(b"after", b"all")
    await life.defragmented()
    await life.stop()
    return state, hashed


def _nobody(_answered: int, _life: object) -> None:
    """Nobody is told."""


class Scenario(Protocol):
    """Something that may be stopped at any step."""

    def prepare(self) -> None:
        """What there is before. Nobody is stopped here."""

    def begin(self, directory: Path) -> None:
        """Make what is there before in a directory that does not exist; nobody is stopped here, either."""

    def run(self, directory: Path, acknowledge: Callable[[int], None]) -> None:
        """Promise more and more."""

    def check(self, directory: Path, promised: int) -> None:
        """What was promised is there."""


class WholeLife(Scenario):
    """A member from its first start to its end."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._seen: list[Seen] = []

    def prepare(self) -> None:
        async def run() -> None:
            def look(_answered: int, life: Life) -> None:
                self._seen.append((life.state(), life.hash_kv()))

            await (await live(self._place / "reference", look, calls())).stop()

        asyncio.run(run())
        where = bootstrap.layout(configuration(self._place / "reference"))
        assert len(list(where.snap_dir.glob("*.snap"))) == 1, "max_snapshots is 1"
        assert len(list(where.wal_dir.glob("*.wal"))) <= 2, "max_wals is 1, and one may have begun since"

    def run(self, directory: Path, acknowledge: Callable[[int], None]) -> None:
        async def run() -> None:
            life = await live(directory, lambda answered, _: acknowledge(answered), calls())
            await life.stop()

        asyncio.run(run())

    def check(self, directory: Path, promised: int) -> None:
        found = asyncio.run(come_back(directory))
        assert found in self._seen[promised : promised + 2], f"{promised} calls were answered, found {found}"
        left = [name for name in os.listdir(directory / "member" / "snap") if "tmp" in name]
        assert not left, left


class Restore(Scenario):
    """`etcdpyutl snapshot restore`: all of it or none, and it can be made again."""

    def __init__(self, place: Path) -> None:
        self._file = place / "snapshot"
        self._place = place
        self._seen: Seen | None = None

    def prepare(self) -> None:
        async def run() -> None:
            life = await live(self._place / "saved", _nobody, calls())
            _, data = await life.saved_snapshot()
            self._file.write_bytes(data)
            await life.stop()

        asyncio.run(run())
        self._restore(self._place / "reference")
        self._seen = asyncio.run(come_back(self._place / "reference"))

    def _restore(self, directory: Path) -> None:
        status = utl.main(
            ["snapshot", "restore", str(self._file), f"--data-dir={directory}", "--skip-hash-check"]
        )
        assert status == 0, status

    def run(self, directory: Path, acknowledge: Callable[[int], None]) -> None:
        self._restore(directory)
        acknowledge(1)

    def check(self, directory: Path, promised: int) -> None:
        if not (directory / "member").exists():
            assert not promised, "restored, and nothing is there"
            self._restore(directory)
        assert asyncio.run(come_back(directory)) == self._seen


class Install(Scenario):
    """A member that lags gets the snapshot of one that is ahead."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._behind = place / "behind"
        self._head: Snapshot | None = None
        self._data = b""
        self._seen: list[Seen] = []

    def prepare(self) -> None:
        async def run() -> None:
            await (await live(self._behind, _nobody, calls()[:20])).stop()
            shutil.copytree(self._behind, self._place / "ahead")
            life = await live(self._place / "ahead", _nobody, calls()[20:])
            self._head, self._data = await life.saved_snapshot()
            self._seen.append((life.state(), life.hash_kv()))
            await life.stop()
            shutil.copytree(self._behind, self._place / "reference")
            self._seen.insert(0, await come_back(self._place / "reference"))

        asyncio.run(run())

    def begin(self, directory: Path) -> None:
        shutil.copytree(self._behind, directory)

    def run(self, directory: Path, acknowledge: Callable[[int], None]) -> None:
        """The steps of the peer port, the driver and `Server._install`, in their order."""
        config = configuration(directory)
        parts = bootstrap.bootstrap(
            config, Logger.silent(), None, call_soon=lambda _: None, randrange=random.Random(1).randrange
        )
        head, place = self._head, bootstrap.layout(config).backend
        assert head is not None, "not prepared"
        received = Received(place.parent)
        with received.open_staging() as staging:
            staging.write(self._data)
            staging.flush()
            received.convert(staging, head)
        ready = Ready(snapshot=head, hard_state=HardState(head.term, 0, head.index), must_sync=True)
        job = parts.storage.save_job(ready)
        assert job is not None, "a snapshot must be saved"
        job()
        acknowledge(1)
        parts.state.backend.abandon()
        received.install(head.index, place)
        backend = bootstrap.open_backend(config, lambda _: None)
        received.clean_up_to(head.index)
        assert backend.consistent_index == head.index
        backend.close()
        parts.storage.close()

    def check(self, directory: Path, promised: int) -> None:
        found = asyncio.run(come_back(directory))
        assert found in self._seen[promised:], f"{promised}: {found}"


SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "member": WholeLife,
    "restore": Restore,
    "install": Install,
}
