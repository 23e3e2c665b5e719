"""Plain HTTP answers in the form in which Go's library gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# What every answer to a request must carry besides its own headers; who answers in pieces adds them himself.
ANSWER_HEADERS: Final = web.RequestKey("ANSWER_HEADERS", dict[str, str])

_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A refusal as text: what Go's `http.Error` writes, with its line end."""
    return web.Response(status=status, text=text + "\n", headers={**_NO_SNIFF, **(headers or {})})


def not_found() -> web.Response:
    """Nobody answers this path."""
    return failure(404, "404 page not found")


def wrong_method(allowed: str) -> web.Response:
    """The path has an answer, but not to this method."""
    return failure(405, "Method Not Allowed", {"Allow": allowed})


def moved(request: web.BaseRequest, path: str) -> web.Response:
    """The path is written in another way here; the query stays."""
    query = request.rel_url.raw_query_string
    location = path + (f"?{query}" if query else "")
    headers = {"Location": location}
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=301, headers=headers)
    text = f'<a href="{_html(location)}">Moved Permanently</a>.\n\n'
    return web.Response(status=301, text=text, content_type="text/html", headers=headers)


def _html(text: str) -> str:
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(character, escaped)
    return text


def answer_headers(request: web.BaseRequest) -> Mapping[str, str]:
    """`ANSWER_HEADERS` of a request."""
    headers: Mapping[str, str] = request.get(ANSWER_HEADERS, {})
    return headers


def get_only(handler: Handler, method: str = "GET") -> Handler:
    """A handler of one method; the others are refused."""

    async def checked(request: web.BaseRequest) -> web.StreamResponse:
        if request.method != method:
            return wrong_method(method)
        return await handler(request)

    return checked
