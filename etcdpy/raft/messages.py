"""The vocabulary of the raft room: entries, messages, configurations, and the `Ready` that comes out of the
core.

These are plain slotted dataclasses because the core makes and reads thousands of them a second: creating one
costs a quarter of what the protobuf object costs. They are handed over, never copied, and nobody changes one
after it was handed over; freezing them would cost more than the rule does. `codec` turns them into raftpb
bytes at the edges.

Ids, terms and indexes are plain ints. Id 0 means "nobody", index 0 is the place before the first entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum


class EntryType(IntEnum):
    """What an entry's data is; the numbers are raftpb's."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


class MessageType(IntEnum):
    """Kinds of message; the numbers are raftpb's. Some never leave the member, see `LOCAL_TYPES`."""

    HUP = 0
    BEAT = 1
    PROP = 2
    APP = 3
    APP_RESP = 4
    VOTE = 5
    VOTE_RESP = 6
    SNAP = 7
    HEARTBEAT = 8
    HEARTBEAT_RESP = 9
    UNREACHABLE = 10
    SNAP_STATUS = 11
    CHECK_QUORUM = 12
    TRANSFER_LEADER = 13
    TIMEOUT_NOW = 14
    READ_INDEX = 15
    READ_INDEX_RESP = 16
    PRE_VOTE = 17
    PRE_VOTE_RESP = 18
    STORAGE_APPEND = 19
    STORAGE_APPEND_RESP = 20
    STORAGE_APPLY = 21
    STORAGE_APPLY_RESP = 22
    FORGET_LEADER = 23


class Role(IntEnum):
    """What a member is in its present term."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3


class ConfChangeType(IntEnum):
    """What one configuration change does with its node."""

    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER_NODE = 3


class ConfChangeTransition(IntEnum):
    """Joint only if needed and left by itself, joint and left by itself, joint and left by hand."""

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


LOCAL_TYPES = frozenset(
    {
        MessageType.HUP,
        MessageType.BEAT,
        MessageType.UNREACHABLE,
        MessageType.SNAP_STATUS,
        MessageType.CHECK_QUORUM,
        MessageType.STORAGE_APPEND,
        MessageType.STORAGE_APPEND_RESP,
        MessageType.STORAGE_APPLY,
        MessageType.STORAGE_APPLY_RESP,
    }
)
"""Kinds that only a member's own parts exchange. From the network they are dropped."""

RESPONSE_TYPES = frozenset(
    {
        MessageType.APP_RESP,
        MessageType.VOTE_RESP,
        MessageType.HEARTBEAT_RESP,
        MessageType.READ_INDEX_RESP,
        MessageType.PRE_VOTE_RESP,
    }
)
"""Kinds that answer something; from an id outside the configuration they are dropped."""

FORWARDED_TYPES = frozenset({MessageType.PROP, MessageType.READ_INDEX, MessageType.TRANSFER_LEADER})
"""Kinds that members pass on to the leader: whoever sent them last need not be who sent them first."""

CAMPAIGN_TRANSFER = b"CampaignTransfer"
"""Context of a vote request that its leader asked for: it overrides the leader lease."""


@dataclass(slots=True, init=False)
class Entry:
    """One entry of the log. `encoded` caches its raftpb bytes, which the WAL and every peer get unchanged."""

    term: int
    index: int
    type: EntryType
    data: bytes
    encoded: bytes = field(compare=False, repr=False)

    def __init__(
        self,
        term: int,
        index: int,
        type: EntryType = EntryType.NORMAL,
        data: bytes = b"",
        encoded: bytes = b"",
    ) -> None:
        self.term = term
        self.index = index
        self.type = type
        self.data = data
        self.encoded = encoded


@dataclass(slots=True, init=False)
class HardState:
    """What must be on disk before a message that depends on it leaves."""

    term: int
    vote: int
    commit: int

    def __init__(self, term: int = 0, vote: int = 0, commit: int = 0) -> None:
        self.term = term
        self.vote = vote
        self.commit = commit


@dataclass(slots=True, init=False)
class SoftState:
    """Who leads and what we are; may be lost at any time."""

    leader: int
    role: Role

    def __init__(self, leader: int = 0, role: Role = Role.FOLLOWER) -> None:
        self.leader = leader
        self.role = role


