"""Events in the form in which they travel: serialized once, shared by everybody who may see them.

An event is encoded as the `events` field (number 11) of a `WatchResponse`, so that a response is a header,
a watch id and the bytes made here. Two forms of an event exist, with and without the previous value; each
is made when first asked for and then handed to every watcher. The messages are put together by hand,
because a stored key-value is bytes already and parsing it only to serialize it again would cost more than
the rest of the delivery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.mvcc.event import DELETE
from etcdpy.mvcc.key_value import encode_deleted, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etcdpy.mvcc.event import Event

# Tags of the wire format: field number << 3 | 2 for bytes.
_EVENTS_TAG = b"\x5a"
_TYPE_DELETE = b"\x08\x01"
_KV_TAG = b"\x12"
_PREV_KV_TAG = b"\x1a"


class EncodedEvents:
    """The events of one response, encoded.

    `fields` has one element for each event, for those who must split a response. `memo` is empty and
    belongs to the receiver: one object goes to all watchers with the same events and options, so a finished
    response can be kept there and sent again to the next watcher with the same id.
    """

    __slots__ = ("_data", "fields", "memo")

    def __init__(self, fields: Sequence[bytes]) -> None:
        self.fields = fields
        self.memo: dict[object, bytes] = {}
        self._data: bytes | None = None

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def data(self) -> bytes:
        """All events as one piece of a `WatchResponse`."""
        data = self._data
        if data is None:
            data = self.fields[0] if len(self.fields) == 1 else b"".join(self.fields)
            self._data = data
        return data


class EventEncoder:
    """Encodes events, each form of each event at most once while the caller holds the same encoder."""

    def __init__(self, previous: Callable[[Event], bytes | None]) -> None:
        self._previous = previous
        self._plain: dict[int, bytes] = {}
        self._with_previous: dict[int, bytes] = {}

    def encode(self, position: int, event: Event, prev_kv: bool) -> bytes:
        """The event as a field of a `WatchResponse`; `position` names it within this encoder's life."""
        memo = self._with_previous if prev_kv else self._plain
        field = memo.get(position)
        if field is None:
            field = memo[position] = encode_event(event, self._previous(event) if prev_kv else None)
        return field


def encode_event(event: Event, previous: bytes | None) -> bytes:
    """One event as a field of a `WatchResponse`."""
    if event.type == DELETE:
        head = _TYPE_DELETE
        # What is stored for a deletion lacks the revision that watchers see.
        kv = encode_deleted(event.key, event.mod_revision)
    else:
        head = b""
        kv = event.kv
    body = b"%b%b%b%b" % (head, _KV_TAG, varint(len(kv)), kv)
    if previous is not None:
        body = b"%b%b%b%b" % (body, _PREV_KV_TAG, varint(len(previous)), previous)
    return b"%b%b%b" % (_EVENTS_TAG, varint(len(body)), body)
