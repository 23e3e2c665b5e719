"""Commands of `etcdpyctl` that go on: beside etcdctl where they wait for each other, and across a restart."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.ctl import without_log_lines
from tests.support.pki import Authority
from tests.support.programs import clean_environment, wheel_program
from tests.support.server import Server, pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

SECONDS_MAX = 30.0
OURS = (sys.executable, "-m", "etcdpy.ctl.ctl")


def etcdctl() -> tuple[str, ...]:
    return (wheel_program("etcdctl"),)


def ask(program: Sequence[str], server: Server, *arguments: str) -> str:
    """Standard output of a command that ends and succeeds."""
    done = subprocess.run(
        [*program, f"--endpoints={server.endpoint}", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Running:
    """A command that goes on; `line` waits for its next one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(SECONDS_MAX)


@contextlib.contextmanager
def running(program: Sequence[str], server: Server, *arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*program, f"--endpoints={server.endpoint}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    alarm = threading.Timer(SECONDS_MAX, process.kill)
    alarm.start()
    with process:
        try:
            yield Running(process)
        finally:
            process.kill()
            alarm.cancel()


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-first", "etcdctl-first"])
def test_a_lock_is_handed_over_between_the_programs(
    candidate: Kind, tmp_path: Path, ours_first: bool
) -> None:
    first, second = (OURS, etcdctl()) if ours_first else (etcdctl(), OURS)
    with Server(candidate, tmp_path) as server:
        with running(first, server, "lock", "name") as holder:
            held = holder.line()
            assert held.startswith("name/")
            with running(second, server, "lock", "name") as waiter:
                keys = watch_keys(server, "name/", count=2)
                assert held in keys
                assert holder.interrupt() == 0
                assert waiter.line() in keys - {held}
                assert waiter.interrupt() == 0
        assert ask(OURS, server, "get", "--prefix", "name/") == ""


def watch_keys(server: Server, prefix: str, count: int) -> set[str]:
    """The first so many keys that were ever put below a prefix."""
    found: set[str] = set()
    with running(OURS, server, "watch", "--rev=1", "--prefix", prefix) as events:
        while len(found) < count:
            assert events.line() == "PUT"
            found.add(events.line())
            events.line()
    return found


def test_an_observer_sees_the_leaders_of_both_programs(candidate: Kind, tmp_path: Path) -> None:
    with Server(candidate, tmp_path) as server, running(OURS, server, "elect", "-l", "e") as observer:
        for program, proposal in ((etcdctl(), "first"), (OURS, "second")):
            with running(program, server, "elect", "e", proposal) as leader:
                key = leader.line()
                assert leader.line() == proposal
                assert (observer.line(), observer.line()) == (key, proposal)
                assert leader.interrupt() == 0
        assert ask(OURS, server, "get", "--prefix", "e/") == ""
        assert observer.interrupt() == 0


def test_a_mirror_copies_what_is_there_and_what_comes(
    reference: Kind, candidate: Kind, tmp_path: Path
) -> None:
    with pair(reference, candidate, tmp_path) as (source, target):
        ask(OURS, source, "put", "from/a", "1")
        ask(OURS, source, "put", "other", "no")
        mirror = ("make-mirror", "--prefix=from/", "--dest-prefix=to/", target.endpoint)
        watch = running(OURS, target, "watch", "--rev=1", "--prefix", "")
        with watch as events, running(OURS, source, *mirror):
            assert [events.line() for _ in range(3)] == ["PUT", "to/a", "1"]
            ask(OURS, source, "del", "from/a")
            assert [events.line() for _ in range(3)] == ["DELETE", "to/a", ""]
            ask(OURS, source, "put", "from/b", "2")
            assert [events.line() for _ in range(3)] == ["PUT", "to/b", "2"]


def test_a_watch_goes_on_when_the_server_is_back(candidate: Kind, tmp_path: Path) -> None:
    with Server(candidate, tmp_path) as server, running(OURS, server, "watch", "-i") as watch:
        ask(OURS, server, "put", "k", "1")
        watch.write("watch k --rev=1\n")
        assert [watch.line() for _ in range(3)] == ["PUT", "k", "1"]
        watch.write("progress\n")
        assert watch.line() == "progress notify: 2"
        server.restart()
        ask(OURS, server, "put", "k", "2")
        assert [watch.line() for _ in range(3)] == ["PUT", "k", "2"]


def test_a_learner_is_announced_in_the_same_words(reference: Kind, tmp_path: Path) -> None:
    """Ids are drawn by the time, and so is the order of members."""
    announced: list[list[str]] = []
    with Server(reference, tmp_path) as server:
        for program in (etcdctl(), OURS):
            # A removed member's id is not taken again, and it is made of URL and time.
            url = f"http://127.0.0.1:{len(announced) + 1}"
            text = ask(program, server, "member", "add", "new", "--learner", f"--peer-urls={url}")
            added = text.split()[1]
            lines = text.replace(added.rjust(16), "(id)").replace(url, "(url)").splitlines()
            lines[3] = "".join(sorted(lines[3]))
            announced.append(lines)
            ask(program, server, "member", "remove", added)
    assert announced[0] == announced[1]


def test_half_a_snapshot_leaves_nothing(candidate: Kind, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    with Server(candidate, tmp_path / "server") as server:
        line = ("--command-timeout=1ms", "snapshot", "save", str(path))
        assert run_quick(OURS, server, line) == ("", "Error: context deadline exceeded\n", 5)
        assert not list(tmp_path.glob("snapshot*"))
        path.mkdir()
        assert run_quick(OURS, server, ("snapshot", "save", str(path)))[2] == 5
        assert [found.name for found in tmp_path.glob("snapshot*")] == ["snapshot.db"]
        path.rmdir()
        assert ask(OURS, server, "snapshot", "save", str(path)) == f"Snapshot saved at {path}\n"
        assert [found.name for found in tmp_path.glob("snapshot*")] == ["snapshot.db"]


@pytest.mark.slow
@pytest.mark.parametrize("check", ["perf", "datascale"])
def test_checks_pass(reference: Kind, tmp_path: Path, check: str) -> None:
    """A minute, as etcdctl's own."""
    with Server(reference, tmp_path) as server:
        done = subprocess.run(
            [*OURS, f"--endpoints={server.endpoint}", "check", check, "--auto-compact", "--auto-defrag"],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=200,
            check=False,
        )
        assert "PASS" in done.stdout, done.stdout + done.stderr
        assert "Compacted with revision" in done.stdout
        assert ask(OURS, server, "get", "--prefix", "--count-only", "/", "-w", "fields").endswith(
            '"Count" : 0\n'
        )


def test_certificates_are_taken_and_refused_as_etcdctl_does(candidate: Kind, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "another CA")
    shown, mine, foreign = authority.server(), authority.client(), stranger.client()
    server = Server(candidate, tmp_path)
    url = f"https://{server.endpoint}"
    server.flags = (
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--cert-file={shown.cert}",
        f"--key-file={shown.key}",
        f"--trusted-ca-file={authority.ca}",
        "--client-cert-auth",
    )
    ca, identity = f"--cacert={authority.ca}", (f"--cert={mine.cert}", f"--key={mine.key}")
    lines = {
        "all is well": (ca, *identity, "put", "k", "v"),
        "only the endpoint asks for TLS": (f"--endpoints={url}", ca, *identity, "get", "k"),
        "whatever the server shows": ("--insecure-skip-tls-verify", *identity, "get", "k"),
        "the server is not trusted": (f"--cacert={stranger.ca}", *identity, "get", "k"),
        "nothing to trust": (f"--endpoints={url}", *identity, "get", "k"),
        "nothing shown": (f"--endpoints={url}", ca, "get", "k"),
        "a stranger": (ca, f"--cert={foreign.cert}", f"--key={foreign.key}", "get", "k"),
        "no TLS": ("get", "k"),
        "a key alone": (ca, f"--key={mine.key}", "get", "k"),
    }
    with server:
        for name, line in lines.items():
            expected, answered = (run_quick(program, server, line) for program in (etcdctl(), OURS))
            assert answered == expected, name


def run_quick(program: Sequence[str], server: Server, line: Sequence[str]) -> tuple[str, str, int]:
    """Its output and exit code; a server that does not answer is waited for shortly."""
    limit = [] if line[0].startswith("--command-timeout") else ["--command-timeout=700ms"]
    given = [] if line[0].startswith("--endpoints") else [f"--endpoints={server.endpoint}"]
    done = subprocess.run(
        [*program, *given, *line, *limit],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=SECONDS_MAX,
        check=False,
    )
    return done.stdout, without_log_lines(done.stderr), done.returncode
