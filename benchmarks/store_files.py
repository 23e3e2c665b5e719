"""Large stores for the measurements of storage: one snapshot file, restored for each server by its own tool.

Filling a server with ten million keys through its port would take half an hour, so the records are written
into a snapshot file as `etcdctl snapshot save` makes them; `etcdutl` and `etcdpyutl` make data directories of
it. Both servers then hold the same records under the same revisions. Keys come in an order that is not
theirs, so indexes look like those of a store that has been written to here and there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy import bolt
from etcdpy.backend import ETCD_BUCKETS, NAMES, Bucket
from etcdpy.mvcc.key_value import encode_key_value
from etcdpy.mvcc.revision import encode_revision
from tests.support.programs import wheel_program
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

PREFIX = "/bench/keys/"
# Key numbers are even, so that a load can also make new keys between the old ones.
STRIDE = 2
# A prime beyond every number of keys: multiples of it visit all of them.
STEP = 1_000_000_007
READY_SECONDS_MAX = 200.0


def key(number: int) -> bytes:
    """Twenty bytes."""
    return b"%s%08d" % (PREFIX.encode(), number * STRIDE)


def records(keys: int, versions: int, value_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """The KEY bucket after `versions` rounds of a put to each key."""
    value = b"v" * value_bytes
    for version in range(1, versions + 1):
        for number in range(keys):
            created = number + 2
            revision = (version - 1) * keys + created
            name = key(number * STEP % keys)
            yield encode_revision(revision), encode_key_value(name, created, revision, version, value, 0)


def write_snapshot(path: Path, keys: int, versions: int, value_bytes: int) -> None:
    """A snapshot of a member that has nothing but keys."""
    if keys % STEP == 0:
        raise ValueError(f"{keys} keys are a multiple of {STEP}")
    buckets: dict[bytes, bolt.Source] = {NAMES[bucket]: tuple for bucket in ETCD_BUCKETS}
    buckets[NAMES[Bucket.KEY]] = lambda: records(keys, versions, value_bytes)
    buckets[NAMES[Bucket.META]] = lambda: [(b"consistent_index", bytes(7) + b"\x01")]
    with path.open("wb") as file:
        bolt.write_snapshot(file, buckets)


def restored(kind: Kind, snapshot: Path, directory: Path) -> Server:
    """A stopped server of this kind on what is in a snapshot."""
    server = Server(kind, directory, FLAGS, ready_seconds_max=READY_SECONDS_MAX)
    peer = f"http://127.0.0.1:{server.peer_port}"
    tool = (
        [wheel_program("etcdutl")]
        if kind.name == "etcd"
        else [str(Path(sys.executable).parent / "etcdpyutl")]
    )
    command = [*tool, "snapshot", "restore", str(snapshot), f"--data-dir={server.data_directory}"]
    command += [f"--initial-cluster=default={peer}", f"--initial-advertise-peer-urls={peer}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return server


FLAGS = ("--quota-backend-bytes=17179869184",)
