"""The membership of the cluster as the log has made it, kept in the backend beside the keys.

Every member applies the same configuration changes to the same state, so whether a change is refused must
depend on nothing but that state: `check` is called for each change when it is applied, and a refused change
becomes a no-op for raft on all members alike. The questions that only a proposer can answer, such as who is
connected now, are not asked here; what can be said from names alone (`can_add_voter` and so on) is.

Changes are written to the buckets `members`, `members_removed` and `cluster`, in the batch of the entry
being applied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from etcdpy.backend import Bucket
from etcdpy.cluster.ids import format_id, parse_id
from etcdpy.cluster.members import (
    ChangeContext,
    MalformedMember,
    Member,
    decode_context,
    decode_member,
    encode_member,
    encode_members,
    go_json,
)
from etcdpy.cluster.v2 import ClusterState, dump_store
from etcdpy.cluster.version import BadVersion, Version
from etcdpy.raft.messages import ConfChangeType, ConfState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from etcdpy.raft.messages import ConfChange

CLUSTER_VERSION_KEY = b"clusterVersion"
DOWNGRADE_KEY = b"downgrade"
REMOVED_VALUE = b"removed"
LEARNERS_MAX_DEFAULT = 1


class MembershipError(Exception):
    """A change that etcd refuses; `str` is etcd's text."""

    text = ""

    def __init__(self) -> None:
        super().__init__(self.text)


class MemberRemoved(MembershipError):
    """The id was removed once; ids never return."""

    text = "membership: ID removed"


class MemberExists(MembershipError):
    """There is a member with this id."""

    text = "membership: ID exists"


class MemberNotFound(MembershipError):
    """There is no member with this id."""

    text = "membership: ID not found"


class PeerUrlExists(MembershipError):
    """Another member has one of the peer URLs."""

    text = "membership: peerURL exists"


class MemberNotLearner(MembershipError):
    """Only a learner can be promoted."""

    text = "membership: can only promote a learner member"


class TooManyLearners(MembershipError):
    """The learner limit is reached."""

    text = "membership: too many learner members in cluster"


class CorruptMembership(Exception):
    """The buckets hold what no member wrote."""


