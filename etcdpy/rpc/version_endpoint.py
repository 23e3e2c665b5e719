"""`/version`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.cluster.version import Version
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.rpc.http_answers import get_only

if TYPE_CHECKING:
    from etcdpy.rpc.http_answers import Handler
    from etcdpy.rpc.member_view import MemberView


def version_route(member: MemberView) -> tuple[str, Handler]:
    """Versions of the server, the cluster and the storage, as far as they are known."""

    async def show(request: web.BaseRequest) -> web.StreamResponse:
        version = member.state.membership.cluster_version
        storage = str(version) if version is not None and version >= Version(3, 6) else "unknown"
        fields = {
            "etcdserver": ETCD_VERSION,
            "etcdcluster": "not_decided" if version is None else str(version),
            "storage": storage,
        }
        body = json.dumps(fields, separators=(",", ":")).encode()
        return web.Response(body=body, content_type="application/json")

    return "/version", get_only(show)
