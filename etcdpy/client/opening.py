"""Flows that give something to be closed again: on the asyncio side one may await them or enter them at once.

watch = await client.watch("key")            async with client.watch("key") as watch: ...
"""

from __future__ import annotations

import functools
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from etcdpy.client.sides import AsyncSide, PlainSide, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType


class _Entered(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


P = ParamSpec("P")
S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E", bound=_Entered)


class Opening(Generic[E]):
    """Something that is about to be there: `await` it, or enter it with `async with`."""

    def __init__(self, flow: Coroutine[Any, Any, E]) -> None:
        self._flow = flow
        self._opened: E | None = None

    def __await__(self) -> Generator[Any, Any, E]:
        return self._flow.__await__()

    async def __aenter__(self) -> E:
        self._opened = await self._flow
        await self._opened.__aenter__()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._opened is not None, "left before it was entered"
        await self._opened.__aexit__(kind, error, trace)


class opens(Generic[A, E]):  # noqa: N801 - it is used as a decorator
    """Decorates a flow that gives an `A` on the plain side and an `E` on the asyncio side."""

    def __init__(self, plain: type[A], awaited: type[E]) -> None:
        self._types = (plain, awaited)

    def __call__(self, flow: Callable[Concatenate[S, P], Coroutine[Any, Any, Any]]) -> Opens[P, A, E]:
        return Opens(flow)


class Opens(Generic[P, A, E]):
    """The method that `opens` makes."""

    def __init__(self, flow: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._call = functools.wraps(flow)(lambda *args, **kwargs: drive(flow(*args, **kwargs)))
        self._open = functools.wraps(flow)(lambda *args, **kwargs: Opening(flow(*args, **kwargs)))
        functools.update_wrapper(cast("Any", self), flow)

    @overload
    def __get__(self, instance: None, owner: type) -> Opens[P, A, E]: ...
    @overload
    def __get__(self, instance: PlainSide, owner: type) -> Callable[P, A]: ...
    @overload
    def __get__(self, instance: AsyncSide, owner: type) -> Callable[P, Opening[E]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return MethodType(self._open if isinstance(instance, AsyncSide) else self._call, instance)
