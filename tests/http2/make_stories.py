"""Writes the story files anew: `python -m tests.http2.make_stories`.

Needs the packages hpack and grpcio, libnghttp2 and etcdctl. Blocks of programs are taken from the wire; what
they mean is then said by Python's `hpack`, never by our own decoder.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess

import grpc
import hpack

from tests.http2.nghttp2 import Deflater
from tests.http2.shell import Server
from tests.http2.stories import DIRECTORY, make_lists
from tests.http2.wire import CONTINUATION, HEADERS, PADDED, WITH_PRIORITY, cut_frames

Pairs = list[tuple[str, str]]


def write(name: str, encoder: str, cases: list[tuple[bytes, Pairs]]) -> None:
    DIRECTORY.mkdir(exist_ok=True)
    lines = [json.dumps({"wire": wire.hex(), "headers": fields}) for wire, fields in cases]
    head = f'{{"encoder": {json.dumps(encoder)}, "cases": [\n'
    (DIRECTORY / f"{name}.json").write_text(head + ",\n".join(lines) + "\n]}\n")


def lists(seed: int) -> list[Pairs]:
    return [fields for fields in make_lists(seed, 80) if all(len(value) < 1000 for _, value in fields)]


def from_python_hpack(name: str, use_huffman: bool) -> None:
    writer = hpack.Encoder()
    chance = random.Random(1)
    cases = []
    for fields in lists(1):
        if chance.random() < 0.1:
            writer.header_table_size = chance.choice([100, 1000, 4096])
        octets = [(a.encode("latin-1"), b.encode("latin-1")) for a, b in fields]
        cases.append((writer.encode(octets, huffman=use_huffman), fields))
    write(name, "Python hpack", cases)


def from_nghttp2() -> None:
    chance = random.Random(2)
    cases = []
    with Deflater() as writer:
        for fields in lists(2):
            if chance.random() < 0.1:
                writer.change_table_size(chance.choice([0, 100, 1000, 4096]))
            cases.append((writer.encode(fields), fields))
    write("nghttp2", "libnghttp2", cases)


def blocks_of(record: bytes) -> list[bytes]:
    """The header blocks of what a client sent."""
    blocks: list[bytes] = []
    for one in cut_frames(record[24:]):
        if one.kind == HEADERS:
            payload = one.payload
            if one.flags & PADDED:
                payload = payload[1 : -payload[0] or None]
            blocks.append(payload[5:] if one.flags & WITH_PRIORITY else payload)
        elif one.kind == CONTINUATION:
            blocks[-1] += one.payload
    return blocks


def from_wire(name: str, encoder: str, server: Server) -> None:
    record = max((bytes(one.record) for one in server.connections), key=len)
    reader = hpack.Decoder()
    cases = []
    for block in blocks_of(record):
        fields = reader.decode(block, raw=True)
        cases.append((block, [(a.decode("latin-1"), b.decode("latin-1")) for a, b in fields]))
    assert len(cases) >= 20, len(cases)
    write(name, encoder, cases)


def from_grpcio() -> None:
    with Server(recording=True) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for number, fields in enumerate(lists(3)):
            metadata = [(a, b) for a, b in fields[7:] if a.startswith(("x-", "auth"))]
            call = channel.unary_unary(dict(fields)[":path"])
            call(b"", timeout=(None, 5, 0.5 + number)[number % 3], metadata=metadata)
        from_wire("grpcio", f"grpcio {grpc.__version__}", server)


def from_etcdctl() -> None:
    program = shutil.which("etcdctl")
    assert program is not None, "etcdctl is needed"
    with Server(recording=True) as server:
        # The one command that makes many calls on one connection and is content with empty answers.
        command = [program, f"--endpoints=127.0.0.1:{server.port}", "check", "perf", "--load=s"]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        subprocess.run(command, env=environment, timeout=90, check=False, capture_output=True)
        trim(server)
        from_wire("grpc-go-etcdctl", "grpc-go in etcdctl", server)


def trim(server: Server, requests: int = 60) -> None:
    """Keep the first requests of each record."""
    for one in server.connections:
        position = 24
        seen = 0
        while position + 9 <= len(one.record) and seen < requests:
            length = int.from_bytes(one.record[position : position + 3], "big")
            seen += one.record[position + 3] == HEADERS
            if position + 9 + length > len(one.record):
                break
            position += 9 + length
        del one.record[position:]


def main() -> None:
    from_python_hpack("python-hpack-huffman", True)
    from_python_hpack("python-hpack-plain", False)
    from_nghttp2()
    from_grpcio()
    from_etcdctl()


if __name__ == "__main__":
    main()
