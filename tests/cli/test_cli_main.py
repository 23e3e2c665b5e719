"""The command as a process sees it: exit codes, streams, and the same against real etcd."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from etcdpy import cli
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server.config_table import FLAGS
from tests.support.programs import clean_environment, wheel_program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ETCD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def log_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"etcd Version: {ETCD_VERSION}"
    assert [line.split(":")[0] for line in lines] == ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]


def test_help_names_every_flag(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capfd.readouterr()
    assert printed.err.startswith("Usage:")
    for name in FLAGS:
        assert f"  --{name} '" in printed.out
    assert "--data-dir '${name}.etcd'" in printed.out


def test_unknown_flag(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--nothing-of-the-kind=1"]) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith("flag provided but not defined: -nothing-of-the-kind\nUsage:")
    assert printed.out == ""


def test_sub_commands_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["grpc-proxy", "start"]) == 1
    assert "grpc-proxy is not supported" in capfd.readouterr().err


def test_refusal_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--heartbeat-interval=0", "--discovery-password", "tiger", "--discovery-user=scott:tiger"]
    assert cli.main(arguments) == 1
    running, refused = log_lines(capfd.readouterr().err)
    assert list(running) == ["level", "ts", "caller", "msg", "args"]
    assert running["msg"] == "Running: "
    shown = ["--heartbeat-interval=0", "--discovery-password", "***", "--discovery-user=***"]
    assert running["args"][1:] == shown  # type: ignore[index]  # a list, as JSON goes
    assert refused["level"] == "warn"
    assert refused["msg"] == "failed to verify flags"
    assert refused["error"] == "--heartbeat-interval must be >0 (set to 0ms)"


def test_bad_log_settings_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--log-outputs=default,stdout"]) == 1
    error = log_lines(capfd.readouterr().err)[-1]["error"]
    assert error == 'multi logoutput for "default" is not supported yet'


def test_log_goes_where_it_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "etcd.log"
    assert cli.main([f"--log-outputs={path}", "--election-timeout=0"]) == 1
    assert capfd.readouterr().err == ""
    assert log_lines(path.read_text())[-1]["msg"] == "failed to verify flags"


# etcd binds its peer port before it finds some faults, and another test may hold the default one.
ANY_PEER_PORT = "--listen-peer-urls=http://127.0.0.1:0"
# Settings that 3.5.1 knows and refuses in the words of 3.6. The sentinel at the end stops what would start.
REFUSED_ALIKE = [
    ["--foo"],
    ["--snapshot-count=abc"],
    ["--heartbeat-interval=-1"],
    ["--heartbeat-interval=99999999999999999999999"],
    ["--heartbeat-interval=08"],
    ["--initial-cluster-state=zz"],
    ["--pre-vote=maybe"],
    ["--data-dir"],
    ["---x"],
    ["-=x"],
    ["--grpc-keepalive-interval=5"],
    ["--listen-client-urls=abc://127.0.0.1:1234"],
    ["--listen-client-urls=http://127.0.0.1"],
    ["--listen-client-urls=http://127.0.0.1:1/x"],
    ["--listen-client-urls=127.0.0.1:22"],
    ["--listen-client-urls=localhost:22"],
    ["--listen-client-urls=:22"],
    ["--listen-client-urls=http://[::1:22"],
    ["--listen-client-urls=http://::1:22"],
    ["--listen-client-urls=http://127.0.0.1:http"],
    ["--listen-client-urls=http://a b:1"],
    ["--listen-client-urls=http:127.0.0.1:1"],
    ["--listen-client-urls=, "],
    ["--cors=foo"],
    ["--listen-client-urls=http://foo:1234", "--advertise-client-urls=http://foo:1234"],
    ["--listen-client-urls=http://:1234", "--advertise-client-urls=http://foo:1234"],
    ["--listen-client-urls=http://127.0.0.1:1234"],
    ["--listen-client-urls="],
    ["--initial-advertise-peer-urls=http://:22"],
    ["--election-timeout=0"],
    ["--election-timeout=100"],
    ["--election-timeout=0x64"],
    ["--election-timeout=60000"],
    ["--heartbeat-interval=0"],
    ["--logger=foo"],
    ["--log-outputs=default,stdout"],
    ["--auto-compaction-mode=x"],
    ["--auto-compaction-retention=zz", ANY_PEER_PORT],
    ["--config-file=/nonexistent"],
    ["--enable-log-rotation"],
    ["--enable-log-rotation", "--log-outputs=x.log", "--log-rotation-config-json={"],
    ["--cipher-suites=foo"],
    ["--auth-token=foo", ANY_PEER_PORT],
    [
        "--listen-client-urls=https://127.0.0.1:9",
        "--advertise-client-urls=https://127.0.0.1:9",
        ANY_PEER_PORT,
    ],
]
VARIABLES_ALIKE = [
    {"ETCD_HEARTBEAT_INTERVAL": "x"},
    {"ETCD_PRE_VOTE": "maybe", "ETCD_NAME": "a"},
    {"ETCD_FOO": "1", "ETCD_VERSION": "2", "ETCD_CONFIG": "3", "ETCD_NAME": "", "ETCD_ELECTION_TIMEOUT": "0"},
    {"ETCD_CONFIG_FILE": "/nonexistent"},
]
FILES_ALIKE = [
    'heartbeat-interval: "100"',
    "log-outputs: stderr",
    "name: [a]",
    "election-timeout: -5",
    "max-snapshots: 5.5",
    "client-transport-security: 5.5",
    "client-transport-security: {cert-file: [5]}",
    "- a",
    "name: 1.50",
    "name: yes",
    "name: 1_000",
    "name: 1e3",
    "log-outputs: [5]",
    "cors: [a]",
    'pre-vote: "true"',
    "Name: 12:30\nPre-Vote: y\nheartbeat-interval: 1e2\nelection-timeout: 0",
    "initial-cluster-token: 2024-01-01\nheartbeat-interval: 100.0\nelection-timeout: 0x0",
    "zz: 1\nheartbeat-interval: a\nbackend-batch-interval: b",
    "initial-cluster-state: foo",
    "listen-client-urls: http://127.0.0.1:1\nelection-timeout: 20",
]


def real_etcd(arguments: list[str], directory: Path, variables: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [wheel_program("etcd"), *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env=clean_environment(**variables),
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def complaint(output: str) -> object:
    """The one sentence that matters: the error in the log, or the first line that is not log."""
    lines = log_lines(output)
    errors = [line["error"] for line in lines if "error" in line]
    return errors[0] if errors else output.splitlines()[0]


def warnings(output: str) -> set[object]:
    """The variables that were warned of or used."""
    keys = ("environment-variable", "variable-name", "key")
    return {line[key] for line in log_lines(output) for key in keys if key in line}


def compare(
    arguments: list[str], directory: Path, variables: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    theirs_code, theirs = real_etcd(arguments, directory, variables)
    ours_code = cli.main(arguments)
    ours = "".join(capfd.readouterr())
    assert (ours_code, complaint(ours)) == (theirs_code, complaint(theirs))
    assert warnings(ours) == warnings(theirs)


@pytest.mark.parametrize("arguments", REFUSED_ALIKE, ids=" ".join)
def test_flags_are_refused_like_etcd(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    compare(arguments, tmp_path, {}, capfd)


@pytest.mark.parametrize("variables", VARIABLES_ALIKE, ids=str)
def test_variables_are_refused_like_etcd(
    variables: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    compare([], tmp_path, variables, capfd)


@pytest.mark.parametrize("value", ["a", ""])
def test_shadowed_variable_is_fatal_like_etcd(
    value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_NAME", value)
    code, theirs = real_etcd(["--name=b"], tmp_path, {"ETCD_NAME": value})
    with pytest.raises(SystemExit) as left:
        cli.main(["--name=b"])
    ours = log_lines(capfd.readouterr().err)[-1]
    assert left.value.code == code
    for key in ("level", "msg", "environment-variable"):
        assert ours[key] == log_lines(theirs)[-1][key]


@pytest.mark.parametrize("text", FILES_ALIKE)
def test_files_are_refused_like_etcd(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yml").write_text(text + "\n")
    compare(["--config-file=c.yml"], tmp_path, {}, capfd)


def test_every_flag_of_real_etcd_is_known() -> None:
    done = subprocess.run(
        [wheel_program("etcd"), "--help"], capture_output=True, text=True, timeout=30, check=False
    )
    theirs = set(re.findall(r"^  --([a-z0-9-]+)", done.stdout, re.MULTILINE))
    gone = {name for name in theirs if name.startswith("proxy")} | {"enable-v2", "experimental-enable-v2v3"}
    from etcdpy.server.config_sources import all_names

    assert theirs - gone <= set(all_names())
    assert len(theirs) > 80
