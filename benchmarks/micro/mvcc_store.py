"""What the store costs by itself, without raft, log and network.

    python benchmarks/micro/mvcc_store.py [--keys 100000] [--json FILE]

Figures are microseconds of one thread's CPU for one operation (milliseconds where they say so), so that a
busy machine does not spoil them; best of a few runs. "memory" means that the keys are in the open batch,
"disk" that they have been flushed and are in the page cache.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from etcdpy.backend import Backend
from etcdpy.mvcc import Store

LIST_KEYS = 10_000


class Bench:
    """One store and what was measured on it."""

    def __init__(self, directory: Path, count: int) -> None:
        self.backend = Backend.open(directory / "db")
        self.store = Store(self.backend)
        self.keys = [b"/registry/pods/default/%08d" % number for number in range(count)]
        self.results: dict[str, float] = {}

    def note(self, name: str, seconds: float, per: int = 1, scale: float = 1e6) -> None:
        self.results[name] = round(seconds / per * scale, 3)
        print(f"{name:40} {self.results[name]:12.3f}")

    def put(self, keys: list[bytes], value: bytes) -> float:
        begun = time.thread_time()
        for key in keys:
            txn = self.store.begin()
            txn.put(key, value)
            txn.end()
        return time.thread_time() - begun

    def read(self, keys: list[bytes]) -> float:
        begun = time.thread_time()
        for key in keys:
            self.store.range(key)
        return time.thread_time() - begun

    def best(self, work: Callable[[], object], repeat: int = 7) -> float:
        times = []
        for _ in range(repeat):
            begun = time.thread_time()
            work()
            times.append(time.thread_time() - begun)
        return min(times)

    def flush(self) -> float:
        begun = time.thread_time()
        self.backend.flush_sync()
        return time.thread_time() - begun

    def puts_and_gets(self) -> None:
        count, value = len(self.keys), b"v" * 256
        step = 10_000
        new = flushed = 0.0
        for first in range(0, count, step):
            new += self.put(self.keys[first : first + step], value)
            flushed += self.flush()
        self.note("put, new key", new, count)
        self.note("flush, per put (other thread)", flushed, count)
        some = random.Random(1).sample(self.keys, min(step, count))
        self.note("get, disk", self.read(some), len(some))
        self.note("get, again", min(self.read(some) for _ in range(3)), len(some))
        self.note("put over a key on disk", self.put(some, value), len(some))
        self.note("put over a key in memory", min(self.put(some, value) for _ in range(3)), len(some))
        self.note("get, memory", self.read(some), len(some))
        self.flush()

    def lists(self) -> None:
        value = b"v" * 1024
        keys = [b"/big/%08d" % number for number in range(LIST_KEYS)]
        random.Random(2).shuffle(keys)
        self.put(keys, value)
        self.note("list 10,000 x 1 KiB, memory, ms", self.best(self.list), 1, 1e3)
        self.flush()
        self.store = Store(self.backend)
        self.note("list 10,000 x 1 KiB, disk, first, ms", self.best(self.list, 1), 1, 1e3)
        self.note("list 10,000 x 1 KiB, disk, again, ms", self.best(self.list), 1, 1e3)
        self.put(keys[:200], value)
        self.note("the same after 200 puts in it, ms", self.best(self.list), 1, 1e3)
        revision = self.store.revision
        self.put(keys[:200], value)
        at = lambda: self.store.range(b"/big/", b"/big0", revision=revision)  # noqa: E731
        self.note("the same 200 revisions ago, ms", self.best(at), 1, 1e3)
        everything = lambda: self.store.range(b"/", b"0", limit=500)  # noqa: E731
        self.note("list 500 of all keys, ms", self.best(everything, 3), 1, 1e3)

    def list(self) -> None:
        assert len(self.store.range(b"/big/", b"/big0").kvs) == LIST_KEYS

    def upkeep(self) -> None:
        records = self.store.revision
        begun = time.thread_time()
        self.store.hash_kv()
        self.note("hash_kv, per record", time.thread_time() - begun, records)
        self.store.compact(self.store.revision)
        begun = time.thread_time()
        longest = 0.0
        more = True
        while more:
            step = time.thread_time()
            more = self.store.compact_step(1000)
            longest = max(longest, time.thread_time() - step)
            if self.backend.should_flush(time.monotonic()):
                self.flush()
        self.note("compaction, per record", time.thread_time() - begun, records)
        self.note("compaction, longest step of 1,000, ms", longest, 1, 1e3)
        self.backend.close()
        begun = time.thread_time()
        self.backend = Backend.open(self.backend.path)
        store = Store(self.backend)
        list(store.attached_leases())
        self.note("open, ms", time.thread_time() - begun, 1, 1e3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), arguments.keys)
        bench.puts_and_gets()
        bench.lists()
        bench.upkeep()
        bench.backend.close()
    if arguments.json:
        arguments.json.write_text(json.dumps({"keys": arguments.keys, "figures": bench.results}, indent=2))


if __name__ == "__main__":
    main()
