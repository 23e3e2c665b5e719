"""A store of ten million keys: how soon it serves, what it holds in memory, and what a put costs in it.

    python -m benchmarks.large_store prepare --directory D [--keys 10000000]
    python -m benchmarks.large_store measure --directory D [--keys 10000000] [--save large_store]

`prepare` writes one snapshot file and restores it for both servers (see `store_files`); it takes some
minutes and, for ten million keys, nine gigabytes. `measure` may be run as often as one likes on copies or on
the same files: what it writes only adds versions and new keys.

Serving means that a client's linearizable read has been answered. Resident memory is told without the pages
of files, which are the page cache's and can be given back at any time. Puts are made by 100 callers, once to
keys that are not there yet and once to keys that are, spread at random over all keys; the same is done on
an empty store, and the ratio is that of the rates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.client import Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server

from .store_files import FLAGS, PREFIX, READY_SECONDS_MAX, STRIDE, key, restored, write_snapshot
from .tools import machine, memory_bytes, run_loadgen, save

PUTS = 60_000
SMALL_KEYS = 10_000


def start_seconds(server: Server, keys: int) -> float:
    """From the start of the process to the answer of a read that shows the store's size."""
    begin = time.monotonic()
    server.start()
    with Client(server.endpoint) as client:
        found = client.range(key(keys - 1))
    took = time.monotonic() - begin
    if len(found.kvs) != 1:
        raise RuntimeError(f"{server.kind.name} does not have the last key")
    return took


def put_rates(server: Server, keys: int, *, stride: int) -> dict[str, float]:
    """Puts a second: to keys between those that are there, and to those that are."""
    load: dict[str, int | str] = {
        "count": PUTS,
        "callers": 100,
        "connections": 10,
        "value": 100,
        "prefix": PREFIX,
        "stride": stride,
    }
    fresh = run_loadgen(server.endpoint, "put", keys=max(keys, PUTS), offset=1, **load)
    present = run_loadgen(server.endpoint, "put", keys=keys, offset=0, **load)
    return {"new_per_s": round(fresh.rate), "present_per_s": round(present.rate)}


def empty_rates(server: Server) -> dict[str, float]:
    with server:
        fill: dict[str, int | str] = {"count": SMALL_KEYS, "keys": SMALL_KEYS, "callers": 100}
        fill |= {"value": 100, "prefix": PREFIX}
        run_loadgen(server.endpoint, "fill", stride=STRIDE, **fill)
        return put_rates(server, SMALL_KEYS, stride=STRIDE)


def measure(server: Server, keys: int, rounds: int) -> dict[str, object]:
    starts = []
    for _ in range(rounds):
        starts.append(round(start_seconds(server, keys), 3))
        server.stop()
    server.start()
    with Client(server.endpoint) as client:
        client.range(key(1))
    idle = memory_bytes(server.pid)
    with tempfile.TemporaryDirectory(prefix="etcdpy-bench-", dir=server.directory.parent) as place:
        empty = empty_rates(Server(server.kind, Path(place), FLAGS))
    large = put_rates(server, keys, stride=STRIDE)
    loaded = memory_bytes(server.pid)
    server.stop()
    return {
        "start_s": starts,
        "memory_idle_mib": {name: round(size / 2**20, 1) for name, size in idle.items()},
        "memory_after_puts_mib": {name: round(size / 2**20, 1) for name, size in loaded.items()},
        "puts_empty": empty,
        "puts_large": large,
        "ratio": {name: round(large[name] / rate, 2) for name, rate in empty.items()},
    }


def existing(kind_name: str, directory: Path) -> Server:
    """The server that `prepare` has made."""
    kind = reference_kind() if kind_name == "etcd" else candidate_kind(kind_name)
    return Server(kind, directory / kind.name, FLAGS, ready_seconds_max=READY_SECONDS_MAX)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--kinds", default="etcdpy,etcd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", metavar="NAME")
    chosen = parser.parse_args()
    snapshot = chosen.directory / "s.db"
    if chosen.step == "prepare":
        if not snapshot.exists():
            write_snapshot(snapshot, chosen.keys, 1, 100)
        for name in chosen.kinds.split(","):
            kind = reference_kind() if name == "etcd" else candidate_kind(name)
            restored(kind, snapshot, chosen.directory / kind.name)
        return 0
    result: dict[str, object] = {"machine": machine(), "keys": chosen.keys}
    for name in chosen.kinds.split(","):
        server = existing(name, chosen.directory)
        try:
            result[name] = measure(server, chosen.keys, chosen.rounds)
        finally:
            server.kill()
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
