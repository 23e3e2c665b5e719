"""Users, roles and permissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from etcdpy.client import rpcs
from etcdpy.client.base import Calls
from etcdpy.client.keys import Key, KeyRange, Keys, bounds
from etcdpy.client.sides import both
from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb

Access = Literal["read", "write", "readwrite"]
_ACCESS: Final[dict[Access, auth_pb2.Permission.Type]] = {
    "read": auth_pb2.Permission.READ,
    "write": auth_pb2.Permission.WRITE,
    "readwrite": auth_pb2.Permission.READWRITE,
}
_ACCESS_BY_TYPE: Final = {int(kind): access for access, kind in _ACCESS.items()}


@dataclass(slots=True)
class Permission:
    """What a role may do with which keys."""

    access: Access
    keys: Key | KeyRange


@dataclass(slots=True)
class AuthStatus:
    """Whether authentication is on, and how often users, roles or permissions have changed."""

    enabled: bool
    auth_revision: int


class AuthCalls(Calls):
    """The calls of etcd's Auth service. All but one's own `user_get` need the role root while it is on."""

    @both
    async def auth_enable(self) -> None:
        """Demand a user of every call; a user root with the role root must be there."""
        await self._send(rpcs.AUTH_ENABLE, pb.AuthEnableRequest())

    @both
    async def auth_disable(self) -> None:
        """Demand no user any more."""
        await self._send(rpcs.AUTH_DISABLE, pb.AuthDisableRequest())

    @both
    async def auth_status(self) -> AuthStatus:
        """Whether authentication is on."""
        response = await self._send(rpcs.AUTH_STATUS, pb.AuthStatusRequest())
        return AuthStatus(response.enabled, response.authRevision)

    @both
    async def user_add(self, name: str, password: str | None) -> None:
        """Add a user; one without a password can only come by the name in its client certificate."""
        options = auth_pb2.UserAddOptions(no_password=password is None)
        await self._send(
            rpcs.USER_ADD, pb.AuthUserAddRequest(name=name, password=password or "", options=options)
        )

    @both
    async def user_get(self, name: str) -> list[str]:
        """The user's roles."""
        return list((await self._send(rpcs.USER_GET, pb.AuthUserGetRequest(name=name))).roles)

    @both
    async def user_list(self) -> list[str]:
        """Names of all users."""
        return list((await self._send(rpcs.USER_LIST, pb.AuthUserListRequest())).users)

    @both
    async def user_delete(self, name: str) -> None:
        """Remove a user."""
        await self._send(rpcs.USER_DELETE, pb.AuthUserDeleteRequest(name=name))

    @both
    async def user_change_password(self, name: str, password: str) -> None:
        """Give a user another password. A client that is this user needs it at its next token."""
        request = pb.AuthUserChangePasswordRequest(name=name, password=password)
        await self._send(rpcs.USER_CHANGE_PASSWORD, request)

    @both
    async def user_grant_role(self, name: str, role: str) -> None:
        """Give a user a role."""
        await self._send(rpcs.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user=name, role=role))

    @both
    async def user_revoke_role(self, name: str, role: str) -> None:
        """Take a role from a user."""
        await self._send(rpcs.USER_REVOKE_ROLE, pb.AuthUserRevokeRoleRequest(name=name, role=role))

    @both
    async def role_add(self, role: str) -> None:
        """Add a role, which may do nothing yet."""
        await self._send(rpcs.ROLE_ADD, pb.AuthRoleAddRequest(name=role))

    @both
    async def role_get(self, role: str) -> list[Permission]:
        """What the role may do."""
        response = await self._send(rpcs.ROLE_GET, pb.AuthRoleGetRequest(role=role))
        return [
            Permission(
                _ACCESS_BY_TYPE[int(one.permType)],
                KeyRange(one.key, one.range_end) if one.range_end else one.key,
            )
            for one in response.perm
        ]

    @both
    async def role_list(self) -> list[str]:
        """Names of all roles."""
        return list((await self._send(rpcs.ROLE_LIST, pb.AuthRoleListRequest())).roles)

    @both
    async def role_delete(self, role: str) -> None:
        """Remove a role, also from its users."""
        await self._send(rpcs.ROLE_DELETE, pb.AuthRoleDeleteRequest(role=role))

    @both
    async def role_grant_permission(self, role: str, access: Access, keys: Keys) -> None:
        """Let the role read, write or do both with a key or a range."""
        key, range_end = bounds(keys)
        permission = auth_pb2.Permission(permType=_ACCESS[access], key=key, range_end=range_end)
        request = pb.AuthRoleGrantPermissionRequest(name=role, perm=permission)
        await self._send(rpcs.ROLE_GRANT_PERMISSION, request)

    @both
    async def role_revoke_permission(self, role: str, keys: Keys) -> None:
        """Take back what was granted for exactly this key or range."""
        key, range_end = bounds(keys)
        request = pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=range_end)
        await self._send(rpcs.ROLE_REVOKE_PERMISSION, request)
