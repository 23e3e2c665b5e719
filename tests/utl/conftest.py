"""Programs and stores for the tests of `etcdpyutl`."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etcdpy.ctl.utl import main
from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import clean_environment, wheel_program
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.proto.kv_pb2 import KeyValue
    from tests.support.programs import Kind

ROOT = Path(__file__).resolve().parents[2]
KEYS = 3_000
LEASE = 0x7100_0000_0000_0001
LEASE_SECONDS = 5_000


@dataclass
class Run:
    """What a program did."""

    code: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """Standard error without the log."""
        return "".join(line for line in self.errors.splitlines(keepends=True) if "\tinfo\t" not in line)


class Utl:
    """`etcdpyutl` and `etcdutl`, run in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def ours(self, *arguments: str | Path) -> Run:
        """Run `etcdpyutl` in this process, which is quicker."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.directory),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            code = main([str(argument) for argument in arguments])
        return Run(code, output.getvalue(), errors.getvalue())

    def ours_apart(self, *arguments: str | Path, before: Callable[[], None] | None = None) -> Run:
        """Run `etcdpyutl` in a process of its own, in which `before` is called first."""
        return self._run([sys.executable, "-m", "etcdpy.ctl.utl"], arguments, our_environment(), before)

    def ours_script(self, script: str, *arguments: str | int | Path) -> Run:
        """Run a few lines of Python that call `etcdpyutl`."""
        return self._run([sys.executable, "-c", script], arguments, our_environment(), None)

    def theirs(self, *arguments: str | Path) -> Run:
        """Run real `etcdutl` 3.5.1."""
        return self._run([wheel_program("etcdutl")], arguments, clean_environment(), None)

    def do(self, *arguments: str | Path) -> str:
        """Run `etcdpyutl`, which must succeed."""
        done = self.ours(*arguments)
        assert done.code == 0, done.errors
        return done.output

    def _run(
        self,
        program: list[str],
        arguments: tuple[str | int | Path, ...],
        environment: dict[str, str],
        before: Callable[[], None] | None,
    ) -> Run:
        done = subprocess.run(
            [*program, *map(str, arguments)],
            cwd=self.directory,
            env=environment,
            preexec_fn=before,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


def our_environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return clean_environment(PYTHONPATH=path)


@pytest.fixture
def utl(tmp_path: Path) -> Utl:
    return Utl(tmp_path)


@dataclass
class Content:
    """What a server says of its store."""

    hash: int
    compact_revision: int
    revision: int
    keys: list[KeyValue]
    leases: list[tuple[int, int, tuple[bytes, ...]]]
    alarms: list[tuple[int, int]]
    users: list[tuple[str, list[str]]]
    roles: list[tuple[str, bytes]]


def fill(client: Client, keys: int = KEYS) -> None:
    """Several generations of keys, deletions, a compaction in the middle, leases, users, a NOSPACE alarm."""
    fill_users(client)
    client.call(pb.LeaseGrantRequest(ID=LEASE, TTL=LEASE_SECONDS))
    client.call(pb.LeaseGrantRequest(ID=LEASE + 1, TTL=LEASE_SECONDS + 7))
    operations_max = 100
    for start in range(0, keys, operations_max):
        operations = []
        for number in range(start, min(start + operations_max, keys)):
            value = bytes((number % 251,)) * (number % 97)
            put = pb.PutRequest(
                key=b"key/%05d" % number, value=value, lease=LEASE if number % 100 == 0 else 0
            )
            operations.append(pb.RequestOp(request_put=put))
        client.call(pb.TxnRequest(success=operations))
    for number in range(0, keys, 50):
        client.put(b"key/%05d" % number, b"again")
    client.delete(b"key/00100", b"key/00200")
    compacted = client.revision()
    client.put(b"big", b"x" * 300_000)
    client.put(b"long/" + b"k" * 1_500, b"long")
    client.put(b"key/00150", b"back again", lease=LEASE + 1)
    client.delete(b"key/00300")
    client.call(pb.CompactionRequest(revision=compacted, physical=True))
    member = client.ask(pb.StatusRequest(), pb.StatusResponse).header.member_id
    client.call(pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member, alarm=pb.AlarmType.NOSPACE))


def fill_users(client: Client) -> None:
    """root, and `ann` who may read what begins with `key/`. Auth stays off."""
    permission = auth_pb2.Permission(key=b"key/", range_end=b"key0")
    for request in (
        pb.AuthUserAddRequest(name="root", password="rootpw"),
        pb.AuthRoleAddRequest(name="root"),
        pb.AuthUserGrantRoleRequest(user="root", role="root"),
        pb.AuthUserAddRequest(name="ann", password="annpw"),
        pb.AuthRoleAddRequest(name="reader"),
        pb.AuthRoleGrantPermissionRequest(name="reader", perm=permission),
        pb.AuthUserGrantRoleRequest(user="ann", role="reader"),
        pb.AuthUserAddRequest(name="nobody", options=auth_pb2.UserAddOptions(no_password=True)),
    ):
        client.call(request)


def users_of(client: Client) -> list[tuple[str, list[str]]]:
    names = client.ask(pb.AuthUserListRequest(), pb.AuthUserListResponse).users
    gets = [client.ask(pb.AuthUserGetRequest(name=name), pb.AuthUserGetResponse) for name in names]
    return [(name, list(got.roles)) for name, got in zip(names, gets, strict=True)]


def roles_of(client: Client) -> list[tuple[str, bytes]]:
    """Of root's role etcd 3.5 says less than we do."""
    names = [
        name for name in client.ask(pb.AuthRoleListRequest(), pb.AuthRoleListResponse).roles if name != "root"
    ]
    gets = [client.ask(pb.AuthRoleGetRequest(role=name), pb.AuthRoleGetResponse) for name in names]
    return [
        (name, b"".join(one.SerializeToString() for one in got.perm))
        for name, got in zip(names, gets, strict=True)
    ]


