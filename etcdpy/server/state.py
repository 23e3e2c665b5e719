"""The replicated state of a member, in one bundle: what a snapshot carries and what applying changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdpy.auth import AuthStore
    from etcdpy.backend import Backend
    from etcdpy.cluster.membership import Membership
    from etcdpy.lease import Lessor
    from etcdpy.mvcc import Store
    from etcdpy.mvcc.watch import WatchHub
    from etcdpy.server.alarms import Alarms
    from etcdpy.server.apply import Applier
    from etcdpy.server.permits import Permits
    from etcdpy.server.quota import Quota
    from etcdpy.v2store import Store as V2Store


@dataclass(slots=True)
class State:
    """Everything that stands on one backend; replaced as a whole when a snapshot arrives."""

    backend: Backend
    store: Store
    hub: WatchHub
    lessor: Lessor
    alarms: Alarms
    membership: Membership
    quota: Quota
    applier: Applier
    v2: V2Store
    auth: AuthStore
    permits: Permits
