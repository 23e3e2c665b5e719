"""What the member can refuse, as exceptions with etcd's own names.

Nothing here knows codes or texts of the wire: `etcdpy.rpc.errors` is the one table that turns these, and
the errors of the rooms below, into what a client sees. An error that must come out the same on every member
(it is found while applying) is recorded in the `Result` of the request, so each class carries no state
beyond its name unless it says so.
"""


class ServerError(Exception):
    """Base of everything the server room refuses."""


class InvalidRequest(ServerError):
    """Base of what can be seen in the request alone, before anything is proposed."""


class EmptyKey(InvalidRequest):
    """A request, a compare or an operation without a key."""


class KeyNotFound(InvalidRequest):
    """`ignore_value` or `ignore_lease` on a missing key, or an operation with no member set."""


class ValueProvided(InvalidRequest):
    """`ignore_value` together with a value."""


class LeaseProvided(InvalidRequest):
    """`ignore_lease` together with a lease."""


class TooManyOps(InvalidRequest):
    """More compares or operations than `--max-txn-ops`."""


class DuplicateKey(InvalidRequest):
    """A Txn that puts one key twice, or puts a key that it deletes."""


class InvalidSortOption(InvalidRequest):
    """A sort order or target outside its enum."""


class InvalidClientApiVersion(InvalidRequest):
    """The metadata `client-api-version` is not UTF-8."""


class WatchCanceled(ServerError):
    """A Watch stream ended because its call was cancelled."""


class RequestTooLarge(ServerError):
    """The raft request would be larger than `--max-request-bytes`."""


class TooManyRequests(ServerError):
    """The log runs too far ahead of what has been applied."""


class NoSpace(ServerError):
    """The quota is used up, or the NOSPACE alarm is on."""


class Corrupt(ServerError):
    """The CORRUPT alarm is on."""


class NotSupported(ServerError):
    """The member does not do this yet; clients see Unimplemented."""


class NoLeader(ServerError):
    """No leader is known."""


class NotLeader(ServerError):
    """Only the leader can do this, and we are not it."""


class LeaderChanged(ServerError):
    """The leader changed while the request waited."""


class NotCapable(ServerError):
    """The cluster version is outside what this release can do."""


class Stopped(ServerError):
    """The member is stopping."""


class RaftStopped(ServerError):
    """Raft itself has ended."""


class ProposalDropped(ServerError):
    """Raft refused a proposal: leadership is being transferred, or the uncommitted log is full."""


class Timeout(ServerError):
    """The request was not applied within the request timeout."""


class TimeoutDueToLeaderFail(Timeout):
    """Timeout of a request that was started around an election."""


class TimeoutDueToConnectionLost(Timeout):
    """Timeout while the link to the leader, or to a quorum, was down."""


class TimeoutWaitAppliedIndex(Timeout):
    """The applied index did not reach the commit index in time."""


class TimeoutLeaderTransfer(Timeout):
    """A leadership transfer did not finish before the caller's deadline."""


class Canceled(ServerError):
    """A wait inside the server was given up by its caller."""


class CallerCanceled(ServerError):
    """The caller left while the request waited to be accepted."""


class CallerDeadline(ServerError):
    """The caller's deadline passed while the request waited to be accepted."""


class NotSupportedForLearner(ServerError):
    """A learner does not serve this call."""


class BadLeaderTransferee(ServerError):
    """MoveLeader to a learner or to nobody."""


class UnknownMethod(ServerError):
    """An action outside its enum."""


class Unhealthy(ServerError):
    """Too few members are connected for the change."""


class MemberNotEnoughStarted(ServerError):
    """A membership change would leave fewer started members than a quorum."""


class MemberBadUrls(ServerError):
    """MemberAdd with no URL, or with one that cannot be a peer URL."""


class LearnerNotReady(ServerError):
    """Promotion of a learner that lags behind."""


class ClusterIdMismatch(ServerError):
    """A member of another cluster answered."""


class WrongDowngradeVersionFormat(ServerError):
    """The downgrade target is no version."""


class InvalidDowngradeTargetVersion(ServerError):
    """The downgrade target is not one minor version below the cluster version."""


class ClusterVersionUnavailable(ServerError):
    """No cluster version has been decided yet."""


class DowngradeInProcess(ServerError):
    """A downgrade is under way already."""


class NoInflightDowngrade(ServerError):
    """There is no downgrade to cancel."""
