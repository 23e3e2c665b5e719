"""TLS of the client port: from flags to a context for each new connection.

Certificates are replaced on disk while servers run, so nothing read from a file is kept for good: before a
handshake the files' stamps are looked at, and if one has changed everything is read again. A set of files
that cannot be used (half of it replaced, say) is reported once, and the one before goes on serving.

Which client certificates are trusted is decided by OpenSSL against `--trusted-ca-file`. What Go's flags
ask beyond that, revocation by serial number and allowed names, is checked here after the handshake.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy.rpc.port import Speaks
from etcdpy.tls.certificates import (
    BadCertificate,
    common_name,
    has_name,
    load_revoked,
    make_self_signed,
    serial_of,
)
from etcdpy.tls.settings import (
    BadTls,
    TlsFiles,
    limit_protocol,
    path_or_none,
    sent_chain,
    verify_clients,
)

if TYPE_CHECKING:
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

PROTOCOLS = {
    Speaks.ALL: ("h2", "http/1.1"),
    Speaks.GRPC: ("h2",),
    Speaks.HTTP: ("http/1.1",),
}


class ClientRejected(Exception):
    """A client whose certificate is valid and yet not welcome."""


class ServerTls:
    """The TLS side of the client port.

    Raises `BadTls` when it is made from files that cannot be used.
    """

    def __init__(self, config: Config, log: Logger, speaks: Speaks = Speaks.ALL) -> None:
        self._config = config
        self._protocols = PROTOCOLS[speaks]
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
        limit_protocol(context, config)
        context.num_tickets = 0
        context.set_alpn_protocols(list(self._protocols))
        assert files.cert is not None, "a TLS port has a certificate"
        context.load_cert_chain(files.cert, files.key)
        if self.asks_for_certificates:
            verify_clients(context, files.trusted_ca)
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
        for one in (certificate, *sent_chain(connection)):
            if self._revoked and serial_of(one) in self._revoked:
                raise ClientRejected(f"tls: certificate serial {serial_of(one):x} has been revoked")
        allowed = self._config.client_cert_allowed_hostname
        if allowed and not any(has_name(certificate, name) for name in allowed):
            raise ClientRejected("client certificate authentication failed")
        return common_name(certificate)


def _files(config: Config) -> TlsFiles:
    cert, key = config.cert_file, config.key_file
    if not cert:
        # Flags that name files win over --auto-tls, as in etcd.
        directory = config.data_dir / "fixtures" / "client"
        urls = (*config.listen_client_urls, *config.listen_client_http_urls)
        hosts = [url.host for url in urls if not url.is_unix]
        try:
            cert, key = map(str, make_self_signed(directory, hosts, config.self_signed_cert_validity))
        except (OSError, BadCertificate) as error:
            raise BadTls(f"cannot make a certificate: {error}") from error
    return TlsFiles(
        Path(cert), Path(key), path_or_none(config.trusted_ca_file), path_or_none(config.client_crl_file)
    )
