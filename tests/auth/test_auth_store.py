"""Users and roles in the store: what changes the revision, what is kept, and how it is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.auth import (
    AuthError,
    AuthInfo,
    AuthOldRevision,
    AuthStore,
    CorruptAuth,
    InvalidAuthMgmt,
    PermissionDenied,
    PermissionNotGiven,
    PermissionNotGranted,
    RoleAlreadyExist,
    RoleEmpty,
    RoleNotFound,
    RoleNotGranted,
    RootRoleNotExist,
    RootUserNotExist,
    SimpleTokens,
    UserAlreadyExist,
    UserEmpty,
    UserNotFound,
)
from etcdpy.backend import Backend, Bucket
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.auth_pb2 import Permission, User, UserAddOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.protobuf.message import Message


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend.open(tmp_path / "db")
    yield backend
    backend.close()


@pytest.fixture
def store(backend: Backend) -> AuthStore:
    return opened(backend)


def opened(backend: Backend) -> AuthStore:
    return AuthStore(backend, SimpleTokens(300, lambda: 0.0), bcrypt_cost=4)


def add_user(store: AuthStore, name: str, *roles: str) -> None:
    store.user_add(pb.AuthUserAddRequest(name=name, hashedPassword="aGFzaA=="))
    for role in roles:
        store.user_grant_role(pb.AuthUserGrantRoleRequest(user=name, role=role))


def grant(store: AuthStore, role: str, key: bytes, range_end: bytes = b"", kind: int = 2) -> None:
    permission = Permission(permType=Permission.Type.Name(kind), key=key, range_end=range_end)
    store.role_grant_permission(pb.AuthRoleGrantPermissionRequest(name=role, perm=permission))


def enable(store: AuthStore) -> None:
    add_user(store, "root", "root")
    store.role_add(pb.AuthRoleAddRequest(name="root"))
    store.enable(pb.AuthEnableRequest())


def test_a_new_store_begins_at_revision_one(backend: Backend, store: AuthStore) -> None:
    assert (store.is_enabled, store.revision) == (False, 1)
    assert list(backend.items(Bucket.AUTH)) == [(b"authRevision", bytes(7) + b"\x01")]


def test_what_is_written_is_etcds(backend: Backend, store: AuthStore) -> None:
    """The bytes that etcd 3.5.1 wrote for the same calls."""
    enable(store)
    store.user_add(pb.AuthUserAddRequest(name="nop", options=UserAddOptions(no_password=True)))
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    grant(store, "r", b"k", b"l", Permission.READ)
    assert dict(backend.items(Bucket.AUTH)) == {b"authEnabled": b"\x01", b"authRevision": bytes(7) + b"\x07"}
    assert dict(backend.items(Bucket.AUTH_USERS)) == {
        b"root": b"\x0a\x04root\x12\x04hash\x1a\x04root\x22\x00",
        b"nop": b"\x0a\x03nop\x22\x02\x08\x01",
    }
    assert dict(backend.items(Bucket.AUTH_ROLES)) == {
        b"root": b"\x0a\x04root",
        b"r": b"\x0a\x01r\x12\x06\x12\x01k\x1a\x01l",
    }


def test_everything_is_there_after_a_restart(backend: Backend, store: AuthStore) -> None:
    enable(store)
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    grant(store, "r", b"k")
    add_user(store, "ann", "r")
    again = opened(backend)
    assert (again.is_enabled, again.revision) == (True, store.revision)
    info = AuthInfo("ann", again.revision)
    again.check_read(info, b"k")
    with pytest.raises(PermissionDenied):
        again.check_read(info, b"l")
    again.user_delete(pb.AuthUserDeleteRequest(name="ann"))
    again.role_delete(pb.AuthRoleDeleteRequest(role="r"))
    again.disable(pb.AuthDisableRequest())
    third = opened(backend)
    assert list(third.user_list(pb.AuthUserListRequest()).users) == ["root"]
    assert list(third.role_list(pb.AuthRoleListRequest()).roles) == ["root"]
    assert not third.is_enabled


def test_damage_is_told(backend: Backend) -> None:
    backend.put(Bucket.AUTH_USERS, b"x", b"\xff\xff")
    with pytest.raises(CorruptAuth):
        opened(backend)


def test_old_users_without_options(backend: Backend) -> None:
    """Releases before 3.4 wrote none."""
    backend.put(Bucket.AUTH_USERS, b"old", User(name=b"old", password=b"h").SerializeToString())
    store = opened(backend)
    store.user_change_password(pb.AuthUserChangePasswordRequest(name="old", hashedPassword="aGFzaA=="))
    store.disable(pb.AuthDisableRequest())
    assert store.user_get(pb.AuthUserGetRequest(name="old")).roles == []


REFUSED: list[tuple[str, Message, type[AuthError]]] = [
    ("user_add", pb.AuthUserAddRequest(), UserEmpty),
    ("user_add", pb.AuthUserAddRequest(name="ann"), UserAlreadyExist),
    ("user_delete", pb.AuthUserDeleteRequest(name="x"), UserNotFound),
    ("user_delete", pb.AuthUserDeleteRequest(name="root"), InvalidAuthMgmt),
    ("user_get", pb.AuthUserGetRequest(name="x"), UserNotFound),
    ("user_change_password", pb.AuthUserChangePasswordRequest(name="x"), UserNotFound),
    ("user_grant_role", pb.AuthUserGrantRoleRequest(user="x", role="r"), UserNotFound),
    ("user_grant_role", pb.AuthUserGrantRoleRequest(user="ann", role="x"), RoleNotFound),
    ("user_revoke_role", pb.AuthUserRevokeRoleRequest(name="x", role="r"), UserNotFound),
    ("user_revoke_role", pb.AuthUserRevokeRoleRequest(name="ann", role="root"), RoleNotGranted),
    ("user_revoke_role", pb.AuthUserRevokeRoleRequest(name="root", role="root"), InvalidAuthMgmt),
    ("role_add", pb.AuthRoleAddRequest(), RoleEmpty),
    ("role_add", pb.AuthRoleAddRequest(name="r"), RoleAlreadyExist),
    ("role_get", pb.AuthRoleGetRequest(role="x"), RoleNotFound),
    ("role_delete", pb.AuthRoleDeleteRequest(role="x"), RoleNotFound),
    ("role_delete", pb.AuthRoleDeleteRequest(role="root"), InvalidAuthMgmt),
    ("role_grant_permission", pb.AuthRoleGrantPermissionRequest(name="r"), PermissionNotGiven),
    (
        "role_grant_permission",
        pb.AuthRoleGrantPermissionRequest(name="x", perm=Permission(key=b"k")),
        RoleNotFound,
    ),
    (
        "role_grant_permission",
        pb.AuthRoleGrantPermissionRequest(name="r", perm=Permission()),
        InvalidAuthMgmt,
    ),
    (
        "role_grant_permission",
        pb.AuthRoleGrantPermissionRequest(name="r", perm=Permission(key=b"b", range_end=b"a")),
        InvalidAuthMgmt,
    ),
    ("role_revoke_permission", pb.AuthRoleRevokePermissionRequest(role="x", key=b"k"), RoleNotFound),
    (
        "role_revoke_permission",
        pb.AuthRoleRevokePermissionRequest(role="r", key=b"k", range_end=b"z"),
        PermissionNotGranted,
    ),
]


@pytest.mark.parametrize(("call", "request_", "error"), REFUSED)
def test_a_refused_change_changes_nothing(
    backend: Backend, store: AuthStore, call: str, request_: Message, error: type[AuthError]
) -> None:
    enable(store)
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    grant(store, "r", b"k")
    add_user(store, "ann", "r")
    buckets = (Bucket.AUTH, Bucket.AUTH_USERS, Bucket.AUTH_ROLES)
    before = [list(backend.items(bucket)) for bucket in buckets]
    with pytest.raises(error):
        getattr(store, call)(request_)
    assert [list(backend.items(bucket)) for bucket in buckets] == before
    assert store.is_enabled


def test_what_counts_as_a_change(store: AuthStore) -> None:
    enable(store)
    revision = store.revision
    store.enable(pb.AuthEnableRequest())
    store.user_grant_role(pb.AuthUserGrantRoleRequest(user="root", role="root"))
    assert store.revision == revision, "neither enabling nor a grant that is there already"
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    grant(store, "r", b"k", b"", Permission.READ)
    grant(store, "r", b"k", b"", Permission.READ)
    assert store.revision == revision + 3, "a permission that is given again counts"
    store.disable(pb.AuthDisableRequest())
    store.disable(pb.AuthDisableRequest())
    assert store.revision == revision + 4


def test_enabling_needs_root_in_both_senses(store: AuthStore) -> None:
    with pytest.raises(RootUserNotExist):
        store.enable(pb.AuthEnableRequest())
    add_user(store, "root")
    with pytest.raises(RootRoleNotExist):
        store.enable(pb.AuthEnableRequest())
    store.user_grant_role(pb.AuthUserGrantRoleRequest(user="root", role="root"))
    store.enable(pb.AuthEnableRequest())  # the role itself need not exist


def test_permissions_are_sorted_and_replaced_by_their_range(store: AuthStore) -> None:
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    for key, range_end, kind in (
        (b"b", b"c", Permission.READ),
        (b"a", b"", Permission.READ),
        (b"b", b"", Permission.READ),
        (b"b", b"", Permission.WRITE),
        (b"b", b"c", Permission.READWRITE),
    ):
        grant(store, "r", key, range_end, kind)
    found = store.role_get(pb.AuthRoleGetRequest(role="r")).perm
    assert [(one.key, one.range_end, one.permType) for one in found] == [
        (b"a", b"", Permission.READ),
        (b"b", b"c", Permission.READWRITE),
        (b"b", b"", Permission.WRITE),
    ]


def test_root_has_every_permission_without_being_given_any(store: AuthStore) -> None:
    enable(store)
    (permission,) = store.role_get(pb.AuthRoleGetRequest(role="root")).perm
    assert (permission.permType, permission.key, permission.range_end) == (Permission.READWRITE, b"", b"\0")
    store.check_write(AuthInfo("root", store.revision), b"\0", b"\0")


def test_a_role_that_goes_leaves_its_users(store: AuthStore) -> None:
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    store.role_add(pb.AuthRoleAddRequest(name="q"))
    add_user(store, "ann", "r", "q")
    assert store.user_get(pb.AuthUserGetRequest(name="ann")).roles == ["q", "r"]
    store.role_delete(pb.AuthRoleDeleteRequest(role="r"))
    assert store.user_get(pb.AuthUserGetRequest(name="ann")).roles == ["q"]


def test_names_are_listed_by_their_bytes(store: AuthStore) -> None:
    for name in ("b", "ü", "a", "\U0001f600", "\uffee", "B"):
        add_user(store, name)
    assert store.user_list(pb.AuthUserListRequest()).users == ["B", "a", "b", "ü", "\uffee", "\U0001f600"]


def test_who_asks_must_be_known_and_up_to_date(store: AuthStore) -> None:
    enable(store)
    add_user(store, "ann")
    old = store.revision
    grants = (
        (AuthInfo("", 0), UserEmpty),
        (AuthInfo("ann", old - 1), AuthOldRevision),
        (AuthInfo("ann", old), PermissionDenied),
        (AuthInfo("gone", old), PermissionDenied),
    )
    for info, error in grants:
        with pytest.raises(error):
            store.check_read(info, b"k")
        with pytest.raises(error):
            store.check_write(info, b"k", b"l")
    for name, error in (("", UserEmpty), ("gone", UserNotFound), ("ann", PermissionDenied)):
        with pytest.raises(error):
            store.check_admin(AuthInfo(name, 1))
    store.disable(pb.AuthDisableRequest())
    store.check_read(AuthInfo("", 0), b"k")
    store.check_admin(AuthInfo("", 0))
    assert store.is_admin(AuthInfo("", 0))


def test_reading_is_not_writing(store: AuthStore) -> None:
    enable(store)
    store.role_add(pb.AuthRoleAddRequest(name="r"))
    grant(store, "r", b"read", b"", Permission.READ)
    grant(store, "r", b"write", b"", Permission.WRITE)
    grant(store, "r", b"both", b"", Permission.READWRITE)
    add_user(store, "ann", "r")
    info = AuthInfo("ann", store.revision)

    def may(check: str, key: bytes) -> bool:
        try:
            getattr(store, check)(info, key)
        except PermissionDenied:
            return False
        return True

    keys = (b"read", b"write", b"both")
    assert [may("check_read", key) for key in keys] == [True, False, True]
    assert [may("check_write", key) for key in keys] == [False, True, True]
