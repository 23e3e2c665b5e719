"""What a call can end with instead of an answer: one exception for each kind of trouble, all `EtcdError`.

`error.code` is the gRPC code and `error.text` what the server said, to the letter. The class follows the
code; texts that a program wants to tell from others of the same code have a class of their own below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

Code = grpc.StatusCode


class EtcdError(Exception):
    """A call has failed.

    Attributes:
        code: the gRPC status code.
        text: the status' text: etcd's own words, or those of the gRPC library.
        maybe_applied: the call changes something, was perhaps sent, and nobody knows whether it took effect.
            It is not repeated for that reason; look before you repeat it.
    """

    def __init__(
        self, text: str, code: grpc.StatusCode = Code.UNKNOWN, *, maybe_applied: bool = False
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        doubt = " (whether it took effect is not known)" if self.maybe_applied else ""
        return f"{self.text or self.code.name}{doubt}"


class Cancelled(EtcdError):
    """CANCELLED: somebody ended the call, which may be the server at its own end."""


class InvalidArgument(EtcdError):
    """INVALID_ARGUMENT: the request makes no sense to the server."""


class DeadlineExceeded(EtcdError):
    """DEADLINE_EXCEEDED: no answer in the time that was allowed."""


class NotFound(EtcdError):
    """NOT_FOUND: a lease or member that is not there."""


class PermissionDenied(EtcdError):
    """PERMISSION_DENIED: the user may not do this."""


class Unauthenticated(EtcdError):
    """UNAUTHENTICATED: the token is not, or no longer, valid, and could not be had anew."""


class ResourceExhausted(EtcdError):
    """RESOURCE_EXHAUSTED: too large, or no space left."""


class FailedPrecondition(EtcdError):
    """FAILED_PRECONDITION: the cluster is not in the state that this needs."""


class OutOfRange(EtcdError):
    """OUT_OF_RANGE: a revision or a TTL that cannot be."""


class Unimplemented(EtcdError):
    """UNIMPLEMENTED: the server does not know this call."""


class Unavailable(EtcdError):
    """UNAVAILABLE: no endpoint could be reached, or the cluster could not answer now."""


class DataLoss(EtcdError):
    """DATA_LOSS: members disagree about the data."""


class NotSent(Unavailable):
    """No endpoint could be reached: the call certainly did not happen."""


class NoLeader(Unavailable):
    """The cluster has no leader, or the member that was asked knows of none."""


class CompactedError(OutOfRange):
    """The revision is no longer there.

    Attributes:
        compact_revision: the oldest revision of which history is kept, as far as the server told; else 0.
    """

    def __init__(self, text: str, code: grpc.StatusCode, *, compact_revision: int = 0) -> None:
        super().__init__(text, code)
        self.compact_revision = compact_revision


class FutureRevision(OutOfRange):
    """The revision does not exist yet."""


class NoSpace(ResourceExhausted):
    """The database is larger than its quota, or the alarm about that is still on."""


class LeaseNotFound(NotFound):
    """There is no such lease: it has expired, was revoked, or never was."""


class LeaseExists(FailedPrecondition):
    """There is a lease of this id already."""


class AuthFailed(InvalidArgument):
    """Unknown user, or wrong password."""


class WatchEnded(EtcdError):
    """The server has ended a watch for good; the text is its reason."""


class NotHeld(EtcdError):
    """A lock or a leadership is not, or no longer, ours."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Code.FAILED_PRECONDITION)


class Conflict(EtcdError):
    """A transaction met the writes of others in every attempt."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Code.ABORTED)


class Closed(EtcdError):
    """The client, or the thing that was asked, is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Code.CANCELLED)


TEXT_COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
TEXT_INVALID_TOKEN: Final = "etcdserver: invalid auth token"
TEXT_OLD_AUTH_REVISION: Final = "etcdserver: revision of auth store is old"
TEXT_USER_EMPTY: Final = "etcdserver: user name is empty"
TEXT_AUTH_NOT_ENABLED: Final = "etcdserver: authentication is not enabled"
TEXT_PERMISSION_DENIED: Final = "etcdserver: permission denied"
TEXT_NO_LEADER: Final = "etcdserver: no leader"

_BY_CODE: Final[Mapping[grpc.StatusCode, type[EtcdError]]] = {
    Code.CANCELLED: Cancelled,
    Code.INVALID_ARGUMENT: InvalidArgument,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    Code.NOT_FOUND: NotFound,
    Code.PERMISSION_DENIED: PermissionDenied,
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.RESOURCE_EXHAUSTED: ResourceExhausted,
    Code.FAILED_PRECONDITION: FailedPrecondition,
    Code.OUT_OF_RANGE: OutOfRange,
    Code.UNIMPLEMENTED: Unimplemented,
    Code.UNAVAILABLE: Unavailable,
    Code.DATA_LOSS: DataLoss,
}
_BY_TEXT: Final[Mapping[str, type[EtcdError]]] = {
    TEXT_COMPACTED: CompactedError,
    TEXT_NO_LEADER: NoLeader,
    # A Go server that looks at the clock before we do has words of its own, under code UNKNOWN at times.
    "context deadline exceeded": DeadlineExceeded,
    "context canceled": Cancelled,
    "etcdserver: mvcc: required revision is a future revision": FutureRevision,
    "etcdserver: mvcc: database space exceeded": NoSpace,
    "etcdserver: requested lease not found": LeaseNotFound,
    "etcdserver: lease already exists": LeaseExists,
    "etcdserver: authentication failed, invalid user ID or password": AuthFailed,
}
# How the gRPC library begins its texts when a call never left this process. Its picker says these when there
# is no connection to put a call on; whatever happens to a call that has a connection reads differently.
_NOT_SENT: Final = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "errors resolving ",
    "DNS resolution failed",
    "empty address list",
    "no address",
)


def error_of(code: grpc.StatusCode, text: str, *, maybe_applied: bool = False) -> EtcdError:
    """The exception for a status."""
    kind = _BY_TEXT.get(text) or _BY_CODE.get(code, EtcdError)
    if kind is Unavailable and text.startswith(_NOT_SENT):
        kind = NotSent
    error = kind(text, code)
    error.maybe_applied = maybe_applied and kind is not NotSent
    return error


def error_of_rpc(error: grpc.RpcError) -> EtcdError:
    """The exception for what either half of grpcio raises."""
    call = cast("grpc.Call", error)
    code = call.code()
    return error_of(code if isinstance(code, grpc.StatusCode) else Code.UNKNOWN, call.details() or "")
