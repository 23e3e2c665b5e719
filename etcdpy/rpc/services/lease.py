"""etcdserverpb.Lease: leases are granted and revoked through the log; their time is known to the leader
alone.
"""

from __future__ import annotations

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
from etcdpy.rpc.encoding import encode_renewal
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

    def __init__(self, member: MemberView) -> None:
        super().__init__(member)  # written out: see docs/performance.md, "Compiled"

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
    """One stream of renewals, answered in the order in which they came: at once where this member knows the
    time.
    """

    __slots__ = ("_call", "_half_closed", "_header", "_is_renewing", "_member", "_paused", "_waiting")

    def __init__(self, member: MemberView, header: Callable[[int], bytes], call: Call) -> None:
        self._member = member
        self._header = header
        self._call = call
        self._waiting: list[int] = []
        self._is_renewing = False
        self._half_closed = False
        self._paused = False

    def start(self) -> None:
        self._call.on_message = self._hear
        self._call.on_half_close = self._half_close
        self._call.on_cancel = self._waiting.clear
        self._call.on_writable = self._go_on

    def _hear(self, data: bytes) -> None:
        call = self._call
        try:
            lease_id = LeaseKeepAliveRequest.FromString(data).ID
        except FAULTS as error:
            call.fail(to_rpc_error(error))
            return
        if not self._waiting and self._may_renew():
            self._renew(lease_id)
            return
        self._waiting.append(lease_id)
        if len(self._waiting) >= WAITING_RENEWALS_MAX and not self._paused:
            self._paused = True
            call.pause_reading()

    def _half_close(self) -> None:
        self._half_closed = True
        self._go_on()

    def _go_on(self) -> None:
        # A renewal may be answered before `renew_lease` returns; the loop takes it from there instead of
        # going deeper.
        while self._waiting and self._may_renew():
            self._renew(self._waiting.pop(0))
        if self._paused and len(self._waiting) < WAITING_RENEWALS_MAX // 2:
            self._paused = False
            self._call.resume_reading()
        if self._half_closed and not self._waiting and not self._is_renewing:
            self._call.finish()

    def _may_renew(self) -> bool:
        return not self._is_renewing and self._call.pending_bytes < PENDING_BYTES_MAX

    def _renew(self, lease_id: int) -> None:
        member, call = self._member, self._call
        state = member.state
        if state.auth.is_enabled:
            try:
                check_lease(member, call, lease_id)
            except AuthError as error:
                self._waiting.clear()
                call.fail(to_rpc_error(error))
                return
        # etcd notes the revision before it renews.
        header = self._header(state.store.revision)
        ttl = member.maybe_renew_lease(lease_id)
        if ttl is None:
            self._ask(lease_id, header)
        else:
            call.send(encode_renewal(header, lease_id, ttl))

    def _ask(self, lease_id: int, header: bytes) -> None:
        """Have a lease renewed that takes time or another member."""
        self._is_renewing = True
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
