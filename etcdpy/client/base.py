"""What every group of calls stands on: one caller, and the choices that `within` and `at` make for a view."""

from __future__ import annotations

import copy
import functools
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from etcdpy.client.caller import DEFAULT, Caller, Timeout
from etcdpy.client.sides import AsyncSide, PlainSide, both, both_iterate, drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Self

    from google.protobuf.message import Message

    from etcdpy.client.op import Operation
    from etcdpy.client.rpcs import DownRpc, UnaryRpc

P = ParamSpec("P")
T = TypeVar("T")
Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")


class Calls:
    """Making calls: raw ones here, for whoever wants the messages themselves, see `etcdpy.client.rpcs`."""

    _caller: Caller
    _timeout: Timeout = DEFAULT
    _endpoint: str | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where this client connects."""
        return self._caller.endpoints

    def within(self, timeout: float | None) -> Self:
        """This client, with another time for each call: seconds over all attempts, None for no end."""
        view = copy.copy(self)
        view._timeout = timeout
        return view

    def at(self, endpoint: str) -> Self:
        """This client, asking one endpoint and no other. Raises BadEndpoint."""
        view = copy.copy(self)
        view._endpoint = self._caller.endpoint(endpoint).text
        return view

    @both
    async def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = DEFAULT,
        endpoint: str | None = None,
        repeatable: bool | None = None,
    ) -> Response:
        """Send one request and return the response, both as protobuf messages.

        Args:
            timeout: seconds for all attempts together, None for no end; by default the client's own.
            endpoint: ask this one and no other.
            repeatable: whether the call may be made again when its fate is unknown; by default what
                `rpc` says.

        Raises:
            EtcdError: of the kind that fits.
        """
        return await self._send(rpc, request, timeout=timeout, endpoint=endpoint, repeatable=repeatable)

    @both_iterate
    async def receive(
        self,
        rpc: DownRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = None,
        endpoint: str | None = None,
    ) -> AsyncIterator[Response]:
        """Send one request and iterate over the stream of responses.

        Raises:
            EtcdError: of the kind that fits.
        """
        async for response in self._receive(rpc, request, timeout=timeout, endpoint=endpoint):
            yield response

    @both
    async def run(self, operation: Operation[T]) -> T:
        """Run an operation that was made before; `client.run(op.get("k"))` is `client.get("k")`."""
        return await self._run(operation)

    # For flows: coroutines on either side.

    async def _run(self, operation: Operation[T]) -> T:
        response = await self._send(operation.rpc, operation.request, repeatable=not operation.writes)
        return operation.parse(response)

    async def _send(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = DEFAULT,
        endpoint: str | None = None,
        repeatable: bool | None = None,
    ) -> Response:
        return await self._caller.call(
            rpc,
            request,
            timeout=self._timeout if timeout is DEFAULT else timeout,
            endpoint=endpoint or self._endpoint,
            repeatable=repeatable,
        )

    def _receive(
        self,
        rpc: DownRpc[Request, Response],
        request: Request,
        *,
        timeout: Timeout = None,
        endpoint: str | None = None,
    ) -> AsyncIterator[Response]:
        return self._caller.receive(rpc, request, timeout=timeout, endpoint=endpoint or self._endpoint)


class operation(Generic[P, T]):  # noqa: N801 - it is used as a decorator
    """A method of `Calls` that runs what a function of `etcdpy.client.op` makes, with its signature."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        @functools.wraps(make)
        async def flow(calls: Calls, *args: P.args, **kwargs: P.kwargs) -> T:
            return await calls._run(make(*args, **kwargs))

        self._flow = flow
        self._call = functools.wraps(make)(lambda *args, **kwargs: drive(flow(*args, **kwargs)))
        functools.update_wrapper(cast("Any", self), make)

    @overload
    def __get__(self, instance: None, owner: type) -> operation[P, T]: ...
    @overload
    def __get__(self, instance: PlainSide, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: AsyncSide, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return MethodType(self._flow if isinstance(instance, AsyncSide) else self._call, instance)
