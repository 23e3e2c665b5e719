"""Reading a log back: from the records of its segments to what the member must remember.

Every segment but the newest was finished and synced before the next began, so any fault in it is damage. The
newest may end in a torn write; `tear` decides. Records whose CRC is right are still checked against each
other, because the CRC does not cover the kind of a record and because a hole in the log must never reach
raft: entries join without a gap, terms do not fall, the hard state does not know of commits that are not
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from etcdpy.proto import raft_pb2, wal_pb2
from etcdpy.wal.entry_head import read_entry_head
from etcdpy.wal.errors import CorruptRecord, MissingEntries, MissingMark
from etcdpy.wal.record import BadRecord, RecordKind, RecordReader
from etcdpy.wal.segment import contiguous_end, list_segments
from etcdpy.wal.tear import content_end, is_torn

if TYPE_CHECKING:
    from etcdpy.wal.files import Files

__all__ = ["Recovered", "Recovery", "SegmentScan", "SnapshotMark", "read_marks"]

_Message = TypeVar("_Message", bound=Message)

# Looked up once: an attribute of an enum costs as much as a comparison of bytes.
_METADATA: Final = RecordKind.METADATA
_ENTRY: Final = RecordKind.ENTRY
_STATE: Final = RecordKind.STATE
_CONF_CHANGE: Final = int(raft_pb2.EntryConfChange)

# A term counts elections: at one a millisecond this takes nine thousand years. A larger number is something
# else, such as a member id in a record whose kind was damaged.
_TERM_MAX: Final = 1 << 48


@dataclass(slots=True, frozen=True)
class SnapshotMark:
    """A place where the log may be opened: a snapshot up to `index` exists. `conf_state` is an encoded
    ConfState.
    """

    index: int = 0
    term: int = 0
    conf_state: bytes | None = None

    def encode(self) -> bytes:
        message = wal_pb2.Snapshot(index=self.index, term=self.term)
        if self.conf_state is not None:
            message.conf_state.MergeFromString(self.conf_state)
            message.conf_state.SetInParent()
        return message.SerializeToString()


@dataclass(slots=True)
class Recovered:
    """What a log remembers from a mark on. `encoded` are the entries as they were written; `repaired` names
    the copy of a torn segment, if there was one.
    """

    metadata: bytes
    hard_state: raft_pb2.HardState | None
    encoded: list[bytes]
    repaired: Path | None = None

    @property
    def entries(self) -> list[raft_pb2.Entry]:
        """The entries, decoded anew for each caller."""
        return [raft_pb2.Entry.FromString(data) for data in self.encoded]


class SegmentScan:
    """The records of one segment. After the walk, `offset` and `crc` tell where a writer continues and `torn`
    whether something must be cut off there.
    """

    def __init__(self, path: Path, data: bytes, crc: int | None, *, newest: bool) -> None:
        self.path = path
        self.torn = False
        self._newest = newest
        self._reader = RecordReader(data, crc)

    @property
    def offset(self) -> int:
        return self._reader.offset

    @property
    def crc(self) -> int | None:
        return self._reader.crc

    @property
    def record(self) -> RecordReader:
        """The record that `advance` has read: its `start`, `kind` and `body`."""
        return self._reader

    def __iter__(self) -> Iterator[tuple[int, RecordKind, bytes]]:
        reader = self._reader
        while self.advance():
            yield reader.start, reader.kind, reader.body

    def advance(self) -> bool:
        """Read the next record; False at the end.

        Raises:
            CorruptRecord: there is damage.
        """
        reader = self._reader
        try:
            if reader.advance():
                return True
            if content_end(reader.data) <= reader.offset:
                return False
            reason = "there is data behind the last record"
        except BadRecord as bad:
            reason = bad.reason
        if not (self._newest and is_torn(reader.data, reader.offset)):
            raise CorruptRecord(self.path, reader.offset, reason)
        self.torn = True
        return False


class Recovery:
    """Collects records, segment by segment, into what was written after the mark."""

    def __init__(self, mark: SnapshotMark) -> None:
        self.metadata: bytes | None = None
        self.hard_state: raft_pb2.HardState | None = None
        self.hard_state_bytes = b""
        self.encoded: list[bytes] = []
        self._terms: list[int] = []
        self._mark = mark
        self._mark_met = False
        self._path: Path
        self._offset = 0

    @property
    def last_index(self) -> int:
        return self._mark.index + len(self.encoded)

    def read_segment(self, scan: SegmentScan) -> None:
        """Take in one segment; they come in order of their names."""
        self._path = scan.path
        head = [_METADATA, RecordKind.CRC]
        record = scan.record
        while scan.advance():
            self._offset = record.start
            kind = record.kind
            if head and (expected := head.pop()) is not kind:
                raise self._corrupt(f"a {kind.name} record where the segment must have {expected.name}")
            if kind is _ENTRY:
                self._take_entry(record.body)
            elif kind is _STATE:
                self._take_state(record.body)
            elif kind is RecordKind.SNAPSHOT:
                self._take_mark(record.body)
            elif kind is _METADATA:
                self._take_metadata(record.body)
            else:
                assert kind is RecordKind.CRC, f"no reader for {kind}"  # the scan has followed it already
        if head:
            raise CorruptRecord(scan.path, scan.offset, "the segment has no head")

    def finish(self, directory: Path) -> Recovered:
        """Check the whole and give it out."""
        assert self.metadata is not None, f"no segment of {directory} was read"
        if not self._mark_met:
            raise MissingMark(directory, f"the log does not know a snapshot at index {self._mark.index}")
        state = self.hard_state
        if state is not None and state.commit > self.last_index:
            raise MissingEntries(
                directory,
                f"entries up to {state.commit} were committed but the log ends at {self.last_index}",
            )
        if state is not None and self._terms and state.term < self._terms[-1]:
            # The crash has left entries and taken the hard state that was written with them. To have entries
            # of a term is to have entered it; a vote in it was never on disk. The log says so from now on,
            # for a lower term behind these entries is taken for damage.
            state = raft_pb2.HardState(term=self._terms[-1], vote=0, commit=state.commit)
            self.hard_state, self.hard_state_bytes = state, state.SerializeToString()
        return Recovered(self.metadata, state, self.encoded)

    def _corrupt(self, reason: str) -> CorruptRecord:
        return CorruptRecord(self._path, self._offset, reason)

    def _take_metadata(self, body: bytes) -> None:
        if self.metadata is None:
            self.metadata = body
        elif body != self.metadata:
            raise self._corrupt(
                "the metadata differs from that of an earlier segment: the segments are of two logs"
            )

    def _take_entry(self, body: bytes) -> None:
        kind, term, index, data_bytes = read_entry_head(body) or self._parse_entry(body)
        # What a damaged kind would make of a hard state: it has the fields of an entry, with other meanings.
        if not index or term > _TERM_MAX:
            raise self._corrupt(f"no raft entry: index {index}, term {term}")
        if not data_bytes and kind == _CONF_CHANGE:
            raise self._corrupt("a configuration change that changes nothing")
        position = index - self._mark.index - 1
        if position < 0:
            return
        terms = self._terms
        if position > len(terms):
            raise MissingEntries(self._path, f"entry {index} follows {self.last_index}")
        term_before = terms[position - 1] if position else 0
        if term < term_before:
            raise self._corrupt(f"term {term} at index {index} follows {term_before}")
        if position < len(terms):
            # A new leader overwrites what the old one could not commit: whatever lies from here on is void.
            del terms[position:]
            del self.encoded[position:]
        terms.append(term)
        self.encoded.append(body)

    def _parse_entry(self, body: bytes) -> tuple[int, int, int, int]:
        """The head of an entry that is not written the way in which everybody writes them."""
        entry = _decode(raft_pb2.Entry, self._path, self._offset, body)
        if not entry.HasField("Type"):
            raise self._corrupt(f"no raft entry: index {entry.Index}, term {entry.Term}")
        return entry.Type, entry.Term, entry.Index, len(entry.Data)

    def _take_state(self, body: bytes) -> None:
        state = _decode(raft_pb2.HardState, self._path, self._offset, body)
        old_term = 0 if self.hard_state is None else self.hard_state.term
        entry_term = self._terms[-1] if self._terms else 0
        if not max(old_term, entry_term) <= state.term <= _TERM_MAX:
            raise self._corrupt(f"hard state of term {state.term} after term {max(old_term, entry_term)}")
        self.hard_state = state
        self.hard_state_bytes = body

    def _take_mark(self, body: bytes) -> None:
        mark = _decode_mark(self._path, self._offset, body)
        if mark.index != self._mark.index:
            return
        if mark.term != self._mark.term:
            raise MissingMark(
                self._path,
                f"the snapshot at index {mark.index} is of term {mark.term}, not {self._mark.term}",
            )
        self._mark_met = True


def _decode(kind: type[_Message], path: Path, offset: int, body: bytes) -> _Message:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise CorruptRecord(path, offset, f"no {kind.DESCRIPTOR.full_name}: {error}") from error


def _decode_mark(path: Path, offset: int, body: bytes) -> SnapshotMark:
    message = _decode(wal_pb2.Snapshot, path, offset, body)
    if not message.HasField("index") or not message.HasField("term"):
        raise CorruptRecord(path, offset, "a snapshot mark without index or term")
    conf_state = message.conf_state.SerializeToString() if message.HasField("conf_state") else None
    return SnapshotMark(message.index, message.term, conf_state)


def read_marks(files: Files, directory: Path) -> list[SnapshotMark]:
    """The snapshots at which the log may be opened, oldest first: those not beyond what is known to be
    committed.
    """
    marks: list[SnapshotMark] = []
    commit = 0
    crc: int | None = None
    names = contiguous_end(list_segments(files, directory))
    for name in names:
        path = directory / str(name)
        scan = SegmentScan(path, files.read(path), crc, newest=name == names[-1])
        for offset, kind, body in scan:
            if kind is RecordKind.SNAPSHOT:
                marks.append(_decode_mark(path, offset, body))
            elif kind is RecordKind.STATE:
                commit = _decode(raft_pb2.HardState, path, offset, body).commit
        crc = scan.crc
    return [mark for mark in marks if mark.index <= commit]
