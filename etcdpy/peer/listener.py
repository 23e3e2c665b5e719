"""The answering side of the peer port: one handler for each path that members call on each other.

Texts and statuses are etcd's to the letter: Go members compare bodies. The order of the checks is
the order of its table.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from etcdpy.backend import BackendError
from etcdpy.peer import compatibility
from etcdpy.peer.compatibility import check_request, parse_id
from etcdpy.peer.errors import Refused
from etcdpy.peer.remote import STREAM_KINDS
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.errors import MalformedMessage, RaftError
from etcdpy.raft.messages import MessageType
from etcdpy.server.snapshots import BadSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from etcdpy.peer.host import PeerHost
    from etcdpy.peer.tls import PeerTls
    from etcdpy.peer.transport import PeerTransport
    from etcdpy.raft.messages import Message
    from etcdpy.server.log import Logger

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# A pipeline message is at most a few entries of 1 MiB; what is larger is not ours.
PIPELINE_BYTES_MAX = 64 * 1024 * 1024
SNAPSHOT_ENVELOPE_BYTES_MAX = 64 * 1024 * 1024
SMALL_BODY_BYTES_MAX = 64 * 1024
SNAPSHOT_CHUNK_BYTES = 256 * 1024


class _Request(web.BaseRequest):
    """A request whose answer does not say what program gave it: etcd's do not."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)


def _nameless(*parts: Any) -> web.BaseRequest:
    message, payload, protocol, writer, task = parts
    return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


