"""etcdctl's longer commands on one and on three members: locks, elections, mirrors, snapshots, alarms.

The sessions of `tests/etcdctl` compare what is printed; here it is what the commands bring about that counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.client import Client
from tests.support.programs import clean_environment, etcdctl_programs
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 30.0
QUOTA_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Etcdctl:
    """One program with the endpoints of one cluster."""

    program: str
    endpoints: str

    def __call__(self, line: str, *, code: int = 0, seconds_max: float = SECONDS_MAX) -> str:
        """Output of a command that ends by itself, which it does with `code`."""
        done = subprocess.run(
            self.arguments(line),
            env=clean_environment(ETCDCTL_API="3"),
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
        )
        assert done.returncode == code, f"{line}: {done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def follow(self, line: str) -> Follower:
        """A command that goes on until it is ended."""
        return Follower(self.arguments(line))

    def arguments(self, line: str) -> list[str]:
        return [self.program, f"--endpoints={self.endpoints}", *shlex.split(line)]


class Follower:
    """A process whose lines are read one by one; a context manager that ends it."""

    def __init__(self, arguments: list[str]) -> None:
        self._process = subprocess.Popen(
            arguments,
            env=clean_environment(ETCDCTL_API="3"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._alarm = threading.Timer(SECONDS_MAX, self._process.kill)

    def line(self) -> str:
        """The next line; empty when the process has ended, at the latest when its time is up."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Follower:
        self._alarm.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._alarm.cancel()
        with self._process:
            self._process.terminate()


@pytest.fixture(scope="module", params=[1, 3], ids=["one", "three"])
def cluster(
    candidate: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MixedCluster]:
    directory = tmp_path_factory.mktemp(f"members-{request.param}")
    with MixedCluster(
        directory, [candidate] * request.param, flags=[f"--quota-backend-bytes={QUOTA_BYTES}"]
    ) as made:
        yield made


@pytest.fixture(params=["3.5", "3.4"])
def etcdctl(cluster: MixedCluster, request: pytest.FixtureRequest) -> Etcdctl:
    program = etcdctl_programs().get(request.param)
    if program is None:
        pytest.skip(f"no etcdctl {request.param} on this machine")
    return Etcdctl(program, ",".join(member.endpoint for member in cluster.members))


def test_a_lock_has_one_holder_at_a_time(etcdctl: Etcdctl) -> None:
    with etcdctl.follow("lock mutex") as holder:
        held = holder.line()
        assert held.startswith("mutex/")
        with etcdctl.follow("lock mutex") as waiter:
            # The waiter's key is there, behind the holder's, and nothing is printed until the holder goes.
            eventually(lambda: len(etcdctl("get --prefix mutex/ --keys-only").split()) == 2)
            holder.__exit__()
            got = waiter.line()
            assert got.startswith("mutex/")
            assert got != held
    eventually(lambda: etcdctl("get --prefix mutex/ --keys-only") == "")
    assert etcdctl("lock mutex -- sh -c 'echo $ETCD_LOCK_KEY'").startswith("mutex/")
    code = 3 if "3.5" in etcdctl("version") else 1
    assert "exit status 3" in etcdctl("lock mutex -- sh -c 'exit 3'", code=code)


def test_an_election_passes_on(etcdctl: Etcdctl) -> None:
    with etcdctl.follow("elect -l chair") as listener, etcdctl.follow("elect chair first") as first:
        assert first.line().startswith("chair/")
        assert first.line() == "first"
        assert listener.line().startswith("chair/")
        assert listener.line() == "first"
        with etcdctl.follow("elect chair second") as second:
            eventually(lambda: len(etcdctl("get --prefix chair/ --keys-only").split()) == 2)
            first.__exit__()
            assert second.line().startswith("chair/")
            assert second.line() == "second"
            assert listener.line().startswith("chair/")
            assert listener.line() == "second"


def test_a_mirror_follows(etcdctl: Etcdctl, candidate: Kind, tmp_path: Path) -> None:
    etcdctl("del --prefix source/")
    for number in range(5):
        etcdctl(f"put source/{number} before")
    with MixedCluster(tmp_path, [candidate]) as target:
        endpoint = target.members[0].endpoint
        mirrored = Etcdctl(etcdctl.program, endpoint)
        line = f"make-mirror --prefix source/ --dest-prefix target/ {endpoint}"
        with etcdctl.follow(line):
            eventually(lambda: len(mirrored("get --prefix target/ --keys-only").split()) == 5)
            etcdctl("put source/0 after")
            etcdctl("del source/1")
            eventually(lambda: mirrored("get target/0 --print-value-only").strip() == "after")
            eventually(lambda: mirrored("get target/1") == "")


