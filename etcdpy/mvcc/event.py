"""One change of one key, as the transaction that made it tells the watch hub and the lessor."""

from dataclasses import dataclass
from enum import IntEnum


class EventType(IntEnum):
    """mvccpb.Event.EventType."""

    PUT = 0
    DELETE = 1


PUT = EventType.PUT
DELETE = EventType.DELETE


@dataclass(slots=True, init=False)
class Event:
    """A put or a delete, with the serialized `mvccpb.KeyValue` that watchers receive."""

    type: EventType
    key: bytes
    kv: bytes
    mod_revision: int
    # The put made the key (again): there is no previous key-value.
    create: bool
    # The lease of the put; for a delete, the lease that the key hung on (0 when the event was read back from
    # disk).
    lease: int
    # Where the key-value before this change is stored, when the writer knew it.
    previous: bytes | None

    def __init__(
        self,
        type: EventType,
        key: bytes,
        kv: bytes,
        mod_revision: int,
        create: bool,
        lease: int,
        previous: bytes | None,
    ) -> None:
        self.type = type
        self.key = key
        self.kv = kv
        self.mod_revision = mod_revision
        self.create = create
        self.lease = lease
        self.previous = previous
