"""The member as the other members see it: what they may tell it and ask of it.

Everything here is answered at once or through a callback; sockets, and the files of snapshots, are the peer
room's. Statuses and texts are those of etcd's peer handlers, which compare them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy.auth import NOBODY, AuthError
from etcdpy.cluster.membership import MemberNotFound, MemberNotLearner
from etcdpy.lease import LeaseNotFound, NotPrimary
from etcdpy.mvcc import Compacted, FutureRevision
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.lease_pb2 import LeaseInternalRequest, LeaseInternalResponse
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.raft.errors import LogDiverged
from etcdpy.server.errors import LearnerNotReady
from etcdpy.server.member import PermanentlyRemoved
from etcdpy.server.reconfigure import NOT_READY
from etcdpy.server.status import storage_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.mvcc import HashKV
    from etcdpy.raft.messages import Message as RaftMessage
    from etcdpy.server.front import Front
    from etcdpy.server.hashing import Hashing
    from etcdpy.server.member import Member
    from etcdpy.server.results import Response, Result
    from etcdpy.server.statistics import Statistics

    Answer = Callable[[int, bytes], None]

NOT_DECIDED = "not_decided"
SCHEMA_BEFORE_3_6 = "3.5.0"
UNKNOWN_ERROR = b'{"message":"Internal Server Error"}'


class Peering:
    """The synchronous part of `etcdpy.peer.host.PeerHost`. `front` is set by whoever joins the two."""

    front: Front
    statistics: Statistics | None = None

    def __init__(self, member: Member, hashing: Hashing) -> None:
        self.member = member
        self._hashing = hashing
        self._renews_at_once = member.config.features["FastLeaseKeepAlive"]
        self.member_id = member.member_id
        self.cluster_id = member.cluster_id

    # Raft.

    def step(self, message: RaftMessage) -> None:
        """Hand a peer's message to raft."""
        if self.statistics is not None:
            self.statistics.received(message)
        try:
            self.member.step(message)
        except LogDiverged as error:
            self.member.fail("this member's log is not what the cluster has committed", error)

    def report_unreachable(self, member_id: int) -> None:
        """A message to this member could not be sent."""
        if self.statistics is not None:
            self.statistics.unreachable(member_id)
        self.member.node.report_unreachable(member_id)
        self.member.on_work()

    def report_snapshot(self, member_id: int, ok: bool) -> None:
        """A snapshot to this member has arrived, or has not."""
        member = self.member
        member.snapshots_under_way -= 1
        if ok:
            member.snapshot_sent_at = member.clock()
        member.node.report_snapshot(member_id, ok)
        member.on_work()

    def is_removed(self, member_id: int) -> bool:
        """Whether this member has been removed from the cluster for good."""
        return self.member.state.membership.is_removed(member_id)

    def permanently_removed(self) -> None:
        """A peer says that we have been removed. Who knows it from the log leaves in its own time."""
        if not self.is_removed(self.member_id):
            self.member.on_failure(PermanentlyRemoved())

    # What describes us.

    def members_json(self) -> bytes:
        """The body of GET /members."""
        return self.member.state.membership.encode_members() + b"\n"

    def version_json(self) -> bytes:
        """The body of GET /version."""
        version = self.member.state.membership.cluster_version
        versions = {
            "etcdserver": ETCD_VERSION,
            "etcdcluster": NOT_DECIDED if version is None else str(version),
            "storage": storage_version(self.front.state) or SCHEMA_BEFORE_3_6,
        }
        return json.dumps(versions, separators=(",", ":")).encode()

    def hash_kv(self, revision: int, done: Answer) -> None:
        """GET /members/hashkv; `done(status, body)`."""

        def hashed(result: HashKV | None, error: Exception | None) -> None:
            if isinstance(error, (Compacted, FutureRevision)):
                kind = "has been compacted" if isinstance(error, Compacted) else "is a future revision"
                done(400, f"mvcc: required revision {kind}".encode())
                return
            if result is None:
                done(500, str(error).encode())
                return
            answer: dict[str, object] = {"header": {"revision": self.member.state.store.revision}}
            answer |= {"hash": result.hash, "compact_revision": result.compact_revision}
            answer["hash_revision"] = result.revision
            shown = {name: value for name, value in answer.items() if value}
            done(200, json.dumps(shown, separators=(",", ":")).encode())

        self._hashing.hash_kv(revision, hashed)

    def downgrade_enabled(self, done: Answer) -> None:
        """GET /downgrade/enabled; `done(status, body)`."""

        def confirmed(error: Exception | None) -> None:
            if error is not None:
                done(500, f"failed linearized read: {str(error) or type(error).__name__}".encode())
            else:
                enabled = self.member.state.membership.downgrade is not None
                done(200, b"true" if enabled else b"false")

        self.member.confirm_read(confirmed)

    # What only a leader can answer.

    def renew_lease(self, data: bytes, done: Answer) -> None:
        """POST /leases; `done(status, body)`."""
        try:
            request = pb.LeaseKeepAliveRequest.FromString(data)
        except DecodeError:
            done(400, b"error unmarshalling request")
            return

        def renew() -> None:
            if not self.member.is_leader:
                done(400, b"not a primary lessor")
            else:
                self.front.renew_lease(request.ID, lambda result: _answer_lease(result, done))

        if self._renews_at_once and self.member.state.lessor.lookup(request.ID) is not None:
            renew()
        else:
            self.member.when_caught_up(renew)

    def lease_time_to_live(self, data: bytes, done: Answer) -> None:
        """POST /leases/internal; `done(status, body)`."""
        try:
            request = LeaseInternalRequest.FromString(data).LeaseTimeToLiveRequest
        except DecodeError:
            done(400, b"error unmarshalling request")
            return

        def answered(result: Result) -> None:
            response = result.response
            if (
                isinstance(response, pb.LeaseTimeToLiveResponse)
                and response.TTL == -1
                and not response.grantedTTL
            ):
                done(404, b"lease not found")
                return
            if isinstance(response, pb.LeaseTimeToLiveResponse):
                response.header.SetInParent()
                response = LeaseInternalResponse(LeaseTimeToLiveResponse=response)
            _answer_lease(result, done, response)

        def look() -> None:
            if not self.member.is_leader:
                done(400, b"not a primary lessor")
            else:
                self.front.lease_time_to_live(request, answered)

        self.member.when_caught_up(look)

    def promote(self, member_id: int, token: str, done: Answer) -> None:
        """POST /members/promote/<id>; `done(status, body)`. While auth is on the member that passes this on
        shows its caller's token, which etcd before 3.7 does not; nobody else may.
        """

        def promoted(result: Result) -> None:
            error = result.error
            if error is None:
                done(200, self.members_json())
            elif isinstance(error, MemberNotFound):
                done(404, str(error).encode())
            elif isinstance(error, MemberNotLearner):
                done(412, str(error).encode())
            elif isinstance(error, LearnerNotReady):
                done(412, NOT_READY.encode())
            else:
                done(500, UNKNOWN_ERROR)

        auth = self.member.state.auth
        if auth.is_enabled:
            try:
                auth.check_admin(auth.identify(token) if token else NOBODY)
            except AuthError:
                done(500, UNKNOWN_ERROR)
                return
        self.front.change_members(pb.MemberPromoteRequest(ID=member_id), promoted)


def _answer_lease(result: Result, done: Answer, response: Response | None = None) -> None:
    response = response or result.response
    if isinstance(result.error, LeaseNotFound):
        done(404, b"lease not found")
    elif isinstance(result.error, NotPrimary):
        done(400, b"not a primary lessor")
    elif result.error is not None or response is None:
        done(500, str(result.error).encode())
    else:
        done(200, response.SerializeToString())
