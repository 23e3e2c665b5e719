"""etcdserverpb.Auth: users, roles and tokens. All of it goes through the log, the reads too, as in etcd.

Passwords do not: they are hashed before the request that brings them is proposed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.errors import FAULTS, to_rpc_error
from etcdpy.rpc.router import Kind, Method
from etcdpy.rpc.services.base import Service

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.rpc.call import Call

# Method name -> field of InternalRaftRequest and type of the request.
PROPOSED: dict[str, tuple[str, type[Message]]] = {
    "AuthEnable": ("auth_enable", pb.AuthEnableRequest),
    "AuthDisable": ("auth_disable", pb.AuthDisableRequest),
    "AuthStatus": ("auth_status", pb.AuthStatusRequest),
    "UserGet": ("auth_user_get", pb.AuthUserGetRequest),
    "UserList": ("auth_user_list", pb.AuthUserListRequest),
    "UserDelete": ("auth_user_delete", pb.AuthUserDeleteRequest),
    "UserGrantRole": ("auth_user_grant_role", pb.AuthUserGrantRoleRequest),
    "UserRevokeRole": ("auth_user_revoke_role", pb.AuthUserRevokeRoleRequest),
    "RoleAdd": ("auth_role_add", pb.AuthRoleAddRequest),
    "RoleGet": ("auth_role_get", pb.AuthRoleGetRequest),
    "RoleList": ("auth_role_list", pb.AuthRoleListRequest),
    "RoleDelete": ("auth_role_delete", pb.AuthRoleDeleteRequest),
    "RoleGrantPermission": ("auth_role_grant_permission", pb.AuthRoleGrantPermissionRequest),
    "RoleRevokePermission": ("auth_role_revoke_permission", pb.AuthRoleRevokePermissionRequest),
}


class Auth(Service):
    """Requests about users and roles."""

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/etcdserverpb.Auth/"
        proposed = [
            Method(service + name, Kind.UNARY, partial(self._propose, field, request_type))
            for name, (field, request_type) in PROPOSED.items()
        ]
        return [
            *proposed,
            Method(service + "UserAdd", Kind.UNARY, self.user_add),
            Method(service + "UserChangePassword", Kind.UNARY, self.user_change_password),
            Method(service + "Authenticate", Kind.UNARY, self.authenticate),
        ]

    def authenticate(self, call: Call, data: bytes) -> None:
        """Give a token for a password."""
        self._member.authenticate(pb.AuthenticateRequest.FromString(data), self.answer(call))

    def user_add(self, call: Call, data: bytes) -> None:
        """Make a user, with a password that may be empty or with none at all."""
        request = pb.AuthUserAddRequest.FromString(data)
        if request.options.no_password:
            self.propose(call, "auth_user_add", request, data)
        else:
            self._hash_and_propose(call, "auth_user_add", request)

    def user_change_password(self, call: Call, data: bytes) -> None:
        """Give a user a new password. Without one, what the client has hashed itself is kept."""
        request = pb.AuthUserChangePasswordRequest.FromString(data)
        if request.password:
            self._hash_and_propose(call, "auth_user_change_password", request)
        else:
            self.propose(call, "auth_user_change_password", request, data)

    def _hash_and_propose(
        self, call: Call, field: str, request: pb.AuthUserAddRequest | pb.AuthUserChangePasswordRequest
    ) -> None:
        def hashed(password_hash: str | None, error: Exception | None) -> None:
            if password_hash is None:
                call.fail(to_rpc_error(error or RuntimeError("no hash")))
                return
            request.password = ""
            request.hashedPassword = password_hash
            try:
                self.propose(call, field, request, request.SerializeToString())
            except FAULTS as fault:
                call.fail(to_rpc_error(fault))

        self._member.hash_password(request.password, hashed)

    def _propose(self, field: str, request_type: type[Message], call: Call, data: bytes) -> None:
        self.propose(call, field, request_type.FromString(data), data)
