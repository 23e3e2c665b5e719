"""Whether the user of a request may do it, asked again when it is applied.

The request was put into the log by a member that had not applied everything that came before it, so its
word does not count: the entry carries the user and the auth revision at which the user was known, and all
members come to the same answer here. What only one member does, and what etcd does not ask about at this
point, is asked at the client port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.auth import AuthError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from etcdpy.auth import AuthInfo, AuthStore
    from etcdpy.lease import Lessor
    from etcdpy.proto import rpc_pb2 as pb

# A question to each user of the role root only. UserGet and RoleGet are asked by others, too, of themselves.
_ADMIN_ONLY = (
    "auth_enable",
    "auth_disable",
    "auth_status",
    "auth_user_add",
    "auth_user_delete",
    "auth_user_change_password",
    "auth_user_grant_role",
    "auth_user_revoke_role",
    "auth_user_list",
    "auth_role_add",
    "auth_role_delete",
    "auth_role_list",
    "auth_role_grant_permission",
    "auth_role_revoke_permission",
)


class Permits:
    """Checks of requests by kind; only to be asked while auth is on."""

    def __init__(self, auth: AuthStore, lessor: Lessor) -> None:
        self._auth = auth
        self._lessor = lessor
        self._checks: dict[str, Callable[[AuthInfo, Any], None]] = {
            **dict.fromkeys(_ADMIN_ONLY, self._check_admin),
            "put": self._check_put,
            "delete_range": self._check_delete,
            "txn": self.check_txn,
            "lease_revoke": self._check_revoke,
            "auth_user_get": self._check_user_get,
            "auth_role_get": self._check_role_get,
        }

    def check(self, kind: str, request: Any, info: AuthInfo) -> None:
        """Raise what stands against the request.

        Raises:
            AuthError: of the kinds that `AuthStore.check_read` and `check_admin` name.
        """
        check = self._checks.get(kind)
        if check is not None:
            check(info, request)

    def check_txn(self, info: AuthInfo, request: pb.TxnRequest) -> None:
        """Both branches and all that is nested in them, for the user learns from the answer which way the
        compares went.
        """
        for compare in request.compare:
            self._auth.check_read(info, compare.key, compare.range_end)
        self._check_operations(info, request.success)
        self._check_operations(info, request.failure)

    def check_lease(self, info: AuthInfo, lease_id: int) -> None:
        """Whether the user may write every key of a lease: ending it deletes them, and keeping it alive keeps
        them.
        """
        if not self._auth.is_admin(info):
            for key in self._keys_of(lease_id):
                self._auth.check_write(info, key)

    def check_lease_keys(self, info: AuthInfo, lease_ids: Iterable[int]) -> None:
        """Whether the user may know of every key of these leases."""
        if not self._auth.is_admin(info):
            for lease_id in lease_ids:
                for key in self._keys_of(lease_id):
                    self._auth.check_read(info, key)

    def _keys_of(self, lease_id: int) -> list[bytes]:
        return self._lessor.keys(lease_id) if self._lessor.lookup(lease_id) is not None else []

    def _check_admin(self, info: AuthInfo, request: Any) -> None:
        self._auth.check_admin(info)

    def _check_put(self, info: AuthInfo, request: pb.PutRequest) -> None:
        self._auth.check_write(info, request.key)
        if request.lease:
            # Who hangs a key on a lease should be able to end the lease.
            self.check_lease(info, request.lease)
        if request.prev_kv:
            self._auth.check_read(info, request.key)

    def _check_delete(self, info: AuthInfo, request: pb.DeleteRangeRequest) -> None:
        self._auth.check_write(info, request.key, request.range_end)
        if request.prev_kv:
            self._auth.check_read(info, request.key, request.range_end)

    def _check_operations(self, info: AuthInfo, operations: Iterable[pb.RequestOp]) -> None:
        for operation in operations:
            match operation.WhichOneof("request"):
                case "request_range":
                    wanted = operation.request_range
                    self._auth.check_read(info, wanted.key, wanted.range_end)
                case "request_put":
                    self._check_put(info, operation.request_put)
                case "request_delete_range":
                    self._check_delete(info, operation.request_delete_range)
                case "request_txn":
                    self.check_txn(info, operation.request_txn)
                case _:
                    pass  # refused before it was proposed; nothing can come of it

    def _check_revoke(self, info: AuthInfo, request: pb.LeaseRevokeRequest) -> None:
        self.check_lease(info, request.ID)

    def _check_user_get(self, info: AuthInfo, request: pb.AuthUserGetRequest) -> None:
        try:
            self._auth.check_admin(info)
        except AuthError:
            if request.name != info.username:
                raise

    def _check_role_get(self, info: AuthInfo, request: pb.AuthRoleGetRequest) -> None:
        try:
            self._auth.check_admin(info)
        except AuthError:
            if not self._auth.has_role(info.username, request.role):
                raise
