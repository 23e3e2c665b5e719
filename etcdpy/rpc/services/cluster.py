"""etcdserverpb.Cluster: who the members are. Headers of this service carry no revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto.rpc_pb2 import (
    MemberAddRequest,
    MemberListRequest,
    MemberListResponse,
    MemberPromoteRequest,
    MemberRemoveRequest,
    MemberUpdateRequest,
)
from etcdpy.rpc.errors import to_rpc_error
from etcdpy.rpc.guard import check_admin, token_of, user_info
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.base import Service
from etcdpy.rpc.services.kv import when_confirmed

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call
    from etcdpy.server.results import Done, Result


class Cluster(Service):
    """Requests about members."""

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/etcdserverpb.Cluster/"
        return [
            Method(service + "MemberAdd", Kind.UNARY, self.member_add),
            Method(service + "MemberRemove", Kind.UNARY, self.member_remove),
            Method(service + "MemberUpdate", Kind.UNARY, self.member_update),
            Method(service + "MemberList", Kind.UNARY, self.member_list),
            Method(service + "MemberPromote", Kind.UNARY, self.member_promote),
        ]

    def member_add(self, call: Call, data: bytes) -> None:
        """Add a voter or a learner."""
        self._change(call, MemberAddRequest.FromString(data))

    def member_remove(self, call: Call, data: bytes) -> None:
        """Remove a member for good."""
        self._change(call, MemberRemoveRequest.FromString(data))

    def member_update(self, call: Call, data: bytes) -> None:
        """Change the peer URLs of a member."""
        self._change(call, MemberUpdateRequest.FromString(data))

    def member_promote(self, call: Call, data: bytes) -> None:
        """Make a learner a voter."""
        self._change(call, MemberPromoteRequest.FromString(data))

    def member_list(self, call: Call, data: bytes) -> None:
        """List the members."""
        if self._member.state.auth.is_enabled:
            user_info(self._member, call)

        def read() -> None:
            self.respond(call, MemberListResponse(members=self._member.member_list()), 0)

        if MemberListRequest.FromString(data).linearizable:
            self._member.confirm_read(when_confirmed(call, read))
        else:
            read()

    def _change(
        self,
        call: Call,
        request: MemberAddRequest | MemberRemoveRequest | MemberUpdateRequest | MemberPromoteRequest,
    ) -> None:
        token = ""
        if self._member.state.auth.is_enabled:
            check_admin(self._member, call)
            token = token_of(call) or ""
        self._member.change_members(request, self._answer_change(call), token)

    def _answer_change(self, call: Call) -> Done:
        def done(result: Result) -> None:
            if result.error is not None:
                call.fail(to_rpc_error(result.error))
                return
            assert result.response is not None, f"{call.path} without response"
            self.respond(call, result.response, 0)

        return done
