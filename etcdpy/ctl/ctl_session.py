"""What every command of `etcdpyctl` begins with: the global flags, `ETCDCTL_*`, and a client made of them.

A variable counts like the flag of its name, and must not be set together with it. The client is asked for
when the arguments have been checked, as etcdctl does it, so that bad arguments are the first complaint.
"""

from __future__ import annotations

import datetime
import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from etcdpy.ctl import ctl_flags
from etcdpy.ctl.command_line import Options, Seconds
from etcdpy.ctl.ctl_answers import Answer, Shape, write
from etcdpy.ctl.go_text import duration_text, json_text
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_BAD_CONNECTION, EXIT_ERROR, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

    from etcdpy.client.caller import Caller
    from etcdpy.client.errors import EtcdError
    from etcdpy.client.plain import PlainTransport
    from etcdpy.client.rpcs import DownRpc, UnaryRpc
    from etcdpy.client.settings import Settings, Tls
    from etcdpy.ctl.command_line import Value

    Request = TypeVar("Request", bound=Message)
    Response = TypeVar("Response", bound=Message)

PREFIX: Final = "ETCDCTL_"
# Read by `watch`; named in no flag.
WATCH_VARIABLES: Final = ("ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END")
# etcdctl drops it before it looks.
API_VARIABLE: Final = "ETCDCTL_API"
GO_CODES: Final = {"CANCELLED": "Canceled", "OK": "OK"}


@dataclass(frozen=True, slots=True)
class Security:
    """What a connection shows and demands."""

    cert: str = ""
    key: str = ""
    cacert: str = ""
    server_name: str = ""
    insecure_transport: bool = True
    skip_verify: bool = False

    def tls(self) -> Tls | None:
        """Raises Fault."""
        from etcdpy.client.settings import Tls

        if bool(self.cert) != bool(self.key):
            text = f"KeyFile and CertFile must both be present[key: {self.key}, cert: {self.cert}]"
            raise Fault(text, EXIT_BAD_ARGUMENTS)
        files = [_read_file(path) if path else None for path in (self.cert, self.key, self.cacert)]
        if not any(files) and self.insecure_transport and not self.server_name:
            return None
        cert, key, ca = files
        name = self.server_name or None
        return Tls(ca=ca, cert=cert, key=key, server_name=name, verify=not self.skip_verify)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Fault(f"open {path}: {(error.strerror or '').lower()}", EXIT_BAD_ARGUMENTS) from error


class Session:
    """One cluster as the command line describes it.

    Raises Fault, from every method: the text and the exit code are etcdctl's.
    """

    def __init__(self, options: Options, settings: Settings, shape: Shape) -> None:
        from etcdpy.client.caller import Caller
        from etcdpy.client.plain import PlainTransport

        self.options = options
        self.settings = settings
        self.shape = shape
        self.transport: PlainTransport = PlainTransport(settings)
        self.caller: Caller = Caller(settings, self.transport)

    def authenticate(self) -> None:
        """Get a token, if there is a user. Etcd's client does so before it is handed out, and etcdctl's exit
        code is another one when that fails."""
        from etcdpy.client.errors import EtcdError
        from etcdpy.client.sides import drive

        try:
            drive(self.caller.token(self.caller.deadline(self.settings.dial_timeout)))
        except EtcdError as error:
            raise Fault(go_error(error), EXIT_BAD_CONNECTION) from error

    @property
    def command_timeout(self) -> float:
        """Seconds for one short command."""
        return self.options.seconds("command-timeout")

    def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        endless: bool = False,
        endpoint: str | None = None,
        code: int = EXIT_ERROR,
    ) -> Response:
        """One answer.

        Args:
            timeout: seconds; by default `--command-timeout`, unless `endless`.
            endpoint: ask this one and no other.
            code: to exit with on a failure.
        """
        from etcdpy.client.errors import EtcdError

        try:
            return self.try_call(rpc, request, timeout=timeout, endless=endless, endpoint=endpoint)
        except EtcdError as error:
            raise Fault(go_error(error), code) from error

    def try_call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        endless: bool = False,
        endpoint: str | None = None,
    ) -> Response:
        """As `call`, but with the client's `EtcdError`."""
        from etcdpy.client.sides import drive

        limit = None if endless else (self.command_timeout if timeout is None else timeout)
        return drive(self.caller.call(rpc, request, timeout=limit, endpoint=endpoint))

    def receive(
        self, rpc: DownRpc[Request, Response], request: Request, timeout: float | None
    ) -> Iterator[Response]:
        """A stream of answers, with the client's `EtcdError`."""
        from etcdpy.client.sides import drive_iterator

        return drive_iterator(self.caller.receive(rpc, request, timeout=timeout))

    def show(self, answer: Answer) -> None:
        """Print in the format that was asked for."""
        self.shape.show(answer)

    def close(self) -> None:
        """Let the connections go."""
        self.caller.is_closed = True
        self.transport.close()


