"""What calls answer: plain values, so that nobody has to know the messages. Ids and revisions are etcd's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from etcdpy.proto import kv_pb2
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Header:
    """Who answered, and the state it answered from."""

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int


@dataclass(slots=True)
class KeyValue:
    """One key as it stands at some revision. `lease` is 0 for a key without one."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(slots=True)
class GetResult:
    """Keys that were asked for.

    Attributes:
        kvs: in the order that was asked for.
        count: how many keys there are in the range, whatever `limit` left of them.
        more: whether `limit` has left some out.
    """

    header: Header
    kvs: list[KeyValue]
    count: int
    more: bool

    @property
    def kv(self) -> KeyValue | None:
        """The first key, None if there is none."""
        return self.kvs[0] if self.kvs else None

    @property
    def value(self) -> bytes | None:
        """The value of the first key, None if there is none."""
        return self.kvs[0].value if self.kvs else None

    def __iter__(self) -> Iterator[KeyValue]:
        return iter(self.kvs)

    def __len__(self) -> int:
        return len(self.kvs)


@dataclass(slots=True)
class PutResult:
    """A key was written, at `header.revision`."""

    header: Header
    prev_kv: KeyValue | None


@dataclass(slots=True)
class DeleteResult:
    """So many keys were deleted."""

    header: Header
    deleted: int
    prev_kvs: list[KeyValue]


@dataclass(slots=True)
class TxnResult:
    """Which branch was taken, and what its operations answered, in their order."""

    header: Header
    succeeded: bool
    results: list[Result]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)


Result = GetResult | PutResult | DeleteResult | TxnResult


@dataclass(slots=True)
class Event:
    """One change of one key. Of a key that was deleted only `key` and `mod_revision` are known."""

    type: Literal["put", "delete"]
    kv: KeyValue
    prev_kv: KeyValue | None

    @property
    def key(self) -> bytes:
        """Whose change."""
        return self.kv.key

    @property
    def value(self) -> bytes:
        """What was put; empty for a deletion."""
        return self.kv.value

    @property
    def revision(self) -> int:
        """When."""
        return self.kv.mod_revision


def header_of(message: pb.ResponseHeader) -> Header:
    """From a response's header."""
    return Header(message.cluster_id, message.member_id, message.revision, message.raft_term)


def key_value(message: kv_pb2.KeyValue) -> KeyValue:
    """From a message."""
    return KeyValue(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def event(message: kv_pb2.Event) -> Event:
    """From a message."""
    return Event(
        "delete" if message.type == kv_pb2.Event.DELETE else "put",
        key_value(message.kv),
        key_value(message.prev_kv) if message.HasField("prev_kv") else None,
    )


def get_result(response: pb.RangeResponse) -> GetResult:
    """From a response."""
    return GetResult(
        header_of(response.header), [key_value(kv) for kv in response.kvs], response.count, response.more
    )


def put_result(response: pb.PutResponse) -> PutResult:
    """From a response."""
    prev_kv = key_value(response.prev_kv) if response.HasField("prev_kv") else None
    return PutResult(header_of(response.header), prev_kv)


def delete_result(response: pb.DeleteRangeResponse) -> DeleteResult:
    """From a response."""
    return DeleteResult(
        header_of(response.header), response.deleted, [key_value(kv) for kv in response.prev_kvs]
    )


def txn_result(response: pb.TxnResponse) -> TxnResult:
    """From a response; results within it have an incomplete header, as etcd sends it."""
    return TxnResult(
        header_of(response.header), response.succeeded, [_result(one) for one in response.responses]
    )


def _result(response: pb.ResponseOp) -> Result:
    match response.WhichOneof("response"):
        case "response_range":
            return get_result(response.response_range)
        case "response_put":
            return put_result(response.response_put)
        case "response_delete_range":
            return delete_result(response.response_delete_range)
        case _:
            return txn_result(response.response_txn)
