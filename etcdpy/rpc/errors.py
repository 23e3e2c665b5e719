"""The one place where the server's refusals become gRPC statuses.

Clients of etcd match on the text, so code and text are etcd's to the letter. The rooms below raise
exceptions of their own and know nothing of this; `to_rpc_error` looks the exception up by its class, and
what is not in the table goes out as Unknown with its own text, as etcd does with errors it has no entry
for.
"""

from __future__ import annotations

from enum import IntEnum

from google.protobuf.message import DecodeError

from etcdpy import auth, cluster, lease, mvcc
from etcdpy.cluster import membership
from etcdpy.server import errors


class Code(IntEnum):
    """Status codes of gRPC."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# The way the Go client prints codes; it is part of the text of a refused watch.
_GO_NAMES = {code: "".join(word.capitalize() for word in code.name.split("_")) for code in Code} | {
    Code.OK: "OK"
}


class RpcError(Exception):
    """A status other than OK."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """As Go prints a status: what etcd puts into `cancel_reason`."""
        return f"rpc error: code = {_GO_NAMES[self.code]} desc = {self.message}"


# Whatever a service may meet while it answers. Anything else is a bug and must not look like an answer.
FAULTS: tuple[type[Exception], ...] = (
    RpcError,
    errors.ServerError,
    auth.AuthError,
    mvcc.MvccError,
    lease.LeaseError,
    membership.MembershipError,
    cluster.BadUrl,
    DecodeError,
)

_INVALID = Code.INVALID_ARGUMENT
_FAILED = Code.FAILED_PRECONDITION
_UNAVAILABLE = Code.UNAVAILABLE
_UNKNOWN = Code.UNKNOWN

TABLE: dict[type[Exception], tuple[Code, str]] = {
    # Requests and MVCC.
    errors.EmptyKey: (_INVALID, "etcdserver: key is not provided"),
    errors.KeyNotFound: (_INVALID, "etcdserver: key not found"),
    errors.ValueProvided: (_INVALID, "etcdserver: value is provided"),
    errors.LeaseProvided: (_INVALID, "etcdserver: lease is provided"),
    errors.TooManyOps: (_INVALID, "etcdserver: too many operations in txn request"),
    errors.DuplicateKey: (_INVALID, "etcdserver: duplicate key given in txn request"),
    errors.InvalidClientApiVersion: (_INVALID, "etcdserver: invalid client api version"),
    errors.InvalidSortOption: (_INVALID, "etcdserver: invalid sort option"),
    mvcc.Compacted: (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
    mvcc.FutureRevision: (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
    errors.NoSpace: (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    errors.RequestTooLarge: (_INVALID, "etcdserver: request is too large"),
    # etcd's own table says ResourceExhausted and FailedPrecondition for this and for
    # MemberNotEnoughStarted, but maps them to the client's error type, which carries no status.
    errors.TooManyRequests: (_UNKNOWN, "etcdserver: too many requests"),
    # Lease and watch.
    lease.LeaseNotFound: (Code.NOT_FOUND, "etcdserver: requested lease not found"),
    lease.LeaseExists: (_FAILED, "etcdserver: lease already exists"),
    lease.LeaseTTLTooLarge: (Code.OUT_OF_RANGE, "etcdserver: too large lease TTL"),
    lease.NotPrimary: (_UNKNOWN, "not a primary lessor"),
    errors.WatchCanceled: (Code.CANCELED, "etcdserver: watch canceled"),
    # Membership.
    membership.MemberExists: (_FAILED, "etcdserver: member ID already exist"),
    membership.PeerUrlExists: (_FAILED, "etcdserver: Peer URLs already exists"),
    errors.MemberNotEnoughStarted: (
        _UNKNOWN,
        "etcdserver: re-configuration failed due to not enough started members",
    ),
    errors.MemberBadUrls: (_INVALID, "etcdserver: given member URLs are invalid"),
    cluster.BadUrl: (_INVALID, "etcdserver: given member URLs are invalid"),
    membership.MemberNotFound: (Code.NOT_FOUND, "etcdserver: member not found"),
    membership.MemberRemoved: (Code.NOT_FOUND, "etcdserver: member not found"),
    membership.MemberNotLearner: (_FAILED, "etcdserver: can only promote a learner member"),
    errors.LearnerNotReady: (
        _FAILED,
        "etcdserver: can only promote a learner member which is in sync with leader",
    ),
    membership.TooManyLearners: (_FAILED, "etcdserver: too many learner members in cluster"),
    errors.ClusterIdMismatch: (_FAILED, "etcdserver: cluster ID mismatch"),
    errors.Unhealthy: (_UNAVAILABLE, "etcdserver: unhealthy cluster"),
    errors.NotSupportedForLearner: (_FAILED, "etcdserver: rpc not supported for learner"),
    errors.BadLeaderTransferee: (_FAILED, "etcdserver: bad leader transferee"),
    errors.NotLeader: (_FAILED, "etcdserver: not leader"),
    # Auth.
    auth.RootUserNotExist: (_FAILED, "etcdserver: root user does not exist"),
    auth.RootRoleNotExist: (_FAILED, "etcdserver: root user does not have root role"),
    auth.UserAlreadyExist: (_FAILED, "etcdserver: user name already exists"),
    auth.UserEmpty: (_INVALID, "etcdserver: user name is empty"),
    auth.UserNotFound: (_FAILED, "etcdserver: user name not found"),
    auth.RoleAlreadyExist: (_FAILED, "etcdserver: role name already exists"),
    auth.RoleNotFound: (_FAILED, "etcdserver: role name not found"),
    auth.RoleEmpty: (_INVALID, "etcdserver: role name is empty"),
    auth.AuthFailed: (_INVALID, "etcdserver: authentication failed, invalid user ID or password"),
    auth.PermissionNotGiven: (_INVALID, "etcdserver: permission not given"),
    auth.PermissionDenied: (Code.PERMISSION_DENIED, "etcdserver: permission denied"),
    auth.RoleNotGranted: (_FAILED, "etcdserver: role is not granted to the user"),
    auth.PermissionNotGranted: (_FAILED, "etcdserver: permission is not granted to the role"),
    auth.AuthNotEnabled: (_FAILED, "etcdserver: authentication is not enabled"),
    auth.InvalidAuthToken: (Code.UNAUTHENTICATED, "etcdserver: invalid auth token"),
    auth.InvalidAuthMgmt: (_INVALID, "etcdserver: invalid auth management"),
    auth.AuthOldRevision: (_INVALID, "etcdserver: revision of auth store is old"),
    auth.NoPasswordUser: (
        _UNKNOWN,
        "auth: authentication failed, password was given for no password user",
    ),
    auth.PasswordTooLong: (_UNKNOWN, "bcrypt: password length exceeds 72 bytes"),
    auth.VerifyOnlyKey: (_UNKNOWN, "auth: token signing attempted with verify-only key"),
    auth.TokenNotSigned: (_UNKNOWN, "key is invalid"),
    # State of the cluster, time.
    errors.NoLeader: (_UNAVAILABLE, "etcdserver: no leader"),
    errors.LeaderChanged: (_UNAVAILABLE, "etcdserver: leader changed"),
    errors.NotCapable: (_FAILED, "etcdserver: not capable"),
    errors.Stopped: (_UNAVAILABLE, "etcdserver: server stopped"),
    errors.Timeout: (_UNAVAILABLE, "etcdserver: request timed out"),
    errors.TimeoutDueToLeaderFail: (
        _UNAVAILABLE,
        "etcdserver: request timed out, possibly due to previous leader failure",
    ),
    errors.TimeoutDueToConnectionLost: (
        _UNAVAILABLE,
        "etcdserver: request timed out, possibly due to connection lost",
    ),
    errors.TimeoutWaitAppliedIndex: (
        _UNAVAILABLE,
        "etcdserver: request timed out, waiting for the applied index took too long",
    ),
    errors.TimeoutLeaderTransfer: (
        _UNKNOWN,
        "etcdserver: request timed out, leader transfer took too long",
    ),
    errors.Corrupt: (Code.DATA_LOSS, "etcdserver: corrupt cluster"),
    errors.Canceled: (Code.CANCELED, "etcdserver: request canceled"),
    errors.CallerCanceled: (Code.CANCELED, "context canceled"),
    errors.CallerDeadline: (Code.DEADLINE_EXCEEDED, "context deadline exceeded"),
    errors.ProposalDropped: (_UNKNOWN, "raft proposal dropped"),
    errors.RaftStopped: (_UNKNOWN, "raft: stopped"),
    # Downgrade.
    errors.WrongDowngradeVersionFormat: (_INVALID, "etcdserver: wrong downgrade target version format"),
    errors.InvalidDowngradeTargetVersion: (_INVALID, "etcdserver: invalid downgrade target version"),
    errors.ClusterVersionUnavailable: (
        _FAILED,
        "etcdserver: cluster version not found during downgrade",
    ),
    errors.DowngradeInProcess: (_FAILED, "etcdserver: cluster has a downgrade job in progress"),
    errors.NoInflightDowngrade: (_FAILED, "etcdserver: no inflight downgrade job"),
    errors.UnknownMethod: (_UNKNOWN, "etcdserver: unknown method"),
}


def to_rpc_error(error: Exception) -> RpcError:
    """The status that a client sees for an error of any room."""
    if isinstance(error, RpcError):
        return error
    row = TABLE.get(type(error))
    if row is not None:
        return RpcError(*row)
    if isinstance(error, errors.NotSupported):
        return RpcError(Code.UNIMPLEMENTED, f"etcdserver: not supported: {error}")
    if isinstance(error, DecodeError):
        return RpcError(Code.INTERNAL, f"grpc: error unmarshalling request: {error}")
    return RpcError(Code.UNKNOWN, str(error))


def unknown_path(path: str, services: frozenset[str]) -> RpcError:
    """What a call to something that does not exist is told, in the words of grpc-go."""
    service, separator, method = path.removeprefix("/").rpartition("/")
    if not path.startswith("/") or not separator:
        return RpcError(Code.UNIMPLEMENTED, f'malformed method name: "{path}"')
    if service not in services:
        return RpcError(Code.UNIMPLEMENTED, f"unknown service {service}")
    return RpcError(Code.UNIMPLEMENTED, f"unknown method {method} for service {service}")


def message_too_large(size: int, size_max: int) -> RpcError:
    """What a transport answers to a message above its receive limit, in the words of grpc-go."""
    return RpcError(
        Code.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. {size_max})"
    )


CALLER_CANCELED = RpcError(*TABLE[errors.CallerCanceled])
CALLER_DEADLINE = RpcError(*TABLE[errors.CallerDeadline])
