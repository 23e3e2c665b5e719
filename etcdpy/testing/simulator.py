"""A cluster, its clients and its misfortunes, all from one seed.

A *turn* is one event: a message that arrives, a tick, a disk or a timer that is done, a call of a client, a
fault. Each seed first draws what kind of world it is going to be (how lossy, how slow, how often things
break), because a mixture of everything in every run would find only what mixtures find. After the last turn
everything is healed, and the cluster must come to rest: one leader, everybody with the same log and the same
store, and every acknowledged write in it.
"""

from __future__ import annotations

import random
from collections import deque
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from etcdpy.cluster.bootstrap import found_cluster
from etcdpy.raft.messages import Message, Role
from etcdpy.server.config import Config
from etcdpy.testing.checkers import RaftChecker, StoreChecker, Violation
from etcdpy.testing.clients import Client, History, Manners
from etcdpy.testing.clock import SimClock
from etcdpy.testing.linearizability import check_history
from etcdpy.testing.machine import DiskSpeed, Machine, Process, World, founding_entries
from etcdpy.testing.network import SimNetwork
from etcdpy.testing.watchers import WatchClient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.testing.backend import Database

TRACE_EVENTS = 60
HEARTBEAT_MS = 100
# Simulated time in which a healed cluster must have come to rest.
CALM_S = 60.0


class Failed(Exception):
    """A run that broke a promise: what, and the events before it."""

    def __init__(self, seed: int, members: int, turn: int, cause: Exception, trace: Iterable[str]) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.seed = seed
        self.members = members
        self.turn = turn
        self.cause = cause
        self.trace = list(trace)


