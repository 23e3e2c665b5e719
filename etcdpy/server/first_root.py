"""The first user of a new cluster: a root whose password was given at the start, with auth on at once.

Done before the client port opens, so that there is no moment at which anybody may do anything. Each founder
does it, and what another has done already is no error. A start that ended half-way is gone on with at the
next one; a cluster in which users were ever changed by hand, or auth was switched off, is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from etcdpy.server.front import Front
    from etcdpy.server.member import Member
    from etcdpy.server.results import Result

ROOT = "root"
# The auth revision when the user has been made and has its role; switching auth off would raise it.
REVISION_MADE = 3


class FirstRoot:
    """Makes the user and switches auth on."""

    def __init__(self, member: Member, front: Front, password: str) -> None:
        self._member = member
        self._front = front
        self._password = password
        self._done: Callable[[Exception | None], None] = lambda error: None

    def make(self, done: Callable[[Exception | None], None]) -> None:
        """Do it if it is due; `done(None)` when auth is on or is not to be."""
        self._done = done
        if not self._is_due():
            done(None)
            return
        try:
            self._front.hash_password(self._password, self._hashed)
        except ServerError as error:
            done(error)

    def _is_due(self) -> bool:
        auth = self._member.state.auth
        return not auth.is_enabled and auth.revision <= REVISION_MADE

    def _hashed(self, password_hash: str | None, error: Exception | None) -> None:
        if password_hash is None:
            self._done(error)
            return
        steps: list[tuple[str, Message]] = [
            ("auth_user_add", pb.AuthUserAddRequest(name=ROOT, hashedPassword=password_hash)),
            ("auth_user_grant_role", pb.AuthUserGrantRoleRequest(user=ROOT, role=ROOT)),
            ("auth_enable", pb.AuthEnableRequest()),
        ]
        self._propose(steps)

    def _propose(self, steps: list[tuple[str, Message]]) -> None:
        kind, request = steps[0]

        def applied(result: Result) -> None:
            if self._member.state.auth.is_enabled:
                self._member.log.info("auth is on", user=ROOT)
                self._done(None)
            elif len(steps) > 1:
                # Another founder may have been first, with the same user; only the last step counts.
                self._propose(steps[1:])
            else:
                self._done(result.error)

        self._member.propose_own(kind, request, applied)
