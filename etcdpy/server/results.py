"""What a request comes back with: `Result`, handed once to the `Done` of whoever proposed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from etcdpy.v2store import Event


@dataclass(slots=True)
class Result:
    """A response or an error, and the store revision after the request was applied.

    The response's own header is left unset: only the member that answers knows what to write there.
    """

    response: Message | None = None
    error: Exception | None = None
    revision: int = 0


@dataclass(slots=True)
class V2Result(Result):
    """The same of a request to the v2 store: the event that it became."""

    event: Event | None = None


Done = Callable[[Result], None]
