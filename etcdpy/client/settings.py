"""Where a client connects and how: endpoints, TLS, user, deadlines, and what gRPC makes of them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import grpc

from etcdpy.client.errors import NotSent

if TYPE_CHECKING:
    from collections.abc import Iterable

    Option = tuple[str, int | str]

DEFAULT_ENDPOINT: Final = "127.0.0.1:2379"
DEFAULT_PORT: Final = 2379
_SECURE_SCHEMES: Final = frozenset({"https", "unixs"})
_SCHEMES: Final = _SECURE_SCHEMES | {"http", "unix"}


class BadEndpoint(ValueError):
    """The text names no place to connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the client trusts and shows. Each of `ca`, `cert` and `key` is PEM bytes, or the path of a file.

    Attributes:
        ca: whom to trust; nothing means the authorities that the gRPC library brings.
        cert, key: the client's own certificate, where the server asks for one.
        server_name: the name that the server's certificate must bear, if it is not that of the endpoint.
        verify: False takes whatever certificate the server shows. For tests and for a first look only:
            it is fetched when the connection is made, so anybody in between can show their own.
    """

    ca: bytes | str | Path | None = None
    cert: bytes | str | Path | None = None
    key: bytes | str | Path | None = field(default=None, repr=False)
    server_name: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs its key, and a key its certificate")

    def credentials(self, ca: bytes | None = None) -> grpc.ChannelCredentials:
        """For one channel; `ca` is trusted instead of ours. Raises OSError when a file cannot be read."""
        return grpc.ssl_channel_credentials(ca or _pem(self.ca), _pem(self.key), _pem(self.cert))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a client but its calls. Times are in seconds.

    Attributes:
        endpoints: `host:port`, `http://…`, `https://…`, `unix:///path` or `unixs:///path`; tried in this
            order, and the first that answers is kept until it fails.
        user, password: for clusters with authentication; both or none.
        token: one that was got elsewhere, shown instead of one that user and password get. Nobody here can
            renew it.
        tls: used for `https` and `unixs`, and for endpoints that name no scheme when it is given.
        timeout: for a call that names none, over all its attempts; None for no end.
        dial_timeout: how long one endpoint may take to accept a connection before the next is tried.
        keepalive_time, keepalive_timeout: a silent connection is asked for a sign of life after so long,
            and given up when none comes. etcd refuses clients that ask more often than every 5 s.
        require_leader: watches and lease keep-alives leave a member that has lost its leader.
        max_message_bytes: the longest answer to accept; -1 for any.
    """

    endpoints: tuple[str, ...] = (DEFAULT_ENDPOINT,)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    timeout: float | None = 10.0
    dial_timeout: float = 2.0
    keepalive_time: float = 10.0
    keepalive_timeout: float = 5.0
    require_leader: bool = True
    max_message_bytes: int = -1

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise BadEndpoint("a client needs an endpoint")
        if (self.user is None) != (self.password is None):
            raise ValueError("a user needs a password, and a password its user")
        for text in self.endpoints:
            Endpoint.parse(text)

    def channel_options(self, endpoint: Endpoint) -> list[Option]:
        """What the gRPC library has to know."""
        options: list[Option] = [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # A new client must not inherit the back-off of one that has failed before.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
            # This one is also how long a connection may take to be made.
            ("grpc.min_reconnect_backoff_ms", _ms(self.dial_timeout)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.keepalive_time_ms", _ms(self.keepalive_time)),
            ("grpc.keepalive_timeout_ms", _ms(self.keepalive_timeout)),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if endpoint.is_unix:
            options.append(("grpc.default_authority", "localhost"))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def connection(self, endpoint: Endpoint) -> tuple[list[Option], grpc.ChannelCredentials | None]:
        """Options and credentials of a channel, which is a plain one if there are none.

        Raises:
            OSError: a file of `tls` cannot be read.
            NotSent: with `verify=False`, the server cannot be reached.
        """
        options = self.channel_options(endpoint)
        if not endpoint.is_secure(self.tls):
            return options, None
        tls = self.tls or Tls()
        if tls.verify:
            return options, tls.credentials()
        try:
            shown = ssl.get_server_certificate((endpoint.host, endpoint.port), timeout=self.dial_timeout)
        except OSError as error:
            raise NotSent(f"{endpoint.text}: {error}", grpc.StatusCode.UNAVAILABLE) from error
        named = [] if tls.server_name else [("grpc.ssl_target_name_override", _any_name(shown))]
        return [*options, *named], tls.credentials(shown.encode())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place to connect to, taken apart. `text` is how its user named it."""

    text: str
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Raises BadEndpoint."""
        scheme, divider, rest = text.partition("://")
        if not divider:
            scheme, rest = "", text
        if scheme and scheme not in _SCHEMES:
            raise BadEndpoint(f"{text!r}: an endpoint's scheme is http, https, unix or unixs")
        if scheme in ("unix", "unixs"):
            if not rest:
                raise BadEndpoint(f"{text!r} names no socket")
            return cls(text, scheme, "", 0, rest)
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname or "", DEFAULT_PORT if parts.port is None else parts.port
        except ValueError as error:
            raise BadEndpoint(f"{text!r}: {error}") from None
        if not host or parts.path.strip("/") or parts.query or parts.username is not None:
            raise BadEndpoint(f"{text!r} is not of the form host:port")
        return cls(text, scheme, host, port, "")

    @property
    def is_unix(self) -> bool:
        """Whether it is a socket in the file system."""
        return self.scheme in ("unix", "unixs")

    def is_secure(self, tls: Tls | None) -> bool:
        """Whether a connection to it speaks TLS."""
        return self.scheme in _SECURE_SCHEMES or (not self.scheme and tls is not None)

    @property
    def target(self) -> str:
        """Its name in the gRPC library's terms."""
        if self.is_unix:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoints_of(text: str | Iterable[str]) -> tuple[str, ...]:
    """Endpoints from one text with commas, or from several."""
    texts = text.split(",") if isinstance(text, str) else list(text)
    return tuple(stripped for one in texts if (stripped := one.strip()))


def _any_name(certificate: str) -> str:
    """A name that this certificate bears."""
    # Only now, for `cryptography` takes its time and nearly nobody asks for this.
    from cryptography import x509

    shown = x509.load_pem_x509_certificate(certificate.encode())
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = shown.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    dns = names.get_values_for_type(x509.DNSName)
    return dns[0] if dns else next((str(one) for one in names.get_values_for_type(x509.IPAddress)), "")


def _pem(source: bytes | str | Path | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    return Path(source).read_bytes()


def _ms(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
