"""The lessor, one rule at a time."""

from __future__ import annotations

from typing import Any

import pytest

from etcdpy.lease import (
    TTL_MAX_S,
    LeaseError,
    LeaseExists,
    LeaseExpired,
    LeaseNotFound,
    LeaseTTLTooLarge,
    Lessor,
    NotPrimary,
)
from etcdpy.proto.lease_pb2 import Lease as StoredLease

TTL_MIN_S = 2
RETRY_S = 7.0


@pytest.fixture
def lessor(backend: Any) -> Lessor:
    return Lessor(backend, TTL_MIN_S, retry_s=RETRY_S)


@pytest.fixture
def primary(lessor: Lessor) -> Lessor:
    lessor.promote(0.0, 0.0)
    return lessor


def grant(lessor: Lessor, lease_id: int, ttl: int, now: float) -> None:
    lessor.grant(lease_id, ttl)
    assert lessor.expired(now) == []


@pytest.mark.parametrize(
    ("asked", "given"), [(-5, 2), (0, 2), (1, 2), (2, 2), (60, 60), (TTL_MAX_S, TTL_MAX_S)]
)
def test_the_granted_ttl_is_at_least_the_minimum(lessor: Lessor, asked: int, given: int) -> None:
    assert lessor.grant(7, asked).ttl == given


def test_what_cannot_be_granted(lessor: Lessor) -> None:
    lessor.grant(7, 10)
    with pytest.raises(LeaseExists):
        lessor.grant(7, 10)
    with pytest.raises(LeaseTTLTooLarge):
        lessor.grant(8, TTL_MAX_S + 1)
    with pytest.raises(LeaseNotFound):
        lessor.grant(0, 10)
    assert [lease.id for lease in lessor.leases()] == [7]


def test_unknown_leases(primary: Lessor) -> None:
    for call in (
        lambda: primary.revoke(1),
        lambda: primary.renew(1, 0.0),
        lambda: primary.attach(1, b"k"),
        lambda: primary.keys(1),
        lambda: primary.time_to_live(1, 0.0),
    ):
        with pytest.raises(LeaseNotFound):
            call()
    assert primary.lookup(1) is None
    primary.detach(1, b"k")
    primary.checkpoint(1, 10)


def test_a_key_has_at_most_one_lease(lessor: Lessor) -> None:
    lessor.grant(1, 10)
    lessor.grant(2, 10)
    lessor.attach(1, b"k")
    lessor.attach(1, b"k")
    lessor.attach(2, b"k")
    assert (lessor.lease_of(b"k"), lessor.keys(1), lessor.keys(2)) == (2, [], [b"k"])
    lessor.detach(1, b"k")
    assert lessor.lease_of(b"k") == 2
    lessor.detach(2, b"k")
    assert (lessor.lease_of(b"k"), lessor.keys(2)) == (0, [])


def test_revoke_names_the_keys_in_byte_order(lessor: Lessor, backend: Any) -> None:
    lessor.grant(1, 10)
    for key in (b"b", b"\xff", b"a", b"aa", b"\0"):
        lessor.attach(1, key)
    assert lessor.revoke(1) == [b"\0", b"a", b"aa", b"b", b"\xff"]
    assert lessor.lease_of(b"a") == 0
    assert lessor.lookup(1) is None
    assert backend.stored == {}


def test_followers_measure_no_time(lessor: Lessor) -> None:
    lessor.grant(1, 10)
    assert lessor.expired(1e9) == []
    assert lessor.checkpoints_due(1e9) == []
    with pytest.raises(NotPrimary):
        lessor.renew(1, 0.0)
    with pytest.raises(NotPrimary):
        lessor.time_to_live(1, 0.0)


def test_a_lease_runs_from_the_first_scan_after_its_grant(primary: Lessor) -> None:
    primary.grant(1, 10)
    assert primary.time_to_live(1, 100.0) == 10
    assert primary.expired(109.9) == []
    assert primary.expired(110.0) == [1]


