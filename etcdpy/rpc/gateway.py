"""The JSON gateway: every RPC of etcd as a POST below `/v3/`, for clients that have HTTP and nothing else.

A request becomes a `Call` of the same router that gRPC uses, so that both doors lead to the same services
with the same checks; there is no connection in between. Behaviour and error bodies are those of etcd 3.6; how
3.5 differs is written in `docs/compatibility.md`.

Calls to one answer are awaited and answered whole. Streams are chunks, one line `{"result":...}` for each
message; a client sends the messages of a stream as JSON objects one after the other, and hears answers while
it is still sending. What a slow client has not read counts as `pending_bytes`, as it does in gRPC.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from etcdpy.proto import election_pb2, lock_pb2, rpc_pb2
from etcdpy.rpc import gateway_socket
from etcdpy.rpc.errors import Code, RpcError, message_too_large
from etcdpy.rpc.gateway_call import GatewayCall
from etcdpy.rpc.gateway_json import MalformedJson, Splitter, decode, encode
from etcdpy.rpc.gateway_routes import ROUTES
from etcdpy.rpc.grpc import parse_timeout
from etcdpy.rpc.http_answers import answer_headers
from etcdpy.rpc.router import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message
    from multidict import CIMultiDictProxy

    from etcdpy.rpc.port import Http1Session
    from etcdpy.rpc.router import Method, Router

PREFIX = "/v3/"
# What releases before 3.4 called it; still served.
OLD_PREFIX = "/v3beta/"
# JSON needs a third more than the bytes it stands for, and some clients break their lines.
JSON_PER_BYTE = 2
# A client that closes its half may have gone, which over TCP looks the same. It gets what can be answered in
# this time; a watch or a lock would wait for ever.
HALF_CLOSED_SECONDS = 1.0

HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_JSON = "application/json"
_FROM_GRPC = {"Grpc-Metadata-Content-Type": "application/grpc"}
_METADATA_PREFIX = "grpc-metadata-"
# Headers that HTTP itself knows are passed on under a prefix, so that they cannot pass for gRPC's; others
# are not passed on.
_HTTP_HEADERS = frozenset(
    (
        *("accept", "accept-charset", "accept-language", "accept-ranges", "authorization", "cache-control"),
        *("content-type", "cookie", "date", "expect", "from", "host", "if-match", "if-modified-since"),
        *("if-none-match", "if-schedule-tag-match", "if-unmodified-since", "max-forwards", "origin"),
        *("pragma", "referer", "user-agent", "via", "warning"),
    )
)


@dataclass(frozen=True, slots=True)
class Route:
    """One path: its method, and the types that its bytes have."""

    method: Method
    request_type: type[Message]
    response_type: type[Message]


class Gateway:
    """Answers requests below `/v3/`."""

    def __init__(self, router: Router, receive_bytes_max: int) -> None:
        self._router = router
        self._receive_bytes_max = receive_bytes_max
        self.message_bytes_max = JSON_PER_BYTE * receive_bytes_max
        self._routes = dict(_routes(router))

    @property
    def paths(self) -> list[str]:
        """All paths that are served."""
        return list(self._routes)

    def is_for(self, path: str) -> bool:
        """Whether a path is in the gateway's part of the name space."""
        return path.startswith((PREFIX, OLD_PREFIX))

    async def answer(self, request: web.BaseRequest, session: Http1Session) -> web.StreamResponse:
        """Answer one request of such a path."""
        path = request.path
        if path.startswith(OLD_PREFIX):
            path = PREFIX + path.removeprefix(OLD_PREFIX)
        route = self._routes.get(path)
        if route is None:
            return _failure(RpcError(Code.NOT_FOUND, "Not Found"))
        if gateway_socket.is_upgrade(request):
            return await self._answer_socket(request, route)
        if request.method != "POST":
            return _failure(RpcError(Code.UNIMPLEMENTED, "Method Not Allowed"))
        try:
            timeout_s = _timeout(request.headers)
            if route.method.kind is Kind.BIDI_STREAM:
                data = b""
            else:
                data = _message(route.request_type, await self._body(request))
                self._check_size(data)
        except RpcError as error:
            return _failure(error)
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        call = GatewayCall(route.method.path, metadata_of(request.headers), request.remote or "", deadline)
        call.arm()
        session.on_half_close = lambda: loop.call_later(HALF_CLOSED_SECONDS, call.leave)
        try:
            if not call.closed:
                self._begin(route, call, data)
            if route.method.kind is Kind.UNARY:
                return await self._answer_whole(route, call)
            return await self._answer_stream(request, route, call)
        finally:
            session.on_half_close = None
            call.leave()

    def _begin(self, route: Route, call: GatewayCall, data: bytes) -> None:
        version = call.metadata.get("client-api-version")
        call.counts = self._router.ledger.counts(route.method, version)
        if self._router.clock is not None:
            call.clock = self._router.clock
        self._router.start(route.method, call, data)

    async def _answer_socket(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        metadata = metadata_of(request.headers)
        token = gateway_socket.token_of(request)
        if token is not None:
            metadata.setdefault("authorization", token)
        call = GatewayCall(route.method.path, metadata, request.remote or "", None)
        return await gateway_socket.SocketCall(self, route, call).run(request, partial(self._begin, route))

    def read_message(self, route: Route, text: bytes) -> bytes:
        """A request in the form in which services take it; raises RpcError."""
        data = _message(route.request_type, text)
        self._check_size(data)
        return data

    def write_message(self, route: Route, message: bytes) -> str:
        """A response as JSON."""
        return encode(route.response_type.FromString(message))

    def write_status(self, status: RpcError) -> str:
        """An error as JSON."""
        return _status_body(status).decode()

    async def _answer_whole(self, route: Route, call: GatewayCall) -> web.StreamResponse:
        while not call.closed:
            await call.news()
        status = call.status
        if status.code is not Code.OK:
            return _failure(status)
        body = encode(route.response_type.FromString(call.take()[0])).encode()
        return web.Response(body=body, content_type=_JSON, headers=_FROM_GRPC)

    async def _answer_stream(
        self, request: web.BaseRequest, route: Route, call: GatewayCall
    ) -> web.StreamResponse:
        reader = None
        if route.method.kind is Kind.BIDI_STREAM:
            reader = asyncio.create_task(self._read_stream(request, route, call))
        try:
            return await self._write_stream(request, route, call)
        finally:
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _write_stream(
        self, request: web.BaseRequest, route: Route, call: GatewayCall
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": _JSON, **answer_headers(request)})
        response.enable_chunked_encoding()
        while True:
            messages = call.take()
            if messages:
                if not response.prepared:
                    response.headers.update(_FROM_GRPC)
                    await response.prepare(request)
                lines = [f'{{"result":{encode(route.response_type.FromString(one))}}}\n' for one in messages]
                await response.write("".join(lines).encode())
                call.written(messages)
            elif call.closed:
                break
            else:
                await call.news()
        status = call.status
        if not response.prepared:
            if status.code is not Code.OK:
                return _failure(status)
            await response.prepare(request)
        if status.code is not Code.OK:
            await response.write(b'{"error":%b}\n' % _status_body(status))
        await response.write_eof()
        return response

    async def _read_stream(self, request: web.BaseRequest, route: Route, call: GatewayCall) -> None:
        """Hand over the client's messages. What is no message ends them; if it comes first, it fails the
        call.
        """
        splitter = Splitter(JSON_PER_BYTE * self._receive_bytes_max)
        heard = False
        try:
            while not call.closed:
                chunk = await request.content.readany()
                if not chunk:
                    if not splitter.is_between:
                        raise MalformedJson("unexpected EOF")
                    break
                for text in splitter.feed(chunk):
                    data = _message(route.request_type, text)
                    self._check_size(data)
                    await call.until_readable()
                    heard = True
                    call.hear(data)
        except (MalformedJson, RpcError) as error:
            if not heard:
                call.abort(error if isinstance(error, RpcError) else _malformed(error))
                return
        call.half_close()

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body.

        Raises:
            RpcError: it is larger than any message that would be taken.
        """
        size_max = JSON_PER_BYTE * self._receive_bytes_max
        chunks = []
        size = 0
        while chunk := await request.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > size_max:
                raise message_too_large(size, size_max)
        return b"".join(chunks)

    def _check_size(self, data: bytes) -> None:
        if len(data) > self._receive_bytes_max:
            raise message_too_large(len(data), self._receive_bytes_max)


def metadata_of(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """HTTP headers as the metadata of a call, the first value of each."""
    metadata: dict[str, str] = {}
    for original, value in headers.items():
        name = original.lower()
        if name == "authorization":
            metadata.setdefault(name, value)
        if name.startswith(_METADATA_PREFIX):
            metadata.setdefault(name.removeprefix(_METADATA_PREFIX), value)
        elif name in _HTTP_HEADERS:
            metadata.setdefault(f"grpcgateway-{name}", value)
    return metadata


def _timeout(headers: CIMultiDictProxy[str]) -> float | None:
    text = headers.get("Grpc-Timeout")
    if text is None:
        return None
    timeout_s = parse_timeout(text)
    if timeout_s is None:
        raise RpcError(Code.INVALID_ARGUMENT, f"invalid grpc-timeout: {text}")
    return timeout_s


def _message(request_type: type[Message], text: bytes) -> bytes:
    """A request in the form in which services take it."""
    message = request_type()
    try:
        decode(text, message)
    except MalformedJson as error:
        raise _malformed(error) from None
    return message.SerializeToString()


def _malformed(error: MalformedJson) -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, str(error))


def _failure(status: RpcError) -> web.Response:
    headers = {"WWW-Authenticate": status.message} if status.code is Code.UNAUTHENTICATED else None
    body = _status_body(status)
    return web.Response(status=HTTP_STATUS[status.code], body=body, content_type=_JSON, headers=headers)


def _status_body(status: RpcError) -> bytes:
    fields: dict[str, Any] = {"code": int(status.code), "message": status.message}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _routes(router: Router) -> Iterator[tuple[str, Route]]:
    files: tuple[FileDescriptor, ...] = (rpc_pb2.DESCRIPTOR, lock_pb2.DESCRIPTOR, election_pb2.DESCRIPTOR)
    services: dict[str, Any] = {
        service.full_name: service for file in files for service in file.services_by_name.values()
    }
    for grpc_path, paths in ROUTES.items():
        service_name, _, method_name = grpc_path[1:].partition("/")
        types = services[service_name].methods_by_name[method_name]
        method = router.method(grpc_path)
        assert method is not None, f"nobody answers {grpc_path}"
        route = Route(method, types.input_type._concrete_class, types.output_type._concrete_class)
        for path in paths:
            yield PREFIX + path, route
