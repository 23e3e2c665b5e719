"""Users, roles and their permissions: the replicated state of auth, and the questions asked of it.

Changes come from applied log entries and give the same answer on every member. Each successful one makes the
*auth revision* one higher (enabling alone does not), and a request that was checked at an older revision is
refused at apply: nobody may act on a permission that was taken away in between.

What survives is in three buckets in etcd's format: `auth` (enabled, revision), `authUsers`, `authRoles`. All
of it is in memory as well; there are few users, and every request of theirs asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from etcdpy.auth import passwords
from etcdpy.auth.errors import (
    AuthFailed,
    AuthNotEnabled,
    AuthOldRevision,
    CorruptAuth,
    InvalidAuthMgmt,
    InvalidAuthToken,
    NoPasswordUser,
    PermissionDenied,
    PermissionNotGiven,
    PermissionNotGranted,
    RoleAlreadyExist,
    RoleEmpty,
    RoleNotFound,
    RoleNotGranted,
    RootRoleNotExist,
    RootUserNotExist,
    UserAlreadyExist,
    UserEmpty,
    UserNotFound,
)
from etcdpy.auth.ranges import TO_THE_END, KeyRanges, is_valid_range
from etcdpy.backend import Bucket
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.auth_pb2 import Permission, Role, User

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.auth.tokens import AuthInfo, Tokens

ROOT: Final = "root"
"""Name of the user that cannot be spared and of the role that may do everything."""

ENABLED_KEY, REVISION_KEY = b"authEnabled", b"authRevision"
FIRST_REVISION: Final = 1
_BEARER: Final = "Bearer "
_READING = (Permission.READ, Permission.READWRITE)
_WRITING = (Permission.WRITE, Permission.READWRITE)
_ROOT_PERMISSION = Permission(permType=Permission.READWRITE, range_end=TO_THE_END)


class AuthBackend(Protocol):
    """What the store needs of the backend."""

    def get(self, bucket: Bucket, key: bytes, /) -> bytes | None:
        """One value."""

    def put(self, bucket: Bucket, key: bytes, value: bytes, /) -> None:
        """Store one pair."""

    def delete(self, bucket: Bucket, key: bytes, /) -> None:
        """Remove one pair."""

    def items(self, bucket: Bucket, /) -> Iterable[tuple[bytes, bytes]]:
        """Every pair of the bucket, in key order."""


class AuthStore:
    """All users and roles of a cluster.

    Attributes:
        is_enabled: whether anybody is asked who they are. The one thing a request looks at while auth is off.
        revision: how often users, roles and grants have changed, from 1.
        tokens: those that were given out. They outlive the store when a snapshot replaces it.
    """

    def __init__(
        self, backend: AuthBackend, tokens: Tokens, *, bcrypt_cost: int = passwords.COST_DEFAULT
    ) -> None:
        self._backend = backend
        self.tokens = tokens
        self.bcrypt_cost = passwords.effective_cost(bcrypt_cost)
        self.is_enabled = backend.get(Bucket.AUTH, ENABLED_KEY) == b"\x01"
        self.revision = int.from_bytes(backend.get(Bucket.AUTH, REVISION_KEY) or b"", "big")
        try:
            users = [User.FromString(value) for _, value in backend.items(Bucket.AUTH_USERS)]
            roles = [Role.FromString(value) for _, value in backend.items(Bucket.AUTH_ROLES)]
        except DecodeError as error:
            raise CorruptAuth(f"a user or a role cannot be read: {error}") from error
        self._users = {user.name.decode("utf-8", "surrogateescape"): user for user in users}
        self._roles = {role.name.decode("utf-8", "surrogateescape"): role for role in roles}
        self._permitted: dict[str, tuple[KeyRanges, KeyRanges]] = {}
        if self.revision == 0:
            self._changed()
        if self.is_enabled:
            tokens.enable()

    # Who asks.

    def identify(self, token: str) -> AuthInfo:
        """Whose token this is.

        Raises:
            InvalidAuthToken: nobody's.
        """
        info = self.tokens.identify(token.removeprefix(_BEARER), self.revision)
        if info is None:
            raise InvalidAuthToken
        return info

    def index_of(self, token: str) -> int:
        """The entry that must be applied before the token can be judged, 0 for none."""
        return self.tokens.index_of(token.removeprefix(_BEARER))

    def check_login(self, username: str) -> bytes:
        """The hash to compare a password with.

        Raises:
            AuthNotEnabled, AuthFailed, NoPasswordUser: there is no need to compare.
        """
        if not self.is_enabled:
            raise AuthNotEnabled
        user = self._users.get(username)
        if user is None:
            raise AuthFailed
        if user.options.no_password:
            raise NoPasswordUser
        return user.password

    def authenticate(self, username: str, word: str, index: int) -> pb.AuthenticateResponse:
        """Give out a token; the password was compared by the member that proposed it."""
        if not self.is_enabled:
            raise AuthNotEnabled
        user = self._users.get(username)
        if user is None or user.options.no_password:
            raise AuthFailed
        return pb.AuthenticateResponse(token=self.tokens.assign(username, self.revision, word, index))

    # What they may.

    def check_read(self, info: AuthInfo, key: bytes, range_end: bytes = b"") -> None:
        """Whether all keys of the range may be read.

        Raises:
            UserEmpty, AuthOldRevision, PermissionDenied: they may not.
        """
        if self.is_enabled:
            self._check_keys(info, key, range_end, 0)

    def check_write(self, info: AuthInfo, key: bytes, range_end: bytes = b"") -> None:
        """Whether all keys of the range may be written; raises as `check_read`."""
        if self.is_enabled:
            self._check_keys(info, key, range_end, 1)

    def check_admin(self, info: AuthInfo) -> None:
        """Whether this user has the role root.

        Raises:
            UserEmpty, UserNotFound, PermissionDenied: if not.
        """
        if not self.is_enabled:
            return
        if not info.username:
            raise UserEmpty
        user = self._users.get(info.username)
        if user is None:
            raise UserNotFound
        if ROOT not in user.roles:
            raise PermissionDenied

    def is_admin(self, info: AuthInfo) -> bool:
        """Whether this user has the role root, or nobody is asked."""
        user = self._users.get(info.username)
        return not self.is_enabled or (user is not None and ROOT in user.roles)

    def has_role(self, username: str, role: str) -> bool:
        """Whether a user has been granted a role."""
        user = self._users.get(username)
        return user is not None and role in user.roles

    def _check_keys(self, info: AuthInfo, key: bytes, range_end: bytes, kind: int) -> None:
        if info.revision == 0:
            raise UserEmpty
        if info.revision < self.revision:
            raise AuthOldRevision
        user = self._users.get(info.username)
        if user is None:
            raise PermissionDenied
        if ROOT in user.roles:
            return
        permitted = self._permitted.get(info.username)
        if permitted is None:
            permitted = self._permitted[info.username] = self._permissions_of(user)
        if not permitted[kind].covers(key, range_end):
            raise PermissionDenied

    def _permissions_of(self, user: User) -> tuple[KeyRanges, KeyRanges]:
        """What may be read and what may be written."""
        roles = [self._roles[name] for name in user.roles if name in self._roles]
        permissions = [permission for role in roles for permission in role.keyPermission]
        readable = [(one.key, one.range_end) for one in permissions if one.permType in _READING]
        writable = [(one.key, one.range_end) for one in permissions if one.permType in _WRITING]
        return KeyRanges(readable), KeyRanges(writable)

    # Switching on and off.

    def enable(self, request: pb.AuthEnableRequest) -> pb.AuthEnableResponse:
        """Ask everybody who they are from now on."""
        if not self.is_enabled:
            root = self._users.get(ROOT)
            if root is None:
                raise RootUserNotExist
            if ROOT not in root.roles:
                raise RootRoleNotExist
            self._backend.put(Bucket.AUTH, ENABLED_KEY, b"\x01")
            self.is_enabled = True
            self.tokens.enable()
        return pb.AuthEnableResponse()

    def disable(self, request: pb.AuthDisableRequest) -> pb.AuthDisableResponse:
        """Ask nobody any more; users and roles stay."""
        if self.is_enabled:
            self._backend.put(Bucket.AUTH, ENABLED_KEY, b"\x00")
            self._changed()
            self.is_enabled = False
            self.tokens.disable()
        return pb.AuthDisableResponse()

    def status(self, request: pb.AuthStatusRequest) -> pb.AuthStatusResponse:
        """Whether auth is on, and the revision."""
        return pb.AuthStatusResponse(enabled=self.is_enabled, authRevision=self.revision)

    # Users.

    def user_add(self, request: pb.AuthUserAddRequest) -> pb.AuthUserAddResponse:
        """Make a user without roles."""
        if not request.name:
            raise UserEmpty
        if request.name in self._users:
            raise UserAlreadyExist
        user = User(name=request.name.encode(), options=request.options)
        if not request.options.no_password:
            user.password = passwords.from_wire(request.password, request.hashedPassword, self.bcrypt_cost)
        self._keep_user(user)
        self._changed()
        return pb.AuthUserAddResponse()

    def user_delete(self, request: pb.AuthUserDeleteRequest) -> pb.AuthUserDeleteResponse:
        """Remove a user and forget their tokens."""
        if self.is_enabled and request.name == ROOT:
            raise InvalidAuthMgmt
        self._user(request.name)
        del self._users[request.name]
        self._backend.delete(Bucket.AUTH_USERS, request.name.encode())
        self._changed()
        self.tokens.forget_user(request.name)
        return pb.AuthUserDeleteResponse()

    def user_change_password(
        self, request: pb.AuthUserChangePasswordRequest
    ) -> pb.AuthUserChangePasswordResponse:
        """Give a user a new password and forget their tokens. A user without a password stays so."""
        user = self._user(request.name)
        password = b""
        if not user.options.no_password:
            password = passwords.from_wire(request.password, request.hashedPassword, self.bcrypt_cost)
        user.password = password
        self._keep_user(user)
        self._changed()
        self.tokens.forget_user(request.name)
        return pb.AuthUserChangePasswordResponse()

    def user_grant_role(self, request: pb.AuthUserGrantRoleRequest) -> pb.AuthUserGrantRoleResponse:
        """Give a user a role. The role root may be given before it exists."""
        user = self._user(request.user)
        if request.role != ROOT:
            self._role(request.role)
        if request.role not in user.roles:
            user.roles.append(request.role)
            user.roles.sort()
            self._keep_user(user)
            self._changed()
        return pb.AuthUserGrantRoleResponse()

    def user_revoke_role(self, request: pb.AuthUserRevokeRoleRequest) -> pb.AuthUserRevokeRoleResponse:
        """Take a role from a user."""
        if self.is_enabled and request.name == ROOT and request.role == ROOT:
            raise InvalidAuthMgmt
        user = self._user(request.name)
        if request.role not in user.roles:
            raise RoleNotGranted
        user.roles.remove(request.role)
        self._keep_user(user)
        self._changed()
        return pb.AuthUserRevokeRoleResponse()

    def user_get(self, request: pb.AuthUserGetRequest) -> pb.AuthUserGetResponse:
        """The roles of a user, sorted."""
        return pb.AuthUserGetResponse(roles=self._user(request.name).roles)

    def user_list(self, request: pb.AuthUserListRequest) -> pb.AuthUserListResponse:
        """The names of all users in the order of their bytes."""
        return pb.AuthUserListResponse(users=sorted(self._users))

    # Roles.

    def role_add(self, request: pb.AuthRoleAddRequest) -> pb.AuthRoleAddResponse:
        """Make a role without permissions."""
        if not request.name:
            raise RoleEmpty
        if request.name in self._roles:
            raise RoleAlreadyExist
        self._keep_role(Role(name=request.name.encode()))
        self._changed()
        return pb.AuthRoleAddResponse()

    def role_delete(self, request: pb.AuthRoleDeleteRequest) -> pb.AuthRoleDeleteResponse:
        """Remove a role, from all users, too."""
        if self.is_enabled and request.role == ROOT:
            raise InvalidAuthMgmt
        self._role(request.role)
        del self._roles[request.role]
        self._backend.delete(Bucket.AUTH_ROLES, request.role.encode())
        for user in self._users.values():
            if request.role in user.roles:
                user.roles.remove(request.role)
                self._keep_user(user)
        self._changed()
        return pb.AuthRoleDeleteResponse()

    def role_get(self, request: pb.AuthRoleGetRequest) -> pb.AuthRoleGetResponse:
        """The permissions of a role. Those of root are never stored; it has all."""
        role = self._role(request.role)
        permissions = [_ROOT_PERMISSION] if request.role == ROOT else role.keyPermission
        return pb.AuthRoleGetResponse(perm=permissions)

    def role_list(self, request: pb.AuthRoleListRequest) -> pb.AuthRoleListResponse:
        """The names of all roles in the order of their bytes."""
        return pb.AuthRoleListResponse(roles=sorted(self._roles))

    def role_grant_permission(
        self, request: pb.AuthRoleGrantPermissionRequest
    ) -> pb.AuthRoleGrantPermissionResponse:
        """Add a permission to a role; on a range that it has one for already, replace that."""
        if not request.HasField("perm"):
            raise PermissionNotGiven
        given = request.perm
        if not is_valid_range(given.key, given.range_end):
            raise InvalidAuthMgmt
        role = self._role(request.name)
        for permission in role.keyPermission:
            if (permission.key, permission.range_end) == (given.key, given.range_end):
                permission.permType = given.permType
                break
        else:
            role.keyPermission.append(given)
            role.keyPermission.sort(key=lambda permission: permission.key)
        self._keep_role(role)
        self._changed()
        return pb.AuthRoleGrantPermissionResponse()

    def role_revoke_permission(
        self, request: pb.AuthRoleRevokePermissionRequest
    ) -> pb.AuthRoleRevokePermissionResponse:
        """Take from a role what it may do on exactly this range."""
        role = self._role(request.role)
        wanted = (request.key, request.range_end)
        kept = [one for one in role.keyPermission if (one.key, one.range_end) != wanted]
        if len(kept) == len(role.keyPermission):
            raise PermissionNotGranted
        self._keep_role(Role(name=role.name, keyPermission=kept))
        self._changed()
        return pb.AuthRoleRevokePermissionResponse()

    # Keeping.

    def _user(self, name: str) -> User:
        user = self._users.get(name)
        if user is None:
            raise UserNotFound
        return user

    def _role(self, name: str) -> Role:
        role = self._roles.get(name)
        if role is None:
            raise RoleNotFound
        return role

    def _keep_user(self, user: User) -> None:
        self._users[user.name.decode()] = user
        self._backend.put(Bucket.AUTH_USERS, user.name, user.SerializeToString(deterministic=True))

    def _keep_role(self, role: Role) -> None:
        self._roles[role.name.decode()] = role
        self._backend.put(Bucket.AUTH_ROLES, role.name, role.SerializeToString(deterministic=True))

    def _changed(self) -> None:
        """Something is different now; what was concluded from it before is void."""
        self._permitted.clear()
        self.revision += 1
        self._backend.put(Bucket.AUTH, REVISION_KEY, self.revision.to_bytes(8, "big"))
