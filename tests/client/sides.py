"""One test for both sides: an `AsyncClient` that is called like a `Client`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator


class Awaited:
    """Something of the asyncio side; what its methods give to await is awaited, on a loop of its own.

    The loop runs only while a call does, so that what lives between calls (a kept lease, a watch) is not
    tested by this one.
    """

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._settle(found(*args, **kwargs))

        return call

    def _settle(self, result: Any) -> Any:
        if inspect.iscoroutine(result):
            return self._runner.run(result)
        if hasattr(result, "__anext__"):
            return self._iterate(result)
        if isinstance(result, type(self._inner)):
            return Awaited(result, self._runner)
        return result

    def _iterate(self, iterator: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(iterator)

        while True:
            try:
                yield self._runner.run(following())
            except StopAsyncIteration:
                return
