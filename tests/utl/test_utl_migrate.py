"""`etcdpyutl migrate`: up, down, and what keeps it from going down."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Backend, Bucket
from etcdpy.ctl.utl import main
from etcdpy.ctl.utl_directory import resolve_layout
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Stopped

pytestmark = pytest.mark.cluster


def stored_version(directory: Path) -> bytes | None:
    backend = Backend.open(resolve_layout(str(directory), "").backend)
    try:
        return backend.get(Bucket.META, b"storageVersion")
    finally:
        backend.abandon()


def test_up_and_down(our_member: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "data"
    shutil.copytree(our_member.server.data_directory, directory)

    def migrate(*more: str) -> tuple[int, str]:
        code = main(["migrate", f"--data-dir={directory}", *more])
        return code, capsys.readouterr().err

    code, said = migrate("--target-version=3.6")
    assert (code, stored_version(directory)) == (0, b"3.6.0")
    assert "updated storage version" in said
    code, said = migrate("--target-version=3.6")
    assert code == 0
    assert "storage version up-to-date" in said
    code, said = migrate("--target-version=3.5")
    assert (code, stored_version(directory)) == (1, b"3.6.0"), (
        "the log has the entry that made the cluster 3.6"
    )
    assert said.startswith("Error: cannot downgrade storage, WAL contains newer entries")
    code, said = migrate("--target-version=3.5", "--force")
    assert (code, stored_version(directory)) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--target-version=3.6"], 'required flag(s) "data-dir" not set'),
        (["--data-dir=/nowhere"], 'required flag(s) "target-version" not set'),
        (
            ["--data-dir=/nowhere", "--target-version=3"],
            'wrong target version format, expected "X.Y", got "3"',
        ),
        (
            ["--data-dir=/nowhere", "--target-version=3.4"],
            'target version "3.4" not supported. Minimal "3.5"',
        ),
        (
            ["--data-dir=/nowhere", "--target-version=3.6"],
            "open /nowhere/member/snap/db: no such file or direct",
        ),
    ],
)
def test_refusals(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", *arguments]) == 1
    assert complaint in capsys.readouterr().err


def test_a_running_member_is_left_alone(our_member: Stopped, capsys: pytest.CaptureFixture[str]) -> None:
    server = our_member.server
    with server:
        arguments = ["migrate", f"--data-dir={server.data_directory}", "--target-version=3.6"]
        assert main(arguments) == 1
        assert "in use by another process" in capsys.readouterr().err
        with Client(server.endpoint) as client:
            client.ask(pb.StatusRequest(), pb.StatusResponse)
        server.stop()
