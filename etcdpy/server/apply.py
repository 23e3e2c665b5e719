"""Applying a committed request to the state of this member.

Every member applies the same entries in the same order and must come to the same state and the same
answer, so nothing here looks at a clock, at chance, or at who proposed. What etcd answers with an
error is a value here (`Result.error`): the entry is applied all the same, it just changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.auth import NOBODY, AuthError
from etcdpy.cluster.version import Version
from etcdpy.lease import LeaseError
from etcdpy.mvcc import Compacted, MvccError
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server import txn as txns
from etcdpy.server import v2_requests
from etcdpy.server.alarms import CORRUPT, NOSPACE
from etcdpy.server.errors import Corrupt, NoSpace, NotSupported, ServerError
from etcdpy.server.observed import Operation
from etcdpy.server.plain import PlainPut, PlainTxn
from etcdpy.server.plain_txn import apply_plain_put, apply_plain_txn
from etcdpy.server.quota import request_cost
from etcdpy.server.results import Result, V2Result
from etcdpy.server.v2_state import note_attributes, note_version
from etcdpy.v2store import StoreFault, V2Error, apply_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from etcdpy.auth import AuthInfo, AuthStore
    from etcdpy.cluster.membership import Membership
    from etcdpy.lease import Lessor
    from etcdpy.mvcc import Store, WriteTxn
    from etcdpy.mvcc.watch import WatchHub
    from etcdpy.proto.raft_internal_pb2 import InternalAuthenticateRequest
    from etcdpy.server.alarms import Alarms
    from etcdpy.server.permits import Permits
    from etcdpy.server.quota import Quota
    from etcdpy.server.results import Response
    from etcdpy.v2store import Store as V2Store

# Requests that a CORRUPT alarm stops: everything that writes.
_STOPPED_BY_CORRUPT = frozenset({"put", "delete_range", "txn", "compaction", "lease_grant", "lease_revoke"})
_STOPPED_BY_NOSPACE = frozenset({"put", "txn", "lease_grant"})
# Clusters of this version write checkpoints of leases into their records whatever the gates say.
_CHECKPOINTS_KEPT_SINCE = Version(3, 6)


class Applier:
    """Applies requests by kind, the field name in InternalRaftRequest."""

    def __init__(
        self,
        store: Store,
        hub: WatchHub,
        lessor: Lessor,
        alarms: Alarms,
        membership: Membership,
        quota: Quota,
        v2: V2Store,
        auth: AuthStore,
        permits: Permits,
        *,
        keeps_checkpoints: bool = False,
    ) -> None:
        self._store = store
        self._hub = hub
        self._lessor = lessor
        self._alarms = alarms
        self._membership = membership
        self._quota = quota
        self._v2 = v2
        self._auth = auth
        self._permits = permits
        self._index = 0
        self._keeps_checkpoints = keeps_checkpoints
        handlers: dict[str, Callable[[Any], Response]] = {
            "put": self._put,
            "delete_range": self._delete_range,
            "txn": self._txn,
            "compaction": self._compaction,
            "lease_grant": self._lease_grant,
            "lease_revoke": self._lease_revoke,
            "lease_checkpoint": self._lease_checkpoint,
            "alarm": self._alarm,
            "cluster_version_set": self._cluster_version_set,
            "cluster_member_attr_set": self._cluster_member_attr_set,
            "downgrade_info_set": self._downgrade_info_set,
            "authenticate": self._authenticate,
            **_auth_handlers(auth),
        }
        self._operations = {kind: Operation(kind, handler) for kind, handler in handlers.items()}
        # Kinds of which some were applied since whoever counts them has looked.
        self.touched: list[Operation] = []

    def apply(self, kind: str, request: Any, info: AuthInfo = NOBODY, index: int = 0) -> Result:
        """Apply one request.

        Args:
            request: the message of that field.
            info: who asks, as the entry says.
            index: of the entry.
        """
        operation = self._operations.get(kind)
        if operation is None:
            if kind == v2_requests.KIND:
                return self._apply_v2(request)
            return Result(error=NotSupported(kind), revision=self._store.revision)
        if not operation.applied:
            self.touched.append(operation)
        operation.applied += 1
        self._index = index
        try:
            if (self._alarms or self._auth.is_enabled) and isinstance(request, PlainPut | PlainTxn):
                request = request.message()
            if self._alarms:
                self._check_alarms(kind, request)
            if self._auth.is_enabled:
                self._permits.check(kind, request, info)
            response = operation.handler(request)
        except (ServerError, MvccError, LeaseError, AuthError) as error:
            if not isinstance(error, Compacted):  # etcd counts this one as a success
                operation.failed += 1
            return Result(error=error, revision=self._store.revision)
        return Result(response, None, self._store.revision)

    def _apply_v2(self, request: Any) -> Result:
        try:
            return V2Result(event=apply_request(self._v2, request), revision=self._store.revision)
        except (V2Error, StoreFault) as error:
            return Result(error=error, revision=self._store.revision)

    def _check_alarms(self, kind: str, request: Any) -> None:
        if kind in _STOPPED_BY_CORRUPT and self._alarms.is_active(CORRUPT):
            raise Corrupt
        if kind in _STOPPED_BY_NOSPACE and self._alarms.is_active(NOSPACE) and request_cost(request) > 0:
            raise NoSpace

    def _writing(self) -> _Writing:
        return _Writing(self._store, self._hub)

    def _put(self, request: pb.PutRequest | PlainPut) -> Response:
        # As `_Writing` does it, for there are so many of them.
        txn = self._store.begin()
        try:
            if isinstance(request, PlainPut):
                return apply_plain_put(txn, self._lessor, request)
            return txns.apply_put(txn, self._lessor, request)
        finally:
            events = txn.end()
            if events:
                self._hub.collect(self._store.revision, events)

    def _delete_range(self, request: pb.DeleteRangeRequest) -> Message:
        with self._writing() as txn:
            return txns.apply_delete_range(txn, self._lessor, request)

    def _txn(self, request: pb.TxnRequest | PlainTxn) -> Response:
        with self._writing() as txn:
            if isinstance(request, PlainTxn):
                return apply_plain_txn(txn, self._lessor, request)
            return txns.apply_txn(txn, self._lessor, request)

    def _compaction(self, request: pb.CompactionRequest) -> Message:
        self._store.compact(request.revision)
        # Etcd reads a key here, which it counts.
        self._store.observed.ranges += 1
        return pb.CompactionResponse()

    def _lease_grant(self, request: pb.LeaseGrantRequest) -> Message:
        lease = self._lessor.grant(request.ID, request.TTL)
        return pb.LeaseGrantResponse(ID=lease.id, TTL=lease.ttl)

    def _lease_revoke(self, request: pb.LeaseRevokeRequest) -> Message:
        keys = self._lessor.revoke(request.ID)
        with self._writing() as txn:
            for key in keys:
                txn.delete_range(key)
        return pb.LeaseRevokeResponse()

    def _lease_checkpoint(self, request: pb.LeaseCheckpointRequest) -> Message:
        version = self._membership.cluster_version
        persist = self._keeps_checkpoints or (version is not None and version >= _CHECKPOINTS_KEPT_SINCE)
        for checkpoint in request.checkpoints:
            self._lessor.checkpoint(checkpoint.ID, checkpoint.remaining_TTL, persist=persist)
        return pb.LeaseCheckpointResponse()

    def _alarm(self, request: pb.AlarmRequest) -> Message:
        response = pb.AlarmResponse()
        if request.action == pb.AlarmRequest.GET:
            response.alarms.extend(self._alarms.list(request.alarm))
        elif request.action == pb.AlarmRequest.ACTIVATE and request.alarm != pb.AlarmType.NONE:
            response.alarms.append(self._alarms.activate(request.memberID, request.alarm))
        elif request.action == pb.AlarmRequest.DEACTIVATE:
            removed = self._alarms.deactivate(request.memberID, request.alarm)
            if removed is not None:
                response.alarms.append(removed)
        return response

    def _cluster_version_set(self, request: Any) -> Message:
        self._membership.set_cluster_version(request.ver)
        note_version(self._v2)
        return pb.AlarmResponse()

    def _downgrade_info_set(self, request: Any) -> Message:
        self._membership.set_downgrade(request.ver if request.enabled else None)
        return pb.AlarmResponse()

    def _cluster_member_attr_set(self, request: Any) -> Message:
        attributes = request.member_attributes
        urls = tuple(attributes.client_urls)
        if self._membership.publish_attributes(request.member_ID, attributes.name, urls):
            note_attributes(self._v2, request.member_ID)
        return pb.AlarmResponse()

    def _authenticate(self, request: InternalAuthenticateRequest) -> Message:
        return self._auth.authenticate(request.name, request.simple_token, self._index)


def _auth_handlers(auth: AuthStore) -> dict[str, Callable[[Any], Message]]:
    return {
        "auth_enable": auth.enable,
        "auth_disable": auth.disable,
        "auth_status": auth.status,
        "auth_user_add": auth.user_add,
        "auth_user_delete": auth.user_delete,
        "auth_user_get": auth.user_get,
        "auth_user_list": auth.user_list,
        "auth_user_change_password": auth.user_change_password,
        "auth_user_grant_role": auth.user_grant_role,
        "auth_user_revoke_role": auth.user_revoke_role,
        "auth_role_add": auth.role_add,
        "auth_role_delete": auth.role_delete,
        "auth_role_get": auth.role_get,
        "auth_role_list": auth.role_list,
        "auth_role_grant_permission": auth.role_grant_permission,
        "auth_role_revoke_permission": auth.role_revoke_permission,
    }


class _Writing:
    """The write transaction of one entry; whatever it changed is published at its end.

    A refused request raises before it has written anything, so ending it changes nothing.
    """

    __slots__ = ("_hub", "_store", "_txn")

    def __init__(self, store: Store, hub: WatchHub) -> None:
        self._store = store
        self._hub = hub

    def __enter__(self) -> WriteTxn:
        self._txn = self._store.begin()
        return self._txn

    def __exit__(self, *failure: object) -> None:
        events = self._txn.end()
        if events:
            self._hub.collect(self._store.revision, events)
