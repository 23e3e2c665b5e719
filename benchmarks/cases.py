"""The cases of the comparison: what is called, by how many at once, and how often.

Counts are chosen so that a case takes a few seconds on two cores; `scale` shortens them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb

from .tools import Load, run_h2load, run_loadgen

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = 10_000
LIST_VALUE_BYTES = 1_024
KEY_PREFIX, LIST_PREFIX, WATCH_PREFIX = "/bench/keys/", "/bench/list/", "/bench/watch/"
LIST_END = LIST_PREFIX[:-1].encode() + b"0"
FIRST_KEY = f"{KEY_PREFIX}00000000".encode()
VALUE = b"v" * 256

STATUS = ("/etcdserverpb.Maintenance/Status", pb.StatusRequest())
MISSING = ("/etcdserverpb.KV/Range", pb.RangeRequest(key=b"/bench/missing", serializable=True))
PUT = ("/etcdserverpb.KV/Put", pb.PutRequest(key=FIRST_KEY, value=VALUE))
GET = ("/etcdserverpb.KV/Range", pb.RangeRequest(key=FIRST_KEY))
LIST = ("/etcdserverpb.KV/Range", pb.RangeRequest(key=LIST_PREFIX.encode(), range_end=LIST_END))
LOCAL_GET = ("/etcdserverpb.KV/Range", pb.RangeRequest(key=FIRST_KEY, serializable=True))


@dataclass(frozen=True)
class Case:
    """`run(endpoint, count)` does the calls and says how fast they were."""

    name: str
    count: int
    run: Callable[[str, int], Load]


def go_client(
    name: str, operation: str, count: int, callers: int, connections: int, **more: int | str
) -> Case:
    settings: dict[str, int | str] = {
        "callers": callers,
        "connections": connections,
        "prefix": KEY_PREFIX,
    }
    settings.update(more)
    return Case(
        name,
        count,
        lambda endpoint, times: run_loadgen(endpoint, operation, count=times, keys=KEYS, **settings),
    )


def raw_client(
    name: str,
    call: tuple[str, pb.RangeRequest | pb.PutRequest | pb.StatusRequest],
    count: int,
    connections: int = 10,
    streams: int = 10,
) -> Case:
    """100 calls at once on 10 connections, unless told otherwise, without the Go client's own cost."""
    path, request = call
    return Case(
        name,
        count,
        lambda endpoint, times: run_h2load(
            endpoint, path, request, count=times, connections=connections, streams=streams
        ),
    )


CASES = (
    raw_client("Status, h2load 100", STATUS, 60_000),
    raw_client("Range of a missing key, serializable, h2load 100", MISSING, 60_000),
    raw_client("Range one key, serializable, h2load 100", LOCAL_GET, 60_000),
    raw_client("Range one key, linearizable, h2load 100", GET, 60_000),
    raw_client("Put one key, h2load 100", PUT, 30_000),
    go_client("Put, 1 caller", "put", 2_000, 1, 1),
    go_client("Put, 100 callers", "put", 30_000, 100, 10),
    go_client("Put, 1,000 callers", "put", 50_000, 1_000, 100),
    go_client("Range one key, linearizable, 100 callers", "get", 50_000, 100, 10),
    go_client("Range one key, serializable, 100 callers", "sget", 50_000, 100, 10),
    go_client("Txn (compare, put), 100 callers", "txn", 30_000, 100, 10),
    raw_client("List 10,000 keys of 1 KiB, h2load 4", LIST, 200, 4, 1),
    go_client("List 10,000 keys of 1 KiB, 4 callers", "list", 100, 4, 4, prefix=LIST_PREFIX),
    go_client(
        "List 10,000 keys of 1 KiB after a put, 4 callers",
        "relist",
        100,
        4,
        4,
        prefix=LIST_PREFIX,
        value=LIST_VALUE_BYTES,
    ),
    go_client("Watch events, 100 watchers", "watch", 1_000, 10, 10, watchers=100, prefix=WATCH_PREFIX),
    go_client("Watch events, 1,000 watchers", "watch", 200, 10, 10, watchers=1_000, prefix=WATCH_PREFIX),
    go_client("Lease keep-alive, 100 callers", "keepalive", 40_000, 100, 10),
)


def fill(endpoint: str) -> None:
    """The keys that the cases read."""
    for prefix, size in ((KEY_PREFIX, len(VALUE)), (LIST_PREFIX, LIST_VALUE_BYTES)):
        run_loadgen(
            endpoint, "fill", count=KEYS, keys=KEYS, callers=100, connections=10, prefix=prefix, value=size
        )
