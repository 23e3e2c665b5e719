"""What every benchmark needs: the two load programs, and a meter for the server's process.

`loadgen` is our own Go program on etcd's Go client; it is built once into the temporary directory, and again
when its source changes. `h2load` (Debian's nghttp2-client) sends one prepared gRPC request over and over and
costs so little itself that the server is the limit; it sees HTTP only, so a call is tried once through gRPC
before it is counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

RUN_SECONDS_MAX = 600
# h2load's windows, in bits: an answer of any size arrives without a word from the client.
H2LOAD_WINDOW_BITS = 30
H2LOAD_LINE = re.compile(r"finished in ([0-9.]+)(us|ms|s|m), ([0-9.]+) req/s")
H2LOAD_REQUESTS = re.compile(r"requests: (\d+) total, .* (\d+) succeeded")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class ToolMissing(Exception):
    """A program that the benchmark needs is not on this machine."""


@dataclass(frozen=True)
class Load:
    """One run of a load program. `operations` are calls, or for a watch fan-out events."""

    operations: int
    rate: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    failed: int = 0


def build_loadgen() -> Path:
    """The Go program, built if need be."""
    source = Path(__file__).parent / "loadgen" / "loadgen.go"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    binary = Path(tempfile.gettempdir()) / f"etcdpy-loadgen-{digest}"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        raise ToolMissing("apt-get install golang-go golang-etcd-server-dev")
    fresh = binary.with_suffix(f".{os.getpid()}")
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", str(fresh), str(source)], env=environment, check=True)
    fresh.rename(binary)
    return binary


def run_loadgen(endpoint: str, operation: str, **settings: int | str) -> Load:
    """`settings` are the program's flags.

    Raises:
        RuntimeError: it could not run, or a call failed.
    """
    load = try_loadgen(endpoint, operation, **settings)
    if load.failed:
        raise RuntimeError(f"{load.failed} of {load.operations} calls failed")
    return load


def try_loadgen(endpoint: str, operation: str, **settings: int | str) -> Load:
    """The same, but calls may fail."""
    flags = [f"-{name}={value}" for name, value in settings.items()]
    command = [str(build_loadgen()), f"-endpoint={endpoint}", f"-op={operation}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    result = json.loads(done.stdout)
    return Load(
        result["count"],
        result["rate"],
        result["p50_ms"],
        result["p99_ms"],
        result["p999_ms"],
        result["failed"],
    )


def run_h2load(
    endpoint: str, path: str, request: Message, *, count: int, connections: int, streams: int
) -> Load:
    """`connections` times `streams` calls are under way at once."""
    if shutil.which("h2load") is None:
        raise ToolMissing("apt-get install nghttp2-client")
    with tempfile.NamedTemporaryFile(suffix=".body") as body:
        body.write(grpc_frame(request))
        body.flush()
        command = ["h2load", f"-n{count}", f"-c{connections}", f"-m{streams}", f"-d{body.name}"]
        windows = [f"-w{H2LOAD_WINDOW_BITS}", f"-W{H2LOAD_WINDOW_BITS}"]
        headers = ["-Hcontent-type: application/grpc", "-Hte: trailers"]
        done = subprocess.run(
            [*command, *windows, *headers, f"http://{endpoint}{path}"],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=True,
        )
    finished, requests = H2LOAD_LINE.search(done.stdout), H2LOAD_REQUESTS.search(done.stdout)
    if finished is None or requests is None or requests[1] != requests[2]:
        raise RuntimeError(f"h2load {path}: {done.stdout}")
    return Load(int(requests[1]), int(requests[1]) / (float(finished[1]) * SECONDS[finished[2]]))


def grpc_frame(request: Message) -> bytes:
    """The length-prefixed message, not compressed."""
    data = request.SerializeToString()
    return b"\x00" + len(data).to_bytes(4, "big") + data


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmRSS of process {pid}")


def memory_bytes(pid: int) -> dict[str, int]:
    """Resident memory by kind: `own` cannot be given back, `files` are pages of the page cache."""
    names = {"RssAnon": "own", "RssFile": "files", "RssShmem": "shared", "VmHWM": "peak"}
    sizes = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            sizes[names[name]] = int(rest.split()[0]) * 1024
    return sizes


def machine() -> dict[str, str | int | None]:
    """What a figure depends on besides the code."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "commit": commit(),
    }


def commit() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def save(name: str, result: dict[str, object]) -> Path:
    """Write a result as JSON into `benchmarks/results`."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
