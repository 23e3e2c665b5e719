"""KV.RangeStream: one large Range in pieces, each read when the client has taken the ones before.

The revision is pinned by the first piece, so all pieces show one state; a compaction in between may end the
stream. Pieces grow and shrink by their size in bytes, not by keys: the first is small so that the client
sees something soon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto.kv_pb2 import KeyValue
from etcdpy.rpc.encoding import encode_field, encode_range
from etcdpy.rpc.errors import FAULTS, to_rpc_error
from etcdpy.rpc.guard import check_read
from etcdpy.server.ranges import read_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.proto.rpc_pb2 import RangeRequest
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView

FIRST_CHUNK_KEYS = 10
# Above this the client is slower than we are, and the next piece waits for it.
PENDING_BYTES_MAX = 4 * 1024 * 1024

_RANGE_RESPONSE = b"\x0a"  # RangeStreamResponse.range_response = 1


class RangeStream:
    """One call of RangeStream on its way."""

    def __init__(
        self, member: MemberView, header: Callable[[int], bytes], call: Call, request: RangeRequest
    ) -> None:
        self._member = member
        self._header = header
        self._call = call
        self._request = request
        self._chunk_bytes = member.config.max_request_bytes
        self._chunk_keys = FIRST_CHUNK_KEYS
        self._remaining = max(request.limit, 0)
        self._store_revision = 0
        self._count = 0

    def start(self) -> None:
        """Send what the client takes; the rest follows when it can take more."""
        request = self._request
        if request.count_only:
            self._check_permission()
            answer = read_range(self._member.state.store, request)
            body = encode_range(self._header(answer.revision), (), answer.count, False)
            self._call.send(encode_field(_RANGE_RESPONSE, body))
            self._call.finish()
            return
        self._call.on_writable = self._resume
        self._pump()

    def _resume(self) -> None:
        try:
            self._pump()
        except FAULTS as error:
            self._call.fail(to_rpc_error(error))

    def _pump(self) -> None:
        call = self._call
        while not call.closed and call.pending_bytes < PENDING_BYTES_MAX:
            if not self._send_chunk():
                call.finish()
                return

    def _send_chunk(self) -> bool:
        """Send one piece; False when it was the last."""
        self._check_permission()
        request = self._request
        limited = request.limit > 0
        keys = min(self._chunk_keys, self._remaining) if limited else self._chunk_keys
        found = self._member.state.store.range(
            request.key,
            request.range_end,
            revision=request.revision,
            limit=keys + 1,
            keys_only=request.keys_only,
            # Counting at an older revision takes the longer, the more has been written since.
            is_piece=self._store_revision > 0,
        )
        kvs = found.kvs[:keys]
        more = len(found.kvs) > keys
        if not self._store_revision:
            self._store_revision = found.revision
            self._count = found.count
            request.revision = request.revision if request.revision > 0 else found.revision
        if limited:
            self._remaining -= len(kvs)
        last = not more or (limited and self._remaining == 0)
        if last:
            header = self._header(self._store_revision)
            body = encode_range(header, kvs, self._count, more)
        else:
            body = encode_range(b"", kvs, 0, False)
            request.key = KeyValue.FromString(kvs[-1]).key + b"\0"
            self._resize(len(body))
        self._call.send(encode_field(_RANGE_RESPONSE, body))
        return not last

    def _check_permission(self) -> None:
        """Who has lost the permission gets no more."""
        if self._member.state.auth.is_enabled:
            check_read(self._member, self._call, self._request.key, self._request.range_end)

    def _resize(self, size: int) -> None:
        if size < self._chunk_bytes // 2:
            self._chunk_keys *= 2
        elif size > 2 * self._chunk_bytes:
            self._chunk_keys = max(1, self._chunk_keys // 2)
