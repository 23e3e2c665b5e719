"""Cutting the two stream kinds into raft messages and back. Bytes in, messages out; no socket.

`message` streams are a plain sequence of length-prefixed messages. `msgapp` streams (codec v2)
exist because appends are most of the traffic: while each append continues where the last one ended,
only entries and the commit index travel. Both ends keep the two registers (term, index) that say
where that is.

All lengths are big-endian uint64. A link heartbeat keeps the reader's deadline from firing; it
never reaches raft.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy.peer.errors import MalformedStream
from etcdpy.proto import raft_pb2
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.errors import MalformedMessage
from etcdpy.raft.messages import Entry, Message, MessageType

if TYPE_CHECKING:
    from collections.abc import Iterator

_U64 = struct.Struct(">Q")

# etcd's limit for one message; what claims to be larger is no message.
MESSAGE_BYTES_MAX = 512 * 1024 * 1024
ENTRIES_MAX = 1 << 20

# Releases up to 3.5 write every field, an empty snapshot too: 32 bytes.
LINK_HEARTBEAT_BYTES_MAX = 64
_HEARTBEAT_TYPE = bytes([0x08, MessageType.HEARTBEAT])
_LINK_HEARTBEAT = raft_codec.encode_message(Message(MessageType.HEARTBEAT))

_APP_HEARTBEAT, _APP_ENTRIES, _APP_FULL = 0, 1, 2


def is_link_heartbeat(body: bytes) -> bool:
    """Whether an encoded message is a heartbeat from nobody to nobody, which only proves that the link
    lives.
    """
    if len(body) > LINK_HEARTBEAT_BYTES_MAX or body[:2] != _HEARTBEAT_TYPE:
        return False
    try:
        parsed = raft_pb2.Message.FromString(body)
    except DecodeError:
        return False
    return not parsed.to and not getattr(parsed, "from")


class MessageEncoder:
    """Writer of a `message` stream."""

    heartbeat = _U64.pack(len(_LINK_HEARTBEAT)) + _LINK_HEARTBEAT

    def encode(self, message: Message) -> bytes:
        """One frame."""
        body = raft_codec.encode_message(message)
        return _U64.pack(len(body)) + body


class AppEncoder:
    """Writer of a `msgapp` stream."""

    heartbeat = bytes([_APP_HEARTBEAT])

    def __init__(self) -> None:
        self._term = 0
        self._index = 0

    def encode(self, message: Message) -> bytes:
        """One frame: entries alone when the append continues the last one, the whole message otherwise."""
        entries = message.entries
        continues = message.index == self._index and message.log_term == self._term == message.term
        if continues:
            self._index += len(entries)
            parts = [bytes([_APP_ENTRIES]), _U64.pack(len(entries))]
            for entry in entries:
                body = raft_codec.encode_entry(entry)
                parts += (_U64.pack(len(body)), body)
            parts.append(_U64.pack(message.commit))
            return b"".join(parts)
        self._term = message.term
        self._index = entries[-1].index if entries else message.index
        body = raft_codec.encode_message(message)
        return b"".join((bytes([_APP_FULL]), _U64.pack(len(body)), body))


class MessageDecoder:
    """Reader of a `message` stream. Feed it bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages that are complete with `data`, link heartbeats left out.

        Raises:
            MalformedStream: the bytes are no message.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= 8:
            end = position + 8 + _length(buffer, position)
            if end > len(buffer):
                break
            body = bytes(buffer[position + 8 : end])
            position = end
            if not is_link_heartbeat(body):
                yield _decode_message(body)
        del buffer[:position]


class AppDecoder:
    """Reader of a `msgapp` stream from the member `remote_id` to `local_id`."""

    def __init__(self, local_id: int, remote_id: int) -> None:
        self._local_id = local_id
        self._remote_id = remote_id
        self._buffer = bytearray()
        self._term = 0
        self._index = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages that are complete with `data`, link heartbeats left out.

        Raises:
            MalformedStream: the bytes are no frame.
        """
        self._buffer += data
        position = 0
        while (cut := self._frame_at(position)) is not None:
            position, message = cut
            if message is not None:
                yield message
        del self._buffer[:position]

    def _frame_at(self, position: int) -> tuple[int, Message | None] | None:
        """(end of the frame, its message) of the frame that starts here, None while it is not complete."""
        buffer = self._buffer
        if position >= len(buffer):
            return None
        kind = buffer[position]
        if kind == _APP_HEARTBEAT:
            return position + 1, None
        if kind == _APP_FULL:
            return self._full_at(position + 1)
        if kind == _APP_ENTRIES:
            return self._entries_at(position + 1)
        raise MalformedStream(f"frame kind {kind} in a msgapp stream")

    def _full_at(self, position: int) -> tuple[int, Message] | None:
        body = _field_at(self._buffer, position)
        if body is None:
            return None
        message = _decode_message(body)
        self._term = message.term
        self._index = message.entries[-1].index if message.entries else message.index
        return position + 8 + len(body), message

    def _entries_at(self, position: int) -> tuple[int, Message] | None:
        buffer = self._buffer
        if len(buffer) - position < 8:
            return None
        count = _U64.unpack_from(buffer, position)[0]
        if count > ENTRIES_MAX:
            raise MalformedStream(f"{count} entries in one frame")
        position += 8
        bodies = []
        for _ in range(count):
            body = _field_at(buffer, position)
            if body is None:
                return None
            bodies.append(body)
            position += 8 + len(body)
        if len(buffer) - position < 8:
            return None
        commit = _U64.unpack_from(buffer, position)[0]
        message = Message(
            MessageType.APP,
            to=self._local_id,
            from_=self._remote_id,
            term=self._term,
            log_term=self._term,
            index=self._index,
            entries=[_decode_entry(body) for body in bodies],
            commit=commit,
        )
        _check(message)
        self._index += count
        return position + 8, message


def _length(buffer: bytearray, position: int) -> int:
    length: int = _U64.unpack_from(buffer, position)[0]
    if length > MESSAGE_BYTES_MAX:
        raise MalformedStream(f"a message of {length} bytes")
    return length


def _field_at(buffer: bytearray, position: int) -> bytes | None:
    """The length-prefixed bytes that start here, None while they are not complete."""
    if len(buffer) - position < 8:
        return None
    end = position + 8 + _length(buffer, position)
    return bytes(buffer[position + 8 : end]) if end <= len(buffer) else None


def _decode_message(body: bytes) -> Message:
    try:
        return raft_codec.decode_message(body)
    except MalformedMessage as error:
        raise MalformedStream(str(error)) from error


def _check(message: Message) -> None:
    try:
        raft_codec.check_message(message)
    except MalformedMessage as error:
        raise MalformedStream(str(error)) from error


def _decode_entry(body: bytes) -> Entry:
    try:
        entry = raft_codec.decode_entry(body)
    except MalformedMessage as error:
        raise MalformedStream(str(error)) from error
    entry.encoded = body  # what the log writes: no need to encode it again
    return entry
