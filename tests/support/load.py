"""Writers that keep a server busy until it dies, and remember what they were told.

Every request goes into the journal with its answer. What the journal knows of it is one of three things:
it was acknowledged at a revision, it was refused and had no effect, or it was in flight when the server
died and nobody can know. A writer ends at its first request without an answer. All writers share the keys and
may attach any lease, but each grants and revokes only leases of its own, so that their order is known.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb

from .client import Client, Refusal

if TYPE_CHECKING:
    from google.protobuf.message import Message

WRITERS = 8
KEYS = 60
LEASES_PER_WRITER = 2
LEASE_SECONDS = 10_000
REQUESTS_PER_WRITER_MAX = 20_000
LOST_CODES = {"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL"}


@dataclass
class Journal:
    """What was asked and what was answered, over all rounds."""

    acknowledged: dict[int, Message] = field(default_factory=dict)  # by revision
    in_flight: list[Message] = field(default_factory=list)
    revision_seen: int = 1
    compaction_acknowledged: int = -1
    compaction_asked: int = -1
    leases_granted: set[int] = field(default_factory=set)
    leases_doubtful: set[int] = field(default_factory=set)  # a grant or revoke was in flight
    answers: int = 0
    faults: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note_answer(self, request: Message, answer: Message | Refusal) -> bool:
        """False when the writer should end, because the request got no answer."""
        with self.changed:
            if isinstance(answer, Refusal):
                if answer.code not in LOST_CODES:
                    return True
                self.in_flight.append(request)
                if isinstance(request, pb.LeaseGrantRequest | pb.LeaseRevokeRequest):
                    self.leases_doubtful.add(request.ID)
                return False
            self.answers += 1
            self.changed.notify_all()
            self._note_success(request, answer)
            return True

    def _note_success(self, request: Message, answer: Message) -> None:
        header = getattr(answer, "header", None)
        assert isinstance(header, pb.ResponseHeader), f"no header in {answer}"
        self.revision_seen = max(self.revision_seen, header.revision)
        match request:
            case pb.CompactionRequest():
                self.compaction_acknowledged = max(self.compaction_acknowledged, request.revision)
            case pb.LeaseGrantRequest():
                self.leases_granted.add(request.ID)
            case pb.LeaseRevokeRequest():
                self.leases_granted.discard(request.ID)
                self.in_flight.append(request)  # its answer does not tell whether it took a revision
            case pb.DeleteRangeRequest() if (
                isinstance(answer, pb.DeleteRangeResponse) and answer.deleted == 0
            ):
                pass
            case _:
                if header.revision in self.acknowledged:
                    self.faults.append(f"revision {header.revision} was acknowledged twice")
                self.acknowledged[header.revision] = request

    def wait_for_answers(self, count: int, seconds: float) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.answers >= count, seconds)


class Load:
    """Writers on threads of their own, from `start` until the server is gone and `join` returns."""

    def __init__(self, endpoint: str, journal: Journal, seed: int, compactable_to: int) -> None:
        self._endpoint = endpoint
        self._journal = journal
        self._compactable_to = compactable_to
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._write, args=(number, random.Random(seed * 1_000 + number)), daemon=True
            )
            for number in range(WRITERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a writer still waits for a server that is gone"

    def _write(self, writer: int, source: random.Random) -> None:
        with Client(self._endpoint) as client:
            for number in range(REQUESTS_PER_WRITER_MAX):
                request = self._request(
                    writer, source, b"%d.%d.%d" % (writer, number, source.getrandbits(32))
                )
                if self._stop.is_set() or not self._journal.note_answer(request, client.outcome(request)):
                    return

    def _request(self, writer: int, source: random.Random, mark: bytes) -> Message:
        """A request that its value tells from every other one, unless it only deletes."""
        kind = source.randrange(100)
        if kind < 55:
            return self._put(source, mark)
        if kind < 85:
            return self._transaction(source, mark)
        if kind < 93:
            return pb.DeleteRangeRequest(key=key(source))
        if kind < 95:
            low = source.randrange(KEYS)
            return pb.DeleteRangeRequest(key=b"k/%03d" % low, range_end=b"k/%03d" % (low + 4))
        if kind < 97:
            return pb.LeaseGrantRequest(ID=lease_of(writer, source), TTL=LEASE_SECONDS)
        if kind < 98:
            return pb.LeaseRevokeRequest(ID=lease_of(writer, source))
        return self._compaction(source, mark)

    @staticmethod
    def _put(source: random.Random, mark: bytes) -> pb.PutRequest:
        size = source.choice((0, 0, 10, 100, 1_000, 1_000, 30_000)) if source.randrange(200) else 900_000
        request = pb.PutRequest(key=key(source), value=mark + b"." * size)
        if source.randrange(5) == 0:
            request.lease = lease_of(source.randrange(WRITERS), source)
        return request

    def _transaction(self, source: random.Random, mark: bytes) -> pb.TxnRequest:
        """Several puts and deletes of different keys; all of them or none must be found after a crash."""
        keys = [b"k/%03d" % number for number in source.sample(range(KEYS), source.randrange(2, 9))]
        first = pb.RequestOp(request_put=pb.PutRequest(key=keys[0], value=mark))
        operations = [first]
        for one in keys[1:]:
            if source.randrange(4):
                operations.append(pb.RequestOp(request_put=pb.PutRequest(key=one, value=mark)))
            else:
                operations.append(pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=one)))
        return pb.TxnRequest(success=operations)

    def _compaction(self, source: random.Random, mark: bytes) -> Message:
        """Only of what an earlier round has verified: the rest of the history must stay readable."""
        if self._compactable_to < 2:
            return self._put(source, mark)
        revision = source.randint(1, self._compactable_to)
        with self._journal.changed:
            self._journal.compaction_asked = max(self._journal.compaction_asked, revision)
        return pb.CompactionRequest(revision=revision, physical=source.randrange(2) == 0)


def key(source: random.Random) -> bytes:
    return b"k/%03d" % source.randrange(KEYS)


def lease_of(writer: int, source: random.Random) -> int:
    return 100 + writer * LEASES_PER_WRITER + source.randrange(LEASES_PER_WRITER)
