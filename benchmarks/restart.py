"""How long a server needs to serve again with 100,000 keys, after SIGTERM and after kill -9.

    python -m benchmarks.restart [--keys 100000] [--rounds 3] [--save restart]

Measured from the start of the process to the answer of the first linearizable read.
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

from .tools import machine, resident_bytes, run_loadgen, save


def restart_seconds(server: Server, keys: int) -> float:
    """Start a stopped server and read."""
    begin = time.monotonic()
    server.start()
    with Client(server.endpoint) as client:
        count = client.range(b"\x00", b"\x00", count_only=True).count
    took = time.monotonic() - begin
    if count != keys:
        raise RuntimeError(f"{server.kind.name} came back with {count} of {keys} keys")
    return took


def measure(server: Server, keys: int, rounds: int) -> dict[str, float]:
    run_loadgen(server.endpoint, "fill", count=keys, keys=keys, callers=1_000, connections=50, value=256)
    graceful, killed = [], []
    for _ in range(rounds):
        server.stop()
        graceful.append(restart_seconds(server, keys))
        server.kill()
        killed.append(restart_seconds(server, keys))
    return {
        "after_sigterm_s": round(median(graceful), 3),
        "after_kill_s": round(median(killed), 3),
        "resident_mib": round(resident_bytes(server.pid) / 2**20, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidate", default="etcdpy")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", metavar="NAME")
    chosen = parser.parse_args()
    result: dict[str, object] = {"machine": machine(), "keys": chosen.keys}
    for kind in (reference_kind(), candidate_kind(chosen.candidate)):
        with (
            tempfile.TemporaryDirectory(prefix="etcdpy-bench-") as place,
            Server(kind, Path(place)) as server,
        ):
            result[kind.name] = measure(server, chosen.keys, chosen.rounds)
    print(json.dumps(result, indent=1))
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