class BucketWriter(Protocol):
    """What membership needs of the backend."""

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None: ...

    def delete(self, bucket: Bucket, key: bytes) -> None: ...

    def get(self, bucket: Bucket, key: bytes) -> bytes | None: ...

    def items(self, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Downgrade:
    """A downgrade job: the version all members are to go back to."""

    target: Version


class Membership:
    """Members by id, removed ids, cluster version and downgrade job; every change is stored at once."""

    def __init__(self, buckets: BucketWriter, *, learners_max: int = LEARNERS_MAX_DEFAULT) -> None:
        self.learners_max = learners_max
        self._buckets = buckets
        self._members: dict[int, Member] = {}
        self._removed: set[int] = set()
        self._version: Version | None = None
        self._downgrade: Downgrade | None = None
        self.reload()

    # What is known.

    @property
    def members(self) -> list[Member]:
        """All members, sorted by id."""
        return [self._members[identity] for identity in sorted(self._members)]

    @property
    def voters(self) -> list[Member]:
        return [member for member in self.members if not member.is_learner]

    @property
    def learners(self) -> list[Member]:
        return [member for member in self.members if member.is_learner]

    @property
    def removed_ids(self) -> frozenset[int]:
        return frozenset(self._removed)

    @property
    def cluster_version(self) -> Version | None:
        """The cluster version, None until one was decided."""
        return self._version

    @property
    def downgrade(self) -> Downgrade | None:
        return self._downgrade

    def get(self, identity: int) -> Member | None:
        return self._members.get(identity)

    def __contains__(self, identity: int) -> bool:
        return identity in self._members

    def __len__(self) -> int:
        return len(self._members)

    def is_removed(self, identity: int) -> bool:
        return identity in self._removed

    def state(self) -> ClusterState:
        """All of it as one value, for snapshots."""
        return ClusterState(dict(self._members), frozenset(self._removed), self._version)

    def conf_state(self) -> ConfState:
        """The configuration of raft that belongs to these members."""
        return ConfState([member.id for member in self.voters], [member.id for member in self.learners])

    def v2_store_json(self) -> bytes:
        """The data of a raft snapshot, which members of 3.5 and older take their membership from."""
        return dump_store(self.state())

    def encode_members(self) -> bytes:
        """The JSON array of `GET /members`, without its newline."""
        return encode_members(self._members.values())

    # Changes from the log.

    def check(self, change: ConfChange) -> None:
        """Raise the refusal of etcd if the change may not be applied to this membership."""
        if change.node_id in self._removed:
            raise MemberRemoved
        if change.type in (ConfChangeType.ADD_NODE, ConfChangeType.ADD_LEARNER_NODE):
            context = self._context_of(change)
            if context.is_promote:
                self._check_promote(change.node_id)
            else:
                self._check_add(context.member, change.type)
            return
        if change.node_id not in self._members:
            raise MemberNotFound
        if change.type == ConfChangeType.UPDATE_NODE:
            self._check_urls(self._context_of(change).member.peer_urls, except_id=change.node_id)

    def apply(self, change: ConfChange) -> Member:
        """Check the change and make it. Gives the member as it is now, or as it was if it is removed."""
        self.check(change)
        if change.type == ConfChangeType.REMOVE_NODE:
            return self._remove(change.node_id)
        context = self._context_of(change)
        if change.type == ConfChangeType.UPDATE_NODE:
            # Only the URLs are taken: a learner stays one, and the name is the member's own to publish.
            return self._save(replace(self._members[change.node_id], peer_urls=context.member.peer_urls))
        if context.is_promote:
            return self._save(replace(self._members[change.node_id], is_learner=False))
        return self._save(context.member)

    def publish_attributes(self, identity: int, name: str, client_urls: Iterable[str]) -> bool:
        """Note the name and client URLs that a member made known. False: no such member (any more)."""
        member = self._members.get(identity)
        if member is None:
            return False
        self._save(member.with_attributes(name, client_urls))
        return True

    def set_cluster_version(self, version: str) -> Version:
        """Note the decided version; BadVersion for text that is none."""
        self._version = Version.parse(version)
        self._buckets.put(Bucket.CLUSTER, CLUSTER_VERSION_KEY, str(self._version).encode())
        return self._version

    def set_downgrade(self, target: str | None) -> None:
        """Begin a downgrade to `target`, or end the job with None."""
        self._downgrade = None if target is None else Downgrade(Version.parse(target))
        fields = {"target-version": target or "", "enabled": target is not None}
        self._buckets.put(Bucket.CLUSTER, DOWNGRADE_KEY, go_json(fields))

    # What names alone can say about a change that is about to be proposed.

    def can_add_voter(self) -> bool:
        """Whether enough voters have started to carry one more that has not."""
        started = self._started_voters()
        if started == 1 and len(self.voters) == 1:
            # A single member must be able to grow, though two of two are needed right afterwards.
            return True
        return started >= quorum(len(self.voters) + 1)

    def can_remove_voter(self, identity: int) -> bool:
        """Whether the voters that stay are a quorum of themselves; the last one never may go."""
        rest = [member for member in self.voters if member.id != identity]
        return sum(member.is_started for member in rest) >= quorum(len(rest))

    def can_promote(self) -> bool:
        """Whether enough would have started with the learner, which counts as started, among the voters."""
        return self._started_voters() + 1 >= quorum(len(self.voters) + 1)

    # The backend.

    def reload(self) -> None:
        """Take everything from the buckets: at start, and when a snapshot has replaced the backend."""
        try:
            pairs = [(parse_id(key.decode()), value) for key, value in self._buckets.items(Bucket.MEMBERS)]
            # The key counts: old versions stored values whose id was right but little else.
            self._members = {
                identity: replace(decode_member(value), id=identity) for identity, value in pairs
            }
            self._removed = {parse_id(key.decode()) for key, _ in self._buckets.items(Bucket.MEMBERS_REMOVED)}
            version = self._buckets.get(Bucket.CLUSTER, CLUSTER_VERSION_KEY)
            self._version = None if version is None else Version.parse(version.decode())
            self._downgrade = decode_downgrade(self._buckets.get(Bucket.CLUSTER, DOWNGRADE_KEY))
        except ValueError as error:
            raise CorruptMembership(f"membership in the backend: {error}") from error

    def replace(self, state: ClusterState) -> None:
        """Become what a snapshot says, in memory and in the buckets. A downgrade job is not part of it."""
        for member in self.members:
            if member.id not in state.members:
                self._delete(member.id)
        for member in state.members.values():
            self._save(member)
        for identity in sorted(state.removed - self._removed):
            self._remember_removed(identity)
        if state.version is not None:
            self.set_cluster_version(str(state.version))

    def _save(self, member: Member) -> Member:
        assert member.id, "member without id"
        self._members[member.id] = member
        self._buckets.put(Bucket.MEMBERS, format_id(member.id).encode(), encode_member(member))
        return member

    def _remove(self, identity: int) -> Member:
        member = self._members[identity]
        self._delete(identity)
        self._remember_removed(identity)
        return member

    def _delete(self, identity: int) -> None:
        del self._members[identity]
        self._buckets.delete(Bucket.MEMBERS, format_id(identity).encode())

    def _remember_removed(self, identity: int) -> None:
        self._removed.add(identity)
        self._buckets.put(Bucket.MEMBERS_REMOVED, format_id(identity).encode(), REMOVED_VALUE)

    def _context_of(self, change: ConfChange) -> ChangeContext:
        context = decode_context(change.context)
        if change.type != ConfChangeType.UPDATE_NODE and context.member.id != change.node_id:
            raise MalformedMember(f"change of node {change.node_id:x} with member {context.member.id:x}")
        return context

    def _check_add(self, member: Member, kind: ConfChangeType) -> None:
        if member.id in self._members:
            raise MemberExists
        self._check_urls(member.peer_urls)
        if kind == ConfChangeType.ADD_LEARNER_NODE and member.is_learner:
            self.check_learner_room()

    def check_learner_room(self) -> None:
        if len(self.learners) + 1 > self.learners_max:
            raise TooManyLearners

    def _check_promote(self, identity: int) -> None:
        member = self._members.get(identity)
        if member is None:
            raise MemberNotFound
        if not member.is_learner:
            raise MemberNotLearner

    def _check_urls(self, urls: Iterable[str], except_id: int | None = None) -> None:
        taken = {url for member in self.members if member.id != except_id for url in member.peer_urls}
        if not taken.isdisjoint(urls):
            raise PeerUrlExists

    def _started_voters(self) -> int:
        return sum(member.is_started for member in self.voters)


def quorum(size: int) -> int:
    return size // 2 + 1


def decode_downgrade(data: bytes | None) -> Downgrade | None:
    if data is None:
        return None
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise MalformedMember("the downgrade job is not an object")
    if fields.get("enabled") is not True:
        return None
    target = fields.get("target-version")
    if not isinstance(target, str):
        raise BadVersion(f"downgrade target is {target!r}")
    return Downgrade(Version.parse(target))
