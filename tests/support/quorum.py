"""Clusters of real processes, of one kind or mixed, for tests.

`MixedCluster` is `etcdpy.testing.cluster.Cluster` with a program for each member, so that Go and Python
members share one way to be started, killed and asked.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.testing.cluster import Cluster, ClusterMember, free_ports

from .client import Client
from .programs import clean_environment, wheel_program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .programs import Kind

SECONDS_MAX = 30.0
LOOK_SECONDS = 0.02


class MixedCluster(Cluster):
    """A cluster with one kind of program for each member; `add_member` lets more join."""

    def __init__(self, directory: Path, kinds: Sequence[Kind], flags: Sequence[str] = ()) -> None:
        super().__init__(directory, len(kinds), flags=flags)
        self._kinds = {member.name: kind for member, kind in zip(self.members, kinds, strict=True)}
        self._founders = list(self.members)
        self._leaving: list[ClusterMember] = []

    def kind_of(self, member: ClusterMember) -> Kind:
        return self._kinds[member.name]

    def launch(self, member: ClusterMember) -> None:
        self.command = self._kinds[member.name].command
        super().launch(member)

    def _arguments(self, member: ClusterMember) -> list[str]:
        known = self._founders if member in self._founders else self.members
        initial_cluster = ",".join(f"{one.name}={one.peer_url}" for one in known)
        arguments = [one for one in super()._arguments(member) if not one.startswith("--initial-cluster=")]
        state = "new" if member in self._founders else "existing"
        return [*arguments, f"--initial-cluster={initial_cluster}", f"--initial-cluster-state={state}"]

    def new_member(self, name: str, kind: Kind) -> ClusterMember:
        """A member that is not started, and not yet announced to the cluster."""
        client_port, peer_port = free_ports(2)
        member = ClusterMember(name, self.directory, client_port, peer_port)
        self._kinds[name] = kind
        return member

    def join(self, member: ClusterMember, *, learner: bool = False) -> None:
        """`member add`, through real etcdctl, then start it."""
        arguments = ["member", "add", member.name, f"--peer-urls={member.peer_url}"]
        eventually(lambda: self.ctl(*arguments, *(["--learner"] if learner else [])) is not None)
        self.members.append(member)
        self.start_member(member)

    def leave(self, member: ClusterMember) -> None:
        """`member remove`, through real etcdctl. The process ends by itself."""
        identity = self.id_of(member)
        self.members.remove(member)
        self._leaving.append(member)
        eventually(
            lambda: identity not in self._ids() or self.ctl("member", "remove", f"{identity:x}") is not None
        )

    def _ids(self) -> set[int]:
        with Client(self.running()[0].endpoint) as client:
            members = client.ask(pb.MemberListRequest(linearizable=True), pb.MemberListResponse, 5).members
        return {member.ID for member in members}

    def stop(self) -> None:
        for member in self._leaving:
            self.kill(member)
        super().stop()

    # Asking.

    def ctl(self, *arguments: str, members: Sequence[ClusterMember] = ()) -> str | None:
        """Output of real etcdctl, None when it failed."""
        endpoints = ",".join(member.endpoint for member in members or self.running())
        done = subprocess.run(
            [wheel_program("etcdctl"), f"--endpoints={endpoints}", *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return done.stdout if done.returncode == 0 else None

    def running(self) -> list[ClusterMember]:
        return [member for member in self.members if member.is_running]

    def status(self, member: ClusterMember) -> pb.StatusResponse:
        with Client(member.endpoint) as client:
            return client.ask(pb.StatusRequest(), pb.StatusResponse, 5)

    def id_of(self, member: ClusterMember) -> int:
        return self.status(member).header.member_id

    def leader(self) -> ClusterMember:
        """Who leads, once all that run agree."""
        found: list[ClusterMember] = []

        def agree() -> bool:
            statuses = {member.name: self.status(member) for member in self.running()}
            leaders = {status.leader for status in statuses.values()}
            found[:] = [
                member for member in self.running() if leaders == {statuses[member.name].header.member_id}
            ]
            return len(found) == 1

        eventually(agree)
        return found[0]

    def move_leader(self, target: ClusterMember) -> None:
        """`move-leader`, through real etcdctl."""
        leader = self.leader()
        if leader is not target:
            output = self.ctl("move-leader", f"{self.id_of(target):x}", members=[leader])
            assert output is not None, f"{leader.name} did not hand over to {target.name}"
        eventually(lambda: self.leader() is target)

    def hashes(self, revision: int) -> set[tuple[int, int]]:
        """HashKV of all running members at a revision they all have: one pair when they agree."""
        found = set()
        for member in self.running():
            with Client(member.endpoint) as client:
                answer = client.hash_kv(revision)
                found.add((answer.hash, answer.compact_revision))
        return found

    def wait_for_revision(self, revision: int) -> None:
        """Until all running members have applied it."""
        for member in self.running():
            with Client(member.endpoint) as client:
                eventually(lambda: local_revision(client) >= revision)

    def versions(self) -> list[str]:
        """Cluster version as each running member tells it."""
        return [str(json.loads(self.http(member, "/version"))["etcdcluster"]) for member in self.running()]

    @staticmethod
    def http(member: ClusterMember, path: str) -> bytes:
        done = subprocess.run(
            ["curl", "-s", member.peer_url + path], capture_output=True, timeout=SECONDS_MAX, check=True
        )
        return done.stdout


def local_revision(client: Client) -> int:
    return client.range(b"\0", count_only=True, serializable=True).header.revision


def eventually(condition: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
    """Wait for something that other processes do and nobody reports."""
    deadline = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except Exception as failure:  # noqa: BLE001 - asked again; the last one is told
            error = failure
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"not within {seconds} s") from error
