"""etcdserverpb.Lease: leases are granted and revoked through the log; their time is known to the leader
alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from etcdpy.auth import AuthError, AuthOldRevision
from etcdpy.lease import LeaseNotFound
from etcdpy.proto.rpc_pb2 import (
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseLeasesResponse,
    LeaseRevokeRequest,
    LeaseStatus,
    LeaseTimeToLiveRequest,
)
from etcdpy.rpc.errors import FAULTS, Code, to_rpc_error
from etcdpy.rpc.guard import check_lease, check_lease_keys, user_info
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.base import Service
from etcdpy.server.errors import NoSpace
from etcdpy.server.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.server.results import Done

# Renewals that wait behind one that takes time, and answers that the client has not read: beyond these the
# stream is not read.
WAITING_RENEWALS_MAX = 128
PENDING_BYTES_MAX = 128 * 1024


class Lease(Service):
    """Requests on leases."""

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/etcdserverpb.Lease/"
        return [
            Method(service + "LeaseGrant", Kind.UNARY, self.grant),
            Method(service + "LeaseRevoke", Kind.UNARY, self.revoke),
            Method(
                service + "LeaseKeepAlive", Kind.BIDI_STREAM, self.keep_alive, code_if_left=Code.UNAVAILABLE
            ),
            Method(service + "LeaseTimeToLive", Kind.UNARY, self.time_to_live),
            Method(service + "LeaseLeases", Kind.UNARY, self.leases),
        ]

    def grant(self, call: Call, data: bytes) -> None:
        """Make a lease; the server picks the id if the client leaves it 0."""
        request = LeaseGrantRequest.FromString(data)
        member = self._member
        if not member.has_space(request):
            raise NoSpace
        while request.ID == 0:
            request.ID = member.request_ids.next_lease_id()
            data = request.SerializeToString()
        if member.state.auth.is_enabled:
            user_info(member, call)
        self.propose(call, "lease_grant", request, data)

    def revoke(self, call: Call, data: bytes) -> None:
        """End a lease and delete its keys."""
        request = LeaseRevokeRequest.FromString(data)
        if self._member.state.auth.is_enabled:
            user_info(self._member, call)
        self.propose(call, "lease_revoke", request, data)

    def keep_alive(self, call: Call, data: bytes) -> None:
        """Renew leases as the client asks for it."""
        _KeepAliveStream(self._member, self.header, call).start()

    def time_to_live(self, call: Call, data: bytes) -> None:
        """How long a lease will live, and its keys."""
        request = LeaseTimeToLiveRequest.FromString(data)
        member = self._member
        answer = self.answer(call)
        if member.state.auth.is_enabled:
            user_info(member, call)
            if request.keys:
                check_lease_keys(member, call, [request.ID])
                answer = self._answer_at_revision(call, member.state.auth.revision)
        member.lease_time_to_live(request, answer)

    def _answer_at_revision(self, call: Call, revision: int) -> Done:
        """A `done` that does not tell what may be a secret by now: the leader took its time to answer."""
        answer = self.answer(call)

        def done(result: Result) -> None:
            auth = self._member.state.auth
            if auth.is_enabled and auth.revision != revision and result.error is None:
                result = Result(error=AuthOldRevision())
            answer(result)

        return done

    def leases(self, call: Call, data: bytes) -> None:
        """All leases as this member knows them."""
        lease_ids = self._member.lease_ids()
        if self._member.state.auth.is_enabled:
            check_lease_keys(self._member, call, lease_ids)
        leases = [LeaseStatus(ID=lease_id) for lease_id in lease_ids]
        self.respond(call, LeaseLeasesResponse(leases=leases), self._member.state.store.revision)


class _KeepAliveStream:
    """One stream of renewals, answered in the order in which they came."""

    def __init__(self, member: MemberView, header: Callable[[int], bytes], call: Call) -> None:
        self._member = member
        self._header = header
        self._call = call
        self._waiting: deque[int] = deque()
        self._is_renewing = False
        self._half_closed = False
        self._paused = False

    def start(self) -> None:
        self._call.on_message = self._hear
        self._call.on_half_close = self._half_close
        self._call.on_cancel = self._waiting.clear
        self._call.on_writable = self._go_on

    def _hear(self, data: bytes) -> None:
        try:
            self._waiting.append(LeaseKeepAliveRequest.FromString(data).ID)
        except FAULTS as error:
            self._call.fail(to_rpc_error(error))
            return
        self._go_on()
        if len(self._waiting) >= WAITING_RENEWALS_MAX and not self._paused:
            self._paused = True
            self._call.pause_reading()

    def _half_close(self) -> None:
        self._half_closed = True
        self._go_on()

    def _go_on(self) -> None:
        call = self._call
        # A renewal may be answered before `renew_lease` returns; the loop takes it from there instead of
        # going deeper.
        while self._waiting and not self._is_renewing and call.pending_bytes < PENDING_BYTES_MAX:
            self._renew(self._waiting.popleft())
        if self._paused and len(self._waiting) < WAITING_RENEWALS_MAX // 2:
            self._paused = False
            call.resume_reading()
        if self._half_closed and not self._waiting and not self._is_renewing:
            call.finish()

    def _renew(self, lease_id: int) -> None:
        if self._member.state.auth.is_enabled:
            try:
                check_lease(self._member, self._call, lease_id)
            except AuthError as error:
                self._waiting.clear()
                self._call.fail(to_rpc_error(error))
                return
        self._is_renewing = True
        # etcd notes the revision before it renews.
        header = self._header(self._member.state.store.revision)
        returned = False

        def done(result: Result) -> None:
            self._is_renewing = False
            if isinstance(result.error, LeaseNotFound):
                body = LeaseKeepAliveResponse(ID=lease_id).SerializeToString()
            elif result.error is not None:
                self._waiting.clear()
                self._call.fail(to_rpc_error(result.error))
                return
            else:
                assert result.response is not None, f"renewal of lease {lease_id:x} without response"
                body = result.response.SerializeToString()
            self._call.send(header + body)
            if returned:
                self._go_on()

        self._member.renew_lease(lease_id, done)
        returned = True
