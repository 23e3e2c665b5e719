"""When are two servers' answers the same?

An answer is a response message or a refusal. Before two are compared, what may differ is taken out of
copies of them: identity (cluster, member, term), the seconds a lease has left, orders that etcd does not
define, and what real etcd 3.5.1 is known to do differently from the 3.6 behaviour we implement. The last
group is one list, `KNOWN_DIFFERENCES`; nothing else in these tests forgives a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import text_format

from etcdpy.proto import rpc_pb2 as pb

from .client import Refusal

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.proto import kv_pb2

LEASE_SECONDS_ELAPSED_MAX = 600  # a lease in these tests is granted for longer than any of them runs
TEXT_CHARACTERS_MAX = 4_000


@dataclass(frozen=True)
class Difference:
    """One difference between 3.5.1 and us, and where it is kept out of the comparison."""

    what: str
    kept_out: str


KNOWN_DIFFERENCES = (
    Difference("HashKVResponse.hash_revision exists since 3.6", "cleared by `comparable`"),
    Difference(
        "HashKV exactly at a revision that was compacted to: 3.5.1 refuses it; since 3.5.5 the hashes of the "
        "last ten compactions are remembered and answered, even below the compacted revision",
        "`Sequence.hash_kv` does not ask for such a revision",
    ),
    Difference(
        "a tombstone exactly at the compacted revision is dropped by 3.5.1 and kept since 3.5.16, so a watch "
        "from that revision sees one event more",
        "`Sequence.watch_create` starts a watch below or above the compacted revision",
    ),
    Difference(
        "a watch progress request is answered by 3.5.1 at once; since 3.5.8 only when all watches of the "
        "stream have caught up and reached their start, and not at all without watches",
        "`Sequence.watch_progress` asks after everything has arrived, on a stream where all have",
    ),
    Difference(
        "a negative watch start is created, then cancelled with compact_revision -1 by 3.5.1; since 3.6.6 it "
        "is cancelled in the created response",
        "not generated",
    ),
    Difference(
        "a sort order or target outside the enum: 3.5.1 panics on the target; later releases refuse both",
        "not generated; `test_errors.py` asks the candidate alone",
    ),
)


def comparable(request: Message | None, answer: Message | Refusal) -> Message | Refusal:
    """A copy of `answer` without what may differ between two servers that behave alike."""
    if isinstance(answer, Refusal):
        return answer
    copy = type(answer)()
    copy.CopyFrom(answer)
    clear_identity(copy)
    if isinstance(copy, pb.RangeResponse):
        assert isinstance(request, pb.RangeRequest), f"a range answered a {type(request).__name__}"
        settle_ties(request, copy)
    elif isinstance(copy, pb.TxnResponse):
        assert isinstance(request, pb.TxnRequest), f"a txn answered a {type(request).__name__}"
        settle_transaction(request, copy)
    elif isinstance(copy, pb.LeaseTimeToLiveResponse):
        settle_time_to_live(copy)
    elif isinstance(copy, pb.LeaseLeasesResponse):
        ordered = sorted(
            copy.leases, key=lambda lease: lease.ID
        )  # etcd: by time left, which is equal here or not
        del copy.leases[:]
        copy.leases.extend(ordered)
    elif isinstance(copy, pb.HashKVResponse):
        copy.hash_revision = 0
    return copy


def clear_identity(message: Message) -> None:
    """Cluster, member and term in the header, if the message has one set."""
    if "header" in message.DESCRIPTOR.fields_by_name and message.HasField("header"):
        header: pb.ResponseHeader = getattr(message, "header")  # noqa: B009 - a field only some types have
        header.cluster_id = header.member_id = header.raft_term = 0


def settle_transaction(request: pb.TxnRequest, response: pb.TxnResponse) -> None:
    """Apply `comparable`'s rules to every response inside a transaction, level by level."""
    operations = request.success if response.succeeded else request.failure
    for operation, inner in zip(operations, response.responses, strict=False):
        if inner.HasField("response_range"):
            clear_identity(inner.response_range)
            settle_ties(operation.request_range, inner.response_range)
        elif inner.HasField("response_txn"):
            clear_identity(inner.response_txn)
            settle_transaction(operation.request_txn, inner.response_txn)
        elif inner.HasField("response_put"):
            clear_identity(inner.response_put)
        elif inner.HasField("response_delete_range"):
            clear_identity(inner.response_delete_range)


SORT_FIELDS: dict[int, str] = {
    pb.RangeRequest.VERSION: "version",
    pb.RangeRequest.CREATE: "create_revision",
    pb.RangeRequest.MOD: "mod_revision",
    pb.RangeRequest.VALUE: "value",
}


def settle_ties(request: pb.RangeRequest, response: pb.RangeResponse) -> None:
    """Put equal elements of a sorted range into key order, for etcd's sort is not stable.

    Where a limit has cut through a group of equal elements, any of them may have been left; of that last
    group only its sort key and its number are compared.
    """
    field = SORT_FIELDS.get(request.sort_target)
    if field is None or not response.kvs:
        return
    order = [getattr(kv, field) for kv in response.kvs]
    groups: dict[int | bytes, list[kv_pb2.KeyValue]] = {}
    for key, kv in zip(order, response.kvs, strict=True):
        groups.setdefault(key, []).append(kv)
    settled = [kv for group in groups.values() for kv in sorted(group, key=lambda kv: kv.key)]
    assert [getattr(kv, field) for kv in settled] == order, f"not sorted: {short_text(response)}"
    if response.more:
        cut = len(groups[order[-1]])
        settled[-cut:] = [type(kv)(**{field: getattr(kv, field)}) for kv in settled[-cut:]]
    copy = pb.RangeResponse(kvs=settled)
    del response.kvs[:]
    response.kvs.extend(copy.kvs)


def settle_time_to_live(response: pb.LeaseTimeToLiveResponse) -> None:
    """Seconds left depend on when we asked; attached keys have no defined order."""
    if 0 <= response.grantedTTL - response.TTL <= LEASE_SECONDS_ELAPSED_MAX:
        response.TTL = response.grantedTTL
    keys = sorted(response.keys)
    del response.keys[:]
    response.keys.extend(keys)


def short_text(answer: Message | Refusal | None) -> str:
    """An answer for a report: readable, and bounded."""
    if answer is None:
        return "(nothing)"
    if isinstance(answer, Refusal):
        return f"{answer.code} {answer.text!r}"
    text = text_format.MessageToString(answer, as_one_line=True)
    left_out = len(text) - TEXT_CHARACTERS_MAX
    cut = text if left_out <= 0 else f"{text[:TEXT_CHARACTERS_MAX]} ... {left_out} characters more"
    return f"{type(answer).__name__} {{ {cut} }}"