def open_session(options: Options) -> Session:
    """The client of the global flags. Raises Fault."""
    session = unauthenticated_session(options)
    session.authenticate()
    return session


def unauthenticated_session(options: Options) -> Session:
    """As `open_session`, for commands that make a session of its own for each endpoint."""
    options = with_environment(options)
    shape = Shape(options.text("write-out"), options.is_set("hex"))
    token = options.text("auth-jwt-token")
    user = None if token else user_of(options)
    return session_of(options, endpoints_of(options), security_of(options), user, shape, token)


def session_of(
    options: Options,
    endpoints: tuple[str, ...],
    security: Security,
    user: tuple[str, str] | None,
    shape: Shape,
    token: str = "",
) -> Session:
    """A client of these endpoints, not yet authenticated, with the global flags' times. Raises Fault."""
    from etcdpy.client.settings import BadEndpoint, Settings

    shape.check()
    try:
        settings = Settings(
            endpoints=endpoints,
            user=user[0] if user else None,
            password=user[1] if user else None,
            token=token or None,
            tls=security.tls(),
            timeout=options.seconds("command-timeout"),
            dial_timeout=options.seconds("dial-timeout"),
            # What etcd's client makes of less; the server would close the connection.
            keepalive_time=max(options.seconds("keepalive-time"), 10.0),
            keepalive_timeout=options.seconds("keepalive-timeout"),
        )
    except BadEndpoint as error:
        raise Fault(str(error), EXIT_BAD_CONNECTION) from error
    return Session(options, settings, shape)


def at_endpoint(session: Session, endpoint: str) -> Session:
    """A session of its own with one endpoint."""
    settings = replace(session.settings, endpoints=(endpoint,))
    one = Session(session.options, settings, session.shape)
    one.authenticate()
    return one


def with_environment(options: Options) -> Options:
    """The options after `ETCDCTL_*` was read. Raises Fault where a flag and its variable are both set."""
    flags = {variable_of(flag.name): flag for flag in ctl_flags.GLOBAL}
    values: dict[str, Value] = dict(options.values)
    for variable, text in sorted(os.environ.items()):
        flag = flags.get(variable)
        if flag is None:
            if variable.startswith(PREFIX) and variable not in (API_VARIABLE, *WATCH_VARIABLES):
                _log("warn", "unrecognized environment variable", f"{variable}={text}")
        elif flag.name in options.given:
            reason = "conflicting environment variable is shadowed by corresponding command-line flag "
            advice = "(either unset environment variable or disable flag))"
            _log("fatal", reason + advice, variable)
            raise Fault("", EXIT_ERROR)
        elif text:
            try:
                values[flag.name] = flag.parse(text)
            except ValueError:
                pass  # etcdctl passes over what it cannot read
    found = Options(values, options.given, options.line)
    if found.is_set("debug"):
        _show_flags(values)
    return found


