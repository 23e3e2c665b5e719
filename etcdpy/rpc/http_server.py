"""aiohttp's server with the manners of Go's: what it says of itself, and of requests that are none.

Answers do not name the program. A request that cannot be read is told so in one line and nothing of it is
repeated; a Host that no name can be, or a path with broken escapes, is as bad as that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from etcdpy.rpc.aiohttp_log import make_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

    from etcdpy.server.log import Logger

    Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_HOST: Final = re.compile(rb"[!$%&'()*+,\-.:;=\[\]_~0-9A-Za-z]*")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MALFORMED_HOST = "malformed Host header"
# What aiohttp says when it has read a request to the end of its head, and what Go does.
_COMPLAINTS: Final = (
    ("Missing 'Host'", "missing required Host header"),
    ("Duplicate 'Host'", "too many Host headers"),
)


class _Request(web.BaseRequest):
    """A request whose answer does not say what program gave it."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)


class _Protocol(web.RequestHandler):
    """A connection on which faults of requests are told as Go tells them."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read, or what a handler failed at."""
        response = super().handle_error(request, status, exc, message)
        return response if status >= 500 else bad_request(_complaint(message or ""))


class GoServer(web.Server):
    """Makes the protocols of connections; `handler` answers the requests that may be answered."""

    def __init__(self, handler: Answer, log: Logger) -> None:
        async def checked(request: web.BaseRequest) -> web.StreamResponse:
            complaint = check_request(request)
            return await handler(request) if complaint is None else bad_request(complaint)

        self._options: dict[str, Any] = {"access_log": None, "logger": make_logger(log)}
        super().__init__(checked, request_factory=self._make, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        """The protocol of one connection."""
        return _Protocol(self, loop=self._loop, **self._options)

    def _make(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, self._loop)


def check_request(request: web.BaseRequest) -> str | None:
    """What is wrong with a request that could be read: None if nothing is, empty if Go has no word for it."""
    for name, value in request.raw_headers:
        if name.lower() == b"host" and _HOST.fullmatch(value) is None:
            return _MALFORMED_HOST
    path = request.raw_path.partition("?")[0]
    return "" if _BROKEN_ESCAPE.search(path) else None


def bad_request(complaint: str) -> web.Response:
    """400 in Go's words; the connection ends with it."""
    reason = f"Bad Request: {complaint}" if complaint else "Bad Request"
    response = web.Response(status=400, reason=reason, text=f"400 {reason}")
    response.force_close()
    return response


def _complaint(message: str) -> str:
    return next((ours for theirs, ours in _COMPLAINTS if theirs in message), "")
