"""The simulated parts keep the promises of the real ones, and no others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.backend import Backend, Bucket
from etcdpy.raft.messages import Message, MessageType
from etcdpy.testing.backend import Database, MemoryBackend
from etcdpy.testing.clock import SimClock
from etcdpy.testing.disk import SECTOR_BYTES, PowerLost, SimDisk
from etcdpy.testing.network import SimNetwork

pytestmark = pytest.mark.patches  # the simulator puts its own disk under the member

PATH = Path("/directory/file")
# What only the owner of a real file needs.
NOT_SIMULATED = frozenset(
    {"open", "close", "abandon", "view", "open_readers", "entries", "sync", "defragment", "give_up_copy"}
)


def test_events_come_in_the_order_of_their_time_then_of_asking() -> None:
    clock = SimClock()
    seen: list[str] = []
    for delay, name in ((2.0, "late"), (1.0, "first"), (1.0, "second"), (0.0, "now")):
        clock.later(delay, seen.append, name)
    while len(clock):
        handler, argument = clock.next()
        handler(argument)
    assert seen == ["now", "first", "second", "late"]
    assert clock.now == 2.0


# The disk.


def disk_with_file(content: bytes) -> tuple[SimDisk, int]:
    disk = SimDisk()
    disk.make_directory(PATH.parent)
    descriptor = disk.open(PATH, create=True)
    disk.pwrite(descriptor, content, 0)
    disk.fdatasync(descriptor)
    disk.sync_directory(PATH.parent)
    return disk, descriptor


def test_what_was_synced_survives_every_crash() -> None:
    disk, _ = disk_with_file(b"synced" * 500)
    for seed in range(20):
        assert disk.after_crash(random.Random(seed)).read(PATH) == b"synced" * 500


def test_sectors_that_were_not_synced_are_old_or_new_and_both_happens() -> None:
    disk, descriptor = disk_with_file(bytes(4 * SECTOR_BYTES))
    disk.pwrite(descriptor, b"n" * 4 * SECTOR_BYTES, 0)
    patterns = set()
    for seed in range(60):
        content = disk.after_crash(random.Random(seed)).read(PATH)
        sectors = [content[start : start + SECTOR_BYTES] for start in range(0, len(content), SECTOR_BYTES)]
        assert set(sectors) <= {bytes(SECTOR_BYTES), b"n" * SECTOR_BYTES}
        patterns.add(tuple(sector[0] for sector in sectors))
    assert len(patterns) > 8


def test_a_sync_in_which_the_power_fails_promises_nothing() -> None:
    disk, descriptor = disk_with_file(bytes(SECTOR_BYTES))
    disk.syncs_left = 1
    disk.fdatasync(descriptor)
    disk.pwrite(descriptor, b"n" * SECTOR_BYTES, 0)
    with pytest.raises(PowerLost):
        disk.fdatasync(descriptor)
    contents = {disk.after_crash(random.Random(seed)).read(PATH) for seed in range(20)}
    assert contents == {bytes(SECTOR_BYTES), b"n" * SECTOR_BYTES}


@pytest.mark.parametrize("synced", [True, False])
def test_a_rename_is_lost_unless_its_directory_was_synced(synced: bool) -> None:
    disk, _ = disk_with_file(b"x")
    target = PATH.with_name("other")
    disk.rename(PATH, target)
    if synced:
        disk.sync_directory(PATH.parent)
    names = {tuple(disk.after_crash(random.Random(seed)).list_directory(PATH.parent)) for seed in range(20)}
    assert names == ({("other",)} if synced else {("other",), ("file",)})


def test_a_crash_lets_go_of_locks() -> None:
    disk, descriptor = disk_with_file(b"x")
    assert disk.lock(descriptor)
    assert not disk.lock(disk.open(PATH))
    again = disk.after_crash(random.Random(1))
    assert again.lock(again.open(PATH))


def test_a_full_disk_takes_a_part_of_the_write() -> None:
    disk, descriptor = disk_with_file(b"12345")
    disk.allow(0, short_write_bytes=2)
    assert disk.pwrite(descriptor, b"abcde", 0) == 2
    with pytest.raises(OSError, match="No space left"):
        disk.pwrite(descriptor, b"cde", 2)
    assert disk.read(PATH) == b"ab345"


# The backend.


def memory_backend(database: Database | None = None, queue: list[Any] | None = None) -> MemoryBackend:
    submit = (lambda commit: commit()) if queue is None else queue.append
    return MemoryBackend(database or Database(), submit, lambda key, value: None)


def test_it_has_every_call_of_the_real_one() -> None:
    real = {name for name in dir(Backend) if not name.startswith("_")} - NOT_SIMULATED
    assert real <= set(dir(memory_backend())), sorted(real - set(dir(memory_backend())))


KEYS = st.sampled_from([b"a", b"ab", b"b", b"c\x00", b"d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=3)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("flush")),
        st.tuples(st.just("scan"), KEYS, st.none() | KEYS),
        st.tuples(st.just("floor"), KEYS, KEYS),
    ),
    max_size=30,
)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(STEPS)
def test_it_answers_like_the_real_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    real = Backend.open(tmp_path_factory.mktemp("backend") / "db", map_bytes=1 << 28)
    simulated = memory_backend()
    bucket = Bucket.LEASE
    try:
        for name, *arguments in steps:
            answers = [answer_of(backend, bucket, name, arguments) for backend in (real, simulated)]
            assert answers[0] == answers[1], (name, arguments)
    finally:
        real.close()


def answer_of(backend: Any, bucket: int, name: str, arguments: list[Any]) -> Any:
    if name == "flush":
        return backend.flush()
    if name == "scan":
        start, end = arguments
        if end is not None and end < start:
            return None
        return (
            list(backend.items(bucket, start, end)),
            [value for piece in backend.value_pieces(bucket, start, end) for value in piece],
            backend.get(bucket, start),
            backend.get_many(bucket, [start, b"nobody"]),
            backend.last(bucket),
        )
    if name == "floor":
        start, end = sorted(arguments)
        return backend.floor(bucket, start, end)
    return getattr(backend, name)(bucket, *arguments)


def test_a_crash_keeps_what_was_flushed_with_its_index() -> None:
    database = Database()
    backend = memory_backend(database)
    backend.put(Bucket.LEASE, b"1", b"flushed")
    backend.set_consistent(7, 2)
    backend.flush()
    backend.put(Bucket.LEASE, b"2", b"lost")
    backend.set_consistent(8, 2)
    again = memory_backend(database)
    assert (again.consistent_index, again.consistent_term) == (7, 2)
    assert dict(again.items(Bucket.LEASE)) == {b"1": b"flushed"}


def test_a_flush_under_way_holds_what_it_was_given() -> None:
    database, done = Database(), list[int]()
    queue: list[Any] = []
    backend = memory_backend(database, queue)
    backend.put(Bucket.LEASE, b"1", b"x")
    backend.set_consistent(1, 1)
    backend.flush(lambda: done.append(1))
    backend.put(Bucket.LEASE, b"2", b"y")
    backend.set_consistent(2, 1)
    backend.flush(lambda: done.append(2))
    assert (database.index, done) == (0, [])
    queue.pop(0)()
    assert (database.index, done, sorted(database.buckets[Bucket.LEASE])) == (1, [1], [b"1"])
    queue.pop(0)()
    assert (database.index, done, sorted(database.buckets[Bucket.LEASE])) == (2, [1, 2], [b"1", b"2"])


# The network.


def network_and_arrivals() -> tuple[SimClock, SimNetwork, list[Message]]:
    clock = SimClock()
    network = SimNetwork(clock, random.Random(1))
    arrived: list[Message] = []
    network.deliver = arrived.append
    network.lost = lambda sender, receiver: None
    return clock, network, arrived


def run_dry(clock: SimClock) -> None:
    while len(clock):
        handler, argument = clock.next()
        handler(argument)


def test_a_cut_is_lame_in_its_own_direction_only() -> None:
    clock, network, arrived = network_and_arrivals()
    network.cut([(1, 2)])
    network.send(1, Message(MessageType.HEARTBEAT, to=2, from_=1, term=1))
    network.send(2, Message(MessageType.HEARTBEAT_RESP, to=1, from_=2, term=1))
    run_dry(clock)
    assert [message.type for message in arrived] == [MessageType.HEARTBEAT_RESP]


def test_proposals_are_never_repeated_and_others_are() -> None:
    clock, network, arrived = network_and_arrivals()
    network.repeat = 1.0
    network.send(1, Message(MessageType.PROP, to=2, from_=1))
    network.send(1, Message(MessageType.HEARTBEAT, to=2, from_=1, term=1))
    run_dry(clock)
    kinds = [message.type for message in arrived]
    assert kinds.count(MessageType.PROP) == 1
    assert kinds.count(MessageType.HEARTBEAT) == 2


def test_delays_reorder() -> None:
    clock, network, arrived = network_and_arrivals()
    network.jitter_s = 0.1
    for index in range(50):
        network.send(1, Message(MessageType.HEARTBEAT, to=2, from_=1, term=1, index=index))
    run_dry(clock)
    order = [message.index for message in arrived]
    assert sorted(order) == list(range(50))
    assert order != sorted(order)
