"""What all services share: headers, and the way from a `Result` to an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from etcdpy.rpc.encoding import HeaderEncoder
from etcdpy.rpc.errors import to_rpc_error
from etcdpy.rpc.guard import auth_info

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView
    from etcdpy.server.plain import PlainRequest
    from etcdpy.server.results import Done, Response, Result


@mypyc_attr(allow_interpreted_subclasses=True)
class Service:
    """Base of the services."""

    def __init__(self, member: MemberView) -> None:
        self._member = member
        self._headers = HeaderEncoder(member.cluster_id, member.member_id)

    def header(self, revision: int) -> bytes:
        """The header field of a response; revision 0 leaves it out."""
        return self._headers.encode(revision, self._member.raft_term)

    def respond(self, call: Call, response: Response, revision: int) -> None:
        """Answer with a message whose header is unset."""
        call.reply(self.header(revision) + response.SerializeToString())

    def propose(self, call: Call, kind: str, request: Message | PlainRequest, data: bytes) -> None:
        """Put the caller's request into the log, with the caller's name while auth is on, and answer with
        what comes of it.
        """
        member = self._member
        if member.state.auth.is_enabled:
            member.propose(kind, request, data, self.answer(call), auth_info(member, call))
        else:
            member.propose(kind, request, data, self.answer(call))

    def answer(self, call: Call) -> Done:
        """A `done` that answers with the result's response and revision."""

        def done(result: Result) -> None:
            if result.error is not None:
                call.fail(to_rpc_error(result.error))
                return
            body = b"" if result.response is None else result.response.SerializeToString()
            call.reply(self.header(result.revision) + body)

        return done

    def answer_without_header(self, call: Call) -> Done:
        """A `done` for the few responses in which etcd leaves the header out."""

        def done(result: Result) -> None:
            if result.error is not None:
                call.fail(to_rpc_error(result.error))
                return
            call.reply(b"" if result.response is None else result.response.SerializeToString())

        return done
