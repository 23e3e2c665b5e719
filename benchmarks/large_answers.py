"""Memory that a server needs for an answer of a gigabyte.

    python -m benchmarks.large_answers --directory D [--save large_answers]

D is what `benchmarks.interference prepare` has made: a million keys with values of 1 KiB, all of which are
listed by one Range, and for etcdpy by one RangeStream too. curl takes the bytes and forgets them. Told is how
far the server's own memory (without pages of files) rose while it answered, and for how long the slowest
of the reads waited that were made beside it, one after another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server

from .store_files import FLAGS, READY_SECONDS_MAX, key
from .tools import grpc_frame, machine, memory_bytes, save

SECONDS_MAX = 200
PAUSE_S = 0.02


def fetch(endpoint: str, method: str) -> int:
    """Bytes of the answer's body."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(grpc_frame(pb.RangeRequest(key=b"\0", range_end=b"\0")))
        body.flush()
        command = ["curl", "-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{size_download}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += ["--data-binary", f"@{body.name}", f"http://{endpoint}/etcdserverpb.KV/{method}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=True)
    return int(done.stdout)


class Beside:
    """Watches memory, and reads one key after the other, until it is told to stop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak = self.slowest_s = 0.0

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(self._server.endpoint) as client:
            while not self._stop.wait(PAUSE_S):
                began = time.perf_counter()
                client.range(key(1))
                self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
                self.peak = max(self.peak, memory_bytes(self._server.pid)["own"])


def measure(server: Server, method: str) -> dict[str, float]:
    with server:
        with Client(server.endpoint) as client:
            client.range(key(1))
        before = memory_bytes(server.pid)["own"]
        began = time.perf_counter()
        with Beside(server) as beside:
            size = fetch(server.endpoint, method)
        took = time.perf_counter() - began
    return {
        "answer_mib": round(size / 2**20, 1),
        "memory_rise_mib": round((beside.peak - before) / 2**20, 1),
        "rise_by_size": round((beside.peak - before) / size, 3),
        "seconds": round(took, 2),
        "slowest_read_beside_ms": round(beside.slowest_s * 1000, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--save", metavar="NAME")
    chosen = parser.parse_args()
    result: dict[str, object] = {"machine": machine()}
    for kind, methods in (
        (candidate_kind("etcdpy"), ("Range", "RangeStream")),
        (reference_kind(), ("Range",)),
    ):
        server = Server(kind, chosen.directory / kind.name, FLAGS, ready_seconds_max=READY_SECONDS_MAX)
        result[kind.name] = {method: measure(server, method) for method in methods}
        print(json.dumps({kind.name: result[kind.name]}), file=sys.stderr, flush=True)
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
