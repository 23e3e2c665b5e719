"""`/health`, `/livez` and `/readyz`: what load balancers and Kubernetes ask.

`/health` is one question with a JSON answer. The other two are lists of checks, each with a path of its own:
a member is alive when it can read what it has, and ready when it can serve what clients ask.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.backend import BackendError
from etcdpy.metrics import Family, labels
from etcdpy.mvcc import MvccError
from etcdpy.rpc.errors import to_rpc_error
from etcdpy.rpc.http_answers import failure, get_only
from etcdpy.server.alarms import CORRUPT, name_of
from etcdpy.server.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from etcdpy.rpc.http_answers import Handler
    from etcdpy.rpc.member_view import MemberView

    Check = Callable[[], Awaitable[str]]

LIVEZ, READYZ = "livez", "readyz"
NOT_FOR_LEARNERS = "not supported for learner"


@dataclass(slots=True)
class _Runs:
    """How often one check has been made."""

    successes: int = 0
    errors: int = 0
    is_well: bool = True


class HealthEndpoints:
    """Answers about one member."""

    def __init__(self, member: MemberView) -> None:
        self._member = member
        self._well = 0
        self._sick = 0
        self._checks: dict[str, dict[str, Check]] = {
            LIVEZ: {"serializable_read": self._read_locally},
            READYZ: {
                "data_corruption": self._look_for_corruption,
                "serializable_read": self._read_locally,
                "linearizable_read": self._read,
                "non_learner": self._ask_role,
            },
        }
        self._runs: dict[tuple[str, str], _Runs] = {}

    def routes(self) -> Iterator[tuple[str, Handler]]:
        """Paths and who answers them."""
        yield "/health", get_only(self._health)
        for kind, checks in self._checks.items():
            yield f"/{kind}", get_only(self._handler(kind, checks))
            for name, check in checks.items():
                yield f"/{kind}/{name}", get_only(self._handler(kind, {name: check}))

    def families(self) -> Iterator[Family]:
        """What Prometheus gets to see."""
        name = "etcd_server_health_"
        yield Family.single(
            name + "success", "counter", "The total number of successful health checks", self._well
        )
        yield Family.single(
            name + "failures", "counter", "The total number of failed health checks", self._sick
        )
        latest = Family("etcd_server_healthcheck", "gauge", "The result of each kind of healthcheck.")
        totals = Family(
            "etcd_server_healthchecks_total", "counter", "The total number of each kind of healthcheck."
        )
        for (kind, check), runs in sorted(self._runs.items()):
            latest.add(int(runs.is_well), labels(type=kind, name=check))
            for status, count in (("success", runs.successes), ("error", runs.errors)):
                if count:
                    totals.add(count, labels(type=kind, name=check, status=status))
        yield from (latest, totals)

    # /health

    async def _health(self, request: web.BaseRequest) -> web.StreamResponse:
        excluded = set(request.query.getall("exclude", []))
        reason = await self._sickness(excluded, request.query.get("serializable") == "true")
        body = json.dumps({"health": "false" if reason else "true", "reason": reason}, separators=(",", ":"))
        if reason:
            self._sick += 1
            return failure(503, body)
        self._well += 1
        return web.Response(text=body)

    async def _sickness(self, excluded: set[str], serializable: bool) -> str:
        """Why the member is not healthy; empty when it is. The order of the questions is etcd's."""
        for alarm in self._member.state.alarms.list():
            name = name_of(alarm.alarm)
            if name not in excluded:
                return f"ALARM {'UNKNOWN' if name.isdigit() else name}"
        if not serializable and not self._member.leader_id:
            return "RAFT NO LEADER"
        error = await (self._read_locally() if serializable else self._read())
        return f"RANGE ERROR:{error}" if error else ""

    # /livez and /readyz

    def _handler(self, kind: str, checks: dict[str, Check]) -> Handler:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            excluded = set(request.query.getall("exclude", []))
            lines, is_well = [], True
            for name, check in checks.items():
                if name in excluded:
                    continue
                error = await check()
                self._note(kind, name, error)
                is_well = is_well and not error
                lines.append(f"[-]{name} failed: {error}\n" if error else f"[+]{name} ok\n")
            report = "".join(lines)
            if not is_well:
                return failure(503, report)
            text = f"{report}ok\n" if "verbose" in request.query else "ok\n"
            return web.Response(text=text, headers={"X-Content-Type-Options": "nosniff"})

        return handler

    def _note(self, kind: str, name: str, error: str) -> None:
        runs = self._runs.setdefault((kind, name), _Runs())
        runs.is_well = not error
        if error:
            runs.errors += 1
        else:
            runs.successes += 1

    # The checks: what is wrong, or nothing.

    async def _read_locally(self) -> str:
        try:
            self._member.state.store.get(b"\0")
        except (MvccError, BackendError) as error:
            return str(error)
        return ""

    async def _read(self) -> str:
        answered: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if not answered.done():
                answered.set_result(error)

        self._member.confirm_read(done)
        error = await answered
        if error is not None:
            return to_rpc_error(error).message if isinstance(error, ServerError) else str(error)
        return await self._read_locally()

    async def _look_for_corruption(self) -> str:
        if self._member.state.alarms.is_active(CORRUPT):
            return f"alarm activated: {name_of(CORRUPT)}"
        return ""

    async def _ask_role(self) -> str:
        return NOT_FOR_LEARNERS if self._member.is_learner else ""
