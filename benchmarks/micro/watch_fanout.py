"""What the watch hub costs: microseconds for each delivered event and for each published revision.

The store is a list in memory and the sink frames a whole response as the rpc layer has to (header, watch
id, events, length prefix), so the numbers are the hub plus the least a stream can do, without HTTP/2 and
sockets.

    python benchmarks/micro/watch_fanout.py [--watchers 1000] [--revisions 1000]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from etcdpy.mvcc import Event, EventType
from etcdpy.mvcc.watch import Watcher, WatchHub
from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.proto.rpc_pb2 import ResponseHeader, WatchResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etcdpy.mvcc.watch_events import EncodedEvents

VALUE_BYTES = 256


class BenchStore:
    def __init__(self) -> None:
        self.revision = 1
        self.compact_revision = -1
        self.history: list[tuple[int, list[Event]]] = []

    def put(self, key: bytes) -> list[Event]:
        self.revision += 1
        kv = KeyValue(
            key=key,
            value=bytes(VALUE_BYTES),
            create_revision=2,
            mod_revision=self.revision,
            version=self.revision,
        ).SerializeToString()
        events = [Event(EventType.PUT, key, kv, self.revision, False, 0, None)]
        self.history.append((self.revision, events))
        return events

    def previous(self, event: Event, /) -> bytes | None:
        return event.kv

    def events_between(self, start: int, end: int, /) -> Iterator[tuple[int, list[Event]]]:
        return iter(self.history[start - 2 : end - 1])


class FramingSink:
    """Makes the bytes for the socket; a finished response is kept with the events and used again."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.delivered = 0

    def deliver(self, watcher: Watcher, revision: int, events: EncodedEvents) -> bool:
        frame = events.memo.get(watcher.watch_id)
        if frame is None:
            header = ResponseHeader(cluster_id=1 << 60, member_id=1 << 61, revision=revision, raft_term=2)
            body = WatchResponse(header=header, watch_id=watcher.watch_id).SerializeToString() + events.data
            frame = events.memo[watcher.watch_id] = b"\0" + len(body).to_bytes(4, "big") + body
        self.frames.append(frame)
        self.delivered += len(events)
        return True

    def compacted(self, watcher: Watcher, compact_revision: int) -> None:
        raise AssertionError("nothing is compacted here")

    def progress(self, watcher: Watcher, revision: int) -> None:
        raise AssertionError("nothing ticks here")


def live(watchers: int, revisions: int, place: Callable[[int], tuple[bytes, bytes, int]]) -> dict[str, float]:
    """Publish puts of one key to watchers set up by `place(number) -> key, range_end, watch_id`."""
    store = BenchStore()
    hub = WatchHub(store)
    sinks = [FramingSink() for _ in range(watchers)]
    begin = time.perf_counter()
    for number, sink in enumerate(sinks):
        key, range_end, watch_id = place(number)
        hub.watch(key, range_end, watch_id=watch_id, sink=sink)
    created = time.perf_counter() - begin
    batches = [store.put(b"/service/00500/config") for _ in range(revisions)]
    begin = time.perf_counter()
    for events in batches:
        hub.publish(events[0].mod_revision, events)
        for sink in sinks[:: max(1, watchers // 10)]:
            sink.frames.clear()
    spent = time.perf_counter() - begin
    delivered = sum(sink.delivered for sink in sinks)
    return {
        "create_us": round(created * 1e6 / watchers, 2),
        "revision_us": round(spent * 1e6 / revisions, 1),
        "event_us": round(spent * 1e6 / max(1, delivered), 3),
        "events": delivered,
    }


def past(watchers: int, revisions: int) -> dict[str, float]:
    """Watchers of one prefix that all start at the first revision."""
    store = BenchStore()
    for _ in range(revisions):
        store.put(b"/service/00500/config")
    hub = WatchHub(store)
    sinks = [FramingSink() for _ in range(watchers)]
    for sink in sinks:
        hub.watch(b"/service/", b"/service0", 2, watch_id=0, sink=sink)
    begin = time.perf_counter()
    passes = 1
    while hub.catch_up():
        passes += 1
    spent = time.perf_counter() - begin
    delivered = sum(sink.delivered for sink in sinks)
    return {
        "pass_ms": round(spent * 1e3 / passes, 2),
        "event_us": round(spent * 1e6 / delivered, 4),
        "events": delivered,
    }


def own_prefix(number: int) -> tuple[bytes, bytes, int]:
    """A range that is nobody else's."""
    return b"/service/%05d/" % number, b"/service/%05d0" % number, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--revisions", type=int, default=300)
    options = parser.parse_args()
    count, revisions = options.watchers, options.revisions
    results = {
        "one prefix, a stream each": live(count, revisions, lambda _: (b"/service/", b"/service0", 0)),
        "one prefix, one stream, own ids": live(count, revisions, lambda n: (b"/service/", b"/service0", n)),
        "own prefix each, one hears": live(count, revisions, own_prefix),
        "ten times as many prefixes, one hears": live(10 * count, revisions, own_prefix),
        "own key each, one hears": live(count, revisions, lambda n: (b"/service/%05d/config" % n, b"", 0)),
        "catching up on one prefix": past(count, revisions),
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
