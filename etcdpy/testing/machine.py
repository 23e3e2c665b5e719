"""A whole member on a simulated machine: started from its disk, killed at any moment, started again.

Everything above the disk is the real thing: RawNode, wal.Log, Store, Lessor, Membership, Member, Driver and
Duties. The LMDB file is replaced by a `Database` in memory, for speed. `Machine` is what survives a crash;
`Process` is one life.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from etcdpy import wal
from etcdpy.cluster.bootstrap import first_changes
from etcdpy.proto.etcdserver_pb2 import Metadata
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.config import Config as RaftConfig
from etcdpy.raft.messages import Entry, EntryType, HardState, Message, MessageType, Snapshot
from etcdpy.server.bootstrap import BOOTSTRAP_TERM, build_state, open_newest, recovered_node
from etcdpy.server.driver import Driver
from etcdpy.server.duties import Duties
from etcdpy.server.log import Logger
from etcdpy.server.member import Identity, Member
from etcdpy.server.request_ids import RequestIds
from etcdpy.server.storage import Storage
from etcdpy.testing.backend import Database, MemoryBackend
from etcdpy.testing.checkers import MemberView
from etcdpy.testing.disk import PowerLost, SimDisk

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from etcdpy.backend import Backend
    from etcdpy.cluster.bootstrap import Cluster
    from etcdpy.proto.raft_pb2 import Snapshot as WireSnapshot
    from etcdpy.raft.messages import Ready
    from etcdpy.raft.raw_node import RawNode
    from etcdpy.server.config import Config
    from etcdpy.server.state import State
    from etcdpy.testing.checkers import RaftChecker, StoreChecker
    from etcdpy.testing.clock import SimClock
    from etcdpy.testing.network import SimNetwork

WAL_DIRECTORY = Path("/member/wal")
SNAP_DIRECTORY = Path("/member/snap")
# Small, so that segments are cut and released in a short run.
SEGMENT_BYTES = 6_000
SEGMENTS_MAX = 2


class DiskSpeed:
    """How long a machine's disk takes for a save.

    Attributes:
        at_once: share of the saves that are done before `submit` returns.
        slow_s: mean time of the others.
        stall: share of those that take fifty times as long.
    """

    def __init__(self, at_once: float, slow_s: float, stall: float) -> None:
        self.at_once = at_once
        self.slow_s = slow_s
        self.stall = stall

    def delay(self, chance: random.Random) -> float:
        """Seconds until a save is done, 0 for at once."""
        if chance.random() < self.at_once:
            return 0.0
        delay = self.slow_s * (0.1 + 2 * chance.random())
        return delay * 50 if chance.random() < self.stall else delay


class World:
    """What all machines of one simulation share."""

    def __init__(
        self,
        clock: SimClock,
        chance: random.Random,
        network: SimNetwork,
        raft_checker: RaftChecker,
        store_checker: StoreChecker,
        trace: Callable[..., None],
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.network = network
        self.raft_checker = raft_checker
        self.store_checker = store_checker
        self.trace = trace
        self.log = Logger.silent()
        self.message_bytes_max = 1 << 20
        self.inflight_messages_max = 512
        self.lazy = 0.1
        """How often a process takes its time between an event and what follows from it."""


class CheckedMember(Member):
    """A member that shows the checkers what it is about to do and what it has done."""

    process: Process

    def ready(self) -> Ready | None:
        ready = super().ready()
        if ready is not None:
            self.process.world.raft_checker.ready(self.node, ready)
        return ready

    def save_job(self, ready: Ready) -> Callable[[], None] | None:
        job = super().save_job(ready)
        return None if job is None else self.process.noting(job, ready)

    def apply(self, ready: Ready) -> None:
        super().apply(ready)
        if ready.committed_entries:
            self.process.check_store()


def founding_entries(cluster: Cluster) -> list[Entry]:
    """What every founder writes into its log before anything else, committed from the start."""
    return [
        Entry(BOOTSTRAP_TERM, index, EntryType.CONF_CHANGE, raft_codec.encode_conf_change(change))
        for index, change in enumerate(first_changes(cluster.members), start=1)
    ]


class Machine:
    """Disk and database of one member, and the process that runs on them now, if any."""

    def __init__(self, world: World, config: Config, cluster: Cluster, speed: DiskSpeed) -> None:
        self.world = world
        self.config = config
        self.cluster = cluster
        self.speed = speed
        self.id = cluster.local.id
        self.name = config.name
        self.disk = SimDisk()
        self.disk.make_directory(SNAP_DIRECTORY)
        self.database = Database()
        self.received: dict[int, Database] = {}
        """Databases that came with snapshots, by index; on disk before the member hears of them."""
        self.process: Process | None = None
        self.paused_until = 0.0
        self.give_up: Callable[[], None] = lambda: None
        """Called when the member has ended itself."""
        self.doomed: Callable[[], None] | None = None
        """Crashes the machine while its next save is under way."""
        self.starts = 0

    def start(self) -> Process:
        """A new process reads the disk and goes on."""
        assert self.process is None, f"{self.name} runs already"
        self.starts += 1
        self.process = process = Process(self)
        return process

    def crash(self) -> None:
        """The power fails: saves and flushes under way may or may not have happened, unsynced writes tear."""
        process, self.process = self.process, None
        assert process is not None, f"{self.name} does not run"
        process.die()
        self.disk = self.disk.after_crash(self.world.chance)

    def open_log(self) -> tuple[WireSnapshot | None, wal.Log, wal.Recovered]:
        """The log at the newest snapshot that it names; made first where there is none."""
        if not wal.exists(WAL_DIRECTORY, files=self.disk):
            metadata = Metadata(NodeID=self.id, ClusterID=self.cluster.id).SerializeToString()
            founding = founding_entries(self.cluster)
            entries = [(entry.index, raft_codec.encode_entry(entry)) for entry in founding]
            state = raft_codec.encode_hard_state(HardState(BOOTSTRAP_TERM, 0, len(entries)))
            wal.Log.create(
                WAL_DIRECTORY, metadata, entries, state, segment_bytes=SEGMENT_BYTES, files=self.disk
            ).close()
        return open_newest(wal.SnapshotFiles(SNAP_DIRECTORY, files=self.disk), self._open_log_at)

    def _open_log_at(self, mark: wal.SnapshotMark) -> tuple[wal.Log, wal.Recovered]:
        return wal.Log.open(
            WAL_DIRECTORY, mark, segment_bytes=SEGMENT_BYTES, segments_max=SEGMENTS_MAX, files=self.disk
        )


class Process:
    """One life of a member. It is the member's disk, transport, timer and event loop."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.alive = True
        self.soon: list[Callable[[], None]] = []
        self._is_late = False
        self._is_log_lost = False
        self._jobs: deque[tuple[Callable[[], None], Callable[[Exception | None], None]]] = deque()
        snapshot, log, recovered = machine.open_log()
        snapshot_index = 0 if snapshot is None else snapshot.metadata.index
        self._choose_database(snapshot_index)
        self._log = log
        self.backend = self._open_backend()
        self.covered_index = self.backend.consistent_index
        state = build_state(machine.config, cast("Backend", self.backend))
        self.storage = Storage(
            log,
            wal.SnapshotFiles(SNAP_DIRECTORY, files=machine.disk),
            snapshots_max=2,
            first_snapshot_index=snapshot_index,
        )
        self.node = self._raft_node(snapshot, recovered, state)
        self.view = MemberView(self.world.raft_checker, self.node)
        self.world.raft_checker.restarted(self.node)
        self.member = CheckedMember(
            machine.config,
            Identity(machine.id, machine.cluster.id),
            self.node,
            state,
            self.storage,
            RequestIds(machine.id, int(self.world.clock.now * 1000) + machine.starts),
            self.world.clock.time,
            self.world.log,
        )
        self.member.process = self
        self.member.install = self._install
        self.member.on_failure = self._failed
        self.driver = Driver(self.member, self, self, self.call_soon)
        self.member.duties = duties = Duties(self.member, self.storage, self, self)
        self.member.on_state_replaced = duties.state_replaced
        self.driver.wake()

    def _raft_node(self, snapshot: WireSnapshot | None, recovered: wal.Recovered, state: State) -> RawNode:
        """With the bounds of this world."""
        config = self.machine.config
        raft_config = RaftConfig(
            id=self.machine.id,
            election_ticks=config.election_ticks,
            randrange=self.world.chance.randrange,
            pre_vote=config.pre_vote,
            message_bytes_max=self.world.message_bytes_max,
            inflight_messages_max=self.world.inflight_messages_max,
            committed_bytes_max=self.world.message_bytes_max,
        )
        return recovered_node(raft_config, snapshot, recovered, state)

    # The database.

    def _choose_database(self, snapshot_index: int) -> None:
        machine = self.machine
        if snapshot_index > machine.database.index:
            # The log says that a snapshot was taken over, and the crash came before its database was.
            machine.database = machine.received[snapshot_index].copy()
        assert snapshot_index <= machine.database.index, (snapshot_index, machine.database.index)

    def _open_backend(self) -> MemoryBackend:
        return MemoryBackend(self.machine.database, self._flush_later, self.world.store_checker.record)

    def _flush_later(self, commit: Callable[[], None]) -> None:
        def committed(backend: MemoryBackend) -> None:
            if self.alive and backend is self.backend:
                commit()
                self.settle()

        self.world.clock.later(0.002 + 0.05 * self.world.chance.random(), committed, self.backend)

    def _install(self, snapshot: Snapshot) -> State:
        machine = self.machine
        database = machine.received[snapshot.index]
        machine.received = {index: one for index, one in machine.received.items() if index > snapshot.index}
        assert database.index == snapshot.index, (database.index, snapshot.index)
        machine.database = database.copy()
        self.backend = self._open_backend()
        self.covered_index = self.backend.consistent_index
        return build_state(machine.config, cast("Backend", self.backend), self.member.state)

    # The disk of the driver.

    def submit(self, job: Callable[[], None], done: Callable[[Exception | None], None]) -> bool:
        """Run a job after those before it, at once or later."""
        delay = self.machine.speed.delay(self.world.chance)
        if not delay and not self._jobs:
            error = self._do(job)
            if error is not None:
                self.call_soon(lambda: done(error))
            return error is None
        self._jobs.append((job, done))
        self.world.clock.later(delay, self._job_done)
        if self.machine.doomed is not None:
            doom, self.machine.doomed = self.machine.doomed, None
            self.world.clock.later(delay * self.world.chance.random(), lambda _: doom())
        return False

    def _job_done(self, _: object) -> None:
        if self.alive:
            # Jobs are done in the order in which they came, whoever's time is up.
            job, done = self._jobs.popleft()
            done(self._do(job))
            self.settle()

    def _do(self, job: Callable[[], None]) -> Exception | None:
        try:
            job()
        except (wal.WalError, OSError) as error:
            if self.machine.disk.allowed is None and not self._is_log_lost:
                raise
            self._is_log_lost = True
            return error
        return None

    def close(self) -> None:
        """Nothing is buffered here."""

    def noting(self, job: Callable[[], None], ready: Ready) -> Callable[[], None]:
        """The job, and after it a note of what is durable now."""
        if not ready.must_sync:
            return job

        def noted() -> None:
            job()
            checker = self.world.raft_checker
            if ready.snapshot is not None:
                checker.saved_snapshot(self.machine.id, ready.snapshot.index)
            checker.durable[self.machine.id].save(ready.entries, ready.hard_state)

        return noted

    # Transport, timer and loop.

    def send(self, messages: Sequence[Message]) -> None:
        """Raft's messages to the others."""
        network = self.world.network
        for message in messages:
            kind = message.type
            if kind is MessageType.VOTE or kind is MessageType.VOTE_RESP:
                self.world.raft_checker.sent(message)
            elif kind is MessageType.SNAP:
                self.world.clock.later(0.001, self._send_snapshot, message)
                continue
            network.send(self.machine.id, message)

    def _send_snapshot(self, message: Message) -> None:
        """What raft names is replaced by the state as it is now, like the server does."""
        if not self.alive:
            return
        member = self.member
        assert message.snapshot is not None, message
        database = self.backend.contents()
        if member.applied_index < self.covered_index:
            # Not applied up to what the database had already: it would be ahead of its index.
            self.snapshot_reported(message.to, ok=False)
            return
        snapshot = Snapshot(
            member.applied_index, member.applied_term, self.node.conf_state, message.snapshot.data
        )
        member.snapshots_under_way += 1
        self.world.network.send_snapshot(self.machine.id, replace(message, snapshot=snapshot), database)

    def snapshot_reported(self, id_: int, *, ok: bool) -> None:
        """What became of a snapshot that was sent."""
        if self.alive:
            self.member.node.report_snapshot(id_, ok)
            self.driver.wake()
            self.settle()

    def receive_snapshot(self, message: Message, database: Database) -> None:
        """The database is kept before the member hears of it."""
        assert message.snapshot is not None, message
        self.machine.received[message.snapshot.index] = database
        self.member.step(message)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """The timer of the duties."""
        self.world.clock.later(delay_s, self._on_timer, callback)

    def _on_timer(self, callback: Callable[[], None]) -> None:
        if self.alive:
            callback()
            self.settle()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """The loop of the driver."""
        self.soon.append(callback)

    def settle(self) -> None:
        """After an event: do what follows from it, now or a little later, and let the checkers look."""
        if self.soon and not self._is_late:
            if self.world.chance.random() < self.world.lazy:
                self._is_late = True
                self.world.clock.later(0.03 * self.world.chance.random(), self._run_late)
            else:
                self._run_soon()
        self.view.look()

    def _run_late(self, _: object) -> None:
        if self.alive:
            self._is_late = False
            self._run_soon()
            self.view.look()

    def _run_soon(self) -> None:
        while self.soon:
            callbacks, self.soon = self.soon, []
            for callback in callbacks:
                callback()

    # The end.

    def _failed(self, error: Exception) -> None:
        """A member ends itself when its disk is full; nothing else may end it."""
        if not self._is_log_lost:
            raise error
        self.world.clock.later(0.0, lambda _: self.machine.give_up())

    def die(self) -> None:
        """Leave disk and database as a crash does."""
        self.alive = False
        chance, disk = self.world.chance, self.machine.disk
        for job, _ in self._jobs:
            if chance.random() < 0.3:
                break
            disk.syncs_left = chance.choice((0, 0, 0, 1, 2, 3, 4, 10))
            try:
                if self._do(job) is not None:
                    break
            except PowerLost:
                break
        if chance.random() < 0.5:
            self.backend.commit_frozen()

    def check_store(self) -> None:
        """Compare with what the others had at the same index."""
        member, backend = self.member, self.backend
        # After a restart the database is ahead of what is applied again.
        if member.applied_index >= self.covered_index:
            self.world.store_checker.applied(
                member.member_id, member.applied_index, member.state.store.revision, backend.digest
            )
