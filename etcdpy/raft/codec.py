"""raftpb bytes <-> the dataclasses of `messages`.

Writing is done by hand, because the bytes must be those that etcd writes: every scalar of a message is
present even when it is zero, which protobuf would only do field by field and four times slower. An entry is
encoded once (`seal`), and the WAL and every peer get the same bytes.

Reading is left to protobuf, which is fast at it and hard to fool. What it cannot know is checked here: that
the entries of an append follow each other, that a snapshot message has a snapshot, that a term is there.
Whatever does not hold raises `MalformedMessage`, so that behind this module the core may assert.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as PbMessage
from google.protobuf.unknown_fields import UnknownFieldSet

from etcdpy.proto import raft_pb2

from .errors import MalformedMessage
from .messages import (
    FORWARDED_TYPES,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
)

NUMBER_MAX = 1 << 63
"""Terms and indexes from outside end here: a number near 2**64 would overflow when we count on from it."""

_Parsed = TypeVar("_Parsed")


def _long_varint(value: int) -> bytes:
    assert 0 <= value < 1 << 64, value
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_VARINTS = tuple(_long_varint(value) for value in range(4096))
_CONTINUED = tuple(bytes((low | 128,)) for low in range(128))


def _varint(value: int) -> bytes:
    return _VARINTS[value] if value < 4096 else _long_varint(value)


# ---- writing


def seal(entries: Iterable[Entry]) -> None:
    """Fill in `encoded` where it is missing.

    Neighbours share their type and term and all but the last seven bits of their index, so those bytes are
    made once for a run of entries; this is what makes a batch of a thousand cheap.
    """
    type_, term, high = -1, -1, -1
    head = tail = b""
    for entry in entries:
        if entry.encoded:
            continue
        if entry.term != term or entry.type != type_:
            type_, term = entry.type, entry.term
            head = b"\x08%b\x10%b\x18" % (_varint(type_), _varint(term))
        index = entry.index
        if index >> 7 != high:
            high = index >> 7
            tail = _varint(high) if high else b""
        low = _CONTINUED[index & 127] if high else _VARINTS[index]
        data = entry.data
        if data:
            entry.encoded = b"".join((head, low, tail, b'"', _varint(len(data)), data))
        else:
            entry.encoded = head + low + tail


def encode_entry(entry: Entry) -> bytes:
    if not entry.encoded:
        seal((entry,))
    return entry.encoded


def encode_message(message: Message) -> bytes:
    parts = [
        b"\x08%b\x10%b\x18%b\x20%b\x28%b\x30%b"
        % (
            _varint(message.type),
            _varint(message.to),
            _varint(message.from_),
            _varint(message.term),
            _varint(message.log_term),
            _varint(message.index),
        )
    ]
    for entry in message.entries:
        encoded = entry.encoded or encode_entry(entry)
        parts += (b"\x3a", _varint(len(encoded)), encoded)
    parts.append(b"\x40%b" % _varint(message.commit))
    if message.snapshot is not None:
        parts.append(_chunk(b"\x4a", encode_snapshot(message.snapshot)))
    parts.append(b"\x50%c\x58%b" % (message.reject, _varint(message.reject_hint)))
    if message.context:
        parts.append(_chunk(b"\x62", message.context))
    parts.append(b"\x68%b" % _varint(message.vote))
    return b"".join(parts)


def encode_hard_state(state: HardState) -> bytes:
    return b"\x08%b\x10%b\x18%b" % (_varint(state.term), _varint(state.vote), _varint(state.commit))


def encode_conf_state(state: ConfState) -> bytes:
    parts = [b"\x08" + _varint(id_) for id_ in state.voters]
    parts += [b"\x10" + _varint(id_) for id_ in state.learners]
    parts += [b"\x18" + _varint(id_) for id_ in state.voters_outgoing]
    parts += [b"\x20" + _varint(id_) for id_ in state.learners_next]
    parts.append(b"\x28%c" % state.auto_leave)
    return b"".join(parts)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    metadata = b"%b\x10%b\x18%b" % (
        _chunk(b"\x0a", encode_conf_state(snapshot.conf_state)),
        _varint(snapshot.index),
        _varint(snapshot.term),
    )
    data = _chunk(b"\x0a", snapshot.data) if snapshot.data else b""
    return data + _chunk(b"\x12", metadata)


def encode_conf_change(change: ConfChange | ConfChangeV2) -> bytes:
    if isinstance(change, ConfChange):
        head = b"\x08%b\x10%b\x18%b" % (_varint(change.id), _varint(change.type), _varint(change.node_id))
        return head + (_chunk(b"\x22", change.context) if change.context else b"")
    parts = [b"\x08" + _varint(change.transition)]
    parts += [
        _chunk(b"\x12", b"\x08%b\x10%b" % (_varint(single.type), _varint(single.node_id)))
        for single in change.changes
    ]
    if change.context:
        parts.append(_chunk(b"\x1a", change.context))
    return b"".join(parts)


def _chunk(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


# ---- reading


def decode_entry(data: bytes) -> Entry:
    return _entry(_parse(raft_pb2.Entry.FromString, data))


def decode_entries(encoded: Iterable[bytes]) -> list[Entry]:
    """Entries as a log gives them back; each keeps the bytes that it came in."""
    entries = []
    for data in encoded:
        entry = decode_entry(data)
        entry.encoded = data
        entries.append(entry)
    return entries


def decode_message(data: bytes) -> Message:
    message = _message(_parse(raft_pb2.Message.FromString, data))
    check_message(message)
    return message


def decode_hard_state(data: bytes) -> HardState:
    parsed = _parse(raft_pb2.HardState.FromString, data)
    return HardState(parsed.term, parsed.vote, parsed.commit)


def decode_conf_state(data: bytes) -> ConfState:
    return conf_state_from_pb(_parse(raft_pb2.ConfState.FromString, data))


def decode_snapshot(data: bytes) -> Snapshot:
    return snapshot_from_pb(_parse(raft_pb2.Snapshot.FromString, data))


def decode_conf_change(data: bytes) -> ConfChange:
    parsed = _parse(raft_pb2.ConfChange.FromString, data)
    _refuse_unknown(parsed, 2)
    return ConfChange(ConfChangeType(parsed.type), parsed.node_id, parsed.context, parsed.id)


def decode_conf_change_v2(data: bytes) -> ConfChangeV2:
    parsed = _parse(raft_pb2.ConfChangeV2.FromString, data)
    _refuse_unknown(parsed, 1)
    for one in parsed.changes:
        _refuse_unknown(one, 1)
    changes = [ConfChangeSingle(ConfChangeType(one.type), one.node_id) for one in parsed.changes]
    return ConfChangeV2(changes, ConfChangeTransition(parsed.transition), parsed.context)


def conf_change_of(entry: Entry) -> ConfChange | ConfChangeV2:
    """The change that a configuration entry carries."""
    assert entry.type is not EntryType.NORMAL, entry
    return (decode_conf_change if entry.type is EntryType.CONF_CHANGE else decode_conf_change_v2)(entry.data)


def conf_state_from_pb(parsed: raft_pb2.ConfState) -> ConfState:
    state = ConfState(
        list(parsed.voters),
        list(parsed.learners),
        list(parsed.voters_outgoing),
        list(parsed.learners_next),
        parsed.auto_leave,
    )
    voters, outgoing = set(state.voters), set(state.voters_outgoing)
    if (
        not (voters | outgoing).isdisjoint(state.learners)
        or not set(state.learners_next) <= outgoing - voters
    ):
        raise MalformedMessage(f"a member is voter and learner at once: {state}")
    if (state.auto_leave or outgoing) and not (voters and outgoing):
        raise MalformedMessage(f"half a joint configuration: {state}")
    return state


def snapshot_from_pb(parsed: raft_pb2.Snapshot) -> Snapshot:
    metadata = parsed.metadata
    if metadata.index >= NUMBER_MAX or metadata.term >= NUMBER_MAX:
        raise MalformedMessage(f"snapshot index {metadata.index} or term {metadata.term} out of range")
    return Snapshot(metadata.index, metadata.term, conf_state_from_pb(metadata.conf_state), parsed.data)


def _parse(parse: Callable[[bytes], _Parsed], data: bytes) -> _Parsed:
    try:
        return parse(data)
    except DecodeError as error:
        raise MalformedMessage(str(error)) from error


def _refuse_unknown(parsed: PbMessage, number: int) -> None:
    """Refuse a kind that we do not know: protobuf hides its number and shows the default instead."""
    unknown = UnknownFieldSet(parsed)
    if any(unknown[position].field_number == number for position in range(len(unknown))):
        raise MalformedMessage(f"unknown kind of {parsed.DESCRIPTOR.name}")


_MESSAGE_TYPES = tuple(MessageType)
_ENTRY_TYPES = tuple(EntryType)
assert all(position == kind for position, kind in enumerate(_MESSAGE_TYPES)), _MESSAGE_TYPES


def _entry(parsed: raft_pb2.Entry) -> Entry:
    if not parsed.HasField("Type"):  # every member writes it, so this costs nobody anything
        _refuse_unknown(parsed, 1)
    return Entry(parsed.Term, parsed.Index, _ENTRY_TYPES[parsed.Type], parsed.Data)


def _message(parsed: raft_pb2.Message) -> Message:
    return Message(
        type=_MESSAGE_TYPES[parsed.type],
        to=parsed.to,
        from_=getattr(parsed, "from"),
        term=parsed.term,
        log_term=parsed.logTerm,
        index=parsed.index,
        entries=[_entry(entry) for entry in parsed.entries],
        commit=parsed.commit,
        vote=parsed.vote,
        snapshot=snapshot_from_pb(parsed.snapshot) if parsed.HasField("snapshot") else None,
        reject=parsed.reject,
        reject_hint=parsed.rejectHint,
        context=parsed.context,
    )


# ---- what protobuf cannot know

_WITHOUT_TERM = FORWARDED_TYPES | {MessageType.FORGET_LEADER}
_ONE_ENTRY = frozenset({MessageType.READ_INDEX, MessageType.READ_INDEX_RESP})


def check_message(message: Message) -> None:
    """Refuse what no correct member sends. Whoever makes messages of foreign bytes elsewhere calls it too."""
    kind = message.type
    if message.from_ == 0:
        if kind is MessageType.HEARTBEAT and message.to == 0:
            return  # only says that the connection lives; nobody's raft is meant
        raise MalformedMessage(f"{kind.name} from nobody")
    if message.term >= NUMBER_MAX or message.index >= NUMBER_MAX:
        raise MalformedMessage(f"{kind.name}: term {message.term} or index {message.index} out of range")
    if message.term == 0 and kind not in _WITHOUT_TERM:
        raise MalformedMessage(f"{kind.name} without a term")  # term 0 would slip past every term rule
    if kind is MessageType.APP:
        _check_append(message)
    elif kind is MessageType.SNAP:
        if message.snapshot is None or message.snapshot.index == 0:
            raise MalformedMessage("SNAP without a snapshot")
    elif kind is MessageType.PROP:
        if not message.entries:
            raise MalformedMessage("PROP without entries")
    elif kind in _ONE_ENTRY and len(message.entries) != 1:
        raise MalformedMessage(f"{kind.name} with {len(message.entries)} entries")


def _check_append(message: Message) -> None:
    index, term = message.index, message.log_term
    for entry in message.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= message.term:
            raise MalformedMessage(f"APP at {index} term {term} goes on with {entry.index} term {entry.term}")
        term = entry.term
