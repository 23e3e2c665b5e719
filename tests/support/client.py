"""A small etcd client on grpcio, typed by etcdpy's own messages.

A request's type alone says which method it belongs to, so `call(request)` is the whole of the unary
part; `outcome(request)` gives an error back as a value, because for a comparing test a refusal is an
answer like any other. Streams are `WatchStream` and `keep_alive`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from etcdpy.proto import election_pb2, lock_pb2
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from google.protobuf.message import Message

CALL_SECONDS_MAX = 20.0
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a channel after a restart must not inherit the old back-off
    ("grpc.enable_http_proxy", 0),
)

UNARY: dict[type[Message], tuple[str, type[Message]]] = {
    pb.RangeRequest: ("/etcdserverpb.KV/Range", pb.RangeResponse),
    pb.PutRequest: ("/etcdserverpb.KV/Put", pb.PutResponse),
    pb.DeleteRangeRequest: ("/etcdserverpb.KV/DeleteRange", pb.DeleteRangeResponse),
    pb.TxnRequest: ("/etcdserverpb.KV/Txn", pb.TxnResponse),
    pb.CompactionRequest: ("/etcdserverpb.KV/Compact", pb.CompactionResponse),
    pb.LeaseGrantRequest: ("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse),
    pb.LeaseRevokeRequest: ("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse),
    pb.LeaseTimeToLiveRequest: ("/etcdserverpb.Lease/LeaseTimeToLive", pb.LeaseTimeToLiveResponse),
    pb.LeaseLeasesRequest: ("/etcdserverpb.Lease/LeaseLeases", pb.LeaseLeasesResponse),
    pb.MemberListRequest: ("/etcdserverpb.Cluster/MemberList", pb.MemberListResponse),
    pb.AlarmRequest: ("/etcdserverpb.Maintenance/Alarm", pb.AlarmResponse),
    pb.StatusRequest: ("/etcdserverpb.Maintenance/Status", pb.StatusResponse),
    pb.HashKVRequest: ("/etcdserverpb.Maintenance/HashKV", pb.HashKVResponse),
    pb.DowngradeRequest: ("/etcdserverpb.Maintenance/Downgrade", pb.DowngradeResponse),
    pb.DefragmentRequest: ("/etcdserverpb.Maintenance/Defragment", pb.DefragmentResponse),
    pb.HashRequest: ("/etcdserverpb.Maintenance/Hash", pb.HashResponse),
    pb.MoveLeaderRequest: ("/etcdserverpb.Maintenance/MoveLeader", pb.MoveLeaderResponse),
    pb.DowngradeRequest: ("/etcdserverpb.Maintenance/Downgrade", pb.DowngradeResponse),
    pb.MemberAddRequest: ("/etcdserverpb.Cluster/MemberAdd", pb.MemberAddResponse),
    pb.MemberRemoveRequest: ("/etcdserverpb.Cluster/MemberRemove", pb.MemberRemoveResponse),
    pb.MemberUpdateRequest: ("/etcdserverpb.Cluster/MemberUpdate", pb.MemberUpdateResponse),
    pb.MemberPromoteRequest: ("/etcdserverpb.Cluster/MemberPromote", pb.MemberPromoteResponse),
    pb.AuthEnableRequest: ("/etcdserverpb.Auth/AuthEnable", pb.AuthEnableResponse),
    pb.AuthDisableRequest: ("/etcdserverpb.Auth/AuthDisable", pb.AuthDisableResponse),
    pb.AuthStatusRequest: ("/etcdserverpb.Auth/AuthStatus", pb.AuthStatusResponse),
    pb.AuthenticateRequest: ("/etcdserverpb.Auth/Authenticate", pb.AuthenticateResponse),
    pb.AuthUserAddRequest: ("/etcdserverpb.Auth/UserAdd", pb.AuthUserAddResponse),
    pb.AuthUserGetRequest: ("/etcdserverpb.Auth/UserGet", pb.AuthUserGetResponse),
    pb.AuthUserListRequest: ("/etcdserverpb.Auth/UserList", pb.AuthUserListResponse),
    pb.AuthUserDeleteRequest: ("/etcdserverpb.Auth/UserDelete", pb.AuthUserDeleteResponse),
    pb.AuthUserChangePasswordRequest: (
        "/etcdserverpb.Auth/UserChangePassword",
        pb.AuthUserChangePasswordResponse,
    ),
    pb.AuthUserGrantRoleRequest: ("/etcdserverpb.Auth/UserGrantRole", pb.AuthUserGrantRoleResponse),
    pb.AuthUserRevokeRoleRequest: ("/etcdserverpb.Auth/UserRevokeRole", pb.AuthUserRevokeRoleResponse),
    pb.AuthRoleAddRequest: ("/etcdserverpb.Auth/RoleAdd", pb.AuthRoleAddResponse),
    pb.AuthRoleGetRequest: ("/etcdserverpb.Auth/RoleGet", pb.AuthRoleGetResponse),
    pb.AuthRoleListRequest: ("/etcdserverpb.Auth/RoleList", pb.AuthRoleListResponse),
    pb.AuthRoleDeleteRequest: ("/etcdserverpb.Auth/RoleDelete", pb.AuthRoleDeleteResponse),
    pb.AuthRoleGrantPermissionRequest: (
        "/etcdserverpb.Auth/RoleGrantPermission",
        pb.AuthRoleGrantPermissionResponse,
    ),
    pb.AuthRoleRevokePermissionRequest: (
        "/etcdserverpb.Auth/RoleRevokePermission",
        pb.AuthRoleRevokePermissionResponse,
    ),
    lock_pb2.LockRequest: ("/v3lockpb.Lock/Lock", lock_pb2.LockResponse),
    election_pb2.CampaignRequest: ("/v3electionpb.Election/Campaign", election_pb2.CampaignResponse),
}

ResponseType = TypeVar("ResponseType", bound="Message")


@dataclass(frozen=True)
class Refusal:
    """A gRPC error as a value."""

    code: str
    text: str


class Client:
    """One channel to one endpoint. `token` goes with every call while it is not empty."""

    def __init__(
        self, endpoint: str, token: str = "", credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self.token = token
        self.metadata: tuple[tuple[str, str], ...] = ()
        """More that goes with every call."""
        if credentials is None:
            self._channel = grpc.insecure_channel(endpoint, options=OPTIONS)
        else:
            self._channel = grpc.secure_channel(endpoint, credentials, options=OPTIONS)
        self._unary: dict[type[Message], Callable[..., Any]] = {
            request: self._channel.unary_unary(
                path,
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            for request, (path, response) in UNARY.items()
        }

    def call(self, request: Message, timeout: float = CALL_SECONDS_MAX) -> Message:
        """The answer; a refusal is raised as `grpc.RpcError`."""
        method = self._unary[type(request)]
        return cast("Message", method(request, timeout=timeout, metadata=self._metadata()))

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (*self.metadata, ("token", self.token)) if self.token else self.metadata

    def log_in(self, name: str, password: str) -> Client:
        """Show this user's token from now on."""
        request = pb.AuthenticateRequest(name=name, password=password)
        self.token = self.ask(request, pb.AuthenticateResponse).token
        return self

    def ask(
        self, request: Message, response: type[ResponseType], timeout: float = CALL_SECONDS_MAX
    ) -> ResponseType:
        """As `call`, for a caller that wants the answer's type checked."""
        answer = self.call(request, timeout)
        assert isinstance(answer, response), f"{type(answer).__name__} is not a {response.__name__}"
        return answer

    def outcome(self, request: Message, timeout: float = CALL_SECONDS_MAX) -> Message | Refusal:
        """The answer, or the refusal as a value."""
        try:
            return self.call(request, timeout)
        except grpc.RpcError as error:
            return refusal_of(error)

    def put(self, key: bytes, value: bytes = b"", **fields: Any) -> pb.PutResponse:
        return self.ask(pb.PutRequest(key=key, value=value, **fields), pb.PutResponse)

    def range(self, key: bytes, range_end: bytes = b"", **fields: Any) -> pb.RangeResponse:
        return self.ask(pb.RangeRequest(key=key, range_end=range_end, **fields), pb.RangeResponse)

    def delete(self, key: bytes, range_end: bytes = b"", **fields: Any) -> pb.DeleteRangeResponse:
        return self.ask(pb.DeleteRangeRequest(key=key, range_end=range_end, **fields), pb.DeleteRangeResponse)

    def hash_kv(self, revision: int = 0) -> pb.HashKVResponse:
        return self.ask(pb.HashKVRequest(revision=revision), pb.HashKVResponse)

    def revision(self) -> int:
        """The store's revision now, linearizable."""
        return self.range(b"\0", count_only=True).header.revision

    def keep_alive(
        self, lease: int, timeout: float = CALL_SECONDS_MAX
    ) -> pb.LeaseKeepAliveResponse | Refusal:
        """One request on a stream of its own, one answer. The stream stays open for requests until then."""
        answered = threading.Event()

        def requests() -> Iterator[pb.LeaseKeepAliveRequest]:
            yield pb.LeaseKeepAliveRequest(ID=lease)
            answered.wait(timeout)

        stream = self._channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )
        call: Any = stream(requests(), timeout=timeout, metadata=self._metadata())
        try:
            return cast("pb.LeaseKeepAliveResponse", next(call))
        except grpc.RpcError as error:
            return refusal_of(error)
        finally:
            answered.set()
            call.cancel()

    def watch_stream(self) -> WatchStream:
        return WatchStream(self._channel, self._metadata())

    def snapshot(self) -> bytes | Refusal:
        """The whole of Maintenance.Snapshot."""
        path = "/etcdserverpb.Maintenance/Snapshot"
        answer = self.stream(path, pb.SnapshotRequest(), pb.SnapshotResponse)
        return answer if isinstance(answer, Refusal) else b"".join(response.blob for response in answer)

    def stream(
        self, path: str, request: Message, response: type[ResponseType]
    ) -> list[ResponseType] | Refusal:
        """All answers of a call that streams them."""
        stream = self._channel.unary_stream(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return list(stream(request, timeout=CALL_SECONDS_MAX, metadata=self._metadata()))
        except grpc.RpcError as error:
            return refusal_of(error)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WatchStream:
    """One Watch stream: requests go out as they are sent, responses gather in `responses`, in order.

    A thread reads; `wait(condition)` sleeps until a response makes the condition true.
    """

    def __init__(self, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.responses: list[pb.WatchResponse] = []
        self.ended: Refusal | None = None
        self._outgoing: queue.SimpleQueue[pb.WatchRequest | None] = queue.SimpleQueue()
        self._arrived = threading.Condition()
        method = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        self._call: Any = method(self._requests(), metadata=metadata)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def create(self, **fields: Any) -> None:
        self._outgoing.put(pb.WatchRequest(create_request=pb.WatchCreateRequest(**fields)))

    def cancel_watch(self, watch_id: int) -> None:
        self._outgoing.put(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id)))

    def progress(self) -> None:
        self._outgoing.put(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def wait(self, condition: Callable[[], bool], seconds: float = CALL_SECONDS_MAX) -> bool:
        """True once `condition()` holds; it is asked again after every response. False when time is up."""
        deadline = time.monotonic() + seconds
        with self._arrived:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or self.ended is not None:
                    return condition()
                self._arrived.wait(left)
        return True

    def close(self) -> None:
        self._outgoing.put(None)
        self._call.cancel()
        self._reader.join(CALL_SECONDS_MAX)

    def _requests(self) -> Iterator[pb.WatchRequest]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for response in self._call:
                with self._arrived:
                    self.responses.append(response)
                    self._arrived.notify_all()
        except grpc.RpcError as error:
            with self._arrived:
                self.ended = refusal_of(error)
                self._arrived.notify_all()


def refusal_of(error: grpc.RpcError) -> Refusal:
    call = cast("grpc.Call", error)
    return Refusal(call.code().name, call.details() or "")
