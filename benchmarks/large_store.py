"""A store of ten million keys: how soon it serves, what it holds in memory, and what a put costs in it.

    python -m benchmarks.large_store prepare --directory D [--keys 10000000]
    python -m benchmarks.large_store measure --directory D [--keys 10000000] [--save large_store]

`prepare` writes one snapshot file and restores it for both servers (see `store_files`); it takes some
minutes and, for ten million keys, nine gigabytes. `measure` may be run as often as one likes on copies or on
the same files: what it writes only adds versions and new keys.

Serving means that a client's linearizable read has been answered. Resident memory is told without the pages
of files, which are the page cache's and can be given back at any time. Puts are made by 100 callers, to
keys that are not there yet and to keys that are, spread at random over all keys; in turns with them, the same
is done on an almost empty store, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.support.client import Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server

from .store_files import FLAGS, PREFIX, READY_SECONDS_MAX, STRIDE, key, restored, write_snapshot
from .tools import machine, memory_bytes, run_loadgen, save

PUTS = 60_000
SMALL_KEYS = 10_000
KINDS = ("new", "present")
RATES = [f"{kind}_{size}" for kind in KINDS for size in ("small", "large")]


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


def put_rate(server: Server, keys: int, **settings: int) -> float:
    """Puts a second."""
    load: dict[str, int | str] = {"count": PUTS, "callers": 100, "connections": 10, "value": 100}
    load |= {"prefix": PREFIX, "stride": STRIDE, "keys": keys}
    return run_loadgen(server.endpoint, "put", **load, **settings).rate


def put_rates(small: Server, large: Server, keys: int, rounds: int) -> dict[str, object]:
    """Puts a second, in turns on both stores, after a round that does not count: to keys that are not there
    yet, and to keys that are.
    """
    fill: dict[str, int | str] = {"count": SMALL_KEYS, "keys": SMALL_KEYS, "callers": 100}
    run_loadgen(small.endpoint, "fill", stride=STRIDE, value=100, prefix=PREFIX, **fill)
    rates: dict[str, list[float]] = {name: [] for name in RATES}
    for number in range(rounds + 1):
        skip = number * PUTS
        one = {
            "new_small": put_rate(small, PUTS, offset=1 + skip * STRIDE),
            "new_large": put_rate(large, keys, offset=1, skip=skip),
            "present_small": put_rate(small, SMALL_KEYS),
            "present_large": put_rate(large, keys, skip=skip),
        }
        for name, rate in one.items() if number else ():
            rates[name].append(rate)
    ratios = {name: median(rates[f"{name}_large"]) / median(rates[f"{name}_small"]) for name in KINDS}
    return {
        "puts_per_s": {name: [round(rate) for rate in found] for name, found in rates.items()},
        "ratio": {name: round(ratio, 2) for name, ratio in ratios.items()},
    }


def measure(server: Server, keys: int, rounds: int, put_rounds: int) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, end in (("start_s", server.stop), ("start_after_kill_s", server.kill)):
        starts = []
        for _ in range(rounds):
            starts.append(round(start_seconds(server, keys), 3))
            end()
        result[name] = starts
    server.start()
    with Client(server.endpoint) as client:
        client.range(key(1))
    result["memory_idle_mib"] = memory_mib(server)
    with (
        tempfile.TemporaryDirectory(prefix="etcdpy-bench-", dir=server.directory.parent) as place,
        Server(server.kind, Path(place), FLAGS) as small,
    ):
        result |= put_rates(small, server, keys, put_rounds)
    result["memory_after_puts_mib"] = memory_mib(server)
    server.kill()
    result["start_after_puts_and_kill_s"] = round(start_seconds(server, keys), 3)
    server.stop()
    return result


def memory_mib(server: Server) -> dict[str, float]:
    return {name: round(size / 2**20, 1) for name, size in memory_bytes(server.pid).items()}


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
    parser.add_argument("--rounds", type=int, default=3, help="starts of each sort")
    parser.add_argument("--put-rounds", type=int, default=3)
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
            result[name] = measure(server, chosen.keys, chosen.rounds, chosen.put_rounds)
        finally:
            server.kill()
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
