"""`/v2/members` and `/v2/machines`: the members of the cluster for clients of the v2 API."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.cluster.ids import parse_id
from etcdpy.cluster.members import go_json
from etcdpy.cluster.membership import MemberExists, MemberNotFound, MemberRemoved, PeerUrlExists
from etcdpy.cluster.urls import BadUrl, parse_urls
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.server.results import Result

PREFIX = "/v2/members"
MACHINES = "/v2/machines"
METHODS = "GET,POST,DELETE,PUT"
JSON = "application/json"
JSON_BODY_BYTES_MAX = 1024 * 1024
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}
_KINDS = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


class _Refused(Exception):
    """An answer that is an error; `str` is its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class V2Members:
    """Lists and changes members."""

    def __init__(self, member: MemberView) -> None:
        self._member = member

    async def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """Answer one request for such a path."""
        if path == MACHINES:
            return self._machines(request)
        if path != PREFIX and not path.startswith(PREFIX + "/"):
            return _text(404, "404 page not found")
        headers = {"X-Etcd-Cluster-Id": f"{self._member.cluster_id:x}"}
        tail = path.removeprefix(PREFIX).removeprefix("/")
        if request.method not in METHODS.split(","):
            return _text(405, "Method Not Allowed", {"Allow": METHODS})
        if request.method in ("PUT", "DELETE") and not tail:
            return _text(405, "Method Not Allowed", headers)
        try:
            if request.method != "GET" and self._member.state.auth.is_enabled:
                raise _Refused(401, "Insufficient credentials")  # nobody can show a token here
            response = await self._handlers[request.method](self, request, tail)
        except _Refused as refusal:
            body = go_json({"message": str(refusal)})
            response = web.Response(status=refusal.status, body=body, content_type=JSON)
        response.headers.update(headers)
        return response

    def _machines(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Method Not Allowed", {"Allow": "GET,HEAD"})
        urls = sorted(url for member in self._member.member_list() for url in member.clientURLs)
        return web.Response(text=", ".join(urls))

    async def _list(self, request: web.BaseRequest, tail: str) -> web.Response:
        members = self._member.member_list()
        if not tail:
            return _json(200, {"members": [_fields(member) for member in members]})
        if tail != "leader":
            raise _Refused(404, "Not found")
        leader_id = self._member.leader_id
        if not leader_id:
            raise _Refused(503, "During election")
        leader = next((member for member in members if leader_id == member.ID), None)
        if leader is None:
            raise _Refused(404, "Not found")
        return _json(200, _fields(leader))

    async def _add(self, request: web.BaseRequest, tail: str) -> web.Response:
        result = await self._change(pb.MemberAddRequest(peerURLs=await _peer_urls(request)))
        if isinstance(result.error, (MemberExists, PeerUrlExists)):
            raise _Refused(409, str(result.error))
        _check(result)
        assert isinstance(result.response, pb.MemberAddResponse), result
        return _json(201, _fields(result.response.member))

    async def _remove(self, request: web.BaseRequest, tail: str) -> web.Response:
        identity = _id(tail)
        result = await self._change(pb.MemberRemoveRequest(ID=identity))
        if isinstance(result.error, MemberRemoved) or self._is_removed(identity, result):
            raise _Refused(410, f"Member permanently removed: {tail}")
        if isinstance(result.error, MemberNotFound):
            raise _Refused(404, f"No such member: {tail}")
        _check(result)
        return web.Response(status=204)

    def _is_removed(self, identity: int, result: Result) -> bool:
        return result.error is not None and self._member.state.membership.is_removed(identity)

    async def _update(self, request: web.BaseRequest, tail: str) -> web.Response:
        identity = _id(tail)
        result = await self._change(pb.MemberUpdateRequest(ID=identity, peerURLs=await _peer_urls(request)))
        if isinstance(result.error, PeerUrlExists):
            raise _Refused(409, str(result.error))
        if isinstance(result.error, MemberNotFound):
            raise _Refused(404, f"No such member: {tail}")
        _check(result)
        return web.Response(status=204)

    async def _change(
        self, request: pb.MemberAddRequest | pb.MemberRemoveRequest | pb.MemberUpdateRequest
    ) -> Result:
        answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(result: Result) -> None:
            if not answered.done():
                answered.set_result(result)

        self._member.change_members(request, done)
        return await answered

    _handlers = {"GET": _list, "POST": _add, "DELETE": _remove, "PUT": _update}  # noqa: RUF012  # not changed


def _check(result: Result) -> None:
    if result.error is not None:
        raise _Refused(500, "Internal Server Error")


def _id(text: str) -> int:
    try:
        return parse_id(text)
    except ValueError:
        raise _Refused(404, f"No such member: {text}") from None


async def _peer_urls(request: web.BaseRequest) -> list[str]:
    given = request.headers.get("Content-Type", "")
    if given.partition(";")[0].strip() != JSON:
        raise _Refused(415, f"Bad Content-Type {given}, accept application/json")
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > JSON_BODY_BYTES_MAX:
            raise _Refused(400, "http: request body too large")
    if not body.strip():
        raise _Refused(400, "unexpected end of JSON input")
    try:
        fields = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise _Refused(400, str(error)) from None
    urls = fields.get("peerURLs") if isinstance(fields, dict) else fields
    if isinstance(urls, list):
        wrong = next((url for url in urls if not isinstance(url, str)), None)
        kind = "string"
    else:
        wrong, kind = urls, "[]string"
    if wrong is not None:
        where = f"{_KINDS[type(wrong)]} into Go struct field .peerURLs of type {kind}"
        raise _Refused(400, f"json: cannot unmarshal {where}")
    try:
        return [str(url) for url in parse_urls(urls or [])]
    except BadUrl as error:
        raise _Refused(400, str(error)) from None


def _fields(member: pb.Member) -> dict[str, object]:
    return {
        "id": f"{member.ID:x}",
        "name": member.name,
        "peerURLs": list(member.peerURLs),
        "clientURLs": list(member.clientURLs),
    }


def _json(status: int, fields: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=go_json(fields) + b"\n", content_type=JSON)


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers={**_NO_SNIFF, **(headers or {})})
