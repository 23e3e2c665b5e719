"""Clients of the simulated cluster, and what they remember of their calls.

Each client makes one call at a time, at any member, and gives up when no answer comes; then it does not know
what happened. Keys are few, so that clients meet, and written values are all different.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdpy.mvcc.revision import encode_revision
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.server.errors import CallerDeadline, ProposalDropped, TooManyRequests
from etcdpy.testing.checkers import Violation
from etcdpy.testing.linearizability import Call, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from etcdpy.server.results import Result
    from etcdpy.testing.checkers import StoreChecker
    from etcdpy.testing.clock import SimClock
    from etcdpy.testing.machine import Process

# Refusals after which nothing can have happened.
_WITHOUT_EFFECT = (CallerDeadline, ProposalDropped, TooManyRequests)


class History:
    """All calls of all clients, and the newest revision of each key that was told to anybody."""

    def __init__(self, stores: StoreChecker) -> None:
        self.calls: list[Call] = []
        self.acknowledged: list[tuple[int, Call]] = []
        self._stores = stores
        self._told: dict[bytes, int] = {}
        self._stamp = 0

    def stamp(self) -> int:
        """A moment between all others."""
        self._stamp += 1
        return self._stamp

    def told(self, key: bytes) -> int:
        """The newest revision of the key that somebody knows of."""
        return self._told.get(key, 0)

    def tell(self, key: bytes, revision: int) -> None:
        """Somebody got to know of this revision of the key."""
        if revision > self._told.get(key, 0):
            self._told[key] = revision

    def written(self, call: Call, revision: int) -> None:
        """A write was acknowledged at a revision: its record must be there, and stay."""
        record = encode_revision(revision) + (b"t" if call.kind is Kind.DELETE else b"")
        data = self._stores.records.get(record)
        if data is None:
            raise Violation(f"{call} was acknowledged at revision {revision}, where there is no record")
        stored = KeyValue.FromString(data)
        if stored.key != call.key or (call.kind is not Kind.DELETE and stored.value != call.value):
            raise Violation(f"{call} was acknowledged at revision {revision}, which is {stored}")
        self.tell(call.key, revision)


@dataclass(frozen=True, slots=True)
class Manners:
    """What the clients of a simulation have in common: keys, pauses between calls, how long they wait,
    and the share of reads among their calls.
    """

    keys: list[bytes]
    pause_s: float
    patience_s: float
    reads: float


class Client:
    """One caller.

    Args:
        pick: gives a running member, or None.
    """

    def __init__(
        self,
        number: int,
        clock: SimClock,
        chance: random.Random,
        history: History,
        manners: Manners,
        pick: Callable[[int], Process | None],
        trace: Callable[..., None],
    ) -> None:
        self._number = number
        self._clock = clock
        self._chance = chance
        self._history = history
        self._keys = manners.keys
        self._pause_s = manners.pause_s
        self._patience_s = manners.patience_s
        self._reads = manners.reads
        self._pick = pick
        self._trace = trace
        self._last_seen: bytes | None = None
        self._call: Call | None = None
        self.stopped = False

    def act(self, _: object = None) -> None:
        """Make the next call."""
        process = self._pick(self._number)
        if self.stopped:
            return
        if process is None:
            self._next()
            return
        call = self._call = self._some_call()
        self._trace("call", self._number, process.machine.name, call)
        self._clock.later(self._patience_s * (0.2 + self._chance.random()), self._give_up, call)
        if call.kind is Kind.READ:
            self._read(process, call)
        else:
            self._history.calls.append(call)
            self._write(process, call)
        process.settle()

    def _some_call(self) -> Call:
        chance = self._chance
        key = self._keys[int(chance.random() * len(self._keys))]
        start = self._history.stamp()
        value = b"%d" % start
        if chance.random() < self._reads:
            return Call(self._number, key, Kind.READ, start=start)
        draw = chance.random()
        if draw < 0.6:
            return Call(self._number, key, Kind.PUT, value, start=start)
        if draw < 0.75:
            return Call(self._number, key, Kind.DELETE, start=start)
        return Call(self._number, key, Kind.SWAP, value, self._last_seen, start=start)

    def _give_up(self, call: Call) -> None:
        if self._call is call:
            self._next()

    def _next(self) -> None:
        self._call = None
        self._clock.later(2 * self._pause_s * self._chance.random(), self.act)

    def _finish(self, call: Call, seen: bytes | None) -> None:
        """The answer came, though perhaps nobody waits for it any more: then it stays unknown."""
        if self._call is call:
            call.seen = self._last_seen = seen
            call.end = self._history.stamp()
            self._trace("answer", self._number, call)
            self._next()

    # Reading.

    def _read(self, process: Process, call: Call) -> None:
        known = self._history.told(call.key)

        def confirmed(error: Exception | None) -> None:
            if self._call is not call:
                return
            if error is not None:
                self._next()
                return
            kvs = process.member.state.store.range(call.key).kvs
            kv = KeyValue.FromString(kvs[0]) if kvs else None
            if kv is not None and kv.mod_revision < known:
                raise Violation(f"{call} at {process.machine.name} gives {kv}, but {known} was known")
            if kv is not None:
                self._history.tell(call.key, kv.mod_revision)
            self._history.calls.append(call)
            self._finish(call, None if kv is None else kv.value)

        process.member.confirm_read(confirmed)

    # Writing.

    def _write(self, process: Process, call: Call) -> None:
        kind, request = _request(call)

        def done(result: Result) -> None:
            if not process.alive:
                return
            if result.error is not None:
                self._refused(call, result.error)
                return
            seen, has_written = _answer(call, result)
            if has_written:
                self._history.written(call, result.revision)
            self._finish(call, seen)

        process.member.propose(kind, request, request.SerializeToString(), done)

    def _refused(self, call: Call, error: Exception) -> None:
        self._trace("refused", self._number, type(error).__name__, call)
        if isinstance(error, _WITHOUT_EFFECT):
            # It must not have happened: if somebody sees its value now, no order of calls explains that.
            self._history.calls.remove(call)
        if self._call is call:
            self._next()


def _request(call: Call) -> tuple[str, pb.PutRequest | pb.DeleteRangeRequest | pb.TxnRequest]:
    if call.kind is Kind.PUT:
        return "put", pb.PutRequest(key=call.key, value=call.value or b"", prev_kv=True)
    if call.kind is Kind.DELETE:
        return "delete_range", pb.DeleteRangeRequest(key=call.key, prev_kv=True)
    txn = pb.TxnRequest()
    compare = txn.compare.add(result=pb.Compare.EQUAL, key=call.key)
    if call.expected is None:
        compare.target, compare.version = pb.Compare.VERSION, 0
    else:
        compare.target, compare.value = pb.Compare.VALUE, call.expected
    put = txn.success.add().request_put
    put.key, put.value = call.key, call.value or b""
    txn.failure.add().request_range.key = call.key
    return "txn", txn


def _answer(call: Call, result: Result) -> tuple[bytes | None, bool]:
    """What the key held before, and whether the call has written."""
    response = result.response
    if isinstance(response, pb.PutResponse):
        return (response.prev_kv.value if response.HasField("prev_kv") else None), True
    if isinstance(response, pb.DeleteRangeResponse):
        return (response.prev_kvs[0].value if response.prev_kvs else None), response.deleted > 0
    assert isinstance(response, pb.TxnResponse), response
    if response.succeeded:
        return call.expected, True
    kvs = response.responses[0].response_range.kvs
    return (kvs[0].value if kvs else None), False


__all__ = ["Client", "History"]
