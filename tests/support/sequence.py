"""A seeded endless sequence of calls, for a test that gives it to two servers.

`Sequence.next()` makes one action from the random source and from what the servers have answered so far
(revision, compacted revision, leases, watches), which the runner reports back by the `note_` methods. As long
as the servers answer alike, the same seed therefore gives the same sequence.

The key space is small, so that calls meet; it holds what is hard on an implementation: keys that are prefixes
of one another, zero and 0xff bytes, and keys longer than an LMDB key may be.

Three things are never generated. A put with `ignore_value` or `ignore_lease` never shares a transaction
with a delete: etcd checks such a put against the state before the transaction, and where the delete has then
removed the key it does not refuse but panics. An unknown sort target makes 3.5.1 panic too. And no lease is
granted for so short a time that it could end during the test.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from google.protobuf.message import Message

KEYS = (
    *(b"a/%d" % n for n in range(8)),
    *(b"b/%d" % n for n in range(6)),
    b"a",
    b"a\x00",
    b"a\x00\x00",
    b"a/1\xff",
    b"a/1\xff\xff",
    b"c",
    b"\x00",
    b"\x00\x01",
    b"\xff",
    b"\xff\xff",
    b"\xff\xffz",
    "\u00fc\u4f60".encode(),
    b"long/" + b"x" * 600,
    b"long/" + b"x" * 600 + b"y",
    b"long/" + b"x" * 520,
    b"longer/" + b"z" * 10_000,
)
LEASE_IDS = tuple(range(7_001, 7_013))
UNKNOWN_LEASE = 9_999
TRANSACTION_OPERATIONS_MAX = 128  # etcd's default of --max-txn-ops
NESTED_LEVELS_MAX = 2
STREAMS = 3
WATCHES_MAX = 24
Ranges, Compares = pb.RangeRequest, pb.Compare
SORT_TARGETS = (Ranges.KEY, Ranges.VERSION, Ranges.CREATE, Ranges.MOD, Ranges.VALUE)
SORT_ORDERS = (Ranges.NONE, Ranges.ASCEND, Ranges.DESCEND)
COMPARE_TARGETS = (Compares.VERSION, Compares.CREATE, Compares.MOD, Compares.VALUE, Compares.LEASE)
COMPARE_RESULTS = (Compares.EQUAL, Compares.GREATER, Compares.LESS, Compares.NOT_EQUAL)
NOPUT, NODELETE = pb.WatchCreateRequest.NOPUT, pb.WatchCreateRequest.NODELETE


@dataclass(frozen=True)
class Ask:
    """A unary call."""

    request: Message


@dataclass(frozen=True)
class KeepAlive:
    """One renewal on a LeaseKeepAlive stream."""

    lease: int


@dataclass(frozen=True)
class WatchCreate:
    """A new watch on one of the long-lived streams."""

    stream: int
    request: pb.WatchCreateRequest


@dataclass(frozen=True)
class WatchCancel:
    """End of a watch, or of one that does not exist."""

    stream: int
    watch_id: int


@dataclass(frozen=True)
class WatchProgress:
    """A progress request on one stream."""

    stream: int


@dataclass(frozen=True)
class Settle:
    """Wait until every watch has everything that happened so far."""


Action = Ask | KeepAlive | WatchCreate | WatchCancel | WatchProgress | Settle


@dataclass
class Watch:
    """A live watch, as far as the sequence must remember it."""

    stream: int
    watch_id: int
    request: pb.WatchCreateRequest
    confirmed: bool  # has caught up, so that a compaction cannot overtake it


@dataclass
class Known:
    """What the answers have told."""

    revision: int = 1
    compacted: int = -1
    compactions: set[int] = field(default_factory=set)  # every revision that was ever the compacted one
    leases: set[int] = field(default_factory=set)
    watches: list[Watch] = field(default_factory=list)


class Sequence:
    """The generator. `next` gives an action; the `note_` methods take what came of it."""

    def __init__(self, random_source: random.Random) -> None:
        self.known = Known()
        self._random = random_source
        self._queue: deque[Action] = deque()
        self._values = 0
        weighted: list[tuple[int, Callable[[], Action]]] = [
            (25, lambda: Ask(self.range_request())),
            (26, lambda: Ask(self.put_request(ignores=True))),
            (8, lambda: Ask(self.delete_request())),
            (20, lambda: Ask(self.transaction())),
            (2, self.compact),
            (5, lambda: Ask(self.lease_grant())),
            (3, lambda: Ask(pb.LeaseRevokeRequest(ID=self.lease_id()))),
            (3, lambda: Ask(pb.LeaseTimeToLiveRequest(ID=self.lease_id(), keys=self.one_in(2)))),
            (2, lambda: Ask(pb.LeaseLeasesRequest())),
            (3, lambda: KeepAlive(self.lease_id())),
            (4, self.watch_create),
            (2, self.watch_cancel),
            (1, self.watch_progress),
            (2, lambda: Ask(self.hash_kv())),
        ]
        self._weights = [weight for weight, _ in weighted]
        self._makers = [maker for _, maker in weighted]

    def next(self) -> Action:
        if self._queue:
            return self._queue.popleft()
        return self._random.choices(self._makers, self._weights)[0]()

    # What the runner reports.

    def note_revision(self, revision: int) -> None:
        assert revision >= self.known.revision, f"revision went from {self.known.revision} back to {revision}"
        self.known.revision = revision

    def note_success(self, request: Message) -> None:
        """`request` was answered without a refusal."""
        match request:
            case pb.CompactionRequest():
                self.known.compacted = request.revision
                self.known.compactions.add(request.revision)
            case pb.LeaseGrantRequest():
                self.known.leases.add(request.ID)
            case pb.LeaseRevokeRequest():
                self.known.leases.discard(request.ID)
            case _:
                pass

    def note_watch(self, stream: int, watch_id: int, request: pb.WatchCreateRequest) -> None:
        from_now_on = request.start_revision == 0 or request.start_revision > self.known.revision
        self.known.watches.append(Watch(stream, watch_id, request, confirmed=from_now_on))

    def note_watch_gone(self, stream: int, watch_id: int) -> None:
        self.known.watches = [w for w in self.known.watches if (w.stream, w.watch_id) != (stream, watch_id)]

    # Small choices.

    def one_in(self, chances: int) -> bool:
        return self._random.randrange(chances) == 0

    def key(self) -> bytes:
        return self._random.choice(KEYS)

    def value(self) -> bytes:
        self._values += 1
        kind = self._random.randrange(12)
        if kind == 0:
            return b""
        if kind == 1:
            return b"same"
        size = self._random.choice((0, 0, 10, 200, 3_000)) if kind > 2 else self._random.randrange(20_000)
        return b"v%d" % self._values + b"." * size

    def lease_id(self) -> int:
        if self.known.leases and not self.one_in(4):
            return self._random.choice(sorted(self.known.leases))
        return self._random.choice((*LEASE_IDS, UNKNOWN_LEASE))

    def interval(self) -> tuple[bytes, bytes]:
        """A key and a range end, in every form there is."""
        key, form = self.key(), self._random.randrange(10)
        if form < 4:
            return key, b""
        if form < 6:
            return self.prefix()
        if form == 6:
            return key, b"\x00"
        if form == 7:
            return b"\x00", b"\x00"
        other = self.key()
        return (min(key, other), max(key, other)) if form == 8 else (key, other)

    def prefix(self) -> tuple[bytes, bytes]:
        prefix = self._random.choice((b"a/", b"b/", b"a", b"long/", b"a/1\xff"))
        kept = prefix.rstrip(b"\xff")
        return prefix, kept[:-1] + bytes([kept[-1] + 1])

    def past_revision(self) -> int:
        """Mostly now; else any readable revision, and sometimes one that is not."""
        low, high = max(self.known.compacted, 1), self.known.revision
        kind = self._random.randrange(12)
        if kind < 6:
            return 0
        if kind < 9:
            return self._random.randint(low, high)
        return self._random.choice((low, low - 1, low - 3, high, high + 1, high + 1_000, -1))

    # Key-value requests.

    def range_request(self) -> pb.RangeRequest:
        key, range_end = self.interval()
        request = pb.RangeRequest(key=key, range_end=range_end, revision=self.past_revision())
        if self.one_in(3):
            request.limit = self._random.choice((-1, 1, 2, 3, 7, 1_000))
        if self.one_in(2):
            request.sort_target = self._random.choice(SORT_TARGETS)
            request.sort_order = self._random.choice(SORT_ORDERS)
        if self.one_in(4):
            self.add_revision_filters(request)
        request.serializable = self.one_in(3)
        request.keys_only = self.one_in(5)
        request.count_only = self.one_in(6)
        if self.one_in(80):
            request.key = b""
        return request

    def add_revision_filters(self, request: pb.RangeRequest) -> None:
        for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if self.one_in(2):
                low = max(1, self.known.revision - 60)
                setattr(request, name, self._random.randint(low, self.known.revision + 2))

    def put_request(self, *, ignores: bool) -> pb.PutRequest:
        request = pb.PutRequest(key=self.key(), value=self.value(), prev_kv=self.one_in(2))
        if self.one_in(4):
            request.lease = self.lease_id()
        if ignores and self.one_in(6):
            request.ignore_value = True
            request.value = request.value if self.one_in(5) else b""
        if ignores and self.one_in(6):
            request.ignore_lease = True
            request.lease = request.lease if self.one_in(5) else 0
        if self.one_in(100):
            request.key = b""
        return request

    def delete_request(self) -> pb.DeleteRangeRequest:
        key, range_end = self.interval()
        if not self.one_in(6 if range_end == b"\x00" else 3):
            range_end = b""  # wide deletes are rare, or little would be left to read
        key = b"" if self.one_in(60) else key
        return pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=self.one_in(2))

    # Transactions.

    def transaction(self) -> pb.TxnRequest:
        if self.one_in(25):
            return self.oversized_transaction()
        return self.transaction_level(NESTED_LEVELS_MAX, deletes=self.one_in(2))

    def transaction_level(self, levels: int, *, deletes: bool) -> pb.TxnRequest:
        compares = [self.compare() for _ in range(self._random.choice((0, 1, 1, 2, 3)))]
        success = [self.operation(levels, deletes=deletes) for _ in range(self._random.randrange(5))]
        failure = [self.operation(levels, deletes=deletes) for _ in range(self._random.randrange(4))]
        return pb.TxnRequest(compare=compares, success=success, failure=failure)

    def operation(self, levels: int, *, deletes: bool) -> pb.RequestOp:
        kind = self._random.randrange(12)
        if kind < 4:
            return pb.RequestOp(request_range=self.range_request())
        if kind < 8:
            return pb.RequestOp(request_put=self.put_request(ignores=not deletes))
        if kind < 10 and deletes:
            return pb.RequestOp(request_delete_range=self.delete_request())
        if kind == 10 and levels > 0:
            return pb.RequestOp(request_txn=self.transaction_level(levels - 1, deletes=deletes))
        if self.one_in(25):
            return pb.RequestOp()
        return pb.RequestOp(request_put=self.put_request(ignores=False))

    def oversized_transaction(self) -> pb.TxnRequest:
        """At the limit of operations, one above it, or one key twice."""
        count = TRANSACTION_OPERATIONS_MAX + self._random.randrange(2)
        keys = [b"many/%03d" % n for n in range(count)]
        if self.one_in(3):
            keys[-1] = keys[0]
        puts = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"m")) for key in keys]
        return pb.TxnRequest(success=puts)

    def compare(self) -> pb.Compare:
        target = self._random.choice(COMPARE_TARGETS)
        result = self._random.choice(COMPARE_RESULTS)
        compare = pb.Compare(key=self.key(), target=target, result=result)
        if self.one_in(4):
            compare.key, compare.range_end = self.interval()
        if self.one_in(50):
            compare.key = b""
        around_now = self._random.randint(max(0, self.known.revision - 30), self.known.revision + 1)
        match target:
            case pb.Compare.VERSION:
                compare.version = self._random.choice((0, 1, 2, 5))
            case pb.Compare.CREATE:
                compare.create_revision = self._random.choice((0, around_now))
            case pb.Compare.MOD:
                compare.mod_revision = self._random.choice((0, around_now))
            case pb.Compare.VALUE:
                compare.value = self._random.choice((b"", b"same", b"v5"))
            case _:
                compare.lease = self._random.choice((0, self.lease_id()))
        return compare

    # Compaction, leases, hashes.

    def compact(self) -> Action:
        """A compaction below the newest revisions, after every watch has proved to be up to date."""
        low, high = self.known.compacted, self.known.revision
        kind = self._random.randrange(10)
        if kind == 0:
            return Ask(
                pb.CompactionRequest(revision=self._random.choice((low, low - 1, high + 1, high + 50)))
            )
        newest = high if kind == 1 else max(low + 1, high - self._random.randint(5, 150))
        request = pb.CompactionRequest(revision=max(newest, 0), physical=self.one_in(2))
        for watch in self.known.watches:
            if not watch.confirmed:
                self._queue.extend(self.markers(watch))
                watch.confirmed = True
        self._queue.extend((Settle(), Ask(request)))
        return self._queue.popleft()

    def markers(self, watch: Watch) -> list[Action]:
        """Calls that make an event this watch lets through. Once it has arrived, so has all before it."""
        key = watch.request.key or b"\x00"
        actions: list[Action] = [Ask(pb.PutRequest(key=key, value=b"marker"))]
        if NOPUT in watch.request.filters:
            actions.append(Ask(pb.DeleteRangeRequest(key=key)))
        return actions

    def lease_grant(self) -> pb.LeaseGrantRequest:
        ttl = self._random.choice((1_000, 5_000, 100_000, 9_000_000_000, 9_000_000_001))
        return pb.LeaseGrantRequest(ID=self._random.choice(LEASE_IDS), TTL=ttl)

    def hash_kv(self) -> pb.HashKVRequest:
        """Of now, of a readable revision above the compacted one, of a future one, of one too old."""
        low, high = max(self.known.compacted, 0), self.known.revision
        choice = self._random.choice((0, 0, high, high + 5, low - 1, self._random.randint(low, high)))
        if choice < 0 or choice in self.known.compactions or (choice == 0 and low == high):
            choice = high + 1
        return pb.HashKVRequest(revision=choice)

    # Watches.

    def watch_create(self) -> Action:
        if len(self.known.watches) >= WATCHES_MAX:
            return self.watch_cancel()
        key, range_end = self.interval()
        request = pb.WatchCreateRequest(
            key=key, range_end=range_end, prev_kv=self.one_in(2), fragment=self.one_in(4)
        )
        request.start_revision = self.start_revision()
        filters = self._random.choice(((), (), (), (NOPUT,), (NODELETE,), (NOPUT, NODELETE)))
        if len(filters) == 2:
            request.start_revision = 0  # such a watch can prove nothing, so it must not need to catch up
        request.filters.extend(filters)
        if self.one_in(4):
            request.watch_id = self._random.choice((1, 2, 5, 40, 41))
        if self.one_in(20):
            request.key = b""
        return WatchCreate(self._random.randrange(STREAMS), request)

    def start_revision(self) -> int:
        low, high = max(self.known.compacted, 0), self.known.revision
        kind = self._random.randrange(8)
        if kind < 2:
            return 0
        if kind < 6 and low < high:
            return self._random.randint(low + 1, high)
        return low - 1 if kind == 6 and low > 1 else high + self._random.randint(1, 40)

    def watch_cancel(self) -> Action:
        if not self.known.watches or self.one_in(10):
            return WatchCancel(self._random.randrange(STREAMS), watch_id=777)
        watch = self._random.choice(self.known.watches)
        self._queue.append(WatchCancel(watch.stream, watch.watch_id))
        return Settle()

    def watch_progress(self) -> Action:
        """Only where every watch has caught up, and none waits for a revision still to come."""
        behind = {
            watch.stream
            for watch in self.known.watches
            if not watch.confirmed or watch.request.start_revision > self.known.revision
        }
        streams = sorted({watch.stream for watch in self.known.watches} - behind)
        if not streams:
            return Settle()
        self._queue.append(WatchProgress(self._random.choice(streams)))
        return Settle()
