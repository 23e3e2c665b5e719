"""What we do with X.509 ourselves: make a certificate for `--auto-tls`, and look into those of clients.

Chains and signatures are OpenSSL's business. Names are compared as Go compares them: only the alternative
names count, a wildcard stands for one whole label, an IP address matches only as an address.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CERT_NAME, KEY_NAME = "cert.pem", "key.pem"
DAYS_PER_YEAR = 365


class BadCertificate(Exception):
    """A file that should hold a certificate or a revocation list, and does not."""


def make_self_signed(directory: Path, hosts: Iterable[str], validity_years: int) -> tuple[Path, Path]:
    """Certificate and key in `directory`; made on the first start and kept for the next ones.

    Raises:
        BadCertificate: a certificate that is valid for no time is wanted.
        OSError: the directory cannot be written.
    """
    cert_path, key_path = (directory / CERT_NAME).absolute(), (directory / KEY_NAME).absolute()
    if cert_path.exists() and key_path.exists():
        return cert_path, key_path
    if validity_years <= 0:
        raise BadCertificate("selfSignedCertValidity is invalid,it should be greater than 0")
    # P-256 signs ten times as fast as etcd's P-521, and a handshake is mostly its signature.
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, set(hosts), validity_years)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_new(
        key_path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
        0o600,
    )
    _write_new(cert_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return cert_path, key_path


def _self_signed(key: ec.EllipticCurvePrivateKey, hosts: set[str], validity_years: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "etcd")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=DAYS_PER_YEAR * validity_years))
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if hosts:
        names = [_general_name(host) for host in sorted(hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that nobody ever sees half written, or readable by more than `mode` says."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    temporary.replace(path)


def load_revoked(path: Path) -> frozenset[int]:
    """Serial numbers in a revocation list, PEM or DER.

    Raises:
        BadCertificate: it is no revocation list.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        load = x509.load_pem_x509_crl if b"-----BEGIN" in data else x509.load_der_x509_crl
        revoked = load(data)
    except ValueError as error:
        raise BadCertificate(f"{path} is no revocation list: {error}") from error
    return frozenset(one.serial_number for one in revoked)


def serial_of(certificate: bytes) -> int:
    """The serial number of a DER certificate."""
    return x509.load_der_x509_certificate(certificate).serial_number


def common_name(certificate: bytes) -> str:
    """The common name of a DER certificate, empty if it has none."""
    subject = x509.load_der_x509_certificate(certificate).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def alternative_names(certificate: bytes) -> tuple[list[str], list[str]]:
    """Host names and addresses in a DER certificate; the common name is none of them."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [], []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return names.get_values_for_type(x509.DNSName), addresses


def has_name(certificate: bytes, wanted: str) -> bool:
    """Whether a DER certificate is for `wanted`, a host name or an IP address."""
    hosts, addresses = alternative_names(certificate)
    try:
        address = ipaddress.ip_address(wanted.removeprefix("[").removesuffix("]"))
    except ValueError:
        return any(_matches(pattern, wanted) for pattern in hosts)
    return str(address) in addresses


def _matches(pattern: str, host: str) -> bool:
    labels, wanted = pattern.lower().rstrip(".").split("."), host.lower().rstrip(".").split(".")
    if len(labels) != len(wanted) or not all(wanted):
        return False
    return (labels[0] in ("*", wanted[0])) and labels[1:] == wanted[1:]
