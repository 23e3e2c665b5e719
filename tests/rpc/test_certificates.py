"""Certificates that we make, and what we read out of those of clients."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from etcdpy.tls.certificates import (
    BadCertificate,
    common_name,
    has_name,
    load_revoked,
    make_self_signed,
    serial_of,
)
from tests.support.pki import Authority, Identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def der(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(serialization.Encoding.DER)


# What --auto-tls makes.


def test_a_self_signed_certificate_is_for_the_hosts_of_the_listeners(tmp_path: Path) -> None:
    hosts = ["127.0.0.1", "::1", "localhost", "localhost"]
    cert, key = make_self_signed(tmp_path / "fixtures" / "client", hosts, 2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    parsed = x509.load_pem_x509_certificate(cert.read_bytes())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert sorted(map(str, names.get_values_for_type(x509.IPAddress))) == sorted(map(str, addresses))
    assert parsed.subject.rfc4514_string() == "O=etcd"
    assert parsed.not_valid_after_utc - parsed.not_valid_before_utc == datetime.timedelta(days=730)


def test_only_the_owner_may_read_the_key(tmp_path: Path) -> None:
    _, key = make_self_signed(tmp_path / "made", ["localhost"], 1)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in key.parent.iterdir()) == ["cert.pem", "key.pem"]


def test_a_certificate_that_is_there_is_kept(tmp_path: Path) -> None:
    cert, _ = make_self_signed(tmp_path, ["localhost"], 1)
    before = cert.read_bytes()
    assert make_self_signed(tmp_path, ["other.example"], 5)[0].read_bytes() == before


def test_half_a_pair_is_made_anew(tmp_path: Path) -> None:
    cert, key = make_self_signed(tmp_path, ["localhost"], 1)
    key.unlink()
    cert, key = make_self_signed(tmp_path, ["localhost"], 1)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)


def test_no_validity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCertificate, match="should be greater than 0"):
        make_self_signed(tmp_path, ["localhost"], 0)
    assert not list(tmp_path.iterdir())


# What clients show.


def test_common_name_and_serial(authority: Authority) -> None:
    identity = authority.client("Frøya")
    assert common_name(der(identity)) == "Frøya"
    assert serial_of(der(identity)) == identity.serial


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["a.example"], "a.example", True),
        (["a.example"], "A.Example.", True),
        (["a.example"], "b.example", False),
        (["*.example"], "a.example", True),
        (["*.example"], "a.b.example", False),
        (["*.example"], "example", False),
        (["*.example"], ".example", False),
        (["a.*.example"], "a.b.example", False),
        (["a*.example"], "ab.example", False),
        (["x.example", "y.example"], "y.example", True),
        (["10.0.0.1"], "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["::1"], "[::1]", True),
        (["10.0.0.1"], "*", False),
        ([], "client", False),
    ],
)
def test_names_are_compared_as_go_does(
    authority: Authority, names: list[str], wanted: str, found: bool
) -> None:
    # The common name is no name in this sense.
    assert has_name(der(authority.client("client", names)), wanted) is found


@pytest.mark.parametrize("der_form", [True, False])
def test_revocation_lists(authority: Authority, der_form: bool) -> None:
    gone, stays = authority.client("gone"), authority.client("stays")
    revoked = load_revoked(authority.revoke(gone, der=der_form))
    assert gone.serial in revoked
    assert stays.serial not in revoked
    assert load_revoked(authority.revoke(name="empty.crl", der=der_form)) == frozenset()


@pytest.mark.parametrize("text", [b"", b"nonsense", b"-----BEGIN X509 CRL-----\n", b"\x30\x80"])
def test_what_is_no_revocation_list(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(text)
    with pytest.raises(BadCertificate, match="is no revocation list"):
        load_revoked(path)
