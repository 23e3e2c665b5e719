"""Who may use HTTP on the client port: host names, origins, and the one kind of client that must not.

Over plain HTTP the name that the client calls us by must be a known one, because a page of some other site
may have had its own name resolve to our address (DNS rebinding, CVE-2018-5702). Browsers are told which
origins may read answers. A client whose certificate names a user would be somebody else to the gateway, and
is refused there while auth is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.rpc.gateway import OLD_PREFIX, PREFIX
from etcdpy.rpc.http_answers import failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from etcdpy.rpc.member_view import MemberView
    from etcdpy.server.config import Config

ANYBODY = "*"
_GATEWAYS = (PREFIX, OLD_PREFIX)
_CORS = {
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS, PUT, DELETE",
    "Access-Control-Allow-Headers": "accept, content-type, authorization",
}
_UNKNOWN_HOST = """
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist {}

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
"""
_NAMED_CLIENT = (
    "CommonName of client sending a request against gateway will be ignored and not used as expected"
)


class HttpAccess:
    """The rules of one client port."""

    def __init__(self, config: Config, member: MemberView) -> None:
        self._member = member
        self._hosts = frozenset(config.host_whitelist)
        self._origins = frozenset(config.cors)
        self._asks_names = config.client_cert_auth and config.enable_grpc_gateway

    def refuse(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a request that must not go on."""
        if not request.secure:
            host = host_name(_asked_host(request))
            if self._hosts and ANYBODY not in self._hosts and host not in self._hosts:
                return failure(421, _UNKNOWN_HOST.format(_quoted(host)))
        elif self._asks_names and request.path.startswith(_GATEWAYS):
            certificate = request.get_extra_info("peercert")
            if self._member.state.auth.is_enabled and _has_common_name(certificate):
                return failure(400, _NAMED_CLIENT)
        return None

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """What the answer tells browsers."""
        if ANYBODY in self._origins:
            return {"Access-Control-Allow-Origin": ANYBODY, **_CORS}
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._origins:
            return {"Access-Control-Allow-Origin": origin, **_CORS}
        return {}


def _asked_host(request: web.BaseRequest) -> str:
    """Of a request line with a whole URL, that counts (RFC 9112, section 3.2.2)."""
    return request.headers.get("Host", "") if request.raw_path.startswith("/") else request.host


def host_name(host: str) -> str:
    """The name in a Host header, without port and without the brackets of an IPv6 address that has one."""
    name, colon, _ = host.rpartition(":")
    if not colon:
        return host
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1]
    return host if ":" in name or "[" in name or "]" in name else name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _has_common_name(certificate: Mapping[str, object] | None) -> bool:
    subject = (certificate or {}).get("subject", ())
    assert isinstance(subject, tuple), f"a subject of type {type(subject).__name__}"
    return any(name == "commonName" and value for part in subject for name, value in part)
