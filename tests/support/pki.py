"""A certificate authority for tests: certificates of servers and clients, revocation lists."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, as files."""

    cert: Path
    key: Path
    certificate: x509.Certificate

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


class Authority:
    """Issues certificates into `directory`; its own is `ca.pem`."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(_pem(self.certificate))

    def server(self, name: str = "server", hosts: Iterable[str] = ("localhost", "127.0.0.1")) -> Identity:
        return self._issue(name, hosts, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, name: str = "client", hosts: Iterable[str] = ()) -> Identity:
        return self._issue(name, hosts, ExtendedKeyUsageOID.CLIENT_AUTH)

    def member(self, name: str = "member", hosts: Iterable[str] = ("localhost", "127.0.0.1")) -> Identity:
        """What a member shows to the others: it answers and calls with the same certificate."""
        return self._issue(name, hosts, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

    def rsa_server(self, name: str = "rsa") -> Identity:
        key = rsa.generate_private_key(65537, 2048)
        return self._issue(name, ("localhost", "127.0.0.1"), ExtendedKeyUsageOID.SERVER_AUTH, key=key)

    def _issue(
        self, name: str, hosts: Iterable[str], *usages: x509.ObjectIdentifier, key: Key | None = None
    ) -> Identity:
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        names = [_general_name(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return self.write(name, certificate, key)

    def write(self, name: str, certificate: x509.Certificate, key: Key) -> Identity:
        identity = Identity(self.directory / f"{name}.pem", self.directory / f"{name}.key", certificate)
        identity.cert.write_bytes(_pem(certificate))
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return identity

    def revoke(self, *identities: Identity, name: str = "revoked.crl", der: bool = False) -> Path:
        """A list of what is not valid any more."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - HOUR)
            .next_update(now + HOUR)
        )
        for identity in identities:
            revoked = x509.RevokedCertificateBuilder().serial_number(identity.serial).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
        path = self.directory / name
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(encoding))
        return path

    def trust(self, identity: Identity | None = None, alpn: Iterable[str] = ()) -> ssl.SSLContext:
        """A client's context that trusts this authority, with `identity` as its certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if identity is not None:
            context.load_cert_chain(identity.cert, identity.key)
        protocols = list(alpn)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + 24 * HOUR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
