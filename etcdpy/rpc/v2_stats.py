"""`/v2/stats`: what this member has done, and how it stands with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.cluster.members import go_json

if TYPE_CHECKING:
    from etcdpy.rpc.member_view import MemberView

PREFIX = "/v2/stats/"
JSON = "application/json"
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


class V2Stats:
    """Tells statistics."""

    def __init__(self, member: MemberView) -> None:
        self._member = member

    def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """Answer one request for such a path, or any that nobody else has."""
        if path not in (PREFIX + "self", PREFIX + "leader", PREFIX + "store"):
            return web.Response(status=404, text="404 page not found\n", headers=_NO_SNIFF)
        if request.method != "GET":
            headers = {**_NO_SNIFF, "Allow": "GET"}
            return web.Response(status=405, text="Method Not Allowed\n", headers=headers)
        if path.endswith("store"):
            v2 = self._member.state.v2
            return _json(200, v2.stats.fields(v2.watchers.count))
        statistics = self._member.statistics
        assert statistics is not None, "the v2 API without statistics"
        if path.endswith("self"):
            return _json(200, statistics.server_fields())
        if self._member.leader_id != self._member.member_id:
            return _json(403, {"message": "not current leader"})
        return _json(200, statistics.leader_fields())


def _json(status: int, fields: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=go_json(fields), content_type=JSON)
