"""nghttp, h2load and curl: two more HTTP/2 implementations, which complain of every rule that is broken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.rpc.grpc_wire import packed
from tests.support.programs import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop_clients.endpoints import Endpoint

SECONDS_MAX = 60.0
RANGE = "/etcdserverpb.KV/Range"
GRPC_HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]


def run(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not on this machine (Debian: nghttp2-client, curl)")
    done = subprocess.run(
        [program, *command[1:]],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=clean_environment(),
        check=False,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def request_body(tmp_path: Path) -> Path:
    """A Range request as a gRPC message in a file."""
    path = tmp_path / "range"
    path.write_bytes(packed(b"\x0a\x01k"))
    return path


# curl.


def test_curl_asks_for_health_in_both_versions(endpoint: Endpoint) -> None:
    versions = ["--http1.1", "--http2"] if endpoint.is_secure else ["--http1.1"]
    for version in versions:
        output = run(
            "curl",
            "-sS",
            *endpoint.certificate_flags,
            version,
            "-w",
            " %{http_version}",
            endpoint.url + "/health",
        )
        body, _, spoken = output.rpartition(" ")
        assert json.loads(body) == {"health": "true", "reason": ""}
        assert spoken == ("2" if version == "--http2" else "1.1")


def test_curl_that_offers_to_upgrade_is_answered_as_it_asked(plain_endpoint: Endpoint) -> None:
    output = run("curl", "-sS", "--http2", "-w", " %{http_version}", plain_endpoint.url + "/version")
    assert output.endswith(" 1.1")


def test_curl_keeps_its_connection(endpoint: Endpoint) -> None:
    urls = [endpoint.url + path for path in ("/health", "/version", "/health", "/nowhere")]
    output = run("curl", "-sS", *endpoint.certificate_flags, "-v", *urls)
    assert len(re.findall("Re-using existing connection", output)) == 3


def test_curl_speaks_grpc(endpoint: Endpoint, request_body: Path, tmp_path: Path) -> None:
    version = "--http2" if endpoint.is_secure else "--http2-prior-knowledge"
    answer = tmp_path / "answer"
    body = ["--data-binary", f"@{request_body}", "-o", str(answer)]
    output = run(
        "curl", "-sS", *endpoint.certificate_flags, version, "-v", *GRPC_HEADERS, *body, endpoint.url + RANGE
    )
    assert "grpc-status: 0" in output
    data = answer.read_bytes()
    assert len(data) == 5 + int.from_bytes(data[1:5], "big")


# nghttp and h2load have no certificates to show.


def test_nghttp_sees_no_fault(open_endpoint: Endpoint, request_body: Path) -> None:
    output = run(
        "nghttp", "-v", "-n", "-m", "20", *GRPC_HEADERS, "-d", str(request_body), open_endpoint.url + RANGE
    )
    assert len(re.findall("grpc-status: 0", output)) == 20
    check_no_fault(output)


def test_nghttp_with_every_habit_of_its_own(open_endpoint: Endpoint, request_body: Path) -> None:
    """Small windows, padding, continuation, trailers, priorities, a settings update of its own."""
    habits = [
        ["-w", "10"],
        ["-b", "50"],
        ["-H", "x-long: " + "x" * 20_000, "--continuation"],
        ["--trailer", "x-sum: 1"],
        ["--expect-continue"],
        ["--max-concurrent-streams", "1"],
        ["-p", "1"],
        ["--header-table-size", "0"],
        ["--header-table-size", "65536"],
        ["--encoder-header-table-size", "0"],
        ["--no-dep"],
        ["--hexdump"],
    ]
    for habit in habits:
        output = run(
            "nghttp", "-v", "-n", *GRPC_HEADERS, *habit, "-d", str(request_body), open_endpoint.url + RANGE
        )
        assert "grpc-status: 0" in output, (habit, output[-3000:])
        check_no_fault(output)


def check_no_fault(output: str) -> None:
    """Nothing that either side says when the other breaks a rule."""
    assert "[ERROR]" not in output
    for code in re.findall(r"error_code=(\w+)", output):
        assert code == "NO_ERROR", output[-3000:]


def test_h2load_has_every_request_answered(open_endpoint: Endpoint, request_body: Path) -> None:
    flags = ["-n", "5000", "-c", "20", "-m", "50", *GRPC_HEADERS, "-d", str(request_body)]
    output = run("h2load", *flags, open_endpoint.url + RANGE)
    assert "5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout" in output
    assert "status codes: 5000 2xx" in output


def test_h2load_with_small_windows(open_endpoint: Endpoint, request_body: Path) -> None:
    flags = [
        "-n",
        "500",
        "-c",
        "5",
        "-m",
        "10",
        "-w",
        "7",
        "-W",
        "16",
        *GRPC_HEADERS,
        "-d",
        str(request_body),
    ]
    output = run("h2load", *flags, open_endpoint.url + RANGE)
    assert "500 done, 500 succeeded, 0 failed, 0 errored, 0 timeout" in output


def test_h2load_in_http1(open_endpoint: Endpoint) -> None:
    output = run("h2load", "--h1", "-n", "500", "-c", "10", open_endpoint.url + "/version")
    assert "500 done, 500 succeeded, 0 failed, 0 errored, 0 timeout" in output
