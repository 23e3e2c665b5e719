"""Real clients against a real socket: none may see a protocol error, and we must not see one in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from etcdpy.http2 import Limits
from tests.http2.shell import PIECE, Server

if TYPE_CHECKING:
    from pathlib import Path


def run(program: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_h2load_many_streams_on_many_connections() -> None:
    with Server() as server:
        done = run(
            "h2load", "-n", "20000", "-c", "10", "-m", "100", f"http://127.0.0.1:{server.port}/bytes/300"
        )
        assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
        assert server.requests == 20_000
        assert server.faults == []


def test_h2load_posts_and_small_windows(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(PIECE[:100_000])
    with Server(Limits(connection_window_bytes=65_535, stream_window_bytes=20_000)) as server:
        url = f"http://127.0.0.1:{server.port}/x"
        done = run("h2load", "-n", "200", "-c", "2", "-m", "20", "-d", str(data), url)
        assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
        assert sum(one.body_bytes for one in server.connections) == 200 * 100_000
        # -w 14: windows of 16 KiB, smaller than the answers.
        done = run(
            "h2load",
            "-n",
            "200",
            "-c",
            "2",
            "-m",
            "20",
            "-w",
            "14",
            "-W",
            "15",
            url.replace("/x", "/bytes/99999"),
        )
        assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
        assert server.faults == []


def test_nghttp_reads_large_answers_without_an_error() -> None:
    with Server() as server:
        urls = [f"http://127.0.0.1:{server.port}/bytes/{size}" for size in (0, 1, 16_384, 16_385, 3_000_000)]
        done = run("nghttp", "-nv", *urls)
        for one in ("GOAWAY frame", "send GOAWAY"):
            assert one in done.stdout
        assert "error_code=NO_ERROR(0x00)" in done.stdout
        assert "PROTOCOL_ERROR" not in done.stdout
        assert server.requests == len(urls)
        assert server.faults == []


def test_curl_reads_a_hundred_megabytes() -> None:
    size = 100_000_000
    with Server() as server:
        path = shutil.which("curl")
        if path is None:
            pytest.skip("curl is not installed")
        url = f"http://127.0.0.1:{server.port}/bytes/{size}"
        done = subprocess.run(
            [path, "-sS", "--http2-prior-knowledge", url], capture_output=True, timeout=60, check=True
        )
        expected = hashlib.sha256(PIECE * (size // len(PIECE)) + PIECE[: size % len(PIECE)])
        assert hashlib.sha256(done.stdout).digest() == expected.digest()
        assert server.faults == []


def test_curl_sends_ten_megabytes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(PIECE * 40)
    with Server() as server:
        url = f"http://127.0.0.1:{server.port}/x"
        run("curl", "-sS", "--http2-prior-knowledge", "--data-binary", f"@{data}", "-o", os.devnull, url)
        assert server.connections[0].body_bytes == len(PIECE) * 40
        assert server.faults == []


def test_grpcio_calls_at_once_with_deadlines_metadata_and_cancels() -> None:
    grpc = pytest.importorskip("grpc")
    with Server() as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary("/etcdserverpb.KV/Put")

            def one(number: int) -> bytes:
                metadata = [("token", f"t{number % 7}"), ("big-bin", os.urandom(number % 500))]
                return bytes(call(b"x" * (number * 100 % 200_000), timeout=20 + number, metadata=metadata))

            with ThreadPoolExecutor(16) as pool:
                assert list(pool.map(one, range(1000))) == [b""] * 1000
            stream = channel.stream_stream("/etcdserverpb.Watch/Watch")(iter([b"a", b"b"]))
            assert list(stream) == [b""]
            for _ in range(50):
                call.future(b"x" * 100).cancel()
            assert call(b"after", timeout=10) == b""
        assert server.faults == []


def test_etcdctl_speaks_to_it() -> None:
    with Server() as server:
        for _ in range(3):
            run("etcdctl", f"--endpoints=127.0.0.1:{server.port}", "put", "a", "b")
        assert server.requests >= 3
        assert server.faults == []
