"""Three local members of etcdpy beside three of real etcd 3.5.1, in one run on one machine.

    python -m benchmarks.cluster [--rounds 3] [--scale 1.0] [--save cluster]

Both clusters run all the time and take turns. Calls go to the leader; the processor time is that of all three
members. Six members and the client share the machine, so the time for one call says more than the rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.programs import Kind, candidate_kind, reference_kind
from tests.support.quorum import MixedCluster

from .table import markdown
from .tools import cpu_seconds, machine, run_loadgen, save

MEMBERS = 3
CASES = (
    ("Put, 1 caller", "put", 500, 1, 1),
    ("Put, 100 callers", "put", 8_000, 100, 10),
    ("Put, 1,000 callers", "put", 12_000, 1_000, 50),
    ("Range one key, linearizable, 100 callers", "get", 10_000, 100, 10),
    ("Range one key, linearizable, 1,000 callers", "get", 12_000, 1_000, 50),
)

Sample = dict[str, float | None]


def measure(cluster: MixedCluster, operation: str, count: int, callers: int, connections: int) -> Sample:
    """One run of one case on one cluster."""
    pids = [member.process.pid for member in cluster.members if member.process is not None]
    assert len(pids) == MEMBERS, "a member is not running"
    before = sum(map(cpu_seconds, pids))
    load = run_loadgen(
        cluster.leader().endpoint,
        operation,
        count=count,
        callers=callers,
        connections=connections,
        keys=10_000,
        prefix="/bench/keys/",
    )
    cpu = sum(map(cpu_seconds, pids)) - before
    return {
        "rate": round(load.rate, 1),
        "cpu_us": round(cpu / load.operations * 1e6, 2),
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
    }


def compare(kinds: tuple[Kind, Kind], directory: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """All samples of all cases."""
    results: list[dict[str, object]] = []
    reference = MixedCluster(directory / "reference", [kinds[0]] * MEMBERS)
    candidate = MixedCluster(directory / "candidate", [kinds[1]] * MEMBERS)
    with reference, candidate:
        clusters = ((kinds[0].name, reference), (kinds[1].name, candidate))
        for name, operation, count, callers, connections in CASES:
            samples: dict[str, list[Sample]] = {kind: [] for kind, _ in clusters}
            for number in range(rounds):
                for kind, cluster in clusters if number % 2 == 0 else clusters[::-1]:
                    sample = measure(cluster, operation, max(1, int(count * scale)), callers, connections)
                    samples[kind].append(sample)
                    print(f"{name} [{number + 1}] {kind}: {sample}", file=sys.stderr, flush=True)
            results.append({"name": name, "samples": samples})
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidate", default="etcdpy", help="etcdpy, etcd, or the path of a server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the calls to make")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.json")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="etcdpy-bench-") as directory:
        for name in ("reference", "candidate"):
            (Path(directory) / name).mkdir()
        kinds = (reference_kind(), candidate_kind(chosen.candidate))
        cases = compare(kinds, Path(directory), chosen.rounds, chosen.scale)
    result: dict[str, object] = {"machine": machine(), "cases": cases}
    if chosen.save:
        print(f"saved {save(chosen.save, result)}", file=sys.stderr)
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
