"""The v2 API on the client port: `/v2/keys`, and the members and statistics beside it.

Off unless `--enable-v2`. Writes and quorum reads go through the log, all else is answered from this member's
own store. A wait is answered with its headers at once and with the event when it comes.
"""

from __future__ import annotations

import asyncio
import posixpath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from etcdpy.cluster.members import go_json
from etcdpy.rpc import v2_forms
from etcdpy.rpc.errors import FAULTS, to_rpc_error
from etcdpy.rpc.http_answers import answer_headers, moved
from etcdpy.rpc.v2_members import V2Members
from etcdpy.rpc.v2_stats import V2Stats
from etcdpy.server.results import Result, V2Result
from etcdpy.v2store import KEYS_ROOT, Action, Event, StoreFault, V2Error
from etcdpy.v2store.errors import MESSAGES, Code

if TYPE_CHECKING:
    from etcdpy.proto.etcdserver_pb2 import Request
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.rpc.port import Http1Session
    from etcdpy.rpc.v2_forms import KeysRequest
    from etcdpy.v2store import Watcher

PREFIX = "/v2/"
METHODS = ("HEAD", "GET", "PUT", "POST", "DELETE")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

HTTP_STATUS = {
    Code.KEY_NOT_FOUND: 404,
    Code.NOT_FILE: 403,
    Code.DIRECTORY_NOT_EMPTY: 403,
    Code.UNAUTHORIZED: 401,
    Code.TEST_FAILED: 412,
    Code.NODE_EXISTS: 412,
    Code.RAFT_INTERNAL: 500,
}
# What the store or the log may say to a request, beside the numbered errors.
_REFUSALS: tuple[type[Exception], ...] = (StoreFault, *FAULTS)
_WITHOUT_VALUE = frozenset((Action.SET, Action.CREATE, Action.UPDATE, Action.COMPARE_AND_SWAP))


