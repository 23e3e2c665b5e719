"""HPACK stories: sequences of header lists with the blocks that some encoder made of them.

A story file is JSON: {"encoder": "...", "cases": [{"wire": hex, "headers": [[name, value], ...]}, ...]}. They
were written by other implementations (see the file names) with `python -m tests.http2.make_stories`, which
needs those; reading needs nothing.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

Pairs = list[tuple[str, str]]

DIRECTORY = Path(__file__).parent / "stories"
STORY_NAMES = sorted(path.stem for path in DIRECTORY.glob("*.json"))


def load_story(name: str) -> list[tuple[bytes, Pairs]]:
    story = json.loads((DIRECTORY / f"{name}.json").read_text())
    return [
        (bytes.fromhex(case["wire"]), [(name, value) for name, value in case["headers"]])
        for case in story["cases"]
    ]


def make_lists(seed: int, count: int) -> list[Pairs]:
    """Header lists as clients send them: much the same each time, some fields new, some repeated, some
    binary."""
    chance = random.Random(seed)
    methods = ["Put", "Range", "Txn", "DeleteRange", "LeaseGrant"]
    tokens = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789.-_", k=80)) for _ in range(5)]
    lists = []
    for number in range(count):
        fields = [
            (":method", chance.choice(["POST", "GET"])),
            (":scheme", chance.choice(["http", "https"])),
            (":path", f"/etcdserverpb.KV/{chance.choice(methods)}"),
            (":authority", "127.0.0.1:2379"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-go/1.62.1"),
            ("te", "trailers"),
        ]
        if chance.random() < 0.5:
            fields.append(("grpc-timeout", f"{chance.randrange(10**8)}u"))
        if chance.random() < 0.3:
            fields.append(("authorization", chance.choice(tokens)))
        if chance.random() < 0.2:
            fields.append(
                (f"x-{chance.choice(tokens)[:8]}-{number}", "".join(chance.choices(tokens[0], k=30)))
            )
        if chance.random() < 0.1:
            fields.append(("octets", "".join(chr(chance.randrange(256)) for _ in range(40))))
        if chance.random() < 0.1:
            fields.append(("large", chance.choice("abc") * chance.randrange(1, 6000)))
        if chance.random() < 0.1:
            fields.append(("empty", ""))
        lists.append(fields)
    return lists
