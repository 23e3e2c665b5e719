"""Every call of the client port, typed: its path, its messages, and whether it may be sent twice.

There are no generated stubs, because our messages live in a descriptor pool of their own; a call's whole
description is one line here. `tests/client/test_client_rpcs.py` holds the table to the service descriptors.

`repeatable` says that a second execution of the same request changes nothing, so that a call whose fate is
unknown may be sent again. Whatever writes is not: a second put would be one more revision, and could
overwrite what somebody else has put in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from etcdpy.proto import election_pb2 as election
from etcdpy.proto import health_pb2 as health
from etcdpy.proto import lock_pb2 as lock
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")


@dataclass(frozen=True, slots=True, eq=False)
class UnaryRpc(Generic[Request, Response]):
    """One request, one response."""

    path: str
    request: type[Request]
    response: type[Response]
    repeatable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DownRpc(Generic[Request, Response]):
    """One request, a stream of responses."""

    path: str
    request: type[Request]
    response: type[Response]


@dataclass(frozen=True, slots=True, eq=False)
class DuplexRpc(Generic[Request, Response]):
    """Streams both ways."""

    path: str
    request: type[Request]
    response: type[Response]


_KV = "/etcdserverpb.KV/"
RANGE = UnaryRpc(_KV + "Range", pb.RangeRequest, pb.RangeResponse, repeatable=True)
RANGE_STREAM = DownRpc(_KV + "RangeStream", pb.RangeRequest, pb.RangeStreamResponse)
PUT = UnaryRpc(_KV + "Put", pb.PutRequest, pb.PutResponse)
DELETE_RANGE = UnaryRpc(_KV + "DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse)
TXN = UnaryRpc(_KV + "Txn", pb.TxnRequest, pb.TxnResponse)
COMPACT = UnaryRpc(_KV + "Compact", pb.CompactionRequest, pb.CompactionResponse)

WATCH = DuplexRpc("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)

_LEASE = "/etcdserverpb.Lease/"
LEASE_GRANT = UnaryRpc(_LEASE + "LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
LEASE_REVOKE = UnaryRpc(_LEASE + "LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
LEASE_KEEP_ALIVE = DuplexRpc(_LEASE + "LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse)
LEASE_TIME_TO_LIVE = UnaryRpc(
    _LEASE + "LeaseTimeToLive", pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse, repeatable=True
)
LEASE_LEASES = UnaryRpc(
    _LEASE + "LeaseLeases", pb.LeaseLeasesRequest, pb.LeaseLeasesResponse, repeatable=True
)

_CLUSTER = "/etcdserverpb.Cluster/"
MEMBER_ADD = UnaryRpc(_CLUSTER + "MemberAdd", pb.MemberAddRequest, pb.MemberAddResponse)
MEMBER_REMOVE = UnaryRpc(_CLUSTER + "MemberRemove", pb.MemberRemoveRequest, pb.MemberRemoveResponse)
MEMBER_UPDATE = UnaryRpc(_CLUSTER + "MemberUpdate", pb.MemberUpdateRequest, pb.MemberUpdateResponse)
MEMBER_LIST = UnaryRpc(_CLUSTER + "MemberList", pb.MemberListRequest, pb.MemberListResponse, repeatable=True)
MEMBER_PROMOTE = UnaryRpc(_CLUSTER + "MemberPromote", pb.MemberPromoteRequest, pb.MemberPromoteResponse)

_MAINTENANCE = "/etcdserverpb.Maintenance/"
ALARM = UnaryRpc(_MAINTENANCE + "Alarm", pb.AlarmRequest, pb.AlarmResponse)
STATUS = UnaryRpc(_MAINTENANCE + "Status", pb.StatusRequest, pb.StatusResponse, repeatable=True)
DEFRAGMENT = UnaryRpc(_MAINTENANCE + "Defragment", pb.DefragmentRequest, pb.DefragmentResponse)
HASH = UnaryRpc(_MAINTENANCE + "Hash", pb.HashRequest, pb.HashResponse, repeatable=True)
HASH_KV = UnaryRpc(_MAINTENANCE + "HashKV", pb.HashKVRequest, pb.HashKVResponse, repeatable=True)
SNAPSHOT = DownRpc(_MAINTENANCE + "Snapshot", pb.SnapshotRequest, pb.SnapshotResponse)
MOVE_LEADER = UnaryRpc(_MAINTENANCE + "MoveLeader", pb.MoveLeaderRequest, pb.MoveLeaderResponse)
DOWNGRADE = UnaryRpc(_MAINTENANCE + "Downgrade", pb.DowngradeRequest, pb.DowngradeResponse)

_AUTH = "/etcdserverpb.Auth/"
AUTH_ENABLE = UnaryRpc(_AUTH + "AuthEnable", pb.AuthEnableRequest, pb.AuthEnableResponse)
AUTH_DISABLE = UnaryRpc(_AUTH + "AuthDisable", pb.AuthDisableRequest, pb.AuthDisableResponse)
AUTH_STATUS = UnaryRpc(_AUTH + "AuthStatus", pb.AuthStatusRequest, pb.AuthStatusResponse, repeatable=True)
AUTHENTICATE = UnaryRpc(
    _AUTH + "Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse, repeatable=True
)
USER_ADD = UnaryRpc(_AUTH + "UserAdd", pb.AuthUserAddRequest, pb.AuthUserAddResponse)
USER_GET = UnaryRpc(_AUTH + "UserGet", pb.AuthUserGetRequest, pb.AuthUserGetResponse, repeatable=True)
USER_LIST = UnaryRpc(_AUTH + "UserList", pb.AuthUserListRequest, pb.AuthUserListResponse, repeatable=True)
USER_DELETE = UnaryRpc(_AUTH + "UserDelete", pb.AuthUserDeleteRequest, pb.AuthUserDeleteResponse)
USER_CHANGE_PASSWORD = UnaryRpc(
    _AUTH + "UserChangePassword", pb.AuthUserChangePasswordRequest, pb.AuthUserChangePasswordResponse
)
USER_GRANT_ROLE = UnaryRpc(_AUTH + "UserGrantRole", pb.AuthUserGrantRoleRequest, pb.AuthUserGrantRoleResponse)
USER_REVOKE_ROLE = UnaryRpc(
    _AUTH + "UserRevokeRole", pb.AuthUserRevokeRoleRequest, pb.AuthUserRevokeRoleResponse
)
ROLE_ADD = UnaryRpc(_AUTH + "RoleAdd", pb.AuthRoleAddRequest, pb.AuthRoleAddResponse)
ROLE_GET = UnaryRpc(_AUTH + "RoleGet", pb.AuthRoleGetRequest, pb.AuthRoleGetResponse, repeatable=True)
ROLE_LIST = UnaryRpc(_AUTH + "RoleList", pb.AuthRoleListRequest, pb.AuthRoleListResponse, repeatable=True)
ROLE_DELETE = UnaryRpc(_AUTH + "RoleDelete", pb.AuthRoleDeleteRequest, pb.AuthRoleDeleteResponse)
ROLE_GRANT_PERMISSION = UnaryRpc(
    _AUTH + "RoleGrantPermission", pb.AuthRoleGrantPermissionRequest, pb.AuthRoleGrantPermissionResponse
)
ROLE_REVOKE_PERMISSION = UnaryRpc(
    _AUTH + "RoleRevokePermission", pb.AuthRoleRevokePermissionRequest, pb.AuthRoleRevokePermissionResponse
)

LOCK = UnaryRpc("/v3lockpb.Lock/Lock", lock.LockRequest, lock.LockResponse)
UNLOCK = UnaryRpc("/v3lockpb.Lock/Unlock", lock.UnlockRequest, lock.UnlockResponse)

_ELECTION = "/v3electionpb.Election/"
CAMPAIGN = UnaryRpc(_ELECTION + "Campaign", election.CampaignRequest, election.CampaignResponse)
PROCLAIM = UnaryRpc(_ELECTION + "Proclaim", election.ProclaimRequest, election.ProclaimResponse)
LEADER = UnaryRpc(_ELECTION + "Leader", election.LeaderRequest, election.LeaderResponse, repeatable=True)
OBSERVE = DownRpc(_ELECTION + "Observe", election.LeaderRequest, election.LeaderResponse)
RESIGN = UnaryRpc(_ELECTION + "Resign", election.ResignRequest, election.ResignResponse)

_HEALTH = "/grpc.health.v1.Health/"
HEALTH_CHECK = UnaryRpc(
    _HEALTH + "Check", health.HealthCheckRequest, health.HealthCheckResponse, repeatable=True
)
HEALTH_WATCH = DownRpc(_HEALTH + "Watch", health.HealthCheckRequest, health.HealthCheckResponse)
