"""Passwords: comparing one at a login, hashing a new one before it is proposed.

bcrypt is slow on purpose, so both happen in a worker's thread, and both before anything is proposed: a
password never gets into the log. While one is compared the user may be changed or removed; if the auth
revision is another one when the login has been applied, the login is done again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from etcdpy.auth import AuthError, AuthFailed, passwords
from etcdpy.proto.raft_internal_pb2 import InternalAuthenticateRequest
from etcdpy.server.errors import TooManyRequests
from etcdpy.server.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.proto import rpc_pb2 as pb
    from etcdpy.server.member import Member
    from etcdpy.server.results import Done
    from etcdpy.server.snapshots import Worker

T = TypeVar("T")

# Each costs a core fifty milliseconds; a client gives up long before so many have been looked at.
WAITING_MAX = 1000


class Logins:
    """The passwords that pass through one member."""

    def __init__(self, member: Member, worker: Worker) -> None:
        self._member = member
        self._worker = worker
        self._waiting = 0

    def authenticate(self, request: pb.AuthenticateRequest, done: Done) -> None:
        """Check a password and make a token; the response is AuthenticateResponse."""

        def confirmed(error: Exception | None) -> None:
            if error is not None:
                done(Result(error=error))
            else:
                self._log_in(request.name, request.password, done)

        self._member.confirm_read(confirmed)

    def hash_password(self, password: str, done: Callable[[str | None, Exception | None], None]) -> None:
        """The `hashedPassword` to propose instead of a password.

        Raises:
            PasswordTooLong, TooManyRequests: at once.
        """
        data = passwords.check_length(password)
        cost = self._member.state.auth.bcrypt_cost
        self._run(lambda: passwords.to_wire(passwords.hash_password(data, cost)), done)

    def _log_in(self, username: str, password: str, done: Done) -> None:
        auth = self._member.state.auth
        checked_revision = auth.revision

        def compared(is_right: bool | None, error: Exception | None) -> None:
            if error is None and not is_right:
                error = AuthFailed()
                self._member.log.warn("invalid authentication was requested", user=username)
            if error is not None:
                done(Result(error=error))
                return
            self._propose(username, applied, done)

        def applied(result: Result) -> None:
            if result.error is None and self._member.state.auth.revision != checked_revision:
                self._log_in(username, password, done)
            else:
                done(result)

        try:
            hashed = auth.check_login(username)
            self._run(lambda: passwords.is_password(password, hashed), compared)
        except (AuthError, TooManyRequests) as refusal:
            done(Result(error=refusal))

    def _propose(self, username: str, applied: Done, done: Done) -> None:
        try:
            word = self._member.state.auth.tokens.new_word()
        except AuthError as refusal:
            done(Result(error=refusal))
            return
        login = InternalAuthenticateRequest(name=username, simple_token=word)
        self._member.propose("authenticate", login, login.SerializeToString(), applied)

    def _run(self, job: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        if self._waiting >= WAITING_MAX:
            raise TooManyRequests

        def finished(value: T | None, error: Exception | None) -> None:
            self._waiting -= 1
            done(value, error)

        self._waiting += 1
        self._worker.run(job, finished)