def test_a_loop_that_waits_for_changes(etcdctl: Etcdctl) -> None:
    """What confd and its like do: read, watch from the revision read, read again."""
    etcdctl("put config/a 1")
    read = json.loads(etcdctl("get --prefix config/ -w json"))
    revision = read["header"]["revision"]
    etcdctl("put config/a 2")  # between reading and watching
    with etcdctl.follow(f"watch --prefix config/ --rev={revision + 1}") as watch:
        assert [watch.line() for _ in range(3)] == ["PUT", "config/a", "2"]
        etcdctl("del config/a")
        assert [watch.line() for _ in range(2)] == ["DELETE", "config/a"]
    assert etcdctl("get config/a") == ""


def test_a_snapshot_is_saved_and_restored(etcdctl: Etcdctl, cluster: MixedCluster, tmp_path: Path) -> None:
    etcdctl("put kept in-the-snapshot")
    one = Etcdctl(etcdctl.program, cluster.members[-1].endpoint)
    saved = tmp_path / "saved.db"
    one(f"snapshot save {saved}")
    status = json.loads(one(f"snapshot status {saved} -w json"))
    with Client(cluster.members[-1].endpoint) as client:
        assert 0 < status["revision"] <= client.revision()
    assert status["totalKey"] > 0
    one(f"snapshot restore {saved} --data-dir {tmp_path / 'restored'}")
    assert (tmp_path / "restored" / "member" / "snap" / "db").exists()


def all_shrink(etcdctl: Etcdctl, cluster: MixedCluster) -> bool:
    """Whether a defragmentation has made room everywhere: others may still be compacting when one is done."""
    etcdctl("defrag")
    return all(cluster.status(member).dbSize < QUOTA_BYTES // 2 for member in cluster.members)


def test_no_space_and_what_comes_after_it(etcdctl: Etcdctl, cluster: MixedCluster) -> None:
    with Client(cluster.members[0].endpoint) as client:
        for number in range(60):
            if "NOSPACE" in etcdctl("alarm list"):
                break
            with contextlib.suppress(grpc.RpcError):  # the last one meets the alarm
                client.put(b"filler/%d" % number, b"x" * 1_000_000)
    eventually(lambda: "NOSPACE" in etcdctl("alarm list"))
    assert "etcdserver: mvcc: database space exceeded" in etcdctl("put more x", code=1)
    etcdctl("del --prefix filler/")
    revision = json.loads(etcdctl("get nothing -w json"))["header"]["revision"]
    etcdctl(f"compaction --physical {revision}")
    eventually(lambda: all_shrink(etcdctl, cluster))
    assert "alarm:NOSPACE" in etcdctl("alarm disarm")
    eventually(lambda: etcdctl("alarm list") == "")
    etcdctl("put more x")


def test_the_lead_is_moved(etcdctl: Etcdctl, cluster: MixedCluster) -> None:
    if len(cluster.members) == 1:
        identity = cluster.id_of(cluster.members[0])
        assert "bad leader transferee" in etcdctl(f"move-leader {identity + 1:x}", code=1)
        assert f"to {identity:x}" in etcdctl(f"move-leader {identity:x}")
        return
    for target in cluster.members:
        if target is not cluster.leader():
            printed = etcdctl(f"move-leader {cluster.id_of(target):x}")
            assert "Leadership transferred from" in printed
            eventually(lambda member=target: cluster.leader() is member)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("version", ["3.5", "3.4"])
def test_check_datascale(candidate: Kind, tmp_path: Path, version: str, members: int) -> None:
    """etcdctl's own opinion on memory, by the metrics. Its keys are as long as its values, and
    since 3.5.16 their tombstones stay until the next compaction: not a case for the small quota above.
    """
    program = etcdctl_programs().get(version)
    if program is None:
        pytest.skip(f"no etcdctl {version} on this machine")
    with MixedCluster(tmp_path, [candidate] * members) as cluster:
        etcdctl = Etcdctl(program, ",".join(member.endpoint for member in cluster.members))
        for _ in range(2):
            printed = etcdctl("check datascale --load=s --auto-compact --auto-defrag", seconds_max=150)
            assert "PASS: " in printed


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("program", ["etcdctl 3.5", "etcdctl 3.4", "etcdpyctl"])
def test_check_perf(candidate: Kind, tmp_path: Path, program: str, members: int) -> None:
    """The small load: 150 puts a second for a minute, none slower than half a second."""
    programs = {f"etcdctl {version}": path for version, path in etcdctl_programs().items()}
    programs["etcdpyctl"] = str(Path(sys.executable).parent / "etcdpyctl")
    if program not in programs:
        pytest.skip(f"no {program} on this machine")
    with MixedCluster(tmp_path, [candidate] * members) as cluster:
        etcdctl = Etcdctl(programs[program], ",".join(member.endpoint for member in cluster.members))
        printed = etcdctl("check perf --auto-compact --auto-defrag", seconds_max=150)
        assert re.findall("^(PASS: [A-Z][a-z]+|PASS|FAIL.*)", printed.replace("\r", "\n"), re.MULTILINE) == [
            "PASS: Throughput",
            "PASS: Slowest",
            "PASS: Stddev",
            "PASS",
        ], printed
        assert etcdctl("get --prefix --keys-only /etcdctl-check-perf/") == ""
