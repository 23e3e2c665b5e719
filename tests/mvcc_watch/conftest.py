"""A store of dictionaries and a sink that writes everything down, for tests of the watch hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from etcdpy.mvcc import Event, EventType
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import WatchResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etcdpy.mvcc.watch import Watcher
    from etcdpy.mvcc.watch_events import EncodedEvents


class FakeStore:
    """Every version of every key, in plain containers; compaction drops what it may drop."""

    def __init__(self) -> None:
        self.revision = 1
        self.compact_revision = -1
        self.events_by_revision: dict[int, list[Event]] = {}
        self.versions: dict[bytes, list[tuple[int, bytes | None]]] = {}
        self.scans = 0

    def write(self, *changes: tuple[bytes, bytes | None]) -> list[Event]:
        """One revision of puts (key, value) and deletes (key, None) of distinct keys."""
        revision = self.revision + 1
        events = []
        for key, value in changes:
            before = self.at(key, self.revision)
            if value is None:
                if before is not None:
                    tombstone = KeyValue(key=key).SerializeToString()
                    events.append(Event(EventType.DELETE, key, tombstone, revision, False, 0, None))
                    self.versions[key].append((revision, None))
                continue
            old = KeyValue.FromString(before) if before is not None else None
            kv = KeyValue(
                key=key,
                value=value,
                mod_revision=revision,
                create_revision=old.create_revision if old else revision,
                version=old.version + 1 if old else 1,
            ).SerializeToString()
            events.append(Event(EventType.PUT, key, kv, revision, old is None, 0, None))
            self.versions.setdefault(key, []).append((revision, kv))
        if events:
            self.revision = revision
            self.events_by_revision[revision] = events
        return events

    def at(self, key: bytes, revision: int) -> bytes | None:
        found = None
        for main, kv in self.versions.get(key, ()):
            if main <= revision:
                found = kv
        return found

    def previous(self, event: Event) -> bytes | None:
        before = event.mod_revision - 1
        return None if before < self.compact_revision else self.at(event.key, before)

    def compact(self, revision: int) -> None:
        self.compact_revision = revision
        for main in [main for main in self.events_by_revision if main < revision]:
            del self.events_by_revision[main]

    def events_between(self, start: int, end: int, /) -> Iterator[tuple[int, list[Event]]]:
        assert start >= self.compact_revision
        self.scans += 1
        for revision in sorted(self.events_by_revision):
            if start <= revision <= end:
                yield revision, self.events_by_revision[revision]


@dataclass(eq=False)
class RecordingSink:
    """Takes `room` responses and refuses the rest; remembers everything by watch id."""

    room: int = 1_000_000
    responses: dict[int, list[tuple[int, WatchResponse]]] = field(default_factory=dict)
    batches: list[EncodedEvents] = field(default_factory=list)
    compactions: list[tuple[int, int]] = field(default_factory=list)
    progresses: list[tuple[int, int]] = field(default_factory=list)

    def deliver(self, watcher: Watcher, revision: int, events: EncodedEvents) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        assert b"".join(events.fields) == events.data
        response = WatchResponse.FromString(events.data)
        assert len(response.events) == len(events) > 0
        self.batches.append(events)
        self.responses.setdefault(watcher.watch_id, []).append((revision, response))
        return True

    def compacted(self, watcher: Watcher, compact_revision: int) -> None:
        self.compactions.append((watcher.watch_id, compact_revision))

    def progress(self, watcher: Watcher, revision: int) -> None:
        self.progresses.append((watcher.watch_id, revision))

    def keys(self, watch_id: int) -> list[tuple[int, list[bytes]]]:
        """Header revision and keys of each response."""
        return [
            (revision, [event.kv.key for event in response.events])
            for revision, response in self.responses.get(watch_id, [])
        ]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture(scope="session")
def store_type() -> type[FakeStore]:
    return FakeStore


@pytest.fixture(scope="session")
def sink_type() -> type[RecordingSink]:
    return RecordingSink
