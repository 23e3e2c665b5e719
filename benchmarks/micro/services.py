"""What the service layer costs for one call: from the serialized request to the serialized answer, without
transport, log and store.

The member answers at once and the store has its answers ready, so the figures are those of parsing, checking,
routing and encoding. Run: `python benchmarks/micro/services.py`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.rpc.call import Call
from etcdpy.rpc.services import Health, make_router
from etcdpy.server.results import Result
from etcdpy.server.txn import apply_txn

if TYPE_CHECKING:
    from etcdpy.rpc.router import Router

REPEATS = 5
SECONDS_PER_REPEAT = 0.2


@dataclass(slots=True)
class Found:
    kvs: list[bytes]
    count: int
    revision: int


class Store:
    """One answer for each key or prefix."""

    def __init__(self) -> None:
        self.revision = 1_234_567
        kv = KeyValue(key=b"key", create_revision=5, mod_revision=1_234_000, version=3, value=b"v" * 256)
        self.kv = kv.SerializeToString()
        self.versions = kv
        many = [
            KeyValue(key=b"k%05d" % n, create_revision=5, mod_revision=5, version=1, value=b"v" * 1024)
            for n in range(10_000)
        ]
        self.many = [kv.SerializeToString() for kv in many]

    def range(self, key: bytes, range_end: bytes = b"", **options: Any) -> Found:
        if range_end:
            return Found(self.many, len(self.many), self.revision)
        return Found([self.kv], 1, self.revision)

    def current(self, key: bytes) -> KeyValue:
        return self.versions

    def get(self, key: bytes) -> bytes:
        return self.kv

    def put(self, key: bytes, value: bytes, lease: int = 0) -> None: ...


@dataclass
class State:
    store: Store = field(default_factory=Store)
    hub: Any = None
    lessor: Any = ()


@dataclass
class Config:
    max_request_bytes: int = 1_572_864
    max_txn_ops: int = 128


class Member:
    """Answers at once."""

    def __init__(self) -> None:
        self.cluster_id = 0xCDF818194E3A8C32
        self.member_id = 0x8E9E05C52164694D
        self.raft_term = 2
        self.leader_id = 1
        self.is_learner = False
        self.is_capable = True
        self.config = Config()
        self.state = State()
        self.response = pb.PutResponse()

    def has_space(self, request: Any) -> bool:
        return True

    def propose(self, kind: str, message: Any, data: bytes, done: Any) -> None:
        store = self.state.store
        store.revision += 1
        response: Any = self.response
        if kind == "txn":
            response = apply_txn(store, self.state.lessor, message)  # type: ignore[arg-type]
        done(Result(response, None, store.revision))

    def confirm_read(self, done: Any) -> None:
        done(None)


class Answered(Call):
    """A call that keeps only its answer."""

    __slots__ = ("answer",)

    def reply(self, message: bytes) -> None:
        self.answer = message

    send = reply

    def finish(self) -> None: ...

    def fail(self, error: Any) -> None:
        raise AssertionError(error)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    pending_bytes = 0
    closed = False


def microseconds(router: Router, path: str, request: Any) -> float:
    """The best of some repeats; the call object is part of it, as each call needs one."""
    method = router.method(path)
    assert method is not None, path
    data = request.SerializeToString()
    best = float("inf")
    for _ in range(REPEATS):
        count = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS_PER_REPEAT:
            for _ in range(20):
                router.start(method, Answered(path, {}, "", None), data)
            count += 20
        best = min(best, elapsed / count)
    return best * 1e6


def main() -> None:
    router = make_router(Member(), Health())  # type: ignore[arg-type]
    compare = pb.Compare(key=b"key", target=pb.Compare.MOD, mod_revision=1_234_000)
    put = pb.PutRequest(key=b"key", value=b"v" * 256)
    get = pb.RangeRequest(key=b"key")
    kv = "/etcdserverpb.KV/"
    cases = {
        "put, 256 bytes": (kv + "Put", put),
        "range of one key": (kv + "Range", get),
        "range of one key, serializable": (kv + "Range", pb.RangeRequest(key=b"key", serializable=True)),
        "range of 10,000 keys of 1 KiB": (kv + "Range", pb.RangeRequest(key=b"k", range_end=b"l")),
        "txn: compare, put or get": (
            kv + "Txn",
            pb.TxnRequest(
                compare=[compare],
                success=[pb.RequestOp(request_put=put)],
                failure=[pb.RequestOp(request_range=get)],
            ),
        ),
    }
    figures = {name: round(microseconds(router, *case), 2) for name, case in cases.items()}
    print(json.dumps({"unit": "us per call", **figures}, indent=2))


if __name__ == "__main__":
    main()
