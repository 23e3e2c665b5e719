"""TLS between members: one set of files for the listener and for the calls we make.

asyncio takes one context for all connections of a listener or a connector, but certificates are replaced on
disk while members run. So what it gets is a front whose `wrap_bio`, called once for each connection, looks at
the stamps of the files and hands over to the context of the day. A set of files that cannot be used is
reported once, and the one before goes on serving.

OpenSSL decides about chains and, where we call, about host names. What etcd's flags ask beyond that is
examined in the last step of the handshake: revoked serial numbers of callers, allowed names of either side.
A caller's address needs the resolver, so it is compared with the names in its certificate later, before the
first request of its connection is answered.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from etcdpy.tls.certificates import (
    BadCertificate,
    alternative_names,
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
    load_trusted,
    path_or_none,
    sent_chain,
    verify_clients,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

# Failed handshakes logged in a second. Strangers cause them.
FAILURES_LOGGED_PER_S = 10
HTTP = ("http/1.1",)


class Resolver:
    """Names and addresses, as the machine knows them."""

    async def addresses(self, name: str) -> list[str]:
        """Addresses of a host, none if it is not known."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
        except OSError:
            return []
        return [str(one[4][0]) for one in found]

    async def names(self, address: str) -> list[str]:
        """The name of an address, none if it has none."""
        try:
            name, _ = await asyncio.get_running_loop().getnameinfo((address, 0), socket.NI_NAMEREQD)
        except OSError:
            return []
        return [name.removesuffix(".")]


class _Handshake(ssl.SSLObject):
    """One connection. The handshake is not over before the context has examined it."""

    is_admitted = False

    def do_handshake(self) -> None:
        context = self.context
        assert isinstance(context, _Context), context
        try:
            super().do_handshake()
            context.examine(self)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            context.report(error)
            raise


class _Context(ssl.SSLContext):
    """A context as read from the files once."""

    sslobject_class = _Handshake
    examine: Callable[[ssl.SSLObject], None]
    report: Callable[[ssl.SSLError], None]


class _Front(ssl.SSLContext):
    """What asyncio takes for the context."""

    current: Callable[[], _Context]
    server_name = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        name = self.server_name or server_hostname
        return self.current().wrap_bio(incoming, outgoing, server_side, name, session)


