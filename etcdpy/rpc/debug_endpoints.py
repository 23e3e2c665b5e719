"""`/debug/vars`, `/debug/pprof/` and `/config/local/log`: for whoever has to find out what a member does."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.rpc import profiles
from etcdpy.rpc.http_answers import failure, get_only
from etcdpy.server.log import Level
from etcdpy.server.log_outputs import BadLogSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from etcdpy.rpc.http_answers import Handler
    from etcdpy.server.log import Logger

PPROF = "/debug/pprof/"
PROFILE_SECONDS = 30.0
HEAP_SECONDS = 5.0
LOG_BODY_BYTES_MAX = 4096
_KINDS = {
    "allocs": "the same as heap",
    "cmdline": "the command line",
    "goroutine": "tasks and threads, and where they are",
    "heap": "memory in use that was allocated during ?seconds=N (5), by place; slows the server meanwhile",
    "profile": "stacks of all threads, sampled for ?seconds=N (30), one a line, for flame graphs",
    "threadcreate": "threads, and where they are",
}
_PAGE = """<html>
<head>
<title>{path}</title>
</head>
<body>
<table>
{rows}
</table>
</body>
</html>
"""
_TEXT = {"X-Content-Type-Options": "nosniff"}


def log_level_route(log: Logger) -> tuple[str, Handler]:
    """The path at which etcd 3.4 lets anybody change the level of its log; here, where profiling is on."""

    async def change(request: web.BaseRequest) -> web.StreamResponse:
        try:
            level = _level_in(await request.content.read(LOG_BODY_BYTES_MAX))
        except ValueError:
            return _message(400, "Invalid json body")
        try:
            log.level = Level.parse(level.lower() or "none")
        except BadLogSetting:
            return _message(400, f"Invalid log level {level}")
        log.warn("log level changed", level=log.level.name.lower())
        return web.Response(status=204)

    return "/config/local/log", get_only(change, "PUT")


def _level_in(body: bytes) -> str:
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("no object")
    # Go's decoder takes names in any case.
    level = next((value for name, value in fields.items() if name.lower() == "level"), "")
    if not isinstance(level, str):
        raise ValueError("the level is no text")
    return level


def _message(status: int, text: str) -> web.Response:
    body = json.dumps({"message": text}, separators=(",", ":"))
    return web.Response(status=status, text=body, content_type="application/json", charset=None)


def vars_route(raft_status: Callable[[], Mapping[str, object]]) -> tuple[str, Handler]:
    """Go's expvar page."""

    async def show(request: web.BaseRequest) -> web.StreamResponse:
        variables: dict[str, object] = {
            "cmdline": sys.argv,
            "file_descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "memstats": profiles.memory_statistics(),
            "raft.status": raft_status(),
        }
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in variables.items()]
        return web.Response(text="{\n" + ",\n".join(lines) + "\n}\n", content_type="application/json")

    return "/debug/vars", get_only(show)


def pprof_routes() -> Iterator[tuple[str, Handler]]:
    """What `--enable-pprof` switches on, besides `log_level_route`."""
    yield PPROF, _unknown_or_index
    for kind in _KINDS:
        yield PPROF + kind, _show


async def _unknown_or_index(request: web.BaseRequest) -> web.StreamResponse:
    if request.path != PPROF:
        return failure(404, "Unknown profile", {"X-Go-Pprof": "1"})
    rows = [f"<tr><td><a href='{kind}'>{kind}</a></td><td>{what}</td></tr>" for kind, what in _KINDS.items()]
    page = _PAGE.format(path=PPROF, rows="\n".join(rows))
    return web.Response(text=page, content_type="text/html", headers=_TEXT)


async def _show(request: web.BaseRequest) -> web.StreamResponse:
    kind = request.path.removeprefix(PPROF)
    default = HEAP_SECONDS if kind in ("heap", "allocs") else PROFILE_SECONDS
    try:
        seconds = float(request.query.get("seconds", default))
    except ValueError:
        return failure(400, 'invalid value for "seconds" - must be a positive integer')
    if not 0 < seconds <= profiles.SECONDS_MAX:
        return failure(400, f"seconds must be above 0 and at most {profiles.SECONDS_MAX:.0f}")
    try:
        text = await _make(kind, seconds)
    except profiles.Busy:
        return failure(500, "Could not enable profiling: another profile is being made", {"X-Go-Pprof": "1"})
    return web.Response(text=text, headers=_TEXT)


async def _make(kind: str, seconds: float) -> str:
    match kind:
        case "cmdline":
            return "\0".join(sys.argv)
        case "goroutine":
            return profiles.tasks_and_threads()
        case "threadcreate":
            return profiles.threads()
        case "profile":
            return await asyncio.to_thread(profiles.processor_profile, seconds)
        case _:
            return await asyncio.to_thread(profiles.memory_profile, seconds)
