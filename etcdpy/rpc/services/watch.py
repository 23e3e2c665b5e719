"""etcdserverpb.Watch: many watches on one stream.

A stream is the sink of its watchers. The hub hands over events that are encoded once for everybody; a
response is a header, the watch id and those bytes, and a response for the same id is shared between streams
as well.

Nothing waits in here for a slow client. When the transport holds too many bytes of a stream, its sink
refuses events, the hub keeps the place, and the stream asks the hub to go on once the bytes are gone;
answers to requests cannot be refused, so requests are not read meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.auth import AuthError, AuthOldRevision, InvalidAuthToken, PermissionDenied, UserEmpty
from etcdpy.mvcc.watch import EmptyWatchRange
from etcdpy.proto.rpc_pb2 import WatchCreateRequest, WatchRequest, WatchResponse
from etcdpy.rpc.encoding import encode_varint
from etcdpy.rpc.errors import FAULTS, to_rpc_error
from etcdpy.rpc.guard import auth_info
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.base import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etcdpy.mvcc.watch import Watcher
    from etcdpy.mvcc.watch_events import EncodedEvents
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView

# Above this a client counts as slow. It is several windows of a usual client, and small beside what one
# response may carry.
PENDING_BYTES_MAX = 1024 * 1024
# What gRPC adds to a message at most, by etcd's reckoning; a response is fragmented from
# `max_request_bytes` plus this.
GRPC_OVERHEAD_BYTES = 512 * 1024

INVALID_WATCH_ID = -1
DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
EMPTY_RANGE = "mvcc: watcher range is empty"
NEGATIVE_START = "etcdserver: mvcc: required revision has been compacted"

_WATCH_ID = b"\x10"  # WatchResponse.watch_id = 2
_FRAGMENT = b"\x38\x01"  # WatchResponse.fragment = 7, true


class Watch(Service):
    """Streams of events."""

    def __init__(self, member: MemberView) -> None:
        super().__init__(member)  # written out: see docs/performance.md, "Compiled"

    def methods(self) -> list[Method]:
        """What this service answers."""
        return [Method("/etcdserverpb.Watch/Watch", Kind.BIDI_STREAM, self.watch)]

    def watch(self, call: Call, data: bytes) -> None:
        """One stream of watches."""
        WatchStream(self._member, self.header, call).start()


class WatchStream:
    """The watches of one call, and the sink of their events. The client's half-close does not end it."""

    def __init__(self, member: MemberView, header: Callable[[int], bytes], call: Call) -> None:
        self._member = member
        self._hub = member.state.hub
        self._header = header
        self._call = call
        self._watchers: dict[int, Watcher] = {}
        self._next_id = 0
        self._is_reading = True
        self._has_refused = False
        self._is_open = False
        self._fragment_bytes = member.config.max_request_bytes + GRPC_OVERHEAD_BYTES

    def start(self) -> None:
        """Begin to listen to the client."""
        self._is_open = True
        self._hub.streams += 1
        self._call.on_message = self._hear
        self._call.on_cancel = self._close
        self._call.on_writable = self._go_on

    # The client's requests.

    def _hear(self, data: bytes) -> None:
        try:
            request = WatchRequest.FromString(data)
        except FAULTS as error:
            self._close()
            self._call.fail(to_rpc_error(error))
            return
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request)
            case "cancel_request":
                self._cancel(request.cancel_request.watch_id)
            case "progress_request":
                self._tell_progress()
            case _:
                pass
        if self._is_reading and self._call.pending_bytes > PENDING_BYTES_MAX:
            self._is_reading = False
            self._call.pause_reading()

    def _create(self, request: WatchCreateRequest) -> None:
        if request.start_revision < 0:
            self._refuse(NEGATIVE_START)
            return
        if self._member.state.auth.is_enabled:
            reason = self._forbidden(request)
            if reason:
                self._refuse(reason)
                return
        watch_id = request.watch_id or self._free_id()
        try:
            # Of two faults etcd finds the empty range first, and a watch refused for it takes no id.
            watcher = self._hub.watch(
                request.key,
                request.range_end,
                request.start_revision,
                watch_id=watch_id,
                sink=self,
                prev_kv=request.prev_kv,
                filters=request.filters,
                fragment=request.fragment,
                progress_notify=request.progress_notify,
            )
        except EmptyWatchRange:
            self._refuse(EMPTY_RANGE)
            return
        if watch_id in self._watchers:
            self._hub.cancel(watcher)
            self._refuse(DUPLICATE_ID)
            return
        if not request.watch_id:
            self._next_id = watch_id + 1
        self._watchers[watch_id] = watcher
        self._send(WatchResponse(watch_id=watch_id, created=True), self._hub.revision)

    def _forbidden(self, request: WatchCreateRequest) -> str:
        """Why the caller may not watch all of the range, as etcd says it; empty if they may. What happens to
        their permissions later does not end a watch.
        """
        try:
            info = auth_info(self._member, self._call)
            # An empty key is the smallest one; the end of the range is as the client gave it, for one that is
            # open is no single key (CVE-2026-73499).
            self._member.state.auth.check_read(info, request.key or b"\0", request.range_end)
        except (InvalidAuthToken, AuthOldRevision, UserEmpty) as error:
            return str(to_rpc_error(error))
        except AuthError:
            return str(to_rpc_error(PermissionDenied()))
        return ""

    def _free_id(self) -> int:
        free = self._next_id
        while free in self._watchers:
            free += 1
        return free

    def _refuse(self, reason: str) -> None:
        response = WatchResponse(watch_id=INVALID_WATCH_ID, created=True, canceled=True, cancel_reason=reason)
        self._send(response, self._hub.revision)

    def _cancel(self, watch_id: int) -> None:
        watcher = self._watchers.pop(watch_id, None)
        if watcher is not None:
            self._hub.cancel(watcher)
            self._send(WatchResponse(watch_id=watch_id, canceled=True), self._hub.revision)

    def _tell_progress(self) -> None:
        revision = self._hub.progress_revision(self._watchers.values())
        if revision is not None:
            self._send(WatchResponse(watch_id=INVALID_WATCH_ID), revision)

    def _send(self, response: WatchResponse, revision: int) -> None:
        self._call.send(self._header(revision) + response.SerializeToString())

    # The hub's side.

    def deliver(self, watcher: Watcher, revision: int, events: EncodedEvents) -> bool:
        """Send one response, or refuse it while the client is slow."""
        call = self._call
        if call.pending_bytes > PENDING_BYTES_MAX:
            self._has_refused = True
            return False
        watch_id = watcher.watch_id
        response = events.memo.get(watch_id)
        if response is None:
            data = events.data
            if (
                watcher.fragment
                and len(data) + _RESPONSE_BYTES_MAX >= self._fragment_bytes
                and len(events) > 1
            ):
                for part in self._fragments(watch_id, revision, events):
                    call.send(part)
                return True
            response = events.memo[watch_id] = self._prefix(watch_id, revision) + data
        call.send(response)
        return True

    def compacted(self, watcher: Watcher, compact_revision: int) -> None:
        """Tell the client that history is gone. The id stays taken until the client cancels it."""
        response = WatchResponse(watch_id=watcher.watch_id, canceled=True, compact_revision=compact_revision)
        self._send(response, 0)

    def progress(self, watcher: Watcher, revision: int) -> None:
        """Tell the client that nothing has happened."""
        self._send(WatchResponse(watch_id=watcher.watch_id), revision)

    def _prefix(self, watch_id: int, revision: int) -> bytes:
        header = self._header(revision)
        return header + _WATCH_ID + encode_varint(watch_id) if watch_id else header

    def _fragments(self, watch_id: int, revision: int, events: EncodedEvents) -> Iterator[bytes]:
        """Responses below the limit, each with at least one event; all but the last say that more follows."""
        prefix = self._prefix(watch_id, revision)
        fields: list[bytes] = []
        size = len(prefix) + len(_FRAGMENT)
        for field in events.fields:
            if fields and size + len(field) >= self._fragment_bytes:
                yield b"".join((prefix, _FRAGMENT, *fields))
                fields = []
                size = len(prefix) + len(_FRAGMENT)
            fields.append(field)
            size += len(field)
        yield b"".join((prefix, *fields))

    # The transport's side.

    def _go_on(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._call.resume_reading()
        if self._has_refused:
            self._has_refused = False
            self._hub.resume(self)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._hub.streams -= 1
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            self._hub.cancel(watcher)


# Header (46), watch id (11) and the fragment flag.
_RESPONSE_BYTES_MAX = 64