class PeerTls:
    """The TLS side of the peer port.

    Raises `BadTls` when it is made from files that cannot be used.

    Attributes:
        listening: context for listeners on https.
        dialling: context for calls to https.
    """

    def __init__(self, config: Config, log: Logger, resolver: Resolver | None = None) -> None:
        self._config = config
        self._log = log
        self._resolver = resolver or Resolver()
        self._is_self_signed = config.peer_auto_tls and not config.peer_cert_file
        self._files = _files(config)
        self._stamps = self._files.stamps()
        self._second = self._failures = 0
        self._revoked: frozenset[int] = frozenset()
        try:
            self._load()
        except (OSError, BadCertificate) as error:
            raise BadTls(f"cannot use the TLS files of the peer port: {error}") from error
        self.listening = _Front(ssl.PROTOCOL_TLS_SERVER)
        self.listening.current = lambda: self._refreshed()._server
        self.dialling = _Front(ssl.PROTOCOL_TLS_CLIENT)
        self.dialling.current = lambda: self._refreshed()._client

    def expect_name(self, name: str) -> None:
        """All members show certificates for this name instead of for the host they are at."""
        self.dialling.server_name = name

    def _refreshed(self) -> PeerTls:
        stamps = self._files.stamps()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._load()
            except (OSError, BadCertificate) as error:
                self._log.error("failed to reload peer TLS files; the former ones stay", error=str(error))
            else:
                self._log.info("reloaded peer TLS files", cert=str(self._files.cert))
        return self

    def _load(self) -> None:
        files = self._files
        # All or nothing: what fails must leave everything as it was.
        server, client = self._load_server(), self._load_client()
        revoked = load_revoked(files.crl) if files.crl is not None else frozenset()
        self._server, self._client, self._revoked = server, client, revoked

    def _load_server(self) -> _Context:
        config, files = self._config, self._files
        context = self._context(ssl.PROTOCOL_TLS_SERVER, self._examine_caller)
        context.num_tickets = 0
        if files.cert is not None and files.key is not None:
            context.load_cert_chain(files.cert, files.key)
        if config.peer_client_cert_auth or files.trusted_ca is not None:
            verify_clients(context, files.trusted_ca)
        return context

    def _load_client(self) -> _Context:
        files = self._files
        context = self._context(ssl.PROTOCOL_TLS_CLIENT, self._examine_names)
        cert, key = files.client_cert or files.cert, files.client_key or files.key
        if cert is not None and key is not None:
            context.load_cert_chain(cert, key)
        if self._is_self_signed:
            # Certificates that everybody makes for himself prove nothing; they only encrypt.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            load_trusted(context, files.trusted_ca, ssl.Purpose.SERVER_AUTH)
        return context

    def _context(self, protocol: int, examine: Callable[[ssl.SSLObject], None]) -> _Context:
        context = _Context(protocol)
        limit_protocol(context, self._config)
        context.set_alpn_protocols(list(HTTP))
        context.examine = examine
        context.report = self._report
        return context

    # Who may talk to us.

    def _examine_caller(self, connection: ssl.SSLObject) -> None:
        certificate = connection.getpeercert(binary_form=True)
        if certificate is None:
            return
        for one in (certificate, *sent_chain(connection)):
            if self._revoked and serial_of(one) in self._revoked:
                raise _rejected(f"certificate serial {serial_of(one):x} has been revoked")
        self._examine_names(connection)

    def _examine_names(self, connection: ssl.SSLObject) -> None:
        config = self._config
        certificate = connection.getpeercert(binary_form=True)
        if certificate is None or connection.context.verify_mode is ssl.CERT_NONE:
            return
        allowed = config.peer_cert_allowed_cn
        if allowed and common_name(certificate) not in allowed:
            raise _rejected("client certificate authentication failed")
        names = config.peer_cert_allowed_hostname
        if names and not any(has_name(certificate, name) for name in names):
            raise _rejected("client certificate authentication failed")

    def _report(self, error: ssl.SSLError) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._failures = second, 0
        self._failures += 1
        if self._failures <= FAILURES_LOGGED_PER_S:
            self._log.warn("rejected TLS connection between members", error=str(error))

    async def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a caller comes from where its certificate says; one without names may be anywhere."""
        connection: Any = transport.get_extra_info("ssl_object")
        if not isinstance(connection, _Handshake) or connection.is_admitted:
            return True
        certificate = connection.getpeercert(binary_form=True)
        address = _ip_of(transport)
        if not self._config.peer_skip_client_san_verification and certificate is not None and address:
            hosts, addresses = alternative_names(certificate)
            if (
                (hosts or addresses)
                and address not in addresses
                and not await self._is_one_of(address, hosts)
            ):
                self._log.warn(
                    "rejected connection on peer endpoint",
                    **{"remote-addr": address, "error": "does not match the names of its certificate"},
                    names=[*hosts, *addresses],
                )
                return False
        connection.is_admitted = True
        return True

    async def _is_one_of(self, address: str, hosts: Sequence[str]) -> bool:
        """Whether one of the names is this address's, asked forward and backward."""
        if not hosts:
            return False
        tails = tuple(host[1:] for host in hosts if host.startswith("*."))
        names = [host for host in hosts if not host.startswith("*.")]
        for found in await self._resolver.names(address):
            if found in names or (tails and found.endswith(tails)):
                return True
        for name in names:
            if address in await self._resolver.addresses(name):
                return True
        return False


def _rejected(reason: str) -> ssl.SSLError:
    return ssl.SSLCertVerificationError(1, f"tls: {reason}")


def _ip_of(transport: asyncio.BaseTransport) -> str:
    """The other side's address in its shortest form, empty for a unix socket."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return ""
    return str(ipaddress.ip_address(str(peer[0]).partition("%")[0]))


def _files(config: Config) -> TlsFiles:
    cert, key = config.peer_cert_file, config.peer_key_file
    if not cert and config.peer_auto_tls:
        # Flags that name files win over --peer-auto-tls, as in etcd.
        directory = config.data_dir / "fixtures" / "peer"
        hosts = [url.host for url in config.listen_peer_urls if not url.is_unix]
        try:
            cert, key = map(str, make_self_signed(directory, hosts, config.self_signed_cert_validity))
        except (OSError, BadCertificate) as error:
            raise BadTls(f"cannot make a certificate: {error}") from error
    return TlsFiles(
        path_or_none(cert),
        path_or_none(key),
        path_or_none(config.peer_trusted_ca_file),
        path_or_none(config.peer_crl_file),
        path_or_none(config.peer_client_cert_file),
        path_or_none(config.peer_client_key_file),
    )
