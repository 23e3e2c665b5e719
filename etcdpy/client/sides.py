"""Every flow of the client is written once, as a coroutine, and offered twice: as a call and as an await.

A flow awaits nothing but the primitives of its `Side`: send one request, pause, wait for an event. On the
asyncio side those suspend. On the plain side they block the calling thread and return, so that a flow never
suspends there: `drive` starts it, and it has run to its end. No event loop and no second thread is behind a
plain call, and no source text is produced from another.

`both` and its kin are descriptors that choose by the class of the instance; type checkers see the plain
signature on a `PlainSide` and an awaitable one on an `AsyncSide`.
"""

from __future__ import annotations

import functools
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class PlainSide:
    """What calls and blocks."""

    __slots__ = ()


class AsyncSide:
    """What is awaited."""

    __slots__ = ()


def drive(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow whose primitives never suspend."""
    try:
        flow.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    flow.close()
    raise AssertionError("a plain call has suspended")


def drive_iterator(flow: AsyncIterator[T]) -> Iterator[T]:
    """The items of such a flow."""
    try:
        while True:
            try:
                item = drive(cast("Coroutine[Any, Any, T]", flow.__anext__()))
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(flow, "aclose", None)
        if close is not None:
            drive(close())


class both(Generic[S, P, T]):  # noqa: N801 - it is used as a decorator
    """A method that is `await`ed on the asyncio side and simply called on the plain one."""

    def __init__(self, flow: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> None:
        self._flow = flow
        self._call = functools.wraps(flow)(lambda *args, **kwargs: drive(flow(*args, **kwargs)))
        functools.update_wrapper(cast("Any", self), flow)

    @overload
    def __get__(self, instance: None, owner: type) -> both[S, P, T]: ...
    @overload
    def __get__(self, instance: PlainSide, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: AsyncSide, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return MethodType(self._flow if isinstance(instance, AsyncSide) else self._call, instance)

    def flow(self, instance: S, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """The coroutine itself on either side, to be awaited by another flow."""
        return self._flow(instance, *args, **kwargs)


class both_iterate(Generic[S, P, T]):  # noqa: N801 - it is used as a decorator
    """A method that gives an iterator: `async for` on the asyncio side, `for` on the plain one."""

    def __init__(self, flow: Callable[Concatenate[S, P], AsyncIterator[T]]) -> None:
        self._flow = flow
        self._call = functools.wraps(flow)(lambda *args, **kwargs: drive_iterator(flow(*args, **kwargs)))
        functools.update_wrapper(cast("Any", self), flow)

    @overload
    def __get__(self, instance: None, owner: type) -> both_iterate[S, P, T]: ...
    @overload
    def __get__(self, instance: PlainSide, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: AsyncSide, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return MethodType(self._flow if isinstance(instance, AsyncSide) else self._call, instance)

    def flow(self, instance: S, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        """The iterator itself on either side, for another flow."""
        return self._flow(instance, *args, **kwargs)
