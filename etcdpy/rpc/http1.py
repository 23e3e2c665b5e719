"""HTTP/1.1 on the client port and on the listeners for metrics: what people, probes and scrapers ask.

A site is a table of paths, with the gateway and the rules of access where there are any. aiohttp reads the
requests and writes the answers; `plain_requests` brings it those that come by HTTP/2.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.rpc.gateway import PREFIX
from etcdpy.rpc.http_answers import ANSWER_HEADERS, answer_headers, moved, not_found
from etcdpy.rpc.http_server import GoServer
from etcdpy.rpc.port import Http1Session

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from etcdpy.rpc.gateway import Gateway
    from etcdpy.rpc.http_access import HttpAccess
    from etcdpy.rpc.http_answers import Handler
    from etcdpy.rpc.v2 import V2Api
    from etcdpy.server.log import Logger


class HttpSite:
    """Answers the requests of one port.

    Args:
        routes: paths and their handlers; one that ends with a slash stands for all below it.
        gateway: answers below `/v3/`.
        v2: answers below `/v2/`.
        access: who may come in; everybody if there are no rules.
    """

    def __init__(
        self,
        log: Logger,
        routes: Mapping[str, Handler],
        gateway: Gateway | None = None,
        access: HttpAccess | None = None,
        v2: V2Api | None = None,
    ) -> None:
        self._gateway = gateway
        self._access = access
        self._v2 = v2
        self._routes = dict(routes)
        self._trees = [path for path in self._routes if path.endswith("/")]
        self._sessions: dict[object, Http1Session] = {}
        self._server = GoServer(self._handle, log)

    def open(self) -> Http1Session:
        """A session for one connection."""
        protocol: asyncio.Protocol = self._server()
        session = self._sessions[protocol] = Http1Session(protocol)
        return session

    def close(self, session: Http1Session) -> None:
        """The connection is gone."""
        del self._sessions[session.protocol]

    @property
    def sessions(self) -> int:
        """Connections there are."""
        return len(self._sessions)

    async def stop(self, grace_s: float) -> None:
        """End the connections, each when the request that is being answered has been."""
        self._server.pre_shutdown()  # idle connections; `shutdown` would wait for those too
        await self._server.shutdown(timeout=grace_s)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        session = self._sessions.get(request.protocol)
        if session is None:
            raise ConnectionResetError  # the client was gone before its request was looked at
        session.running += 1
        try:
            response = await self._admit(request)
            if not response.prepared:
                response.headers.update(answer_headers(request))
            return response
        finally:
            session.running -= 1
            session.served += 1

    async def _admit(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._access is not None:
            refusal = self._access.refuse(request)
            if refusal is not None:
                return refusal
            request[ANSWER_HEADERS] = self._access.headers(request)
            if request.method == "OPTIONS":
                return web.Response()
        return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._gateway is not None and self._gateway.is_for(request.path):
            return await self._gateway.answer(request, self._sessions[request.protocol])
        if self._v2 is not None and self._v2.is_for(request.path):
            return await self._v2.answer(request, self._sessions[request.protocol])
        handler = self._find(request.path)
        if handler is not None:
            return await handler(request)
        clean = _clean(request.path)
        if clean != request.path:
            return moved(request, clean)
        if f"{clean}/" in self._routes or (self._gateway is not None and f"{clean}/" == PREFIX):
            return moved(request, f"{clean}/")
        return not_found()

    def _find(self, path: str) -> Handler | None:
        handler = self._routes.get(path)
        if handler is None:
            trees = [tree for tree in self._trees if path.startswith(tree) and _clean(path) == path]
            handler = self._routes[max(trees, key=len)] if trees else None
        return handler


def _clean(path: str) -> str:
    """A path without `//`, `.` and `..`; a slash at its end stays."""
    clean = "/" + posixpath.normpath("/" + path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean
