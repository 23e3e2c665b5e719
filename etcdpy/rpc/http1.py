"""HTTP/1.1 on the client port: what people and probes ask with a browser or curl."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.cluster.version import Version
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.rpc.aiohttp_log import make_logger
from etcdpy.rpc.gateway import NAME_IGNORED, shows_a_name
from etcdpy.rpc.port import Http1Session
from etcdpy.server.alarms import CORRUPT, NOSPACE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from etcdpy.rpc.gateway import Gateway
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.rpc.v2 import V2Api
    from etcdpy.server.log import Logger

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


class HttpEndpoints:
    """Answers `/health` and `/version`, and lets the gateway answer below `/v3/`, if there is one."""

    def __init__(
        self, member: MemberView, log: Logger, gateway: Gateway | None = None, v2: V2Api | None = None
    ) -> None:
        self._member = member
        self._gateway = gateway
        self._v2 = v2
        self._routes: dict[str, Handler] = {"/health": self._health, "/version": self._version}
        self._sessions: dict[object, Http1Session] = {}
        self._server = web.Server(
            self._handle, handler_cancellation=True, access_log=None, logger=make_logger(log)
        )

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
            return await self._answer(request)
        finally:
            session.running -= 1
            session.served += 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._gateway is not None and self._gateway.is_for(request.path):
            member = self._member
            if member.state.auth.is_enabled and member.config.client_cert_auth and shows_a_name(request):
                return _text(400, NAME_IGNORED)
            return await self._gateway.answer(request, self._sessions[request.protocol])
        if self._v2 is not None and self._v2.is_for(request.path):
            return await self._v2.answer(request, self._sessions[request.protocol])
        handler = self._routes.get(request.path)
        if handler is None:
            return _text(404, "404 page not found")
        if request.method != "GET":
            return _text(405, "Method Not Allowed", {"Allow": "GET"})
        return await handler(request)

    async def _version(self, request: web.BaseRequest) -> web.StreamResponse:
        version = self._member.state.membership.cluster_version
        storage = str(version) if version is not None and version >= Version(3, 6) else "unknown"
        return _json(
            200,
            {
                "etcdserver": ETCD_VERSION,
                "etcdcluster": "not_decided" if version is None else str(version),
                "storage": storage,
            },
        )

    async def _health(self, request: web.BaseRequest) -> web.StreamResponse:
        reason = await self._sickness(
            set(request.query.getall("exclude", [])), _is_true(request, "serializable")
        )
        if reason:
            return _json(503, {"health": "false", "reason": reason})
        return _json(200, {"health": "true", "reason": ""})

    async def _sickness(self, excluded: set[str], serializable: bool) -> str:
        """Why the member is not healthy; empty when it is. The order of the checks is etcd's."""
        alarms = self._member.state.alarms
        for kind in (NOSPACE, CORRUPT):
            name = pb.AlarmType.Name(kind)
            if alarms.is_active(kind) and name not in excluded:
                return f"ALARM {name}"
        if serializable:
            return ""
        if not self._member.leader_id:
            return "RAFT NO LEADER"
        error = await self._confirm_read()
        return f"RANGE ERROR:{error}" if error is not None else ""

    async def _confirm_read(self) -> Exception | None:
        answered: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if not answered.done():
                answered.set_result(error)

        self._member.confirm_read(done)
        return await answered


def _is_true(request: web.BaseRequest, name: str) -> bool:
    return request.query.get(name, "").lower() in ("true", "1")


def _json(status: int, fields: dict[str, str]) -> web.Response:
    body = json.dumps(fields, separators=(",", ":"))
    return web.Response(status=status, text=body, content_type="application/json")


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers={**_NO_SNIFF, **(headers or {})})
