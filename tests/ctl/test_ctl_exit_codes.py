"""Every exit code that etcdctl and etcdutl document, of both pairs of programs on one server of etcd."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from etcdpy.ctl import output
from tests.support.programs import clean_environment, wheel_program
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 30.0
NOBODY = "--endpoints=127.0.0.1:1"

CTL: dict[str, tuple[int, tuple[str, ...], str]] = {
    "well": (0, ("get", "k"), ""),
    "an unhealthy endpoint": (1, (NOBODY, "--command-timeout=1s", "endpoint", "health"), ""),
    "nobody answers": (1, (NOBODY, "--command-timeout=1s", "get", "k"), ""),
    "refused": (1, ("put", "k", "v", "--lease=77"), ""),
    "no command of that name": (1, ("nonsense",), ""),
    "no flag of that name": (1, ("get", "k", "--nonsense"), ""),
    "nobody to log in at": (2, (NOBODY, "--dial-timeout=1s", "--user=a:b", "get", "k"), ""),
    "no compare": (3, ("txn",), "nonsense\n\n\n\n"),
    "no operation": (3, ("txn",), "\nnonsense\n\n\n"),
    "no such format": (4, ("-w", "nonsense", "get", "k"), ""),
    "no table of keys": (4, ("-w", "table", "get", "k"), ""),
    "no such order": (4, ("get", "k", "--order=UP"), ""),
    "a snapshot that cannot be written": (5, ("snapshot", "save", "/proc/nothing/x"), ""),
    "no key": (128, ("get",), ""),
    "no number": (1, ("compaction", "x"), ""),
    "no member id": (128, ("member", "remove", "zz"), ""),
    "certificate without a key": (128, ("--cert=/nonsense", "get", "k"), ""),
    "two that exclude each other": (128, ("get", "k", "--prefix", "--from-key"), ""),
}
UTL: dict[str, tuple[int, tuple[str, ...]]] = {
    "well": (0, ("version",)),
    "no command": (1, ("nonsense",)),
    "no directory": (1, ("defrag",)),
    "no snapshot": (1, ("snapshot", "status", "/nonsense")),
    "no file": (128, ("snapshot", "status")),
    "nothing to restore": (1, ("snapshot", "restore")),
    "no such format": (4, ("-w", "nonsense", "snapshot", "status", "/nonsense")),
}


@pytest.fixture(scope="module")
def server(reference: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(reference, tmp_path_factory.mktemp("etcd")) as found:
        yield found


def code_of(command: tuple[str, ...], arguments: tuple[str, ...], text: str = "") -> int:
    return subprocess.run(
        [*command, *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=SECONDS_MAX,
        check=False,
    ).returncode


def codes(names: tuple[str, str], arguments: tuple[str, ...], text: str = "") -> list[int]:
    """Of etcd's program and of ours."""
    programs = ((wheel_program(names[0]),), (sys.executable, "-m", f"etcdpy.ctl.{names[1]}"))
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda program: code_of(program, arguments, text), programs))


@pytest.mark.parametrize("name", CTL)
def test_etcdctl(server: Server, name: str) -> None:
    code, arguments, text = CTL[name]
    where = () if NOBODY in arguments else (f"--endpoints={server.endpoint}",)
    assert codes(("etcdctl", "ctl"), (*where, *arguments), text) == [code, code]


@pytest.mark.parametrize("name", UTL)
def test_etcdutl(tmp_path: Path, name: str) -> None:
    code, arguments = UTL[name]
    assert codes(("etcdutl", "utl"), arguments) == [code, code]


def test_every_code_is_there() -> None:
    known = {getattr(output, name) for name in output.__all__ if name.startswith("EXIT_")}
    assert known | {0} == {code for code, *_ in CTL.values()}
