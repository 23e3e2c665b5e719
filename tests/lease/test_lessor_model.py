"""Random lives of leases under a fake clock against a model that checks every lease at every look."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from etcdpy.lease import LeaseExists, LeaseExpired, LeaseNotFound, Lessor, NotPrimary

if TYPE_CHECKING:
    from collections.abc import Callable

TTL_MIN_S = 2
RETRY_S = 5.0

ids = st.integers(1, 5)
keys = st.sampled_from([b"a", b"b", b"c"])
ttls = st.integers(0, 30)


@dataclass
class ModelLease:
    ttl: int
    remaining: int = 0
    expires_at: float = inf
    retry_at: float = -inf
    keys: set[bytes] = field(default_factory=set)


class LessorMachine(RuleBasedStateMachine):
    """Grants, renewals, revocations, elections and restarts in any order while time passes."""

    make_backend: Callable[[], Any]

    def __init__(self) -> None:
        super().__init__()
        self.backend = self.make_backend()
        self.lessor = Lessor(self.backend, TTL_MIN_S, retry_s=RETRY_S)
        self.model: dict[int, ModelLease] = {}
        self.primary = False
        self.now = 100.0

    @rule(lease_id=ids, ttl=ttls)
    def grant(self, lease_id: int, ttl: int) -> None:
        try:
            self.lessor.grant(lease_id, ttl)
        except LeaseExists:
            assert lease_id in self.model
            return
        assert lease_id not in self.model
        lease = self.model[lease_id] = ModelLease(max(ttl, TTL_MIN_S))
        if self.primary:
            lease.expires_at = self.now + lease.ttl
            assert self.lessor.time_to_live(lease_id, self.now) == lease.ttl

    @rule(lease_id=ids)
    def revoke(self, lease_id: int) -> None:
        try:
            found = self.lessor.revoke(lease_id)
        except LeaseNotFound:
            assert lease_id not in self.model
            return
        assert found == sorted(self.model.pop(lease_id).keys)

    @rule(lease_id=ids, key=keys)
    def attach(self, lease_id: int, key: bytes) -> None:
        try:
            self.lessor.attach(lease_id, key)
        except LeaseNotFound:
            assert lease_id not in self.model
            return
        for lease in self.model.values():
            lease.keys.discard(key)
        self.model[lease_id].keys.add(key)

    @rule(lease_id=ids, key=keys)
    def detach(self, lease_id: int, key: bytes) -> None:
        self.lessor.detach(lease_id, key)
        if lease_id in self.model:
            self.model[lease_id].keys.discard(key)

    @rule(lease_id=ids)
    def renew(self, lease_id: int) -> None:
        lease = self.model.get(lease_id)
        try:
            ttl = self.lessor.renew(lease_id, self.now)
        except NotPrimary:
            assert not self.primary
        except LeaseNotFound:
            assert lease is None
        except LeaseExpired:
            assert lease is not None
            assert lease.expires_at <= self.now
        else:
            assert lease is not None
            assert lease.expires_at > self.now
            assert ttl == lease.ttl
            lease.expires_at, lease.remaining = self.now + ttl, 0

    @rule(lease_id=ids, remaining=st.integers(0, 30))
    def checkpoint(self, lease_id: int, remaining: int) -> None:
        self.lessor.checkpoint(lease_id, remaining)
        if lease_id in self.model:
            self.model[lease_id].remaining = remaining

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.5, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 5))
    def expire(self, limit: int) -> None:
        due = [
            (max(lease.expires_at, lease.retry_at), lease_id)
            for lease_id, lease in self.model.items()
            if max(lease.expires_at, lease.retry_at) <= self.now
        ]
        found = self.lessor.expired(self.now, limit)
        assert len(found) == min(limit, len(due))
        assert set(found) <= {lease_id for _, lease_id in due}
        # The oldest come first; what is left over is not older than what was found.
        when = {lease_id: at for at, lease_id in due}
        assert all(when[lease_id] <= at for lease_id in found for at, other in due if other not in found)
        for lease_id in found:
            self.model[lease_id].retry_at = self.now + RETRY_S

    @rule(extend=st.sampled_from([0.0, 1.5]))
    def promote(self, extend: float) -> None:
        self.primary = True
        self.lessor.promote(self.now, extend)
        for lease in self.model.values():
            lease.expires_at = self.now + (lease.remaining or lease.ttl) + extend
            lease.retry_at = -inf

    @precondition(lambda self: self.primary)
    @rule()
    def demote(self) -> None:
        self.lessor.demote()
        self.stop_time()

    @rule()
    def restart(self) -> None:
        # A renewal clears the checkpoint in memory; on disk it stays until the log clears it.
        for lease_id, lease in self.model.items():
            self.lessor.checkpoint(lease_id, lease.remaining)
        self.lessor = Lessor(self.backend, TTL_MIN_S, retry_s=RETRY_S)
        self.stop_time()
        for lease_id, lease in self.model.items():
            for key in lease.keys:
                self.lessor.attach(lease_id, key)

    def stop_time(self) -> None:
        self.primary = False
        for lease in self.model.values():
            lease.expires_at, lease.retry_at = inf, -inf

    @invariant()
    def same_leases(self) -> None:
        listed = self.lessor.leases()
        assert {lease.id for lease in listed} == self.model.keys()
        assert len(listed) == len(self.lessor) == len(self.model)
        for lease in listed:
            model = self.model[lease.id]
            assert (lease.ttl, lease.remaining_ttl, lease.keys) == (model.ttl, model.remaining, model.keys)
            assert lease.expires_at == model.expires_at
        assert [lease.expires_at for lease in listed] == sorted(lease.expires_at for lease in listed)
        for key in (b"a", b"b", b"c"):
            owners = [lease_id for lease_id, lease in self.model.items() if key in lease.keys]
            assert [self.lessor.lease_of(key)] == (owners or [0])


def test_leases_against_the_model(backend_type: Any) -> None:
    machine = type("Machine", (LessorMachine,), {"make_backend": staticmethod(backend_type)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it untyped
        machine,
        settings=settings(
            derandomize=True,
            deadline=None,
            max_examples=150,
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
