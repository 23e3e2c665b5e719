"""etcdctl of both families over TLS with certificates; plain sessions are in tests/etcdctl."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import clean_environment, etcdctl_programs, wheel_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop_clients.endpoints import Endpoint

SECONDS_MAX = 30.0
FAMILIES = ("3.5", "3.4")


@pytest.fixture(params=FAMILIES)
def etcdctl(request: pytest.FixtureRequest, mutual_endpoint: Endpoint) -> Callable[..., str]:
    program = etcdctl_programs().get(request.param)
    if program is None:
        pytest.skip(f"no etcdctl {request.param} on this machine")
    base = [program, "--endpoints", mutual_endpoint.url, *mutual_endpoint.certificate_flags]

    def run(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*base, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            env=clean_environment(ETCDCTL_API="3"),
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_keys_leases_and_transactions(etcdctl: Callable[..., str]) -> None:
    assert etcdctl("put", "tls/a", "1") == "OK\n"
    assert etcdctl("get", "tls/a") == "tls/a\n1\n"
    txn = 'value("tls/a") = "1"\n\nput tls/b 2\n\nget tls/a\n\n'
    assert "SUCCESS" in etcdctl("txn", stdin=txn)
    lease = etcdctl("lease", "grant", "60").split()[1]
    assert etcdctl("put", "tls/c", "3", f"--lease={lease}") == "OK\n"
    assert "keepalived with TTL(60)" in etcdctl("lease", "keep-alive", "--once", lease)
    etcdctl("lease", "revoke", lease)
    assert etcdctl("get", "--prefix", "tls/", "--keys-only").split() == ["tls/a", "tls/b"]
    assert etcdctl("del", "--prefix", "tls/") == "2\n"


def test_watch(mutual_endpoint: Endpoint, etcdctl: Callable[..., str]) -> None:
    # Others on this server may compact; from now on nothing of it is missed.
    revision = json.loads(etcdctl("get", "tls/w", "-w", "json"))["header"]["revision"]
    program = [wheel_program("etcdctl"), "--endpoints", mutual_endpoint.url]
    watch = [*mutual_endpoint.certificate_flags, "watch", "tls/w", f"--rev={revision + 1}", "-w", "json"]
    with subprocess.Popen(
        [*program, *watch], stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as watching:
        etcdctl("put", "tls/w", "seen")
        assert watching.stdout is not None
        response = json.loads(watching.stdout.readline())
        assert response["Events"][-1]["kv"]["value"] == "c2Vlbg=="
        watching.kill()


def test_maintenance(etcdctl: Callable[..., str], tmp_path: Path) -> None:
    status = json.loads(etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
    assert status["leader"] == status["header"]["member_id"]
    etcdctl("endpoint", "health")
    assert "started" in etcdctl("member", "list")
    path = tmp_path / "snapshot.db"
    etcdctl("snapshot", "save", str(path))
    assert path.stat().st_size > 1000


def test_without_a_certificate_nobody_is_let_in(mutual_endpoint: Endpoint) -> None:
    done = subprocess.run(
        [
            wheel_program("etcdctl"),
            f"--endpoints={mutual_endpoint.url}",
            f"--cacert={mutual_endpoint.ca}",
            "--dial-timeout=1s",
            "--command-timeout=2s",
            "get",
            "a",
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode != 0
