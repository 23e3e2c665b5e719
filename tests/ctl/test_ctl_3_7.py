"""What etcdctl 3.7 has and 3.5 has not: answers in pieces, and a token instead of a user."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.auth.conftest import QUICK_PASSWORDS, READ, grant, make_root, make_user
from tests.support.client import Client
from tests.support.programs import clean_environment
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 30.0


@pytest.fixture(scope="module")
def server(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With more keys than one piece holds."""
    with Server(candidate, tmp_path_factory.mktemp("ctl"), (QUICK_PASSWORDS,)) as found:
        with Client(found.endpoint) as client:
            for number in range(1500):
                client.put(b"k/%05d" % number, b"v" * 100)
        yield found


def run(server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "etcdpy.ctl.ctl", f"--endpoints={server.endpoint}", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(**variables),
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("k/", "--prefix"),
        ("k/", "--prefix", "--keys-only", "-w", "json"),
        ("k/00007",),
        ("nothing", "-w", "json"),
        ("k/", "--prefix", "--limit=3", "-w", "fields"),
        ("k/", "--prefix", "--count-only", "-w", "fields"),
    ],
)
def test_an_answer_in_pieces_prints_the_same(server: Server, arguments: tuple[str, ...]) -> None:
    whole, pieces = run(server, "get", *arguments), run(server, "get", "--stream", *arguments)
    assert (pieces.returncode, pieces.stdout) == (0, whole.stdout)
    assert pieces.stdout or arguments[0] == "nothing"


def test_what_cannot_be_sent_in_pieces_is_refused(server: Server) -> None:
    done = run(server, "get", "--stream", "k/", "--prefix", "--order=DESCEND")
    assert done.returncode == 1
    assert "RangeStream does not support custom sort orders" in done.stderr


def test_a_token_instead_of_a_user(server: Server) -> None:
    with Client(server.endpoint) as root, Client(server.endpoint) as ann:
        make_root(root)
        root.log_in("root", "rootpw")
        try:
            make_user(root, "ann", grant("ann", READ, b"k/00001"))
            token = ann.log_in("ann", "annpw").token
            given = run(server, f"--auth-jwt-token={token}", "get", "k/00001", "--print-value-only")
            assert (given.returncode, given.stdout) == (0, "v" * 100 + "\n")
            named = run(server, "get", "k/00001", "--print-value-only", ETCDCTL_AUTH_JWT_TOKEN=token)
            assert named.stdout == given.stdout
            denied = run(server, f"--auth-jwt-token={token}", "put", "k/00001", "x")
            assert (denied.returncode, "permission denied" in denied.stderr) == (1, True)
            bad = run(server, "--auth-jwt-token=nonsense", "get", "k/00001")
            assert (bad.returncode, "invalid auth token" in bad.stderr) == (1, True)
        finally:
            root.log_in("root", "rootpw").call(pb.AuthDisableRequest())
