"""What the services need of the member, and nothing else.

`etcdpy.server.member.Member` is the real one; tests bring their own. Methods that take `done` return at
once and call it exactly once, on the loop thread, perhaps before they return. A `Result` carries an error,
or a response whose header was left unset together with the revision that belongs into it. A caller who has
left is not taken back: `done` is called all the same, and the answer to a call that has ended goes nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from etcdpy.auth import AuthInfo
    from etcdpy.mvcc import HashKV
    from etcdpy.proto import rpc_pb2
    from etcdpy.proto.etcdserver_pb2 import Request
    from etcdpy.server.plain import PlainRequest
    from etcdpy.server.quota import Costly
    from etcdpy.server.request_ids import RequestIds
    from etcdpy.server.results import Done
    from etcdpy.server.state import State
    from etcdpy.server.statistics import Statistics


class LimitsView(Protocol):
    """The part of the configuration that bounds requests and tells who makes them."""

    @property
    def max_request_bytes(self) -> int:
        """`--max-request-bytes`."""

    @property
    def max_txn_ops(self) -> int:
        """`--max-txn-ops`."""

    @property
    def client_cert_auth(self) -> bool:
        """`--client-cert-auth`."""


class SnapshotSource(Protocol):
    """A snapshot of the backend in the form in which clients get it."""

    @property
    def size_bytes(self) -> int:
        """How much there is to read."""

    @property
    def version(self) -> str:
        """Storage version."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer only at the end."""

    def close(self) -> None:
        """Let the snapshot go; may be called before its end."""


class MemberView(Protocol):
    """A member of a cluster as its services see it."""

    @property
    def cluster_id(self) -> int:
        """Id of the cluster; does not change."""

    @property
    def member_id(self) -> int:
        """Id of this member; does not change."""

    @property
    def raft_term(self) -> int:
        """Current term."""

    @property
    def commit_index(self) -> int:
        """Last entry known to be on a quorum."""

    @property
    def leader_id(self) -> int:
        """The leader as this member knows it, 0 for none."""

    @property
    def is_learner(self) -> bool:
        """Whether this member only listens."""

    @property
    def is_capable(self) -> bool:
        """Whether this release can serve clients at the present cluster version."""

    @property
    def config(self) -> LimitsView:
        """The configuration."""

    @property
    def state(self) -> State:
        """Store, watch hub, lessor and so on; replaced as a whole when a snapshot arrives, so never kept by
        services.
        """

    @property
    def statistics(self) -> Statistics | None:
        """What `/v2/stats` tells, if the v2 API is on."""

    @property
    def request_ids(self) -> RequestIds:
        """Where new lease ids come from."""

    def propose(
        self, kind: str, message: Message | PlainRequest, data: bytes, done: Done, info: AuthInfo = ..., /
    ) -> None:
        """Put a request into the log; `done` when this member has applied it or cannot.

        `kind` is the field of InternalRaftRequest, `message` the decoded request, `data` its serialized
        form, which goes into the log as it is, `info` who asks for it while auth is on. Errors before that:
        Stopped, TooManyRequests, RequestTooLarge, the timeouts.
        """

    def propose_v2(self, request: Request, done: Done) -> None:
        """The same with a request of the v2 API; the result is a `V2Result`."""

    def confirm_read(self, done: Callable[[Exception | None], None]) -> None:
        """`done(None)` when a read of the local state is linearizable, `done(error)` when it cannot be."""

    @property
    def applied_index(self) -> int:
        """The last entry that has been applied here."""

    def when_applied(self, index: int, done: Callable[[], None]) -> None:
        """Call back when the entry at `index` has been applied here, or has not come for too long."""

    def has_space(self, request: Costly) -> bool:
        """Whether the quota has room for the request. If not, the member also sees to the NOSPACE alarm."""

    def member_list(self) -> list[rpc_pb2.Member]:
        """All members, sorted by id."""

    def change_members(
        self,
        request: rpc_pb2.MemberAddRequest
        | rpc_pb2.MemberRemoveRequest
        | rpc_pb2.MemberUpdateRequest
        | rpc_pb2.MemberPromoteRequest,
        done: Done,
        token: str = "",
    ) -> None:
        """Add, remove, update or promote a member; the response is the matching message. The caller's token
        is for the leader, who decides on a promotion and asks again whether the caller may.
        """

    def move_leader(self, target_id: int, done: Done) -> None:
        """Hand leadership over; `done` once the target leads. Errors: NotLeader, BadLeaderTransferee,
        TimeoutLeaderTransfer.
        """

    def maybe_renew_lease(self, lease_id: int) -> int | None:
        """Renew a lease if this member can at once; its TTL, or None if `renew_lease` has to see to it."""

    def renew_lease(self, lease_id: int, done: Done) -> None:
        """Renew a lease, at the leader wherever that is; the response is LeaseKeepAliveResponse with ID and
        TTL.

        An unknown lease may be TTL 0 or LeaseNotFound. A lease that waits for its revocation is answered
        after that.
        """

    def lease_time_to_live(self, request: rpc_pb2.LeaseTimeToLiveRequest, done: Done) -> None:
        """Ask the leader how long a lease will live; the response is LeaseTimeToLiveResponse, TTL -1 if
        unknown.
        """

    def lease_ids(self) -> list[int]:
        """All leases as this member knows them, by remaining time."""

    def status(self) -> bytes:
        """All of Status but the header, serialized."""

    def defragment(self, done: Done) -> None:
        """Give unused space of the backend back to the file system."""

    def hash(self, done: Callable[[int | None, Exception | None], None]) -> None:
        """Hash of the whole backend; `done` with it or with what is wrong."""

    def hash_kv(self, revision: int, done: Callable[[HashKV | None, Exception | None], None]) -> None:
        """HashKV at a revision, 0 for the present one; `done` with it or with what is wrong."""

    def downgrade(self, request: rpc_pb2.DowngradeRequest, done: Done) -> None:
        """Validate, enable or cancel a downgrade; the response is DowngradeResponse with version."""

    def authenticate(self, request: rpc_pb2.AuthenticateRequest, done: Done) -> None:
        """Check a password and make a token; the response is AuthenticateResponse with token."""

    def hash_password(self, password: str, done: Callable[[str | None, Exception | None], None]) -> None:
        """The `hashedPassword` to propose instead of a password. Raises PasswordTooLong, TooManyRequests."""

    def open_snapshot(self, done: Callable[[SnapshotSource | None, Exception | None], None]) -> None:
        """`done` with a snapshot of at least what has been applied so far, or with what kept it from being
        made. Whoever gets it closes it.
        """
