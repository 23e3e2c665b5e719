"""Membership as the log makes it: refusals, effects, what is stored, and what comes back from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from etcdpy.backend import Backend, Bucket
from etcdpy.cluster.bootstrap import new_member
from etcdpy.cluster.members import ChangeContext, MalformedMember, Member, encode_context, encode_member
from etcdpy.cluster.membership import (
    CorruptMembership,
    Downgrade,
    MemberExists,
    MemberNotFound,
    MemberNotLearner,
    MemberRemoved,
    Membership,
    MembershipError,
    PeerUrlExists,
    TooManyLearners,
)
from etcdpy.cluster.urls import BadUrl
from etcdpy.cluster.v2 import ClusterState, load_store
from etcdpy.cluster.version import BadVersion, Version
from etcdpy.raft.messages import ConfChange, ConfChangeType
from tests.support.buckets import MemoryBuckets

if TYPE_CHECKING:
    from pathlib import Path


def url_of(identity: int) -> str:
    return f"http://127.0.0.1:{2380 + identity}"


def add(identity: int, *, learner: bool = False, url: str = "", name: str = "") -> ConfChange:
    member = Member(identity, (url or url_of(identity),), name, is_learner=learner)
    kind = ConfChangeType.ADD_LEARNER_NODE if learner else ConfChangeType.ADD_NODE
    return ConfChange(kind, identity, encode_context(ChangeContext(member)))


def promote(identity: int) -> ConfChange:
    context = encode_context(ChangeContext(Member(identity), is_promote=True))
    return ConfChange(ConfChangeType.ADD_NODE, identity, context)


def update(identity: int, url: str) -> ConfChange:
    context = encode_context(ChangeContext(Member(identity, (url,))))
    return ConfChange(ConfChangeType.UPDATE_NODE, identity, context)


def remove(identity: int) -> ConfChange:
    return ConfChange(ConfChangeType.REMOVE_NODE, identity)


@pytest.fixture
def membership(buckets: MemoryBuckets) -> Membership:
    """Voters 1 and 2, which have started, and learner 3, which has not; 9 was removed."""
    made = Membership(buckets)
    for change in (add(1, name="a"), add(2), add(3, learner=True), add(9), remove(9)):
        made.apply(change)
    made.publish_attributes(2, "b", ["http://127.0.0.1:1"])
    return made


@pytest.mark.parametrize(
    ("change", "refusal", "text"),
    [
        (add(9), MemberRemoved, "membership: ID removed"),
        (remove(9), MemberRemoved, "membership: ID removed"),
        (add(1, url="http://127.0.0.1:7"), MemberExists, "membership: ID exists"),
        (add(4, url=url_of(1)), PeerUrlExists, "membership: peerURL exists"),
        (add(4, learner=True), TooManyLearners, "membership: too many learner members in cluster"),
        (promote(4), MemberNotFound, "membership: ID not found"),
        (promote(1), MemberNotLearner, "membership: can only promote a learner member"),
        (remove(4), MemberNotFound, "membership: ID not found"),
        (update(4, "http://127.0.0.1:7"), MemberNotFound, "membership: ID not found"),
        (update(1, url_of(2)), PeerUrlExists, "membership: peerURL exists"),
    ],
)
def test_refusals(
    membership: Membership, change: ConfChange, refusal: type[MembershipError], text: str
) -> None:
    before = membership.state()
    with pytest.raises(refusal) as caught:
        membership.apply(change)
    assert str(caught.value) == text
    assert membership.state() == before


def test_changes(membership: Membership, buckets: MemoryBuckets) -> None:
    assert [member.id for member in membership.voters] == [1, 2]
    assert [member.id for member in membership.learners] == [3]
    assert membership.is_removed(9)
    assert 9 not in membership
    membership.apply(promote(3))
    membership.apply(update(3, "http://127.0.0.1:7"))
    membership.apply(update(1, url_of(1)))
    assert membership.get(3) == Member(3, ("http://127.0.0.1:7",))
    assert membership.apply(remove(1)).name == "a"
    assert [member.id for member in membership.members] == [2, 3]
    assert buckets.rows[Bucket.MEMBERS] == {
        b"2": b'{"id":2,"peerURLs":["http://127.0.0.1:2382"],"name":"b","clientURLs":["http://127.0.0.1:1"]}',
        b"3": b'{"id":3,"peerURLs":["http://127.0.0.1:7"]}',
    }
    assert buckets.rows[Bucket.MEMBERS_REMOVED] == {b"1": b"removed", b"9": b"removed"}


def test_updating_a_learner_keeps_it_one(membership: Membership) -> None:
    membership.apply(update(3, "http://127.0.0.1:7"))
    assert membership.get(3) == Member(3, ("http://127.0.0.1:7",), is_learner=True)


def test_learner_limit(buckets: MemoryBuckets) -> None:
    membership = Membership(buckets, learners_max=2)
    for identity in (1, 2):
        membership.apply(add(identity, learner=True))
    with pytest.raises(TooManyLearners):
        membership.check_learner_room()


def test_attributes_of_nobody_are_passed_over(membership: Membership) -> None:
    before = membership.state()
    assert not membership.publish_attributes(9, "x", [])
    assert not membership.publish_attributes(10, "x", [])
    assert membership.state() == before


@pytest.mark.parametrize("context", [b"", b"{}", b'{"id":5}', b"[]"])
def test_malformed_changes(membership: Membership, context: bytes) -> None:
    with pytest.raises(MalformedMember):
        membership.apply(ConfChange(ConfChangeType.ADD_NODE, 4, context))


def test_versions_and_downgrade(membership: Membership, buckets: MemoryBuckets) -> None:
    assert membership.cluster_version is None
    membership.set_cluster_version("3.6.0")
    membership.set_downgrade("3.5.0")
    assert buckets.rows[Bucket.CLUSTER] == {
        b"clusterVersion": b"3.6.0",
        b"downgrade": b'{"target-version":"3.5.0","enabled":true}',
    }
    again = Membership(buckets)
    assert again.cluster_version == Version(3, 6)
    assert again.downgrade == Downgrade(Version(3, 5))
    membership.set_downgrade(None)
    assert buckets.rows[Bucket.CLUSTER][b"downgrade"] == b'{"target-version":"","enabled":false}'
    assert Membership(buckets).downgrade is None
    with pytest.raises(BadVersion):
        membership.set_cluster_version("3")


@pytest.mark.parametrize(
    ("bucket", "key", "value"),
    [
        (Bucket.MEMBERS, b"zz", b"{}"),
        (Bucket.MEMBERS, b"1", b"{"),
        (Bucket.MEMBERS_REMOVED, b"", b""),
        (Bucket.CLUSTER, b"clusterVersion", b"3"),
        (Bucket.CLUSTER, b"downgrade", b"[]"),
        (Bucket.CLUSTER, b"downgrade", b'{"enabled":true}'),
    ],
)
def test_corrupt_buckets(buckets: MemoryBuckets, bucket: Bucket, key: bytes, value: bytes) -> None:
    buckets.put(bucket, key, value)
    with pytest.raises(CorruptMembership):
        Membership(buckets)


def test_the_real_backend(tmp_path: Path, membership: Membership) -> None:
    membership.set_cluster_version("3.6.0")
    state = membership.state()
    backend = Backend.open(tmp_path / "db", call_soon=lambda call: call())
    Membership(backend).replace(state)
    assert Membership(backend).state() == state
    backend.flush_sync()
    backend.close()
    backend = Backend.open(tmp_path / "db", call_soon=lambda call: call())
    assert Membership(backend).state() == state
    backend.close()


def test_replacing_all_of_it(membership: Membership, buckets: MemoryBuckets) -> None:
    state = ClusterState({5: Member(5, (url_of(5),), "e")}, frozenset({1, 9}), Version(3, 5))
    membership.replace(state)
    assert membership.state() == state
    assert Membership(buckets).state() == state
    assert load_store(membership.v2_store_json()) == state


def started(buckets: MemoryBuckets, names: str) -> Membership:
    """Voters 1, 2, ...: one for each letter; `-` has not started."""
    membership = Membership(buckets)
    for identity, name in enumerate(names, start=1):
        membership.apply(add(identity, name=name.strip("-")))
    return membership


@pytest.mark.parametrize(
    ("names", "can_add", "can_remove_last", "can_promote"),
    [
        ("a", True, False, True),
        ("ab", True, True, True),
        ("a-", False, True, True),
        ("abc", True, True, True),
        ("ab-", False, True, True),
        ("a--", False, False, False),
        ("abc-", True, True, True),
        ("ab--", False, True, True),
    ],
)
def test_started_members(
    buckets: MemoryBuckets, names: str, can_add: bool, can_remove_last: bool, can_promote: bool
) -> None:
    membership = started(buckets, names)
    assert membership.can_add_voter() is can_add
    assert membership.can_remove_voter(len(names)) is can_remove_last
    assert membership.can_promote() is can_promote


def test_a_member_to_be_added() -> None:
    member = new_member(["http://10.0.0.2:2380", "http://10.0.0.1:2380"], 1_700_000_000, is_learner=True)
    assert member.peer_urls == ("http://10.0.0.1:2380", "http://10.0.0.2:2380")
    assert format(member.id, "x") == "110e931718b7c063"
    assert member.is_learner
    with pytest.raises(BadUrl):
        new_member([], 0)


small_ids = st.integers(min_value=1, max_value=6)


class RandomChanges(RuleBasedStateMachine):
    """Any changes in any order leave a membership that holds its promises and equals what it stored."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets = MemoryBuckets()
        self.membership = Membership(self.buckets)
        self.removed: set[int] = set()

    @rule(identity=small_ids, learner=st.booleans(), place=small_ids)
    def add(self, identity: int, learner: bool, place: int) -> None:
        self.maybe_apply(add(identity, learner=learner, url=url_of(place)))

    @rule(identity=small_ids)
    def promote(self, identity: int) -> None:
        self.maybe_apply(promote(identity))

    @rule(identity=small_ids, place=small_ids)
    def update(self, identity: int, place: int) -> None:
        self.maybe_apply(update(identity, url_of(place)))

    @rule(identity=small_ids)
    def remove(self, identity: int) -> None:
        if self.maybe_apply(remove(identity)):
            self.removed.add(identity)

    @rule(identity=small_ids)
    def publish(self, identity: int) -> None:
        known = identity in self.membership
        assert self.membership.publish_attributes(identity, f"m{identity}", ["http://c:1"]) is known

    def maybe_apply(self, change: ConfChange) -> bool:
        before = self.membership.state()
        try:
            self.membership.apply(change)
        except MembershipError:
            assert self.membership.state() == before
            return False
        return True

    @invariant()
    def holds_its_promises(self) -> None:
        members = self.membership.members
        urls = [url for member in members for url in member.peer_urls]
        assert len(urls) == len(set(urls))
        assert len(self.membership.learners) <= 1
        assert self.membership.removed_ids == self.removed
        assert not self.removed & {member.id for member in members}

    @invariant()
    def is_what_it_stored(self) -> None:
        assert Membership(self.buckets).state() == self.membership.state()
        stored = self.buckets.rows[Bucket.MEMBERS]
        assert stored == {
            format(member.id, "x").encode(): encode_member(member) for member in self.membership.members
        }


TestRandomChanges = RandomChanges.TestCase
TestRandomChanges.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=25
)
