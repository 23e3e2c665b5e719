"""The pytest fixtures as their users have them: test files of users, run by a pytest of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import wheel_program

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
MODULE = "etcdpy.testing.pytest_plugin"
SECONDS_MAX = 60.0
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the page's first example calls "your code".
REGISTER = """
def register(endpoint, name, address):
    from etcdpy.client import Client

    with Client(endpoint) as client:
        client.put(f"services/{name}", address)
"""


@pytest.fixture
def scratch(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where everything temporary of the users' tests goes; it must be empty afterwards."""
    directory = pytester.mkdir("scratch")
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    assert not list(directory.iterdir())


def arguments(*more: str) -> list[str]:
    """For a pytest that has the plugin, also where the package was installed before it had one."""
    is_installed = any(one.value == MODULE for one in importlib.metadata.entry_points(group="pytest11"))
    return [
        *([] if is_installed else ["-p", MODULE]),
        "-p",
        "no:cacheprovider",
        "--strict-markers",
        "-W",
        "error",
        *more,
    ]


def run(pytester: pytest.Pytester, *more: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*arguments(*more), timeout=SECONDS_MAX)


def examples(page: str) -> list[str]:
    return [text for text in BLOCK.findall((ROOT / page).read_text()) if "def test_" in text]


def refuses(endpoint: str) -> bool:
    host, _, port = endpoint.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_package_declares_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"etcdpy": MODULE}


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize(("page", "least"), [("README.md", 1), ("docs/testing-with-etcdpy.md", 9)])
def test_examples(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, page: str, least: int) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    texts = examples(page)
    assert len(texts) >= least
    for number, text in enumerate(texts):
        pytester.makepyfile(**{f"test_example_{number}": REGISTER + text})
    count = sum(text.count("def test_") for text in texts)
    run(pytester).assert_outcomes(passed=count)


@pytest.mark.usefixtures("scratch")
def test_who_asks_for_nothing_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            light = {"etcdpy", "etcdpy.flavour", "etcdpy.proto", "etcdpy.proto.version", "etcdpy.testing"}
            ours = {one for one in sys.modules if one.startswith("etcdpy.") or one == "etcdpy"}
            assert ours == {*light, "etcdpy.testing.pytest_plugin"}
            assert not sys.modules.keys() & {"grpc", "uvloop", "google.protobuf", "aiohttp", "lmdb"}
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_sources_whose_assertions_pytest_rewrites_are_sources(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so with all of a package that brings a plugin, where that is installed from a wheel."""
    monkeypatch.setenv("ETCDPY_PURE", "1")
    pytester.makeconftest("import pytest; pytest.register_assert_rewrite('etcdpy.http2')")
    pytester.makepyfile(
        """
        from etcdpy.flavour import is_compiled
        from etcdpy.http2 import engine

        def test_it():
            assert type(engine.__spec__.loader).__name__ == "AssertionRewritingHook"
            assert not is_compiled()
        """
    )
    run(pytester).assert_outcomes(passed=1)


NOTES = """
    import json, os
    import pytest

    def note(**facts):
        with open({notes!r}, "a") as file:
            file.write(json.dumps(facts) + "\\n")
"""


def noted(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("workers", [0, 2])
def test_every_test_has_its_own_and_none_is_left(pytester: pytest.Pytester, workers: int) -> None:
    notes = pytester.path / "notes"
    pytester.makepyfile(
        NOTES.format(notes=str(notes))
        + """
    @pytest.mark.parametrize("number", range(6))
    def test_one(etcd, etcd_client, number):
        assert etcd_client.get("k").header.revision == 1
        etcd_client.put("k", str(number), lease=etcd_client.grant(60))
        assert [kv.value for kv in etcd_client.get("k")] == [b"%d" % number]
        note(endpoint=etcd.endpoint, directory=str(etcd.data_dir))

    def test_several(etcd_cluster):
        for member in etcd_cluster.members:
            note(endpoint=member.endpoint, directory=str(member.directory))
        paused, other = etcd_cluster.followers()
        etcd_cluster.pause(paused)
        assert etcd_cluster.leader() not in (paused, other)
        etcd_cluster.resume(paused)
        assert etcd_cluster.stop_member(etcd_cluster.leader()) == -15
        """
    )
    result = run(pytester, *(["-n", str(workers)] if workers else ["-p", "no:xdist"]))
    result.assert_outcomes(passed=7)
    facts = noted(notes)
    assert len(facts) == 9
    assert all(refuses(fact["endpoint"]) for fact in facts)
    assert not any(Path(fact["directory"]).exists() for fact in facts)


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
def test_a_killed_pytest_leaves_nothing(pytester: pytest.Pytester, scratch: Path) -> None:
    notes = pytester.path / "notes"
    path = pytester.makepyfile(
        NOTES.format(notes=str(notes))
        + """
    def test_endless(etcd, etcd_cluster):
        for one in [etcd, *etcd_cluster.members]:
            note(endpoint=one.endpoint)
        print("begun", flush=True)
        input()
        """
    )
    command = [sys.executable, "-m", "pytest", "-s", *arguments(str(path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("begun" in line for line in process.stdout)
        endpoints = [fact["endpoint"] for fact in noted(notes)]
        assert len(endpoints) == 4
        assert not any(refuses(endpoint) for endpoint in endpoints)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + SECONDS_MAX
    while not all(refuses(endpoint) for endpoint in endpoints) or list(scratch.iterdir()):
        assert time.monotonic() < deadline, "servers or directories are left"
        time.sleep(0.01)


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
def test_a_failure_shows_the_log_and_others_do_not(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_passes(etcd):
            assert etcd.is_running and "ready to serve client requests" in etcd.log

        def test_skipped(etcd):
            pytest.skip("not now")

        def test_fails(etcd):
            etcd.stop()
            assert not etcd.is_running
            raise AssertionError("as it must")

        @pytest.mark.etcd("--no-such-flag")
        def test_refused(etcd):
            raise AssertionError("not reached")
        """
    )
    result = run(pytester, "-rA")
    result.assert_outcomes(passed=1, skipped=1, failed=1, errors=1)
    text = result.stdout.str()
    assert text.count("Captured log of etcd call") == 1
    assert '"msg":"closed etcd server"' in text
    assert "flag provided but not defined: -no-such-flag" in text


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
def test_on_the_server_of_etcd(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_one(etcd, etcd_client):
            assert etcd_client.status().version == "3.5.1"
            etcd.restart()
            assert etcd_client.put("k", "v").header.revision == 2

        @pytest.mark.etcd("--quota-backend-bytes=100000000")
        def test_three(etcd_cluster):
            with etcd_cluster.client() as client:
                lost = etcd_cluster.leader()
                etcd_cluster.kill(lost)
                client.get("k")
                assert etcd_cluster.leader() is not lost
        """
    )
    run(pytester, f"--etcd-command={wheel_program('etcd')}").assert_outcomes(passed=2)


@pytest.mark.cluster
@pytest.mark.usefixtures("scratch")
def test_modules_of_the_working_directory_do_not_get_into_the_server(pytester: pytest.Pytester) -> None:
    names = ("lmdb", "uvloop", "aiohttp", "etcdpy")
    pytester.makepyfile(**dict.fromkeys(names, "raise RuntimeError('this is somebody else')"))
    path = pytester.makepyfile(test_it="def test_it(etcd): assert etcd.is_running")
    # Neither `python -m` nor pytester's own way to run things: they look there themselves.
    command = [Path(sys.executable).parent / "pytest", *arguments("--import-mode=importlib", str(path))]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert "1 passed" in done.stdout, done
