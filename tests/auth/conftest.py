"""A server with auth on, and a few users of it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from tests.support.programs import Kind

QUICK_PASSWORDS = "--bcrypt-cost=4"
DENIED = Refusal("PERMISSION_DENIED", "etcdserver: permission denied")
NOBODY = Refusal("INVALID_ARGUMENT", "etcdserver: user name is empty")
BAD_TOKEN = Refusal("UNAUTHENTICATED", "etcdserver: invalid auth token")
OLD_REVISION = Refusal("INVALID_ARGUMENT", "etcdserver: revision of auth store is old")
READ, WRITE, READWRITE = auth_pb2.Permission.READ, auth_pb2.Permission.WRITE, auth_pb2.Permission.READWRITE


def grant(role: str, kind: auth_pb2.Permission.Type, key: bytes, range_end: bytes = b"") -> Message:
    permission = auth_pb2.Permission(permType=kind, key=key, range_end=range_end)
    return pb.AuthRoleGrantPermissionRequest(name=role, perm=permission)


def make_root(client: Client) -> None:
    """The user root with the role root, and auth on."""
    for request in (
        pb.AuthUserAddRequest(name="root", password="rootpw"),
        pb.AuthRoleAddRequest(name="root"),
        pb.AuthUserGrantRoleRequest(user="root", role="root"),
        pb.AuthEnableRequest(),
    ):
        client.call(request)


def make_user(root: Client, name: str, *permissions: Message) -> None:
    """A user with a role of the same name, on which the permissions are granted."""
    root.call(pb.AuthUserAddRequest(name=name, password=f"{name}pw"))
    root.call(pb.AuthRoleAddRequest(name=name))
    root.call(pb.AuthUserGrantRoleRequest(user=name, role=name))
    for permission in permissions:
        root.call(permission)


@dataclass
class Callers:
    """Clients of one server: root, a user with few permissions, and somebody without a name."""

    server: Server
    root: Client
    ann: Client
    nobody: Client


@contextmanager
def callers_of(server: Server) -> Iterator[Callers]:
    """`ann` may do everything on `ann/`, read the key `lonely`, and write `drop/`."""
    with ExitStack() as stack:
        root, ann, nobody = (stack.enter_context(Client(server.endpoint)) for _ in range(3))
        make_root(root)
        root.log_in("root", "rootpw")
        make_user(
            root,
            "ann",
            grant("ann", READWRITE, b"ann/", b"ann0"),
            grant("ann", READ, b"lonely"),
            grant("ann", WRITE, b"drop/", b"drop0"),
        )
        yield Callers(server, root, ann.log_in("ann", "annpw"), nobody)


@pytest.fixture(scope="module")
def callers(candidate: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    directory = tmp_path_factory.mktemp("guarded")
    with Server(candidate, directory, (QUICK_PASSWORDS,)) as server, callers_of(server) as found:
        yield found
