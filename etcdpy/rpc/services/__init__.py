"""The gRPC services of etcd, one file each: methods that take a call and bytes, and answer at once or from
a callback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.rpc.router import Router
from etcdpy.rpc.services.auth import Auth
from etcdpy.rpc.services.cluster import Cluster
from etcdpy.rpc.services.election import Election
from etcdpy.rpc.services.health import Health
from etcdpy.rpc.services.inner import Inner
from etcdpy.rpc.services.kv import KV
from etcdpy.rpc.services.lease import Lease
from etcdpy.rpc.services.lock import Lock
from etcdpy.rpc.services.maintenance import Maintenance
from etcdpy.rpc.services.watch import Watch

if TYPE_CHECKING:
    from etcdpy.rpc.member_view import MemberView


def make_router(member: MemberView, health: Health, *, stops_on_defragment: bool = False) -> Router:
    """The router of a client port with all services of this package.

    Args:
        stops_on_defragment: whether health says that calls are not wanted during a defragmentation.
    """
    kv, watch, lease = KV(member), Watch(member), Lease(member)
    inner = Inner(kv, lease, watch)
    maintenance = Maintenance(member, health if stops_on_defragment else None)
    services = (kv, watch, lease, Cluster(member), maintenance, Auth(member))
    methods = [method for service in services for method in service.methods()]
    return Router(member, [*methods, *health.methods(), *Lock(inner).methods(), *Election(inner).methods()])


__all__ = ["Health", "make_router"]
