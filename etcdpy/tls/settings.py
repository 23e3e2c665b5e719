"""What the client port and the peer port have in common in TLS: versions, cipher suites, and the files.

Certificates are replaced on disk while servers run. `TlsFiles.stamps` tells cheaply whether that has
happened; who uses a context asks before each handshake and reads everything again when it has.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.server.config import Config

# Go's names of the suites of TLS 1.2 that OpenSSL still has. Those of TLS 1.3 cannot be chosen, nor in Go.
OPENSSL_NAMES = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
SUITES_OF_TLS13 = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
VERSIONS = {
    "": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "TLS1.2": ssl.TLSVersion.TLSv1_2,
    "TLS1.3": ssl.TLSVersion.TLSv1_3,
}

# The stamps of the files tell replacements apart.
Stamps = tuple[tuple[int, int, int] | None, ...]


class BadTls(OSError):
    """Files or settings with which no TLS port can be opened."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What is read from disk. `client_cert` and `client_key` are shown to others, where they are not the
    server's.
    """

    cert: Path | None
    key: Path | None
    trusted_ca: Path | None
    crl: Path | None
    client_cert: Path | None = None
    client_key: Path | None = None

    def stamps(self) -> Stamps:
        """What changes when a file is replaced or rewritten."""
        paths = (self.cert, self.key, self.trusted_ca, self.crl, self.client_cert, self.client_key)
        return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def path_or_none(text: str) -> Path | None:
    """The path that a flag gives, none if it is empty."""
    return Path(text) if text else None


def limit_protocol(context: ssl.SSLContext, config: Config) -> None:
    """Versions and suites as the flags say. Raises `BadTls`."""
    # No resumption: connections are few and long, and a ticket would outlive its certificate.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = VERSIONS[config.tls_min_version or "TLS1.2"]
    context.maximum_version = VERSIONS[config.tls_max_version]
    _choose_suites(context, config.cipher_suites)


def _choose_suites(context: ssl.SSLContext, names: Sequence[str]) -> None:
    if not names:
        return
    chosen = [name for name in names if name not in SUITES_OF_TLS13]
    if not chosen:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    missing = [name for name in chosen if name not in OPENSSL_NAMES]
    if missing:
        raise BadTls(f"OpenSSL does not have the cipher suites {', '.join(missing)}")
    try:
        context.set_ciphers(":".join(OPENSSL_NAMES[name] for name in chosen))
    except ssl.SSLError as error:
        raise BadTls(f"OpenSSL refuses the cipher suites {', '.join(chosen)}: {error}") from error


def verify_clients(context: ssl.SSLContext, trusted_ca: Path | None) -> None:
    """Let nobody in without a certificate of this CA, or of one that the machine trusts."""
    context.verify_mode = ssl.CERT_REQUIRED
    load_trusted(context, trusted_ca, ssl.Purpose.CLIENT_AUTH)


def load_trusted(context: ssl.SSLContext, trusted_ca: Path | None, purpose: ssl.Purpose) -> None:
    """Whatever the CA file holds is trusted, be it an intermediate or somebody's own certificate."""
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if trusted_ca is not None:
        context.load_verify_locations(trusted_ca)
    else:
        context.load_default_certs(purpose)


def sent_chain(connection: ssl.SSLObject) -> list[bytes]:
    """What the other side sent besides its own certificate; Python before 3.13 does not tell."""
    chain: Any = getattr(connection, "get_unverified_chain", None)
    return [] if chain is None else list(chain() or ())