@dataclass(slots=True)
class ConfState:
    """Who takes part, by ascending id. The last three are set in a joint configuration only."""

    voters: list[int] = field(default_factory=list)
    learners: list[int] = field(default_factory=list)
    voters_outgoing: list[int] = field(default_factory=list)
    learners_next: list[int] = field(default_factory=list)
    auto_leave: bool = False


@dataclass(slots=True)
class Snapshot:
    """Everything up to `index` in one piece. The core reads only the head; `data` belongs to the server."""

    index: int
    term: int
    conf_state: ConfState
    data: bytes = b""


@dataclass(slots=True, init=False)
class Message:
    """What members say to each other. Each kind uses some of the fields; the others keep their defaults."""

    type: MessageType
    to: int
    from_: int
    term: int
    log_term: int
    index: int
    entries: Sequence[Entry]
    commit: int
    vote: int
    snapshot: Snapshot | None
    reject: bool
    reject_hint: int
    context: bytes

    def __init__(
        self,
        type: MessageType,
        to: int = 0,
        from_: int = 0,
        term: int = 0,
        log_term: int = 0,
        index: int = 0,
        entries: Sequence[Entry] = (),
        commit: int = 0,
        vote: int = 0,
        snapshot: Snapshot | None = None,
        reject: bool = False,
        reject_hint: int = 0,
        context: bytes = b"",
    ) -> None:
        self.type = type
        self.to = to
        self.from_ = from_
        self.term = term
        self.log_term = log_term
        self.index = index
        self.entries = entries
        self.commit = commit
        self.vote = vote
        self.snapshot = snapshot
        self.reject = reject
        self.reject_hint = reject_hint
        self.context = context


@dataclass(slots=True)
class ConfChange:
    """One change of one node: the only form etcd itself proposes."""

    type: ConfChangeType = ConfChangeType.ADD_NODE
    node_id: int = 0
    context: bytes = b""
    id: int = 0


@dataclass(slots=True)
class ConfChangeSingle:
    """One step of a `ConfChangeV2`."""

    type: ConfChangeType
    node_id: int


@dataclass(slots=True)
class ConfChangeV2:
    """Several changes at once, through a joint configuration if needed. No changes: leave the joint one."""

    changes: list[ConfChangeSingle] = field(default_factory=list)
    transition: ConfChangeTransition = ConfChangeTransition.AUTO
    context: bytes = b""


@dataclass(slots=True, init=False)
class ReadState:
    """A confirmed read: whatever was asked with `context` may be served once `index` is applied."""

    index: int
    context: bytes

    def __init__(self, index: int, context: bytes) -> None:
        self.index = index
        self.context = context


@dataclass(slots=True, init=False)
class Ready:
    """One turn's work for the shell, in the order it must be done.

    1. Save `snapshot`, then `entries`, then `hard_state`; sync the disk if `must_sync`.
    2. Send `messages`. A member that is leader may send them while it still saves: its own acknowledgement is
       not counted before `advance`. Everybody else sends after the save, because the messages promise what
       was saved.
    3. Apply `committed_entries` in order, release `read_states`.
    4. `RawNode.advance(ready)`.

    Entries in `entries` replace whatever the disk holds at their index and above.
    """

    soft_state: SoftState | None
    hard_state: HardState | None
    entries: list[Entry]
    snapshot: Snapshot | None
    committed_entries: list[Entry]
    messages: list[Message]
    read_states: list[ReadState]
    must_sync: bool

    def __init__(
        self,
        soft_state: SoftState | None = None,
        hard_state: HardState | None = None,
        entries: list[Entry] | None = None,
        snapshot: Snapshot | None = None,
        committed_entries: list[Entry] | None = None,
        messages: list[Message] | None = None,
        read_states: list[ReadState] | None = None,
        must_sync: bool = False,
    ) -> None:
        self.soft_state = soft_state
        self.hard_state = hard_state
        self.entries = [] if entries is None else entries
        self.snapshot = snapshot
        self.committed_entries = [] if committed_entries is None else committed_entries
        self.messages = [] if messages is None else messages
        self.read_states = [] if read_states is None else read_states
        self.must_sync = must_sync