class PeerListener:
    """Serves one member's peer port."""

    def __init__(
        self, host: PeerHost, transport: PeerTransport, log: Logger, tls: PeerTls | None = None
    ) -> None:
        self._host = host
        self._tls = tls
        self._transport = transport
        self._log = log
        self._routes: dict[str, tuple[str, Handler]] = {
            "/raft": ("POST", self._pipeline),
            "/raft/snapshot": ("POST", self._snapshot),
            "/raft/probing": ("GET", self._probing),
            "/members": ("GET", self._members),
            "/members/hashkv": ("GET", self._hash_kv),
            "/leases": ("POST", self._leases),
            "/leases/internal": ("POST", self._leases_internal),
            "/downgrade/enabled": ("GET", self._downgrade_enabled),
            "/version": ("GET", self._version),
        }
        # Without cancellation a stream would outlive the peer that has hung up.
        self.server = web.Server(self.handle, handler_cancellation=True, request_factory=_nameless)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self._tls is not None and (
            request.transport is None or not await self._tls.admits(request.transport)
        ):
            if request.transport is not None:
                request.transport.abort()
            return _text(403, "Forbidden")
        path = request.path
        if path.startswith("/raft/stream/"):
            route: tuple[str, Handler] | None = ("GET", self._stream)
        elif path.startswith("/members/promote/"):
            route = ("POST", self._promote)
        else:
            route = self._routes.get(path)
        if route is None:
            return _text(404, "404 page not found")
        method, handler = route
        if request.method != method:
            return _text(405, "Method Not Allowed", {"Allow": method})
        try:
            return await handler(request)
        except Refused as refusal:
            return _text(refusal.status, refusal.text, self._cluster_header())

    # Raft.

    async def _pipeline(self, request: web.BaseRequest) -> web.StreamResponse:
        self._admit(request)
        body = await _read(request, PIPELINE_BYTES_MAX)
        try:
            message = raft_codec.decode_message(body)
        except MalformedMessage as error:
            raise Refused(400, "error unmarshalling raft message") from error
        if self._transport.find(message.from_) is not None:
            self._transport.observed.peer(message.from_).received_bytes += len(body)
        self._step(message)
        return web.Response(status=204, headers=self._cluster_header())

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        check_request(headers, self._host.cluster_id)
        kind, _, caller = request.path.removeprefix("/raft/stream/").partition("/")
        if kind not in STREAM_KINDS:
            raise Refused(404, "invalid path")
        caller_id = parse_id(caller)
        if caller_id is None:
            raise Refused(404, "invalid from")
        if self._host.is_removed(caller_id):
            raise Refused(410, "removed member")
        remote = self._transport.find(caller_id)
        if remote is None:
            self._learn(request)
            raise Refused(404, "error sender not found")
        if parse_id(headers.get(compatibility.RAFT_TO, "")) != self._host.member_id:
            raise Refused(412, "to field mismatch")
        if remote.cut or request.transport is None:
            raise Refused(503, "cut off")
        response = web.StreamResponse(headers={**self._cluster_header(), "X-Server-Version": ETCD_VERSION})
        response.enable_chunked_encoding()
        await response.prepare(request)
        writer = remote.attach(kind, request.transport)
        try:
            await writer.closed
        finally:
            remote.detach(kind, writer)
        return response

    async def _snapshot(self, request: web.BaseRequest) -> web.StreamResponse:
        self._admit(request)
        content = request.content
        try:
            length = int.from_bytes(await content.readexactly(8), "big")
            if length > SNAPSHOT_ENVELOPE_BYTES_MAX:
                raise MalformedMessage(f"an envelope of {length} bytes")
            message = raft_codec.decode_message(await content.readexactly(length))
        except (MalformedMessage, asyncio.IncompleteReadError) as error:
            raise Refused(400, f"failed to decode raft message ({error})") from error
        if message.type is not MessageType.SNAP:
            raise Refused(400, "wrong raft message type")
        transfers = self._transport.observed.peer(message.from_).received_databases
        now, ok = asyncio.get_running_loop().time, False
        started = now()
        transfers.under_way += 1
        try:
            await self._host.receive_snapshot(message, _chunks(request))
            ok = True
        except (OSError, BackendError, BadSnapshot) as error:
            self._log.error("failed to save an incoming database snapshot", error=str(error))
            raise Refused(500, f"failed to save KV snapshot ({error})") from error
        finally:
            transfers.ended(ok, now() - started)
        return web.Response(status=204, headers=self._cluster_header())

    def _admit(self, request: web.BaseRequest) -> None:
        check_request(request.headers, self._host.cluster_id)
        sender = parse_id(request.headers.get(compatibility.SERVER_FROM, ""))
        remote = None if sender is None else self._transport.find(sender)
        if remote is not None and remote.cut:
            raise Refused(503, "cut off")
        self._learn(request)

    def _learn(self, request: web.BaseRequest) -> None:
        sender = parse_id(request.headers.get(compatibility.SERVER_FROM, ""))
        urls = [url for url in request.headers.get(compatibility.PEER_URLS, "").split(",") if url]
        if sender is not None and urls:
            self._transport.learn(sender, urls)

    def _step(self, message: Message) -> None:
        if self._host.is_removed(message.from_) or message.to != self._host.member_id:
            raise Refused(500, "error processing raft message")
        try:
            self._host.step(message)
        except RaftError as error:
            raise Refused(500, "error processing raft message") from error

    # What else members ask.

    async def _probing(self, request: web.BaseRequest) -> web.StreamResponse:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return _json((json.dumps({"OK": True, "Now": now}, separators=(",", ":")) + "\n").encode())

    async def _members(self, request: web.BaseRequest) -> web.StreamResponse:
        return _json(self._host.members_json(), self._cluster_header())

    async def _version(self, request: web.BaseRequest) -> web.StreamResponse:
        return _json(self._host.version_json())

    async def _hash_kv(self, request: web.BaseRequest) -> web.StreamResponse:
        cluster = request.headers.get(compatibility.CLUSTER_ID)
        if cluster is not None and cluster.lower() != f"{self._host.cluster_id:x}":
            raise Refused(412, "cluster ID mismatch")
        try:
            parsed = json.loads(await _read(request, SMALL_BODY_BYTES_MAX))
            revision = int(parsed.get("revision", 0))
        except (ValueError, AttributeError, TypeError) as error:
            raise Refused(400, "error unmarshalling request") from error
        response = await _answer(lambda done: self._host.hash_kv(revision, done), "application/json")
        response.headers.update(self._cluster_header())
        return response

    async def _leases(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await _read(request, SMALL_BODY_BYTES_MAX)
        return await _answer(lambda done: self._host.renew_lease(body, done))

    async def _leases_internal(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await _read(request, SMALL_BODY_BYTES_MAX)
        return await _answer(lambda done: self._host.lease_time_to_live(body, done))

    async def _promote(self, request: web.BaseRequest) -> web.StreamResponse:
        text = request.path.removeprefix("/members/promote/")
        if not text.isascii() or not text.isdigit() or int(text) >= 1 << 64:
            raise Refused(404, f"member {text} not found in cluster")
        token = request.headers.get("Authorization", "")
        return await _answer(lambda done: self._host.promote(int(text), token, done), "application/json")

    async def _downgrade_enabled(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await _answer(self._host.downgrade_enabled, "text/plain")
        response.headers.update(self._cluster_header())
        return response

    def _cluster_header(self) -> dict[str, str]:
        return {compatibility.CLUSTER_ID: f"{self._host.cluster_id:x}"}


async def _answer(
    ask: Callable[[Callable[[int, bytes], None]], None], content_type: str = "application/protobuf"
) -> web.Response:
    """Wait for a callback's (status, body)."""
    answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def done(status: int, body: bytes) -> None:
        if not answered.done():
            answered.set_result((status, body))

    ask(done)
    status, body = await answered
    if status != 200:
        raise Refused(status, body.decode())
    return web.Response(body=body, content_type=content_type)


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Refused(413, "request body too large")
    return bytes(body)


async def _chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(SNAPSHOT_CHUNK_BYTES):
        yield chunk


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal in the form of Go's http.Error, or as JSON if it is that already."""
    if text.startswith("{"):
        return web.Response(status=status, text=text, content_type="application/json", headers=headers)
    return web.Response(
        status=status,
        text=text + "\n",
        content_type="text/plain",
        charset="utf-8",
        headers={"X-Content-Type-Options": "nosniff", **(headers or {})},
    )


def _json(body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)
