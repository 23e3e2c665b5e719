"""Log lines in zap's form, where they go, and when a file is full."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.server.config import Config
from etcdpy.server.log import Level, Logger, open_logger
from etcdpy.server.log_outputs import BadLogSetting, RotatedFile, Rotation

if TYPE_CHECKING:
    from collections.abc import Callable


class Lines:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.raw.append(line)

    def close(self) -> None:
        self.raw.append(b"closed")

    @property
    def last(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.raw[-1])
        return parsed


class Colour(Enum):
    RED = 1


def logger_at(level: Level = Level.DEBUG, *, console: bool = False) -> tuple[Logger, Lines]:
    lines = Lines()
    return Logger(level, [lines], console=console), lines


def test_a_line() -> None:
    log, lines = logger_at()
    log.info("added <member>", local_member_id="8e9e05c52164694d", count=3, urls=["http://a:1"], none=None)
    line = lines.last
    assert list(line) == ["level", "ts", "caller", "msg", "local-member-id", "count", "urls", "none"]
    assert (line["level"], line["msg"], line["count"]) == ("info", "added <member>", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(line["ts"]))
    assert re.fullmatch(r"cli/test_cli_log\.py:\d+", str(line["caller"]))
    assert lines.raw[-1].endswith(b"}\n")


def test_field_values() -> None:
    log, lines = logger_at()
    log.warn(
        "x",
        took=timedelta(milliseconds=1500),
        key=b"a\xff",
        error=ValueError("bad"),
        bare=KeyError(),
        colour=Colour.RED,
        path=Path("/x"),
        nested={"a": (b"b", 1.5), 2: {"c"}},
        infinite=float("inf"),
        switch=True,
        words='"quoted"\n\u00e9',
    )
    line = {name: value for name, value in lines.last.items() if name not in ("level", "ts", "caller", "msg")}
    assert line == {
        "took": "1.5s",
        "key": "a\\xff",
        "error": "bad",
        "bare": "KeyError",
        "colour": "RED",
        "path": "/x",
        "nested": {"a": ["b", 1.5], "2": ["c"]},
        "infinite": "inf",
        "switch": True,
        "words": '"quoted"\n\u00e9',
    }


def test_levels() -> None:
    log, lines = logger_at(Level.WARN)
    log.debug("x")
    log.info("x")
    assert lines.raw == []
    log.warn("x")
    log.error("x")
    assert [json.loads(raw)["level"] for raw in lines.raw] == ["warn", "error"]
    assert log.is_on(Level.ERROR)
    assert not log.is_on(Level.INFO)


def test_fatal_ends_the_process() -> None:
    log, lines = logger_at()
    with pytest.raises(SystemExit) as left:
        log.fatal("the end", code=7)
    assert left.value.code == 1
    assert lines.raw[-1] == b"closed"
    assert json.loads(lines.raw[0])["level"] == "fatal"


def test_errors_carry_where_they_were_raised() -> None:
    log, lines = logger_at()
    try:
        raise ValueError("x")
    except ValueError as error:
        log.error("failed", error=error)
        assert "test_errors_carry" in str(lines.last["stacktrace"])
        log.warn("failed", error=error)
        assert "stacktrace" not in lines.last


def test_names_and_bound_fields() -> None:
    log, lines = logger_at()
    log.named("raft").bind(member_id=1).info("x", term=2)
    assert list(lines.last) == ["level", "ts", "logger", "caller", "msg", "member-id", "term"]
    assert lines.last["logger"] == "raft"


def test_console() -> None:
    log, lines = logger_at(console=True)
    log.info("ready", address="127.0.0.1:2379", count=1)
    ts, level, caller, message, fields = lines.raw[-1].decode().rstrip("\n").split("\t")
    assert (level, message) == ("info", "ready")
    assert fields == '{"address": "127.0.0.1:2379", "count": 1}'
    assert ts.endswith("Z")
    assert caller.startswith("cli/test_cli_log.py:")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.text(),
    st.dictionaries(st.text(min_size=1).filter(lambda key: key != "message"), st.binary() | st.text()),
)
def test_any_field_gives_one_line_of_json(message: str, fields: dict[str, bytes | str]) -> None:
    log, lines = logger_at()
    log.info(message, **fields)
    assert lines.raw[-1].count(b"\n") == 1
    assert lines.last["level"] is not None


def test_outputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "etcd.log"
    log = open_logger((str(path), "stdout", "systemd/journal"), "debug")
    log.debug("x")
    log.close()
    printed = capfd.readouterr()
    assert printed.out == printed.err == path.read_text()
    assert json.loads(printed.out)["msg"] == "x"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("open_it", "message"),
    [
        (lambda: open_logger(level="zz"), 'unrecognized level: "zz"'),
        (lambda: open_logger(level="Info"), 'unrecognized level: "Info"'),
        (lambda: open_logger(log_format="xml"), "unknown log format: xml, supported values json, console"),
        (lambda: open_logger(("default", "x")), 'multi logoutput for "default" is not supported yet'),
        (
            lambda: open_logger(("stderr",), rotation=Rotation()),
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ),
        (lambda: open_logger(("/",)), "open /: is a directory"),
        (
            lambda: Rotation.parse("{"),
            "improperly formatted log rotation config: unexpected end of JSON input",
        ),
        (lambda: Rotation.parse('{"maxsize": "x"}'), "invalid log rotation config: maxsize must be a number"),
    ],
)
def test_bad_settings(open_it: Callable[[], object], message: str) -> None:
    with pytest.raises(BadLogSetting) as caught:
        open_it()
    assert str(caught.value) == message


def test_logger_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "etcd.log"
    config = Config(
        log_outputs=(str(path),), log_level="error", enable_log_rotation=True, log_format="console"
    )
    log = Logger.from_config(config)
    log.warn("no")
    log.error("yes")
    log.close()
    assert path.read_text().split("\t")[3] == "yes\n"


def test_silence(capfd: pytest.CaptureFixture[str]) -> None:
    Logger.silent().error("x")
    assert capfd.readouterr() == ("", "")


def test_a_full_file_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "etcd.log"
    sink = RotatedFile(path, Rotation(size_megabytes=1, backups_max=2))
    line = b"x" * (512 * 1024 - 1) + b"\n"
    for _ in range(9):
        sink.write(line)
    sink.close()
    backups = sink.backups()
    assert len(backups) == 2
    assert all(
        re.fullmatch(r"etcd-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log", backup.name) for backup in backups
    )
    assert [backup.stat().st_size for backup in backups] == [len(line) * 2] * 2
    assert path.stat().st_size == len(line)


def test_old_backups_go_by_age(tmp_path: Path) -> None:
    ancient = tmp_path / "etcd-2001-01-01T00-00-00.000.log"
    foreign = tmp_path / "etcd-notes.log"
    ancient.touch()
    foreign.touch()
    sink = RotatedFile(tmp_path / "etcd.log", Rotation(size_megabytes=1, age_days_max=1))
    for _ in range(2):
        sink.write(b"x" * (1024 * 1024))
    sink.close()
    assert not ancient.exists()
    assert foreign.exists()
    assert len(sink.backups()) == 1


def test_backups_are_packed(tmp_path: Path) -> None:
    sink = RotatedFile(tmp_path / "etcd.log", Rotation(size_megabytes=1, compress=True))
    for _ in range(2):
        sink.write(b"x" * (1024 * 1024))
    for thread in threading.enumerate():
        if thread.name == "log-compress":
            thread.join()
    sink.close()
    (backup,) = sink.backups()
    assert backup.name.endswith(".log.gz")
    assert gzip.decompress(backup.read_bytes()) == b"x" * (1024 * 1024)


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "x", os.O_RDONLY | os.O_CREAT)
    saved = os.dup(2)
    try:
        os.dup2(descriptor, 2)
        open_logger(("stderr",)).info("x")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b""