def content(client: Client) -> Content:
    hashed = client.hash_kv()
    listed = client.ask(pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
    leases = []
    for lease in sorted(one.ID for one in listed.leases):
        found = client.ask(pb.LeaseTimeToLiveRequest(ID=lease, keys=True), pb.LeaseTimeToLiveResponse)
        leases.append((lease, found.grantedTTL, tuple(sorted(found.keys))))
    alarms = client.ask(pb.AlarmRequest(action=pb.AlarmRequest.GET), pb.AlarmResponse).alarms
    return Content(
        hashed.hash,
        hashed.compact_revision,
        client.revision(),
        list(client.range(b"\0", b"\0").kvs),
        leases,
        sorted((alarm.memberID, alarm.alarm) for alarm in alarms),
        users_of(client),
        roles_of(client),
    )


@dataclass
class Stopped:
    """A server that was filled and stopped, a snapshot of it, and what it said."""

    server: Server
    snapshot: Path
    content: Content
    member_id: int
    cluster_id: int


def fill_and_stop(kind: Kind, directory: Path, flags: tuple[str, ...] = (), keys: int = KEYS) -> Stopped:
    server = Server(kind, directory, flags)
    snapshot = directory / "snapshot.db"
    with server, Client(server.endpoint) as client:
        fill(client, keys)
        save_snapshot(server, snapshot)
        said = content(client)
        header = client.ask(pb.StatusRequest(), pb.StatusResponse).header
        server.stop()
    return Stopped(server, snapshot, said, header.member_id, header.cluster_id)


def save_snapshot(server: Server, target: Path, *flags: str) -> None:
    done = subprocess.run(
        [wheel_program("etcdctl"), f"--endpoints={server.endpoint}", *flags, "snapshot", "save", str(target)],
        env=clean_environment(ETCDCTL_API="3"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def go_member(reference: Kind, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A member of real etcd; few entries between its raft snapshots, so that there are some."""
    return fill_and_stop(reference, tmp_path_factory.mktemp("go"), ("--snapshot-count=40",))


@pytest.fixture(scope="session")
def our_member(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return fill_and_stop(candidate, tmp_path_factory.mktemp("ours"))
