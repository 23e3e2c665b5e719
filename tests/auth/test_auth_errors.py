"""Refusals of auth that neither 3.5.1 nor an ordinary member gives, word for word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client, Refusal
from tests.support.server import Server

from .conftest import QUICK_PASSWORDS, make_root

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.support.programs import Kind

    from .conftest import Callers

pytestmark = pytest.mark.cluster

TOO_LONG = Refusal("UNKNOWN", "bcrypt: password length exceeds 72 bytes")
BAD_RANGE = Refusal("INVALID_ARGUMENT", "etcdserver: invalid auth management")
LOGIN = pb.AuthenticateRequest(name="root", password="rootpw")


def permission(key: bytes, range_end: bytes = b"") -> Message:
    given = auth_pb2.Permission(key=key, range_end=range_end)
    return pb.AuthRoleGrantPermissionRequest(name="ann", perm=given)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.AuthUserAddRequest(name="long", password="x" * 73), TOO_LONG),
        (pb.AuthUserChangePasswordRequest(name="ann", password="ы" * 37), TOO_LONG),
        (permission(b""), BAD_RANGE),
        (permission(b"b", b"a"), BAD_RANGE),
        (permission(b"a", b"a"), BAD_RANGE),
        (
            pb.AuthRoleGrantPermissionRequest(name="absent"),
            Refusal("INVALID_ARGUMENT", "etcdserver: permission not given"),
        ),
        (
            pb.AuthUserChangePasswordRequest(name="ann", hashedPassword="no base64!"),
            Refusal("UNKNOWN", "auth: authentication failed, password was given for no password user"),
        ),
    ],
)
def test_refusal_is_exact(callers: Callers, request_: Message, expected: Refusal) -> None:
    before = callers.root.ask(pb.AuthStatusRequest(), pb.AuthStatusResponse).authRevision
    assert callers.root.outcome(request_) == expected
    assert callers.root.ask(pb.AuthStatusRequest(), pb.AuthStatusResponse).authRevision == before


def test_a_member_that_cannot_sign_says_so(candidate: Kind, tmp_path: Path) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "pub.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    flag = f"--auth-token=jwt,sign-method=ES256,pub-key={tmp_path / 'pub.pem'}"
    with Server(candidate, tmp_path, (QUICK_PASSWORDS, flag)) as server, Client(server.endpoint) as client:
        make_root(client)
        refused = Refusal("UNKNOWN", "auth: token signing attempted with verify-only key")
        assert client.outcome(LOGIN) == refused


def test_without_tokens_nobody_logs_in(candidate: Kind, tmp_path: Path) -> None:
    flags = (QUICK_PASSWORDS, "--auth-token=")
    with Server(candidate, tmp_path, flags) as server, Client(server.endpoint) as client:
        make_root(client)
        refused = Refusal(
            "INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password"
        )
        assert client.outcome(LOGIN) == refused
