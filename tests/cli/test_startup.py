"""Members that do not start, beside real etcd: the exit code, and what the log says last."""

from __future__ import annotations

import json
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Backend, Bucket
from tests.support.client import Client
from tests.support.programs import clean_environment
from tests.support.quorum import eventually
from tests.support.scrape import fetch
from tests.support.server import Server, ServerFailed, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.programs import Kind

    # Gets the directory, and the peer URL of the member that will run there.
    Prepare = Callable[[Path, str], object]

pytestmark = pytest.mark.cluster

SECONDS_MAX = 40.0
NOBODY = "http://127.0.0.1:1"


def complaint(
    kind: Kind, directory: Path, arguments: list[str], prepare: Prepare, limit: int = 0
) -> tuple[int, str, object]:
    """Exit code, and message and error of the last line in which a member gives up."""
    directory.mkdir(parents=True)
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    prepare(directory, peer)
    flags = [
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        *(argument.replace("PEER", peer) for argument in arguments),
    ]
    if not any("--initial-cluster=" in argument for argument in arguments):
        flags.append(f"--initial-cluster=default={peer}")

    def lower_limit() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = subprocess.run(
        [*kind.command, *flags],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        preexec_fn=lower_limit if limit else None,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    complaints = [line for line in lines if line["level"] in ("fatal", "panic", "error")]
    assert complaints, f"exit code {done.returncode}, and {done.stderr!r}"
    last = complaints[-1]
    return done.returncode, last["msg"], last.get("error")


def nothing(directory: Path, peer: str) -> None:
    pass


def member_and_proxy(directory: Path, peer: str) -> None:
    for name in ("member", "proxy"):
        (directory / "default.etcd" / name).mkdir(parents=True, mode=0o700)


def both_complaints(
    kinds: tuple[Kind, Kind],
    directory: Path,
    arguments: list[str],
    prepare: Prepare = nothing,
    limit: int = 0,
) -> list[tuple[int, str, object]]:
    with ThreadPoolExecutor(2) as pool:
        return list(
            pool.map(lambda kind: complaint(kind, directory / kind.name, arguments, prepare, limit), kinds)
        )


EXISTING = "--initial-cluster-state=existing"
# The message may be another one; the error is what matters.
REFUSED: dict[str, tuple[list[str], Prepare]] = {
    "nobody to join": ([EXISTING, f"--initial-cluster=default=PEER,b={NOBODY}"], nothing),
    "alone, to join": ([EXISTING], nothing),
    "own name is missing": (["--initial-cluster=x=PEER"], nothing),
    "other URL in the cluster": ([f"--initial-cluster=default={NOBODY}"], nothing),
    "one URL twice": (["--initial-cluster=default=PEER,b=PEER"], nothing),
    "no directory to be made": (["--data-dir=/proc/nothing"], nothing),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_same_error(reference: Kind, candidate: Kind, tmp_path: Path, name: str) -> None:
    arguments, prepare = REFUSED[name]
    theirs, ours = both_complaints((reference, candidate), tmp_path, arguments, prepare)
    assert without_port(ours[0], ours[2]) == without_port(theirs[0], theirs[2])


def without_port(code: int, error: object) -> tuple[int, str]:
    """Each has ports of its own."""
    words = [word.partition("127.0.0.1:")[0] for word in str(error).split()]
    return code, " ".join(words)


def test_too_few_file_descriptors(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    for number, limit in enumerate((140, 150)):
        kinds = (reference, candidate)
        theirs, ours = both_complaints(kinds, tmp_path / str(number), [], nothing, limit)
        assert (
            ours == theirs == (1, "file descriptor limit of etcd process is too low; please set higher", None)
        )


def test_a_directory_of_a_proxy(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    theirs, ours = both_complaints((reference, candidate), tmp_path, [], member_and_proxy)
    text = "invalid datadir; both member and proxy directories exist"
    assert theirs == (1, text, None)
    assert ours == (1, "failed to start etcd", text)


class OldMember(BaseHTTPRequestHandler):
    """Says that it is of the cluster, and far too old."""

    joining = ""
    own = ""

    def do_GET(self) -> None:
        members = [
            {"id": 1, "name": "b", "peerURLs": [self.own], "clientURLs": []},
            {"id": 2, "name": "default", "peerURLs": [self.joining], "clientURLs": []},
        ]
        versions = {"etcdserver": "2.0.0", "etcdcluster": "2.0.0"}
        body = json.dumps(members if self.path == "/members" else versions).encode()
        self.send_response(200)
        self.send_header("X-Etcd-Cluster-ID", "abc")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def old_member() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), OldMember)
    Thread(target=server.serve_forever, daemon=True).start()
    OldMember.own = f"http://127.0.0.1:{server.server_port}"
    yield OldMember.own
    server.shutdown()
    server.server_close()


def test_a_cluster_that_is_too_old(reference: Kind, candidate: Kind, tmp_path: Path, old_member: str) -> None:
    def announce(_: Path, peer: str) -> None:
        OldMember.joining = peer

    arguments = [EXISTING, f"--initial-cluster=default=PEER,b={old_member}"]
    for kind in (reference, candidate):
        code, _, error = complaint(kind, tmp_path / kind.name, arguments, announce)
        assert (code, error) == (1, "incompatible with current running cluster")


def test_a_process_takes_the_descriptors_it_is_granted(candidate: Kind, tmp_path: Path) -> None:
    """As Go's do: 1024 are what a shell grants at first, and each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        with Server(candidate, tmp_path) as server, Client(server.endpoint) as client:
            client.put(b"k")
            line = next(
                line for line in limits_of(server.pid).splitlines() if line.startswith("Max open files")
            )
            assert line.split()[3] == line.split()[4] == str(hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limits_of(pid: int) -> str:
    with open(f"/proc/{pid}/limits") as file:
        return file.read()


def test_a_cluster_that_has_gone_on_to_a_later_release(candidate: Kind, tmp_path: Path) -> None:
    """Etcd panics with these words."""
    server = Server(candidate, tmp_path)
    with server, Client(server.endpoint) as client:
        eventually(lambda: "3.6" in fetch(server.endpoint, "/version").text.partition("etcdcluster")[2])
        client.put(b"k")
        server.stop()
        path = server.data_directory / "member" / "snap" / "db"
        for version, starts in ((b"3.7.0", False), (b"3.6.0", True)):
            backend = Backend.open(path)
            backend.put(Bucket.CLUSTER, b"clusterVersion", version)
            backend.close()
            if starts:
                server.start()
            else:
                text = "invalid downgrade; server version is lower than determined cluster version"
                with pytest.raises(ServerFailed, match=text):
                    server.start()
        assert client.range(b"k").count == 1
