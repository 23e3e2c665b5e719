"""What a request comes back with: `Result`, handed once to the `Done` of whoever proposed it.

Constructors are written out, here as for whatever else each request makes: mypyc compiles these, but leaves
those that `dataclass` makes to the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from etcdpy.v2store import Event


class EncodedResponse:
    """A response that was put together as bytes, where a message would cost more than all the rest."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802  # the name that messages have for it
        """The bytes."""
        return self._data


Response = Message | EncodedResponse


@dataclass(slots=True, init=False)
class Result:
    """A response or an error, and the store revision after the request was applied.

    The response's own header is left unset: only the member that answers knows what to write there.
    """

    response: Response | None
    error: Exception | None
    revision: int

    def __init__(
        self,
        response: Response | None = None,
        error: Exception | None = None,
        revision: int = 0,
    ) -> None:
        self.response = response
        self.error = error
        self.revision = revision


@dataclass(slots=True, init=False)
class V2Result(Result):
    """The same of a request to the v2 store: the event that it became."""

    event: Event | None

    def __init__(self, event: Event | None, revision: int) -> None:
        Result.__init__(
            self, revision=revision
        )  # `slots` makes the class anew, and `super()` means the old one
        self.event = event


Done = Callable[[Result], None]