def variable_of(flag: str) -> str:
    """`ETCDCTL_DIAL_TIMEOUT` for `dial-timeout`."""
    return PREFIX + flag.upper().replace("-", "_")


def _show_flags(values: Mapping[str, Value]) -> None:
    for name in sorted(flag.name for flag in ctl_flags.GLOBAL):
        value = values[name]
        match value:
            case tuple():
                shown = f"[{','.join(value)}]"
            case Seconds():
                shown = duration_text(value)
            case bool():
                shown = str(value).lower()
            case _:
                shown = str(value)
        sys.stderr.write(f"{variable_of(name)}={shown}\n")


def _log(level: str, message: str, variable: str) -> None:
    """A line as etcdctl's logger writes it."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"level": level, "ts": now, "msg": message, "environment-variable": variable}
    sys.stderr.write(json_text(line) + "\n")


def endpoints_of(options: Options) -> tuple[str, ...]:
    """From DNS if a domain is named, else from `--endpoints`."""
    domain = options.text("discovery-srv")
    found = _discover(domain, options) if domain else ()
    return found or options.texts("endpoints")


def _discover(domain: str, options: Options) -> tuple[str, ...]:
    import asyncio

    from etcdpy.peer.srv import DnsResolver, LookupFailed

    suffix = options.text("discovery-srv-name")
    found: list[str] = []
    failures: list[str] = []
    for scheme, service in (("https", "etcd-client-ssl"), ("http", "etcd-client")):
        name = f"_{service}{f'-{suffix}' if suffix else ''}._tcp.{domain}"
        try:
            records = asyncio.run(DnsResolver().services(name))
        except LookupFailed as error:
            failures.append(str(error))
            continue
        if scheme == "http" and not options.is_set("insecure-discovery"):
            continue
        found += [f"{scheme}://{record.target.rstrip('.')}:{record.port}" for record in records]
    if len(failures) > 1:
        raise Fault(f"dns lookup errors: {' and '.join(failures)}", EXIT_ERROR)
    return tuple(found)


def security_of(options: Options) -> Security:
    """TLS as the global flags describe it. Raises Fault."""
    for name in ("cert", "key", "cacert"):
        if name in options.given and not options.text(name):
            raise Fault(f"empty string is passed to --{name} option", EXIT_BAD_ARGUMENTS)
    return Security(
        cert=options.text("cert"),
        key=options.text("key"),
        cacert=options.text("cacert"),
        server_name="" if options.is_set("insecure-discovery") else options.text("discovery-srv"),
        insecure_transport=options.is_set("insecure-transport"),
        skip_verify=options.is_set("insecure-skip-tls-verify"),
    )


def user_of(options: Options, user: str = "user", password: str = "password") -> tuple[str, str] | None:
    """Name and password of these two flags, asked for if there is none."""
    name = options.text(user)
    if not name:
        return None
    if options.text(password):
        return name, options.text(password)
    name, colon, rest = name.partition(":")
    return name, rest if colon else ask_password("Password: ")


def ask_password(prompt: str) -> str:
    """A line from standard input, which a terminal does not show."""
    write(prompt)
    if sys.stdin.isatty():
        import getpass

        answer = getpass.getpass("", stream=sys.stderr)
    else:
        answer = sys.stdin.readline().rstrip("\r\n")
        write("\n")
    return answer


def go_error(error: EtcdError) -> str:
    """An error as etcd's client for Go tells it."""
    from etcdpy.client.errors import DeadlineExceeded, NotSent

    if error.text.startswith("etcdserver: "):
        return error.text
    if isinstance(error, DeadlineExceeded | NotSent):
        return "context deadline exceeded"
    return f"rpc error: code = {go_code(error)} desc = {error.text}"


def go_code(error: EtcdError) -> str:
    """`FailedPrecondition`, as Go names a gRPC code."""
    name: Any = error.code.name
    return GO_CODES.get(name) or "".join(part.capitalize() for part in name.split("_"))
