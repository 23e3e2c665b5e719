"""TLS of the client port: from flags to a context for each new connection.

Certificates are replaced on disk while servers run, so nothing read from a file is kept for good: before a
handshake the files' stamps are looked at, and if one has changed everything is read again. A set of files
that cannot be used (half of it replaced, say) is reported once, and the one before goes on serving.

Which client certificates are trusted is decided by OpenSSL against `--trusted-ca-file`. What Go's flags
ask beyond that, revocation by serial number and allowed names, is checked here after the handshake.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdpy.rpc.certificates import (
    BadCertificate,
    common_name,
    has_name,
    load_revoked,
    make_self_signed,
    serial_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

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
PROTOCOLS = ("h2", "http/1.1")

# Replacements that fail in a row are told once; the stamps of the files tell them apart.
_Stamps = tuple[tuple[int, int, int] | None, ...]


class BadTls(OSError):
    """Files or settings with which no TLS port can be opened."""


class ClientRejected(Exception):
    """A client whose certificate is valid and yet not welcome."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What is read from disk."""

    cert: Path
    key: Path
    trusted_ca: Path | None
    crl: Path | None

    def stamps(self) -> _Stamps:
        """What changes when a file is replaced or rewritten."""
        return tuple(
            _stamp(path) for path in (self.cert, self.key, self.trusted_ca, self.crl) if path is not None
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class ServerTls:
    """The TLS side of the client port.

    Raises `BadTls` when it is made from files that cannot be used.
    """

    def __init__(self, config: Config, log: Logger) -> None:
        self._config = config
        self._log = log
        self._files = _files(config)
        self._stamps = self._files.stamps()
        self._revoked: frozenset[int] = frozenset()
        try:
            self._context = self._load()
        except (OSError, BadCertificate) as error:
            raise BadTls(f"cannot open a TLS port: {error}") from error

    @property
    def asks_for_certificates(self) -> bool:
        """Whether clients must show a certificate; a CA to trust is enough to say so, as in etcd."""
        return self._config.client_cert_auth or self._files.trusted_ca is not None

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        stamps = self._files.stamps()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = self._load()
            except (OSError, BadCertificate) as error:
                self._log.error("failed to reload TLS files; the former ones stay", error=str(error))
            else:
                self._log.info("reloaded TLS files", cert=str(self._files.cert))
        return self._context

    def _load(self) -> ssl.SSLContext:
        config, files = self._config, self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # No resumption: connections are few and long, and a ticket would outlive its certificate.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.minimum_version = VERSIONS[config.tls_min_version or "TLS1.2"]
        context.maximum_version = VERSIONS[config.tls_max_version]
        _choose_suites(context, config.cipher_suites)
        context.set_alpn_protocols(list(PROTOCOLS))
        context.load_cert_chain(files.cert, files.key)
        if self.asks_for_certificates:
            context.verify_mode = ssl.CERT_REQUIRED
            # Whatever the CA file holds is trusted, be it an intermediate or a client's own certificate.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            if files.trusted_ca is not None:
                context.load_verify_locations(files.trusted_ca)
            else:
                context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        self._revoked = load_revoked(files.crl) if files.crl is not None else frozenset()
        return context

    def admit(self, connection: ssl.SSLObject) -> str:
        """The common name of the client, empty without a certificate.

        Raises:
            ClientRejected: the certificate is revoked, or has none of the allowed names.
        """
        if not self.asks_for_certificates:
            return ""
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None, "the handshake demands a certificate"
        for one in (certificate, *_sent_chain(connection)):
            if self._revoked and serial_of(one) in self._revoked:
                raise ClientRejected(f"tls: certificate serial {serial_of(one):x} has been revoked")
        allowed = self._config.client_cert_allowed_hostname
        if allowed and not any(has_name(certificate, name) for name in allowed):
            raise ClientRejected("client certificate authentication failed")
        return common_name(certificate)


def _sent_chain(connection: ssl.SSLObject) -> list[bytes]:
    """What the client sent besides its own certificate; Python before 3.13 does not tell."""
    chain: Any = getattr(connection, "get_unverified_chain", None)
    return [] if chain is None else list(chain() or ())


def _files(config: Config) -> TlsFiles:
    cert, key = config.cert_file, config.key_file
    if not cert:
        # Flags that name files win over --auto-tls, as in etcd.
        directory = config.data_dir / "fixtures" / "client"
        hosts = [url.host for url in config.listen_client_urls if not url.is_unix]
        try:
            cert, key = map(str, make_self_signed(directory, hosts, config.self_signed_cert_validity))
        except (OSError, BadCertificate) as error:
            raise BadTls(f"cannot make a certificate: {error}") from error
    return TlsFiles(Path(cert), Path(key), _path(config.trusted_ca_file), _path(config.client_crl_file))


def _path(text: str) -> Path | None:
    return Path(text) if text else None


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
