"""TLS by both sides of the client, on real etcd and on us: whom it trusts, what it shows, who it is then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import Client, NotSent, PermissionDenied, Tls, Unavailable, prefix
from tests.support.pki import Authority
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.conftest import Connect
    from tests.support.programs import Kind

QUICK_S = 0.5


@dataclass
class Guarded:
    """A server with certificates, and the authority that everybody trusts."""

    server: Server
    authority: Authority

    @property
    def endpoint(self) -> str:
        return f"https://{self.server.endpoint}"

    def tls(self, name: str = "", **more: object) -> Tls:
        """What a client of this common name shows; none of its own without a name."""
        if not name:
            return Tls(ca=self.authority.ca, **more)  # type: ignore[arg-type]
        shown = self.authority.client(name)
        return Tls(ca=self.authority.ca, cert=shown.cert, key=shown.key, **more)  # type: ignore[arg-type]


def secure_server(kind: Kind, directory: Path, *more: str) -> Guarded:
    authority = Authority(directory / "pki")
    shown = authority.server(hosts=("localhost", "127.0.0.1", "etcd.example"))
    server = Server(kind, directory)
    url = f"https://{server.endpoint}"
    server.flags = (
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--cert-file={shown.cert}",
        f"--key-file={shown.key}",
        *(flag.format(ca=authority.ca) for flag in more),
    )
    return Guarded(server, authority)


@pytest.fixture(scope="module", params=["reference", "candidate"])
def open_to_all(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    kind: Kind = request.getfixturevalue(request.param)
    guarded = secure_server(kind, tmp_path_factory.mktemp(kind.name))
    with guarded.server:
        yield guarded


@pytest.fixture(scope="module", params=["reference", "candidate"])
def by_certificate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Nobody gets in without a certificate, whose common name is the user's; auth is on."""
    kind: Kind = request.getfixturevalue(request.param)
    guarded = secure_server(
        kind, tmp_path_factory.mktemp(kind.name), "--trusted-ca-file={ca}", "--client-cert-auth"
    )
    with guarded.server, Client(guarded.endpoint, tls=guarded.tls("root")) as root:
        root.user_add("root", None)
        root.user_grant_role("root", "root")
        root.user_add("alice", None)
        root.user_add("bob", "secret")
        root.role_add("tenant")
        root.role_grant_permission("tenant", "readwrite", prefix("a/"))
        root.user_grant_role("alice", "tenant")
        root.auth_enable()
        yield guarded


def test_trusts_the_authority(open_to_all: Guarded, connect: Connect) -> None:
    for tls in (open_to_all.tls(), Tls(ca=open_to_all.authority.ca.read_bytes()), open_to_all.tls("anybody")):
        client = connect(open_to_all.endpoint, tls=tls)
        assert client.put("k", "v").header.revision > 1
    without_scheme = connect(open_to_all.server.endpoint, tls=open_to_all.tls())
    assert without_scheme.get("k").value == b"v"
    with_watch = connect(open_to_all.endpoint, tls=open_to_all.tls())
    assert sum(map(len, with_watch.snapshot())) > 0


def test_trusts_nobody_else(open_to_all: Guarded, connect: Connect, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    for tls in (Tls(ca=stranger.ca), Tls(), None):
        client = connect(open_to_all.endpoint, tls=tls, timeout=QUICK_S)
        with pytest.raises(NotSent) as caught:
            client.put("k", "v")
        assert not caught.value.maybe_applied


def test_name_of_the_server(open_to_all: Guarded, connect: Connect) -> None:
    right = connect(open_to_all.endpoint, tls=open_to_all.tls(server_name="etcd.example"))
    right.put("k", "v")
    wrong = connect(open_to_all.endpoint, tls=open_to_all.tls(server_name="other.example"), timeout=QUICK_S)
    with pytest.raises(NotSent):
        wrong.put("k", "v")


def test_trust_without_verifying(open_to_all: Guarded, connect: Connect) -> None:
    connect(open_to_all.endpoint, tls=Tls(verify=False)).put("k", "v")
    nobody = connect("https://127.0.0.1:1", tls=Tls(verify=False), timeout=QUICK_S)
    with pytest.raises(NotSent, match="Connection refused"):
        nobody.put("k", "v")


def test_plain_and_secure_do_not_meet(open_to_all: Guarded, connect: Connect) -> None:
    plain = connect(open_to_all.server.endpoint, timeout=QUICK_S)
    with pytest.raises(Unavailable):
        plain.get("k")


def test_files_that_are_not_there(open_to_all: Guarded, connect: Connect, tmp_path: Path) -> None:
    client = connect(open_to_all.endpoint, tls=Tls(ca=tmp_path / "none.pem"))
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        client.get("k")
    with pytest.raises(ValueError, match="a client certificate needs its key"):
        Tls(cert=b"-")


def test_user_by_certificate(by_certificate: Guarded, connect: Connect) -> None:
    alice = connect(by_certificate.endpoint, tls=by_certificate.tls("alice"))
    alice.put("a/1", "x")
    assert alice.get("a/1").value == b"x"
    with pytest.raises(PermissionDenied, match=r"^etcdserver: permission denied$"):
        alice.put("b/1", "x")
    root = connect(by_certificate.endpoint, tls=by_certificate.tls("root"))
    assert root.user_list() == ["alice", "bob", "root"]


def test_password_counts_before_the_certificate(by_certificate: Guarded, connect: Connect) -> None:
    client = connect(by_certificate.endpoint, tls=by_certificate.tls("alice"), user="bob", password="secret")
    with pytest.raises(PermissionDenied):
        client.put("a/1", "x")


def test_nobody_without_a_certificate(by_certificate: Guarded, connect: Connect, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).client("root")
    shown = Tls(ca=by_certificate.authority.ca, cert=stranger.cert, key=stranger.key)
    for tls in (by_certificate.tls(), shown):
        client = connect(by_certificate.endpoint, tls=tls, timeout=QUICK_S)
        with pytest.raises(Unavailable):
            client.get("a/1")


def test_streams(by_certificate: Guarded) -> None:
    with (
        Client(by_certificate.endpoint, tls=by_certificate.tls("alice")) as client,
        client.watch(prefix("a/")) as watch,
        client.lease(60) as lease,
    ):
        client.put("a/1", "y", lease=lease)
        assert watch.next_batch(30).events[0].value == b"y"
        with client.lock("a/lock"):
            pass
