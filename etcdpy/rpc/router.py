"""From a path to the method that answers it, through the checks that every call passes.

The order of these checks is etcd's, because a call that is wrong twice must be refused for the same reason:
what the cluster can do, what a learner may do, the client's version, whether a leader is known. Everything
after that is the method's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from etcdpy.proto.rpc_pb2 import RangeRequest
from etcdpy.rpc.call import Call
from etcdpy.rpc.call_counts import UNCOUNTED, CallLedger
from etcdpy.rpc.errors import FAULTS, Code, to_rpc_error, unknown_path
from etcdpy.rpc.guard import token_of
from etcdpy.server.errors import InvalidClientApiVersion, NoLeader, NotCapable, NotSupportedForLearner

if TYPE_CHECKING:
    from etcdpy.rpc.errors import RpcError
    from etcdpy.rpc.member_view import MemberView

# A stream that wants a leader survives this many looks, one election timeout apart, without one. A single
# election must not cut it.
LEADERLESS_LOOKS_MAX = 3


class Kind(Enum):
    """When a method begins and how it may answer."""

    UNARY = auto()  # begins with the request, answers by `reply`
    SERVER_STREAM = auto()  # begins with the request, answers by `send` and `finish`
    BIDI_STREAM = auto()  # begins with the headers, hears of requests by `on_message`

    @property
    def label(self) -> str:
        """What metrics call it."""
        return self.name.lower()

    @property
    def has_one_request(self) -> bool:
        """Whether the client sends one message, and only one."""
        return self is not Kind.BIDI_STREAM

    @property
    def has_one_answer(self) -> bool:
        """Whether a call that ends well has one answer."""
        return self is Kind.UNARY


class OnLearner(Enum):
    """Whether a learner serves a method."""

    NEVER = auto()
    ALWAYS = auto()
    IF_SERIALIZABLE = auto()  # the request is a RangeRequest and asks for no quorum


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC; `handler` gets the call and the request, which is empty for a BIDI_STREAM."""

    path: str
    kind: Kind
    handler: Callable[[Call, bytes], None]
    on_learner: OnLearner = OnLearner.NEVER
    code_if_left: Code = Code.CANCELED  # counted for calls whose client goes away before the end


class LeaderWatch:
    """Ends the streams of clients that wish to know when their member has lost the cluster."""

    def __init__(self, member: MemberView) -> None:
        self._member = member
        self._calls: set[Call] = set()
        self._looks_without_leader = 0

    def add(self, call: Call) -> None:
        """Watch over a stream until it ends."""
        self._calls.add(call)

    def look(self) -> None:
        """To be called once every election timeout."""
        self._calls = {call for call in self._calls if not call.closed}
        if self._member.leader_id:
            self._looks_without_leader = 0
            return
        self._looks_without_leader += 1
        if self._looks_without_leader < LEADERLESS_LOOKS_MAX:
            return
        error = to_rpc_error(NoLeader())
        calls, self._calls = self._calls, set()
        for call in calls:
            call.abort(error)


class Router:
    """All methods of the port by path. The transport asks for the `method` when the headers are there, and
    calls `start` when the method can begin.
    """

    def __init__(self, member: MemberView, methods: Iterable[Method]) -> None:
        self._member = member
        self._methods = {method.path: method for method in methods}
        self.ledger = CallLedger(self._methods.values())
        # Tells the time when calls are to be timed (`--metrics=extensive`).
        self.clock: Callable[[], float] | None = None
        self._services = frozenset(path[1:].rpartition("/")[0] for path in self._methods)
        self.leader_watch = LeaderWatch(member)

    @property
    def paths(self) -> list[str]:
        """Paths of all methods."""
        return list(self._methods)

    def method(self, path: str) -> Method | None:
        """The method of a path, None if there is none."""
        return self._methods.get(path)

    def unknown(self, path: str) -> RpcError:
        """What to answer when there is no method."""
        return unknown_path(path, self._services)

    def start(self, method: Method, call: Call, data: bytes = b"") -> None:
        """Check the call and hand it to its method; whatever is refused here or there ends the call."""
        try:
            member = self._member
            if not member.is_capable:
                raise NotCapable
            if member.is_learner:
                _check_learner(method, data)
            if call.metadata:
                self._check_metadata(method, call)
        except FAULTS as error:
            call.counts = UNCOUNTED
            call.fail(to_rpc_error(error))
            return
        counts = call.counts
        counts.started += 1
        counts.received_bytes += len(data)
        if self.clock is not None:
            call.started_at = self.clock()
        try:
            if call.metadata and member.state.auth.is_enabled and self._await_token(method, call, data):
                return
            method.handler(call, data)
        except FAULTS as error:
            call.fail(to_rpc_error(error))

    def _check_metadata(self, method: Method, call: Call) -> None:
        metadata = call.metadata
        version = metadata.get("client-api-version")
        if version is not None and not version.isascii():
            _check_utf8(version)
        if metadata.get("hasleader") == "true":
            if not self._member.leader_id:
                raise NoLeader
            if method.kind is not Kind.UNARY:
                self.leader_watch.add(call)

    def _await_token(self, method: Method, call: Call, data: bytes) -> bool:
        """Begin the call only when the entry is here that made its token, if that is still to come: the
        client may have logged in at a member that is ahead of us.
        """
        token = token_of(call)
        index = 0 if token is None else self._member.state.auth.index_of(token)
        if index <= self._member.applied_index:
            return False

        def applied() -> None:
            if call.closed:
                return
            try:
                method.handler(call, data)
            except FAULTS as error:
                call.fail(to_rpc_error(error))

        self._member.when_applied(index, applied)
        return True


def _check_learner(method: Method, data: bytes) -> None:
    match method.on_learner:
        case OnLearner.ALWAYS:
            return
        case OnLearner.IF_SERIALIZABLE:
            if RangeRequest.FromString(data).serializable:
                return
        case OnLearner.NEVER:
            pass
    raise NotSupportedForLearner


def _check_utf8(version: str) -> None:
    try:
        version.encode()
    except UnicodeEncodeError:
        raise InvalidClientApiVersion from None