class V2Api:
    """Answers requests below `/v2/`."""

    def __init__(self, member: MemberView) -> None:
        self._member = member
        self._members = V2Members(member)
        self._stats = V2Stats(member)

    def is_for(self, path: str) -> bool:
        """Whether a path is in this part of the name space."""
        return path.startswith(PREFIX)

    async def answer(self, request: web.BaseRequest, session: Http1Session) -> web.StreamResponse:
        """Answer one request of such a path."""
        if v2_forms.BAD_ESCAPE.search(request.rel_url.raw_path):
            return web.Response(status=400, text="400 Bad Request", headers={"Connection": "close"})
        path = unquote(request.rel_url.raw_path)
        cleaned = clean(path)
        if cleaned != path:
            return moved(request, cleaned)
        if path == v2_forms.PREFIX or path.startswith(v2_forms.PREFIX + "/"):
            return await self._answer_keys(request, session)
        if path.startswith("/v2/members") or path == "/v2/machines":
            return await self._members.answer(request, path)
        return self._stats.answer(request, path)

    async def _answer_keys(self, request: web.BaseRequest, session: Http1Session) -> web.StreamResponse:
        if request.method not in METHODS:
            return not_allowed(",".join(METHODS))
        store = self._member.state.v2
        try:
            asked = v2_forms.parse(
                request.method,
                request.rel_url.raw_path,
                request.rel_url.raw_query_string,
                await _form_of(request),
                store.now_ns,
            )
            if asked.wait and not asked.quorum:
                return await self._answer_wait(request, asked, session)
            return self._event_response(await self._event(asked), asked)
        except V2Error as error:
            return self._failure(error)
        except _REFUSALS as error:
            return self._failure(V2Error(Code.RAFT_INTERNAL, to_rpc_error(error).message))

    async def _event(self, asked: KeysRequest) -> Event:
        request = asked.request
        if request.Method == "HEAD" or (request.Method == "GET" and not asked.quorum):
            return self._member.state.v2.get(
                request.Path, recursive=request.Recursive, is_sorted=request.Sorted
            )
        if request.Method == "GET":
            request.Method = "QGET"
        result = await propose(self._member, request)
        if result.error is not None:
            raise result.error
        assert isinstance(result, V2Result), result
        assert result.event is not None, f"{request.Method} without an event"
        return result.event

    def _headers(self, index: int) -> dict[str, str]:
        return {
            "X-Etcd-Cluster-Id": f"{self._member.cluster_id:x}",
            "X-Etcd-Index": str(index),
            "X-Raft-Index": str(self._member.commit_index),
            "X-Raft-Term": str(self._member.raft_term),
        }

    def _event_response(self, event: Event, asked: KeysRequest) -> web.Response:
        body = event_json(event, without_value=asked.no_value and event.action in _WITHOUT_VALUE)
        status = 201 if event.is_created else 200
        return web.Response(
            status=status, body=body, content_type=JSON, headers=self._headers(event.etcd_index)
        )

    def _failure(self, error: V2Error) -> web.Response:
        fields: dict[str, object] = {"errorCode": int(error.code), "message": MESSAGES[error.code]}
        cause = error.cause.removeprefix(KEYS_ROOT)
        if cause:
            fields["cause"] = cause
        fields["index"] = error.index
        headers = {
            "X-Etcd-Cluster-Id": f"{self._member.cluster_id:x}",
            "X-Etcd-Index": str(error.index),
        }
        status = HTTP_STATUS.get(error.code, 400)
        return web.Response(status=status, body=go_json(fields) + b"\n", content_type=JSON, headers=headers)

    # Waiting.

    async def _answer_wait(
        self, request: web.BaseRequest, asked: KeysRequest, session: Http1Session
    ) -> web.StreamResponse:
        wanted = asked.request
        watcher = self._member.state.v2.watch(
            wanted.Path, recursive=wanted.Recursive, stream=asked.stream, since_index=asked.since_index
        )
        news = asyncio.Event()
        watcher.on_news = news.set

        def leave() -> None:
            watcher.remove()
            news.set()

        # Who says no more has gone, as far as HTTP/1.1 tells.
        session.on_half_close = leave
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": JSON,
                    **self._headers(watcher.start_index),
                    **answer_headers(request),
                }
            )
            response.enable_chunked_encoding()
            await response.prepare(request)
            await _write_events(response, watcher, news)
            await response.write_eof()
            return response
        finally:
            session.on_half_close = None
            watcher.remove()


async def _write_events(response: web.StreamResponse, watcher: Watcher, news: asyncio.Event) -> None:
    while True:
        while watcher.events:
            await response.write(event_json(watcher.events.popleft()))
            if not watcher.stream:
                return
        if watcher.is_removed:
            return
        news.clear()
        await news.wait()


async def propose(member: MemberView, request: Request) -> Result:
    """Put a request through the log."""
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def done(result: Result) -> None:
        if not answered.done():
            answered.set_result(result)

    member.propose_v2(request, done)
    return await answered


async def _form_of(request: web.BaseRequest) -> str:
    """The body, if it is a form and the method has one."""
    if request.method not in ("PUT", "POST") or request.content_type != FORM:
        return ""
    chunks = []
    size = 0
    while chunk := await request.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > v2_forms.FORM_BYTES_MAX:
            raise V2Error(Code.INVALID_FORM, "http: POST too large")
    return b"".join(chunks).decode("utf-8", "replace")


def event_json(event: Event, *, without_value: bool = False) -> bytes:
    """An event as clients see it, who know nothing of where their keys lie."""
    fields: dict[str, object] = {"action": event.action.value}
    if not without_value:
        fields["node"] = event.node.fields(KEYS_ROOT)
        if event.prev_node is not None:
            fields["prevNode"] = event.prev_node.fields(KEYS_ROOT)
    return go_json(fields) + b"\n"


def not_allowed(allow: str) -> web.Response:
    """The answer to a method that a path does not have."""
    headers = {"Allow": allow, "X-Content-Type-Options": "nosniff"}
    return web.Response(status=405, text="Method Not Allowed\n", headers=headers)


def clean(path: str) -> str:
    """The path as Go's router wants it: no doubled slashes and no dots, a slash at the end left there."""
    cleaned = posixpath.normpath(path)
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned
