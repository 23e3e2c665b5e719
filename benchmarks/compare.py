"""etcdpy beside real etcd 3.5.1, in one run on one machine.

    python -m benchmarks.compare [--rounds 3] [--scale 1.0] [--only put] [--save compare]

Both servers run all the time; each case is run on one, then on the other, round after round, and the one
that goes first changes with the round. Printed are medians, their ratio, and the server's CPU time for one
operation. Run it from the root of the repository, on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.client import UNARY, Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server, pair

from .cases import CASES, GET, LIST, LOCAL_GET, MISSING, PUT, STATUS, Case, fill
from .table import markdown
from .tools import cpu_seconds, machine, resident_bytes, save

Sample = dict[str, float | None]


def measure(case: Case, server: Server, scale: float) -> Sample:
    """One run of one case on one server."""
    before = cpu_seconds(server.pid)
    load = case.run(server.endpoint, max(1, int(case.count * scale)))
    cpu = cpu_seconds(server.pid) - before
    return {
        "rate": round(load.rate, 1),
        "cpu_us": round(cpu / load.operations * 1e6, 2),
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
    }


def check_prepared_calls(server: Server) -> None:
    """h2load does not look at gRPC's status, so each of its requests must be answered here first."""
    with Client(server.endpoint) as client:
        for path, request in (STATUS, MISSING, LOCAL_GET, GET, LIST, PUT):
            if UNARY[type(request)][0] != path:
                raise RuntimeError(f"{path} does not take a {type(request).__name__}")
            client.call(request)


def compare(
    cases: list[Case], servers: tuple[Server, Server], rounds: int, scale: float
) -> list[dict[str, object]]:
    """All samples of all cases."""
    results: list[dict[str, object]] = []
    for case in cases:
        samples: dict[str, list[Sample]] = {server.kind.name: [] for server in servers}
        for number in range(rounds):
            for server in servers if number % 2 == 0 else servers[::-1]:
                sample = measure(case, server, scale)
                samples[server.kind.name].append(sample)
                print(f"{case.name} [{number + 1}] {server.kind.name}: {sample}", file=sys.stderr, flush=True)
        results.append({"name": case.name, "samples": samples})
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidate", default="etcdpy", help="etcdpy, etcd, or the path of a server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the calls to make")
    parser.add_argument(
        "--only", action="append", help="only cases whose name contains this, whatever the case; repeatable"
    )
    parser.add_argument("--directory", help="where the data goes; the disk decides over every write")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.json")
    chosen = parser.parse_args()
    wanted = [part.lower() for part in chosen.only or [""]]
    cases = [case for case in CASES if any(part in case.name.lower() for part in wanted)]
    with (
        tempfile.TemporaryDirectory(prefix="etcdpy-bench-", dir=chosen.directory) as directory,
        pair(reference_kind(), candidate_kind(chosen.candidate), Path(directory)) as servers,
    ):
        for server in servers:
            fill(server.endpoint)
            check_prepared_calls(server)
        results = compare(cases, servers, chosen.rounds, chosen.scale)
        memory = {server.kind.name: resident_bytes(server.pid) for server in servers}
    result: dict[str, object] = {"machine": machine(), "cases": results, "resident_bytes_at_end": memory}
    if chosen.save:
        print(f"saved {save(chosen.save, result)}", file=sys.stderr)
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
