"""Microseconds of processor time that one call costs a whole member, without sockets and client.

    python -m benchmarks.micro.pipeline [--only put] [--calls 20000] [--connections 10] [--depth 10]

A real member runs in this process, with its log and backend in a temporary directory; only the sockets are
missing: requests as the Go client writes them, each with a `grpc-timeout` of its own, are handed to
`Connection.data_received`, and what comes back is counted. Each connection has `--depth` calls under way and
sends the next ones when all of them are answered. The time is that of the whole process, so the committer
thread counts and a busy machine does not; best of `--repeat` runs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdpy import embed
from etcdpy.http2 import PREFACE, prepare_headers
from etcdpy.http2.frames import encode_frame, encode_window_update
from etcdpy.http2.hpack import Encoder
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.connection import Connection
from etcdpy.rpc.port import Speaks
from etcdpy.server.config import Config
from etcdpy.server.log import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

KEYS = 10_000
VALUE = b"v" * 256
LEASES = 100
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
# In each answer once: the trailers of a call that went well, or where the client leaves first, the headers.
TRAILERS = prepare_headers([("grpc-status", "0"), ("grpc-message", "")]).block
HEADERS = prepare_headers([(":status", "200"), ("content-type", "application/grpc")]).block
GREETING = PREFACE + encode_frame(4, 0, 0, b"") + encode_frame(4, 1, 0, b"")


def key(number: int) -> bytes:
    return b"/bench/keys/%08d" % number


def put(number: int) -> Message:
    return pb.PutRequest(key=key(number), value=VALUE)


def local_get(number: int) -> Message:
    return pb.RangeRequest(key=key(number), serializable=True)


def get(number: int) -> Message:
    return pb.RangeRequest(key=key(number))


def txn(number: int) -> Message:
    there = pb.Compare(
        key=key(number), target=pb.Compare.CREATE, result=pb.Compare.GREATER, create_revision=0
    )
    return pb.TxnRequest(
        compare=[there],
        success=[pb.RequestOp(request_put=put(number))],
        failure=[pb.RequestOp(request_range=get(number))],
    )


def status(number: int) -> Message:
    return pb.StatusRequest()


def lease_id(number: int) -> int:
    """Of the size that etcd gives them."""
    return 0x694D_8F3C_0000_0000 + number


def grant(number: int) -> Message:
    return pb.LeaseGrantRequest(ID=lease_id(number), TTL=3600)


def keep_alive(number: int) -> Message:
    return pb.LeaseKeepAliveRequest(ID=lease_id(number % LEASES))


CASES: dict[str, tuple[str, Callable[[int], Message]]] = {
    "put": ("/etcdserverpb.KV/Put", put),
    "txn": ("/etcdserverpb.KV/Txn", txn),
    "range": ("/etcdserverpb.KV/Range", get),
    "serializable range": ("/etcdserverpb.KV/Range", local_get),
    "status": ("/etcdserverpb.Maintenance/Status", status),
    "keep-alive": (KEEP_ALIVE, keep_alive),
}


class Client:
    """One connection: the transport that the server sees, and the requests it is fed with."""

    def __init__(self, server: embed.Server, path: str, calls: list[bytes], depth: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = iter(_batches(path, calls, depth))
        self._mark = HEADERS if path == KEEP_ALIVE else TRAILERS
        self._depth = depth
        self._answered = 0
        self._rest = b""
        self.done = self._loop.create_future()
        assert server._listeners is not None
        self._connection = Connection(server._listeners.port, Speaks.ALL)
        self._connection.connection_made(self)  # type: ignore[arg-type]
        self._connection.data_received(GREETING)
        self._connection.data_received(encode_window_update(0, 2**30))

    def go(self) -> None:
        """Send the next requests."""
        batch = next(self._batches, None)
        if batch is None:
            self.done.set_result(None)
        else:
            self._connection.data_received(batch)

    def write(self, data: bytes) -> None:
        self._answered += data.count(self._mark)
        if self._answered >= self._depth:
            self._answered = 0
            self._loop.call_soon(self.go)

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def set_write_buffer_limits(self, **limits: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None:
        raise AssertionError("the server has closed the connection")

    def leave(self) -> None:
        self._connection.connection_lost(None)


def _batches(path: str, calls: list[bytes], depth: int) -> list[bytes]:
    """The frames of all calls, so many in one read. A stream of renewals is left as etcd's client does it."""
    leaves = path == KEEP_ALIVE
    encoder = Encoder()
    frames = []
    for number, message in enumerate(calls):
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "127.0.0.1:2379"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-go/1.26.0"),
            ("te", "trailers"),
            ("grpc-timeout", f"{59_999_990 - int(random.expovariate(1 / 100))}u"),
            ("client-api-version", "3.5.1"),
        ]
        stream_id = 2 * number + 1
        body = b"\0" + len(message).to_bytes(4, "big") + message
        frames.append(
            encode_frame(1, 4, stream_id, encoder.encode(fields))
            + encode_frame(0, 0 if leaves else 1, stream_id, body)
        )
    batches = []
    for start in range(0, len(frames), depth):
        left = range(2 * (start - depth) + 1, 2 * start, 2) if leaves and start else ()
        resets = [encode_frame(3, 0, stream_id, b"\0\0\0\x08") for stream_id in left]
        batches.append(b"".join((*resets, *frames[start : start + depth])))
    return batches


async def prepare(server: embed.Server) -> None:
    """The keys and leases of the other cases."""
    await measure(server, "put", KEYS, 10, 10)
    grants = [grant(number).SerializeToString() for number in range(LEASES)]
    client = Client(server, "/etcdserverpb.Lease/LeaseGrant", grants, 10)
    client.go()
    await client.done
    client.leave()


async def measure(server: embed.Server, name: str, calls: int, connections: int, depth: int) -> float:
    path, make = CASES[name]
    chance = random.Random(1)
    each = calls // connections // depth * depth
    clients = [
        Client(server, path, [make(chance.randrange(KEYS)).SerializeToString() for _ in range(each)], depth)
        for _ in range(connections)
    ]
    gc.collect()
    begun = time.process_time()
    for client in clients:
        client.go()
    await asyncio.gather(*(client.done for client in clients))
    took = time.process_time() - begun
    for client in clients:
        client.leave()
    return took / (each * connections) * 1e6


async def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        server = await embed.start(Config.for_test(Path(directory)), Logger.silent())
        try:
            await prepare(server)
            for name in CASES:
                if arguments.only and name not in arguments.only:
                    continue
                load = (arguments.calls, arguments.connections, arguments.depth)
                figures = [await measure(server, name, *load) for _ in range(arguments.repeat)]
                print(
                    f"{name:20} {min(figures):8.2f} us   ({', '.join(f'{f:.1f}' for f in figures)})",
                    flush=True,
                )
        finally:
            await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(CASES), default=[])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--directory", help="where the data goes")
    arguments = parser.parse_args()
    sys.setswitchinterval(embed.SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(embed.GC_THRESHOLD)
    try:
        import uvloop
    except ImportError:
        asyncio.run(run(arguments))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(arguments))


if __name__ == "__main__":
    main()
