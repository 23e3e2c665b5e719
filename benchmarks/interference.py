"""What puts notice of a compaction and of a defragmentation.

    python -m benchmarks.interference prepare --directory D
    python -m benchmarks.interference measure --directory D [--rate 2000] [--save interference]

The store holds a million keys of 20 bytes with values of 1 KiB in two versions each, so 2 GB, a million
revisions of which are superseded. Puts to random keys are due at a constant rate, and their latency is
counted from when they were due: a server that stands still pays for every put that it kept waiting. Quiet is
the time before; then all history is compacted (physically, so the end of the work is known), then the
database is defragmented.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server

from .store_files import FLAGS, PREFIX, READY_SECONDS_MAX, STRIDE, restored, write_snapshot
from .tools import machine, memory_bytes, save, try_loadgen

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS, VERSIONS, VALUE_BYTES = 1_000_000, 2, 1024
CALLERS = 500
QUIET_S, BUSY_S = 15, 30
LEAD_S = 1.0


def percentiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    return {name: round(ordered[int((len(ordered) - 1) * part)], 2) for name, part in at.items()}


def load(server: Server, rate: int, seconds: int, samples: Path) -> int:
    """Put for a while; how many puts failed, which count with the time it took to hear of it."""
    settings: dict[str, int | str] = {"callers": CALLERS, "connections": 10, "value": VALUE_BYTES}
    settings["prefix"] = PREFIX
    return try_loadgen(
        server.endpoint,
        "put",
        count=rate * seconds,
        rate=rate,
        keys=KEYS,
        stride=STRIDE,
        samples=str(samples),
        **settings,
    ).failed


def during(server: Server, rate: int, seconds: int, work: Callable[[Client], None]) -> dict[str, object]:
    """Latencies of puts that were due while `work` was going on."""
    path = server.directory / "samples"
    path.unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as pool, Client(server.endpoint) as client:
        loading = pool.submit(load, server, rate, seconds, path)
        time.sleep(2 + LEAD_S)  # the load connects and makes its order of keys first
        began = time.time_ns()
        work(client)
        ended = time.time_ns()
        failed = loading.result()
    rows = [tuple(map(int, line.split())) for line in path.read_text().splitlines()]
    inside = [took / 1e6 for due, took in rows if began <= due <= ended]
    covered = min(ended, max(due for due, _ in rows)) - began
    return {
        **percentiles(inside),
        "puts": len(inside),
        "failed_puts": failed,
        "work_s": round((ended - began) / 1e9, 2),
        "covered_s": round(covered / 1e9, 2),
    }


def compact(client: Client) -> None:
    revision = client.range(b"\x00").header.revision
    client.call(pb.CompactionRequest(revision=revision, physical=True), timeout=200)


def defragment(client: Client) -> None:
    client.call(pb.DefragmentRequest(), timeout=200)


def measure(server: Server, rate: int) -> dict[str, object]:
    with server:
        load(server, rate, 3, server.directory / "warm-up")
        result: dict[str, object] = {}
        result["quiet"] = during(server, rate, QUIET_S, lambda _: time.sleep(QUIET_S - 4))
        for name, work in (("compaction", compact), ("defragmentation", defragment)):
            sizes = size_mib(server)
            result[name] = during(server, rate, BUSY_S, work)
            result[name + "_size_mib"] = [*sizes, *size_mib(server)]
        result["memory_mib"] = {name: size >> 20 for name, size in memory_bytes(server.pid).items()}
    return result


def size_mib(server: Server) -> list[int]:
    with Client(server.endpoint) as client:
        status = client.ask(pb.StatusRequest(), pb.StatusResponse)
    return [status.dbSize >> 20, status.dbSizeInUse >> 20]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--kinds", default="etcdpy,etcd")
    parser.add_argument("--save", metavar="NAME")
    chosen = parser.parse_args()
    kinds = [reference_kind() if name == "etcd" else candidate_kind(name) for name in chosen.kinds.split(",")]
    if chosen.step == "prepare":
        snapshot = chosen.directory / "s.db"
        if not snapshot.exists():
            write_snapshot(snapshot, KEYS, VERSIONS, VALUE_BYTES)
        for kind in kinds:
            restored(kind, snapshot, chosen.directory / kind.name)
        return 0
    result: dict[str, object] = {"machine": machine(), "keys": KEYS, "rate": chosen.rate}
    for kind in kinds:
        server = Server(kind, chosen.directory / kind.name, FLAGS, ready_seconds_max=READY_SECONDS_MAX)
        result[kind.name] = measure(server, chosen.rate)
        print(json.dumps({kind.name: result[kind.name]}), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