def test_time_to_live_counts_whole_seconds(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    assert [primary.time_to_live(1, now) for now in (0.0, 0.1, 9.5, 10.0, 10.5, 12.0)] == [10, 9, 0, 0, 0, -2]


def test_renew_starts_the_full_ttl_again(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    assert primary.renew(1, 9.0) == 10
    assert primary.expired(18.9) == []
    assert primary.expired(19.0) == [1]


def test_an_expired_lease_is_not_renewed(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    with pytest.raises(LeaseExpired):
        primary.renew(1, 10.0)


def test_expired_leases_come_again_until_revoked(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    assert primary.expired(10.0) == [1]
    assert primary.expired(10.0 + RETRY_S - 0.1) == []
    assert primary.expired(10.0 + RETRY_S) == [1]
    primary.revoke(1)
    assert primary.expired(1e6) == []


def test_a_scan_is_limited_and_starts_with_the_oldest(primary: Lessor) -> None:
    for lease_id in range(1, 601):
        grant(primary, lease_id, 10, now=lease_id / 1000)
    assert primary.expired(11.0) == list(range(1, 501))
    assert primary.expired(11.0) == list(range(501, 601))
    assert primary.expired(20.0, limit=3) == [1, 2, 3]


def test_an_id_granted_again_is_a_new_lease(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    primary.revoke(1)
    grant(primary, 1, 50, now=1.0)
    assert primary.expired(10.0) == []
    assert primary.expired(51.0) == [1]


def test_promotion_restarts_every_lease(primary: Lessor) -> None:
    grant(primary, 1, 10, now=0.0)
    grant(primary, 2, 600, now=0.0)
    primary.checkpoint(2, 30)
    primary.demote()
    assert primary.expired(1e6) == []
    primary.promote(1000.0, 1.5)
    assert [primary.time_to_live(lease_id, 1000.0) for lease_id in (1, 2)] == [11, 31]
    assert primary.expired(1011.4) == []
    assert primary.expired(1011.5) == [1]
    assert primary.expired(1031.5) == [1, 2]


@pytest.mark.parametrize(("count", "spread"), [(999, False), (1000, True), (4000, True)])
def test_promotion_spreads_the_expiry_of_many_leases(lessor: Lessor, count: int, spread: bool) -> None:
    for lease_id in range(1, count + 1):
        lessor.grant(lease_id, 10)
    lessor.promote(0.0, 0.0)
    expiries = sorted(lease.expires_at for lease in lessor.leases())
    assert expiries[0] == 10.0
    if not spread:
        assert expiries[-1] == 10.0
        return
    assert expiries[-1] == 10.0 + (count - 1) // 750
    assert all(later - earlier >= 1.0 for earlier, later in zip(expiries, expiries[750:], strict=False))


def test_leases_are_listed_by_remaining_time(primary: Lessor) -> None:
    for lease_id, ttl in ((1, 50), (2, 10), (3, 30)):
        grant(primary, lease_id, ttl, now=0.0)
    assert [lease.id for lease in primary.leases()] == [2, 3, 1]


def test_checkpoints_of_long_leases(primary: Lessor) -> None:
    grant(primary, 1, 1000, now=0.0)
    grant(primary, 2, 300, now=0.0)
    assert primary.checkpoints_due(299.9) == []
    assert primary.checkpoints_due(300.5) == [(1, 700)]
    assert primary.checkpoints_due(400.0) == []
    primary.checkpoint(1, 700)
    assert primary.checkpoints_due(600.5) == [(1, 400)]
    primary.renew(1, 700.0)
    lease = primary.lookup(1)
    assert lease is not None
    assert lease.remaining_ttl == 0
    assert primary.checkpoints_due(900.5) == [(1, 800)]


def test_checkpoint_batches_are_limited(primary: Lessor) -> None:
    for lease_id in range(1, 1502):
        grant(primary, lease_id, 1000, now=0.0)
    assert [len(primary.checkpoints_due(301.0)) for _ in range(3)] == [1000, 501, 0]


def test_leases_survive_a_restart(lessor: Lessor, backend: Any) -> None:
    lessor.grant(1, 10)
    lessor.grant(2**62, 600)
    lessor.grant(-5, 70)
    lessor.attach(1, b"k")
    lessor.checkpoint(2**62, 400)
    lessor.checkpoint(1, 5, persist=False)
    again = Lessor(backend, TTL_MIN_S)
    kept = sorted((lease.id, lease.ttl, lease.remaining_ttl, len(lease.keys)) for lease in again.leases())
    assert kept == [(-5, 70, 0, 0), (1, 10, 0, 0), (2**62, 600, 400, 0)]
    key = (1).to_bytes(8, "big")
    assert StoredLease.FromString(backend.stored[key]) == StoredLease(ID=1, TTL=10)


@pytest.mark.parametrize(
    ("key", "value"),
    [(bytes(8), b""), (b"short", StoredLease(ID=1).SerializeToString()), (b"\0" * 7 + b"\1", b"\xff\xff")],
)
def test_a_damaged_record_is_refused(backend: Any, key: bytes, value: bytes) -> None:
    backend.stored[key] = value
    with pytest.raises(LeaseError, match=key.hex()):
        Lessor(backend, TTL_MIN_S)


def test_who_waits_for_a_revocation_is_called_once(primary: Lessor) -> None:
    calls: list[str] = []
    primary.when_revoked(1, lambda: calls.append("unknown"))
    grant(primary, 1, 10, now=0.0)
    grant(primary, 2, 10, now=0.0)
    primary.when_revoked(1, lambda: calls.append("first"))
    primary.when_revoked(1, lambda: calls.append("second"))
    primary.when_revoked(2, lambda: calls.append("demoted"))
    assert calls == ["unknown"]
    primary.revoke(1)
    assert calls == ["unknown", "first", "second"]
    primary.demote()
    assert calls == ["unknown", "first", "second", "demoted"]
    primary.when_revoked(2, lambda: calls.append("follower"))
    assert calls[-1] == "follower"


def test_a_lease_may_go_before_its_first_scan(primary: Lessor) -> None:
    primary.grant(1, 10)
    primary.revoke(1)
    assert primary.expired(0.0) == []
    assert primary.expired(1e6) == []
    primary.grant(1, 10)
    primary.demote()
    assert primary.expired(1e6) == []


def test_demotion_leaves_nothing_due(primary: Lessor) -> None:
    grant(primary, 1, 1000, now=0.0)
    primary.demote()
    assert primary.checkpoints_due(1e6) == []
    assert primary.expired(1e6) == []
