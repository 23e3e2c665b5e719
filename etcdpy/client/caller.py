"""Calls with endpoints, tokens, deadlines and repetition: the flow of every call, for both sides.

`Caller` knows which endpoint is used at present and which token, and what to do when a call fails; a
`Transport` sends one request to one endpoint. Transports are `plain.PlainTransport` and
`aio.AsyncTransport`; the flows here await nothing but them.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import grpc

from etcdpy.client import rpcs
from etcdpy.client.errors import (
    TEXT_AUTH_NOT_ENABLED,
    Closed,
    DeadlineExceeded,
    EtcdError,
    NotSent,
    error_of,
    error_of_rpc,
)
from etcdpy.client.retry import Attempts, Pauses, Verdict
from etcdpy.client.settings import BadEndpoint, Endpoint
from etcdpy.client.token import Token
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message

    from etcdpy.client.settings import Settings

    Metadata = tuple[tuple[str, str], ...]

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
T = TypeVar("T")
Sent = TypeVar("Sent", bound="Message", contravariant=True)
Received = TypeVar("Received", bound="Message", covariant=True)


# After a call that ended so, the next one is better made elsewhere, though this one must not be.
_MEMBER_IN_TROUBLE: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Default:
    """Stands for the client's own timeout where a call names none; None would mean no end."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default()
Timeout = float | Default | None


class Duplex(Protocol[Sent, Received]):
    """A call with streams both ways."""

    def send(self, request: Sent) -> None:
        """Queue a request; never waits."""
        ...

    def responses(self) -> AsyncIterator[Received]:
        """Until the call ends; raises `grpc.RpcError` unless it ends well."""
        ...

    def cancel(self) -> None:
        """End the call."""
        ...


class Signal(Protocol):
    """Waiting until something has become true."""

    def notify(self) -> None:
        """Look again; called with the guard held."""
        ...

    async def wait_for(self, is_true: Callable[[], bool], timeout: float | None) -> bool:
        """Whether it became true within so many seconds. Asked with the guard held."""
        ...


