"""Which tables find a key's revisions best? Three layouts over the same KEY table, in plain LMDB.

- pointer: one row per (key, revision), newest first; the newest is found by a seek, a list skips the older
  ones
- newest:  one row per key with its newest revision, older ones in a second table (what etcdpy does)
- value:   as newest, with the stored value beside the revision

Loads `--keys` keys (value 256 bytes) in batches of 10,000, overwrites a tenth of them at random, then reads.
A list of 10,000 keys with values of 1 KiB is timed on a store of its own. Prints one line per layout and
writes JSON with `--json FILE`.

    python benchmarks/micro/mvcc_layout.py --keys 1000000
"""

import argparse
import json
import random
import struct
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import lmdb

BATCH = 10_000
LIST_KEYS = 10_000
REVISION = struct.Struct(">QBQ")
META = struct.Struct(">QQ")
INVERTED = (1 << 64) - 1

Row = tuple[bytes, bytes]


class Layout:
    """Tables of one layout; subclasses say what a put adds to them and how the newest entries are read."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.env = lmdb.open(str(directory / self.name), subdir=False, map_size=1 << 38, max_dbs=3, sync=True)
        self.key = self.env.open_db(b"key")
        self.index = self.env.open_db(b"index")
        self.history = self.env.open_db(b"history")

    def rows(
        self, key: bytes, revision: bytes, value: bytes, before: bytes | None
    ) -> tuple[list[Row], list[Row]]:
        """What goes into index and history."""
        raise NotImplementedError

    def newest(self, txn: lmdb.Transaction, key: bytes) -> bytes | None:
        return txn.get(key, None, self.index)

    def value(self, txn: lmdb.Transaction, entry: bytes) -> bytes | None:
        return txn.get(entry[:17], None, self.key)

    def entries(self, txn: lmdb.Transaction, start: bytes, limit: int) -> list[bytes]:
        """The newest entries of the first keys from `start` on."""
        cursor = txn.cursor(self.index)
        cursor.set_range(start)
        return list(islice(cursor.iternext(keys=False), limit))

    def write(self, first_revision: int, keys: list[bytes], value: bytes) -> float:
        """Put a batch as one transaction; seconds, with the look-ups that a put needs."""
        begun = time.perf_counter()
        records, index, history = [], {}, []
        with self.env.begin() as reader:
            for number, key in enumerate(keys):
                revision = REVISION.pack(first_revision + number, 0x5F, 0)
                record = b"\n%c" % len(key) + key + revision + value
                new, old = self.rows(key, revision, record, index.get(key) or self.newest(reader, key))
                index.update(new)
                history += old
                records.append((revision, record))
        with self.env.begin(write=True) as txn:
            txn.cursor(self.key).putmulti(records, append=True)
            txn.cursor(self.index).putmulti(sorted(index.items()))
            txn.cursor(self.history).putmulti(sorted(history))
        return time.perf_counter() - begun


class Pointer(Layout):
    name = "pointer"

    def rows(
        self, key: bytes, revision: bytes, value: bytes, before: bytes | None
    ) -> tuple[list[Row], list[Row]]:
        main = int.from_bytes(revision[:8], "big")
        return [(key + b"\x00" + (INVERTED - main).to_bytes(8, "big"), revision + META.pack(main, 1))], []

    def newest(self, txn: lmdb.Transaction, key: bytes) -> bytes | None:
        cursor = txn.cursor(self.index)
        start = key + b"\x00"
        return cursor.value() if cursor.set_range(start) and cursor.key().startswith(start) else None

    def entries(self, txn: lmdb.Transaction, start: bytes, limit: int) -> list[bytes]:
        cursor = txn.cursor(self.index)
        cursor.set_range(start)
        found: list[bytes] = []
        last = b""
        for key, entry in cursor.iternext():
            if key[:-8] != last:
                last = key[:-8]
                found.append(entry)
                if len(found) == limit:
                    break
        return found


class Newest(Layout):
    name = "newest"

    def rows(
        self, key: bytes, revision: bytes, value: bytes, before: bytes | None
    ) -> tuple[list[Row], list[Row]]:
        history = [] if before is None else [(key + before[:17], before[17:33])]
        return [(key, revision + META.pack(int.from_bytes(revision[:8], "big"), 1))], history


class Value(Newest):
    name = "value"

    def rows(
        self, key: bytes, revision: bytes, value: bytes, before: bytes | None
    ) -> tuple[list[Row], list[Row]]:
        new, history = super().rows(key, revision, value, before)
        return [(key, new[0][1] + value)], history

    def value(self, txn: lmdb.Transaction, entry: bytes) -> bytes | None:
        return entry[33:]


def best(work: Callable[[], object], repeat: int = 7) -> float:
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def list_values(layout: Layout, start: bytes) -> int:
    with layout.env.begin() as txn:
        return len([layout.value(txn, entry) for entry in layout.entries(txn, start, LIST_KEYS)])


def get_some(layout: Layout, keys: list[bytes]) -> None:
    with layout.env.begin() as txn:
        for key in keys:
            entry = layout.newest(txn, key)
            assert entry is not None
            layout.value(txn, entry)


def measure(layout: Layout, lists: Layout, count: int) -> dict[str, float]:
    keys = [b"/registry/pods/default/%08d" % number for number in range(count)]
    chance = random.Random(1)
    load = sum(
        layout.write(2 + first, keys[first : first + BATCH], b"v" * 256) for first in range(0, count, BATCH)
    )
    loaded = layout.env.info()["last_pgno"] * 4096
    overwritten = chance.sample(keys, count // 10)
    revision = count + 2
    again = 0.0
    for first in range(0, len(overwritten), BATCH):
        again += layout.write(revision, overwritten[first : first + BATCH], b"w" * 256)
        revision += BATCH
    some = chance.sample(keys, 10_000)
    list_keys = keys[:LIST_KEYS]
    chance.shuffle(list_keys)
    lists.write(2, list_keys, b"v" * 1024)
    with layout.env.begin() as txn:
        counted = best(lambda: len(layout.entries(txn, b"/", count)), 3)
    return {
        "load_us_per_put": load / count * 1e6,
        "overwrite_us_per_put": again / len(overwritten) * 1e6,
        "disk_bytes_per_key": loaded / count,
        "get_us": best(lambda: get_some(layout, some)) / len(some) * 1e6,
        "count_us_per_key": counted / count * 1e6,
        "list_10000_ms": best(lambda: list_values(lists, b"/")) * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {}
    for kind in (Pointer, Newest, Value):
        with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as list_name:
            results[kind.name] = measure(kind(Path(name)), kind(Path(list_name)), arguments.keys)
        print(kind.name, {what: round(figure, 2) for what, figure in results[kind.name].items()})
    if arguments.json:
        arguments.json.write_text(json.dumps({"keys": arguments.keys, "layouts": results}, indent=2))


if __name__ == "__main__":
    main()
