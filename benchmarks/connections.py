"""What open connections cost: memory of 5,000 idle ones, then 1,000 with a watch each.

    python -m benchmarks.connections [--idle 5000] [--watches 1000] [--save connections]

The connections are plain sockets that speak just enough HTTP/2, because a gRPC client for each would need
more memory than the server does. For the watches it also measures how long one put takes to reach them all,
and what the server's processor does while nothing happens.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import candidate_kind, reference_kind
from tests.support.server import Server

from .tools import cpu_seconds, grpc_frame, machine, resident_bytes, save

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS, ACK = 4, 1
SOCKET_SECONDS_MAX = 30.0
QUIET_SECONDS = 5.0
PUTS = 20
FRAMES_MAX = 50  # before the one we wait for


class Connection:
    """One client connection, blocking."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_SECONDS_MAX)
        self._received = b""
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        self.wait_for(SETTINGS)
        self._socket.sendall(frame(SETTINGS, ACK, 0, b""))

    def watch(self, key: bytes) -> None:
        """Create a watch and wait until the server says so."""
        request = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key))
        headers = watch_headers()
        self._socket.sendall(frame(HEADERS, END_HEADERS, 1, headers) + frame(DATA, 0, 1, grpc_frame(request)))
        self.wait_for(DATA)

    def wait_for(self, kind: int) -> None:
        """Read frames until one of this kind."""
        for _ in range(FRAMES_MAX):
            header = self._read(9)
            self._read(int.from_bytes(header[:3], "big"))
            if header[3] == kind and not (kind == SETTINGS and header[4] & ACK):
                return
        raise RuntimeError(f"no frame of kind {kind} among {FRAMES_MAX}")

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            more = self._socket.recv(65_536)
            if not more:
                raise ConnectionError("the server closed the connection")
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def watch_headers() -> bytes:
    """HPACK without its table: indexed :method POST and :scheme http, the rest as literals."""

    def text(value: bytes) -> bytes:
        return bytes((len(value),)) + value

    return b"".join(
        (
            b"\x83\x86\x04" + text(b"/etcdserverpb.Watch/Watch"),
            b"\x01" + text(b"127.0.0.1"),
            b"\x0f\x10" + text(b"application/grpc"),
            b"\x00" + text(b"te") + text(b"trailers"),
        )
    )


def idle_memory(server: Server, count: int) -> dict[str, float]:
    before = resident_bytes(server.pid)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(Connection(server.client_port))
        used = resident_bytes(server.pid) - before
        return {
            "idle_connections": count,
            "idle_kib_each": round(used / count / 1024, 2),
            "idle_cpu_percent": quiet_cpu_percent(server),
        }


def watch_connections(server: Server, count: int) -> dict[str, float]:
    before = resident_bytes(server.pid)
    with ExitStack() as stack, Client(server.endpoint) as client:
        watchers = [stack.enter_context(Connection(server.client_port)) for _ in range(count)]
        for watcher in watchers:
            watcher.watch(b"watched")
        used = resident_bytes(server.pid) - before
        busy = cpu_seconds(server.pid)
        begin = time.monotonic()
        for _ in range(PUTS):
            client.put(b"watched", b"v" * 256)
            for watcher in watchers:
                watcher.wait_for(DATA)
        took = (time.monotonic() - begin) / PUTS
        return {
            "watch_connections": count,
            "watch_kib_each": round(used / count / 1024, 2),
            "one_put_to_all_ms": round(took * 1_000, 2),
            "one_put_to_all_cpu_us_each": round((cpu_seconds(server.pid) - busy) / count / PUTS * 1e6, 1),
            "watch_idle_cpu_percent": quiet_cpu_percent(server),
        }


def quiet_cpu_percent(server: Server) -> float:
    """What the server does while nobody asks for anything."""
    before = cpu_seconds(server.pid)
    threading.Event().wait(QUIET_SECONDS)
    return round((cpu_seconds(server.pid) - before) / QUIET_SECONDS * 100, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidate", default="etcdpy")
    parser.add_argument("--idle", type=int, default=5_000)
    parser.add_argument("--watches", type=int, default=1_000)
    parser.add_argument("--save", metavar="NAME")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # ours, and the servers inherit it
    result: dict[str, object] = {"machine": machine()}
    for kind in (reference_kind(), candidate_kind(chosen.candidate)):
        # Each half on a fresh server, so that neither lives on memory the other has left behind.
        with (
            tempfile.TemporaryDirectory(prefix="etcdpy-bench-") as place,
            Server(kind, Path(place)) as server,
        ):
            empty = {"empty_resident_mib": round(resident_bytes(server.pid) / 2**20, 1)}
            idle = idle_memory(server, chosen.idle)
        with (
            tempfile.TemporaryDirectory(prefix="etcdpy-bench-") as place,
            Server(kind, Path(place)) as server,
        ):
            result[kind.name] = empty | idle | watch_connections(server, chosen.watches)
    print(json.dumps(result, indent=1))
    if chosen.save:
        save(chosen.save, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