class Simulator:
    """One run. `run(turns)` raises `Failed`, or returns when all was well."""

    def __init__(self, seed: int, members: int = 3) -> None:
        self.seed = seed
        self.size = members
        self.turn = 0
        self.undecided_keys = 0
        self.crashes = 0
        self.chance = chance = random.Random(seed * 16 + members)
        self.clock = SimClock()
        self.network = SimNetwork(self.clock, chance)
        self._trace: deque[tuple[Any, ...]] = deque(maxlen=TRACE_EVENTS)
        urls = {f"m{number}": (f"http://10.0.0.{number}:2380",) for number in range(1, members + 1)}
        clusters = [found_cluster(urls, "sim", name) for name in urls]
        self.raft_checker = RaftChecker(
            [cluster.local.id for cluster in clusters], founding_entries(clusters[0])
        )
        self.store_checker = StoreChecker()
        self.world = World(
            self.clock, chance, self.network, self.raft_checker, self.store_checker, self._note
        )
        self._draw_world()
        self.machines = {
            cluster.local.id: Machine(self.world, self._config(cluster.local.name), cluster, self._speed())
            for cluster in clusters
        }
        self._list = list(self.machines.values())
        for machine in self._list:
            machine.give_up = partial(self._crash, machine, 1.0)
        self.network.deliver = self._deliver
        self.network.lost = self._lost
        self.network.snapshot_arrived = self._snapshot_arrived
        self.network.snapshot_reported = self._snapshot_reported
        self.history = History(self.store_checker)
        keys = [b"k%d" % number for number in range(chance.randrange(1, 5))]
        manners = Manners(keys, self._pause_s, self._patience_s, chance.choice((0.2, 0.4, 0.8)))
        self.clients = [
            Client(number, self.clock, chance, self.history, manners, self._pick, self._note)
            for number in range(chance.choice((2, 4, 10)))
        ]

        refusals = chance.choice((0.0, 0.1))
        self.watchers = [
            WatchClient(self.clock, chance, self.store_checker, self._pick_any, refusals) for _ in range(2)
        ]

    # The kind of world.

    def _draw_world(self) -> None:
        chance, network = self.chance, self.network
        network.loss = chance.choice((0.0, 0.0, 0.01, 0.05, 0.2))
        network.repeat = chance.choice((0.0, 0.01, 0.1))
        network.delay_s = chance.choice((0.0005, 0.001, 0.02))
        network.jitter_s = chance.choice((0.0, 0.002, 0.02, 0.1))
        network.slow = chance.choice((0.0, 0.01, 0.05))
        self.world.message_bytes_max = chance.choice((64, 300, 1 << 20))
        self.world.inflight_messages_max = chance.choice((1, 4, 512))
        self.world.lazy = chance.choice((0.0, 0.05, 0.3))
        self._fault_s = chance.choice((0.5, 2.0, 6.0))
        self._weights = [chance.choice((0, 1, most)) for most in _FAULTS.values()]
        if not any(self._weights):
            self._weights[0] = 1
        self._pause_s = chance.choice((0.005, 0.02, 0.1))
        self._patience_s = chance.choice((0.2, 1.0, 3.0))
        self._election_ms = chance.choice((3, 5, 10)) * HEARTBEAT_MS
        self._pre_vote = chance.random() < 0.8
        self._snapshot_count = chance.choice((20, 60, 100_000))

    def _speed(self) -> DiskSpeed:
        chance = self.chance
        return DiskSpeed(
            chance.choice((0.0, 0.5, 0.95)),
            chance.choice((0.001, 0.01, 0.05)),
            chance.choice((0.0, 0.01, 0.05)),
        )

    def _config(self, name: str) -> Config:
        return Config(
            name=name,
            data_dir=Path("/"),
            heartbeat_interval_ms=HEARTBEAT_MS,
            election_timeout_ms=self._election_ms,
            snapshot_count=self._snapshot_count,
            snapshot_catchup_entries=10,
            pre_vote=self._pre_vote,
        )

    # Running.

    def run(self, turns: int) -> None:
        """So many turns under faults, then calm."""
        try:
            self._begin()
            self._run(turns)
            self._calm_down()
            self._judge()
        except Exception as cause:
            # Whatever ends a member ends the run.
            raise Failed(self.seed, self.size, self.turn, cause, self.trace()) from cause

    def trace(self) -> list[str]:
        """The last events, oldest first."""
        return [_told(event) for event in self._trace]

    def fingerprint(self) -> int:
        """A number that two runs share only if the same happened in both."""
        digest = crc32(repr((self.turn, self.clock.now, self.crashes)).encode())
        for call in self.history.calls:
            digest = crc32(repr((call.start, call.end, call.seen)).encode(), digest)
        for entry in self.raft_checker.committed[1:]:
            digest = crc32(repr(entry).encode(), digest)
        return digest

    def _note(self, *facts: Any) -> None:
        self._trace.append((self.turn, self.clock.now, *facts))

    def _begin(self) -> None:
        for machine in self._list:
            self._start(machine)
        for client in self.clients:
            self.clock.later(self.chance.random(), client.act)
        for watcher in self.watchers:
            watcher.look_after()
        self._plan_fault()

    def _run(self, turns: int) -> None:
        clock = self.clock
        while self.turn < turns:
            self.turn += 1
            handler, argument = clock.next()
            handler(argument)

    # Events.

    def _start(self, machine: Machine) -> None:
        if machine.process is not None:
            return
        process = machine.start()
        self._note("start", machine.name, process.node.term, process.node.commit, process.node.last_index)
        process.settle()
        self.clock.later(self.chance.random() * HEARTBEAT_MS / 1000, self._tick, process)

    def _tick(self, process: Process) -> None:
        if not process.alive:
            return
        now, machine = self.clock.now, process.machine
        if machine.paused_until > now:
            self.clock.later(machine.paused_until - now, self._tick, process)
            return
        process.driver.tick()
        process.settle()
        self.clock.later(HEARTBEAT_MS / 1000, self._tick, process)

    def _deliver(self, message: Message) -> None:
        machine = self.machines[message.to]
        process = machine.process
        if process is None:
            self._lost(message.from_, message.to)
            return
        if machine.paused_until > self.clock.now:
            self.clock.later(machine.paused_until - self.clock.now, self._deliver, message)
            return
        self._trace.append((self.turn, self.clock.now, message))
        process.member.step(message)
        process.settle()

    def _lost(self, sender: int, receiver: int) -> None:
        process = self.machines[sender].process
        if process is not None:
            process.node.report_unreachable(receiver)

    def _snapshot_arrived(self, message: Message, database: Database) -> bool:
        process = self.machines[message.to].process
        if process is None:
            return False
        self._note("snapshot", message)
        process.receive_snapshot(message, database)
        process.settle()
        return True

    def _snapshot_reported(self, sender: int, receiver: int, ok: bool) -> None:
        process = self.machines[sender].process
        if process is not None:
            process.member.snapshots_under_way = max(process.member.snapshots_under_way - 1, 0)
            process.snapshot_reported(receiver, ok=ok)

    def _pick(self, number: int) -> Process | None:
        """Where a client goes: every second one stays with one member."""
        at = number // 2 % self.size if number % 2 else int(self.chance.random() * self.size)
        machine = self._list[at]
        return None if machine.paused_until > self.clock.now else machine.process

    def _pick_any(self) -> Process | None:
        return self.chance.choice(self._list).process

    # Faults.

    def _plan_fault(self) -> None:
        self.clock.later(2 * self._fault_s * self.chance.random(), self._fault)

    def _fault(self, _: object) -> None:
        if self._fault_s:
            name = self.chance.choices(_NAMES, self._weights)[0]
            getattr(self, f"_fault_{name}")()
            self._plan_fault()

    def _victim(self) -> Machine:
        """Any machine, but a leader's more often than not."""
        leaders = [one for one in self._list if one.process and one.process.node.role is Role.LEADER]
        return self.chance.choice(leaders if leaders and self.chance.random() < 0.5 else self._list)

    def _crash(self, machine: Machine, down_s: float) -> None:
        if machine.process is not None:
            self.crashes += 1
            self._note("crash", machine.name)
            machine.crash()
            self.clock.later(down_s, self._start, machine)

    def _fault_crash(self) -> None:
        machine, down_s = self._victim(), self.chance.choice((0.01, 0.5, 3.0)) * self.chance.random()
        if self.chance.random() < 0.5:
            self._crash(machine, down_s)
        else:
            machine.doomed = lambda: self._crash(machine, down_s)

    def _fault_blackout(self) -> None:
        for machine in self._list:
            self._crash(machine, self.chance.random())

    def _fault_partition(self) -> None:
        chance, network = self.chance, self.network
        ids = list(self.machines)
        if not network.is_whole and chance.random() < 0.5:
            network.cut(())
            self._note("heal")
            return
        apart = {self._victim().id}
        if self.size > 3 and chance.random() < 0.5:
            apart.add(chance.choice(ids))
        pairs = [(one, other) for one in ids for other in ids if (one in apart) != (other in apart)]
        lame = chance.random()
        if lame < 0.25:
            pairs = [pair for pair in pairs if pair[0] in apart]
        elif lame < 0.5:
            pairs = [pair for pair in pairs if pair[1] in apart]
        elif lame < 0.6:
            pairs = chance.sample(pairs, len(pairs) // 2)
        network.cut(pairs)
        self._note("partition", [f"{one:x}>{other:x}" for one, other in pairs])
        self.clock.later(6 * chance.random(), self._heal)

    def _heal(self, _: object) -> None:
        self._note("heal")
        self.network.cut(())

    def _fault_pause(self) -> None:
        machine = self._victim()
        machine.paused_until = self.clock.now + 3 * self.chance.random()
        self._note("pause", machine.name, machine.paused_until)

    def _fault_transfer(self) -> None:
        process = self._victim().process
        if process is not None:
            target = self.chance.choice(list(self.machines))
            self._note("transfer", process.machine.name, f"{target:x}")
            process.member.transfer_leadership(target, lambda error: None)
            process.settle()

    def _fault_full(self) -> None:
        """The disk takes a little more and then nothing, until the member is started again."""
        machine, chance = self._victim(), self.chance
        if machine.process is not None:
            machine.disk.allow(chance.randrange(4), short_write_bytes=chance.choice((0, 40, 600)))
            self._note("full", machine.name)

    def _fault_disk(self) -> None:
        machine = self._victim()
        machine.speed = self._speed()
        self._note("disk", machine.name, machine.speed.at_once, machine.speed.slow_s)

    # The end.

    def _calm_down(self) -> None:
        """Heal everything and wait until all have the same."""
        self._fault_s = 0.0
        network = self.network
        network.cut(())
        network.loss = network.repeat = 0.0
        network.jitter_s = network.delay_s = 0.002
        for client in self.clients:
            client.stopped = True
        for machine in self._list:
            machine.paused_until = 0.0
            machine.doomed = None
            machine.disk.allow(None)
            machine.speed = DiskSpeed(1.0, 0.0, 0.0)
            self._start(machine)
        deadline = self.clock.now + CALM_S
        while not self._is_calm():
            for handler, argument in islice(iter(self.clock.next, None), 20):
                self.turn += 1
                handler(argument)
            if self.clock.now > deadline:
                heard = [watcher.heard for watcher in self.watchers]
                raise Violation(
                    f"no rest after {CALM_S} s without faults: {self._positions()}, heard {heard}"
                )

    def _is_calm(self) -> bool:
        nodes = [machine.process.node for machine in self._list if machine.process is not None]
        heard = {machine.process.member.state.store.revision for machine in self._list if machine.process}
        heard |= {watcher.heard for watcher in self.watchers if watcher.heard > 1 or heard != {1}}
        ends = {(node.term, node.leader, node.commit, node.applied, node.last_index) for node in nodes}
        return (
            len(nodes) == self.size
            and len(ends) == len(heard) == 1
            and nodes[0].leader != 0
            and nodes[0].commit == nodes[0].last_index
            and nodes[0].applied == nodes[0].commit
        )

    def _positions(self) -> list[str]:
        return [
            f"{machine.name} {machine.process.node.status()}" if machine.process else f"{machine.name} down"
            for machine in self._list
        ]

    def _judge(self) -> None:
        """Look at the whole: stores and history."""
        last = len(self.raft_checker.committed) - 1
        contents = {}
        for machine in self._list:
            assert machine.process is not None, f"{machine.name} does not run"
            if machine.process.member.applied_index != last:
                raise Violation(f"{machine.name} rests at {machine.process.member.applied_index}, not {last}")
            contents[machine.name] = machine.process.backend.contents().buckets[0]
        for name, records in contents.items():
            if records != self.store_checker.records:
                raise Violation(f"{name} has {len(records)} records, {len(self.store_checker.records)} were")
        key, self.undecided_keys = check_history(self.history.calls)
        if key is not None:
            calls = [call for call in self.history.calls if call.key == key]
            raise Violation(f"the {len(calls)} calls on {key!r} cannot be put in order")


# What may happen, and how much more often than other things in the seeds that like it.
_FAULTS = {"crash": 3, "blackout": 2, "partition": 8, "pause": 3, "transfer": 3, "disk": 2, "full": 2}
_NAMES = list(_FAULTS)


def _told(event: tuple[Any, ...]) -> str:
    turn, now, *facts = event
    return f"{turn:6} {now:9.4f} " + " ".join(_fact(fact) for fact in facts)


def _fact(fact: Any) -> str:
    if isinstance(fact, Message):
        parts = [f"{fact.type.name} {fact.from_ & 0xFFFF:04x}>{fact.to & 0xFFFF:04x} term={fact.term}"]
        if fact.index or fact.log_term:
            parts.append(f"at={fact.index}/{fact.log_term}")
        if fact.entries:
            parts.append("entries=" + ",".join(f"{entry.index}/{entry.term}" for entry in fact.entries))
        if fact.commit:
            parts.append(f"commit={fact.commit}")
        if fact.reject:
            parts.append(f"reject hint={fact.reject_hint}")
        if fact.context:
            parts.append(f"context={fact.context.hex()}")
        return " ".join(parts)
    return str(fact)