class Transport(Protocol):
    """Channels to endpoints. Failures are `grpc.RpcError`."""

    async def send(
        self,
        endpoint: Endpoint,
        rpc: rpcs.UnaryRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> Response:
        """One request, one attempt."""
        ...

    def receive(
        self,
        endpoint: Endpoint,
        rpc: rpcs.DownRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> AsyncIterator[Response]:
        """One request, a stream of answers; closing the iterator ends the call."""
        ...

    async def exchange(
        self,
        endpoint: Endpoint,
        rpc: rpcs.DuplexRpc[Request, Response],
        metadata: Metadata,
        timeout: float | None = None,
    ) -> Duplex[Request, Response]:
        """Streams both ways."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...

    async def run_blocking(self, job: Callable[[], T]) -> T:
        """Do what takes its time, out of the way of an event loop."""
        ...

    def spawn(self, flow: Coroutine[Any, Any, None], name: str) -> None:
        """Run a flow in the background, in a thread or a task of its own."""
        ...

    def guard(self) -> AbstractContextManager[object]:
        """What protects data that a background flow shares with its users."""
        ...

    def signal(self, guard: AbstractContextManager[object]) -> Signal:
        """A way to wait for a change of such data."""
        ...


class Caller:
    """Sends requests where they are answered.

    Args:
        settings: of the client.
        transport: of its side.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self.settings = settings
        self.transport = transport
        self.chance = random.Random()
        self.is_closed = False
        self._endpoints = [Endpoint.parse(text) for text in settings.endpoints]
        self._current = 0
        self._token = Token(transport, self._authenticate)

    # Endpoints.

    @property
    def endpoints(self) -> tuple[str, ...]:
        """As their user named them."""
        return tuple(endpoint.text for endpoint in self._endpoints)

    @property
    def current(self) -> Endpoint:
        """The one that is used until it fails."""
        return self._endpoints[self._current % len(self._endpoints)]

    def leave(self, failed: Endpoint) -> None:
        """Use the next one, unless somebody else has changed it already."""
        if self.current is failed:
            self._current = (self._current + 1) % len(self._endpoints)

    def use(self, endpoints: Iterable[str]) -> None:
        """Exchange all endpoints. Raises BadEndpoint."""
        parsed = [Endpoint.parse(text) for text in endpoints]
        if not parsed:
            raise BadEndpoint("a client needs an endpoint")
        self._endpoints, self._current = parsed, 0

    def endpoint(self, text: str) -> Endpoint:
        """The endpoint that goes by this text, which need not be one of ours. Raises BadEndpoint."""
        return next((one for one in self._endpoints if one.text == text), None) or Endpoint.parse(text)

    # Calls.

    async def call(
        self,
        rpc: rpcs.UnaryRpc[Request, Response] | rpcs.DuplexRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = DEFAULT,
        endpoint: str | None = None,
        repeatable: bool | None = None,
    ) -> Response:
        """One answer, by as many attempts as it takes and the rules allow.

        Args:
            rpc: of one with streams, it is the first answer, and the stream is ended.
            timeout: seconds for all attempts together; None for no end.
            endpoint: ask this one and no other.
            repeatable: overrides the call's own; see `rpcs`.

        Raises:
            EtcdError: of the kind that fits.
        """
        fixed = None if endpoint is None else self.endpoint(endpoint)
        deadline = self.deadline(timeout)
        attempts = Attempts(
            repeatable=getattr(rpc, "repeatable", False) if repeatable is None else repeatable,
            has_user=self.settings.user is not None,
        )
        pauses = self.pauses(fixed)
        while True:
            target = fixed or self.current
            token = await self._fresh_token(rpc, deadline)
            try:
                return await self._attempt(target, rpc, request, _left(deadline), self.metadata(token=token))
            except grpc.RpcError as raw:
                error = error_of_rpc(raw)
            except NotSent as found:
                error = found
            except ValueError as raw:
                # What grpcio says of a channel that was closed under the call.
                raise (Closed("the client is closed") if self.is_closed else raw) from None
            await self._after(error, attempts.judge(error), target, token, pauses, deadline)

    async def _attempt(
        self,
        target: Endpoint,
        rpc: rpcs.UnaryRpc[Request, Response] | rpcs.DuplexRpc[Request, Response],
        request: Request,
        timeout: float | None,
        metadata: Metadata,
    ) -> Response:
        if isinstance(rpc, rpcs.UnaryRpc):
            return await self.transport.send(target, rpc, request, timeout, metadata)
        stream = await self.transport.exchange(target, rpc, metadata, timeout)
        try:
            stream.send(request)
            async for response in stream.responses():
                return response
        finally:
            stream.cancel()
        raise error_of(grpc.StatusCode.UNAVAILABLE, "the stream has ended without an answer")

    async def _after(
        self,
        error: EtcdError,
        verdict: Verdict,
        target: Endpoint,
        token: str,
        pauses: Pauses,
        deadline: float | None,
    ) -> None:
        """Prepare another attempt, or raise."""
        if verdict is Verdict.RAISE:
            if error.code in _MEMBER_IN_TROUBLE:
                self.leave(target)
            raise error
        if verdict is Verdict.AUTHENTICATE:
            self.forget(token)
            return
        self.leave(target)
        pause_s = pauses.next_s()
        if deadline is not None and time.monotonic() + pause_s >= deadline:
            raise error
        if pause_s:
            await self.transport.pause(pause_s)

    async def receive(
        self,
        rpc: rpcs.DownRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = None,
        endpoint: str | None = None,
    ) -> AsyncIterator[Response]:
        """A stream of answers. It is begun again like a call that writes nothing, until the first of them
        is there; what ends it later is raised.
        """
        fixed = None if endpoint is None else self.endpoint(endpoint)
        deadline = self.deadline(timeout)
        attempts = Attempts(repeatable=True, has_user=self.settings.user is not None)
        pauses = self.pauses(fixed)
        while True:
            target = fixed or self.current
            token = await self._fresh_token(rpc, deadline)
            has_begun = False
            try:
                stream = self.transport.receive(
                    target, rpc, request, _left(deadline), self.metadata(token=token)
                )
                async for response in stream:
                    has_begun = True
                    yield response
            except grpc.RpcError as raw:
                error = error_of_rpc(raw)
            except NotSent as found:
                error = found
            else:
                return
            verdict = Verdict.RAISE if has_begun else attempts.judge(error)
            await self._after(error, verdict, target, token, pauses, deadline)

    def deadline(self, timeout: Timeout) -> float | None:
        """When a call that begins now must have ended, on the monotonic clock."""
        seconds = self.settings.timeout if isinstance(timeout, Default) else timeout
        return None if seconds is None else time.monotonic() + seconds

    def pauses(self, fixed: Endpoint | None = None) -> Pauses:
        """For the attempts of one call."""
        return Pauses(1 if fixed else len(self._endpoints), self.chance)

    def metadata(self, *, token: str = "", require_leader: bool = False) -> Metadata:
        """What goes with a call."""
        pairs: list[tuple[str, str]] = [("token", token)] if token else []
        if require_leader:
            pairs.append(("hasleader", "true"))
        return tuple(pairs)

    # Tokens.

    @property
    def has_token(self) -> bool:
        """Whether the next token is one that was fetched before."""
        return self._token.is_there

    def forget(self, token: str) -> None:
        """The server does not take this token (any more)."""
        self._token.forget(token)

    async def token(self, deadline: float | None) -> str:
        """The token to send, fetched if need be; empty if none is needed.

        Raises:
            AuthFailed: user or password is wrong.
            EtcdError: there is no answer.
        """
        if self.settings.token:
            return self.settings.token
        return "" if self.settings.user is None else await self._token.get(deadline)

    async def _authenticate(self, deadline: float | None) -> str:
        assert self.settings.user is not None and self.settings.password is not None, "asked without a user"  # noqa: PT018
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        request = pb.AuthenticateRequest(name=self.settings.user, password=self.settings.password)
        try:
            return (await self.call(rpcs.AUTHENTICATE, request, timeout=left)).token
        except EtcdError as error:
            if error.text != TEXT_AUTH_NOT_ENABLED:
                raise
        return ""

    async def _fresh_token(self, rpc: Any, deadline: float | None) -> str:
        return "" if rpc is rpcs.AUTHENTICATE else await self.token(deadline)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("no time was left to make the call", grpc.StatusCode.DEADLINE_EXCEEDED)
    return left
