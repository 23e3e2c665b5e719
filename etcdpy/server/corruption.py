"""Do all members hold the same data? The leader compares hashes and raises the CORRUPT alarm if not.

Two ways, as in etcd. `--corrupt-check-time` hashes everything from time to time: the leader's hash at a
revision against the others' at the same. The gate CompactHashCheck compares hashes that compactions have left
behind, which costs nothing: all members compact at the same revisions, so those hashes are ready to be asked
for. Members that cannot be asked, or have compacted elsewhere, prove nothing. The gate InitialCorruptCheck
compares before a member that has data takes part: one that differs does not start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.alarms import CORRUPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etcdpy.mvcc import HashKV
    from etcdpy.server.hashing import Hashing
    from etcdpy.server.member import Member

CHECKED_MAX = 10


@dataclass(frozen=True, slots=True)
class PeerHash:
    """HashKV as another member answers it."""

    hash: int
    revision: int
    compact_revision: int


class PeerHashes(Protocol):
    """Asks the other members."""

    def ask_hashes(self, revision: int, done: Callable[[Mapping[int, PeerHash | None]], None]) -> None:
        """HashKV of each other member at a revision, None for those that did not say."""


class DataInconsistent(Exception):
    """A member's data is not what its peers have at the same revision; the text is etcd's."""


def check_before_start(
    member: Member, peers: PeerHashes, hashing: Hashing, done: Callable[[Exception | None], None]
) -> None:
    """Compare our hash with what the others have at our revision; `done` with what is wrong, or None."""

    def hashed(ours: HashKV | None, error: Exception | None) -> None:
        if ours is None:
            done(error)
        else:
            peers.ask_hashes(ours.revision, lambda hashes: compare(ours, hashes))

    def compare(ours: HashKV, hashes: Mapping[int, PeerHash | None]) -> None:
        differing = []
        for member_id, theirs in sorted(hashes.items()):
            peer = {"remote-peer-id": f"{member_id:x}", "revision": ours.revision}
            if theirs is None:
                member.log.warn("failed to get hash values from remote peer", **peer)
            elif theirs.hash != ours.hash and theirs.compact_revision != ours.compact_revision:
                member.log.warn("found different compact revision values from remote peer", **peer)
            elif theirs.hash != ours.hash:
                member.log.warn("found different hash values from remote peer", **peer)
                differing.append(member_id)
        reason = f"{member.member_id:x} found data inconsistency with peers"
        done(DataInconsistent(reason) if differing else None)

    hashing.hash_kv(0, hashed)


class CorruptionMonitor:
    """Works while this member leads."""

    def __init__(self, member: Member, peers: PeerHashes, hashing: Hashing) -> None:
        config = member.config
        self._member = member
        self._peers = peers
        self._hashing = hashing
        self._interval_s = config.corrupt_check_time_s
        self._compact_interval_s = (
            config.compact_hash_check_time_s if config.features["CompactHashCheck"] else 0.0
        )
        self._due_at = self._compact_due_at = 0.0
        self._busy = False
        self._checked: list[int] = []

    def tick(self, now: float) -> None:
        """About every heartbeat interval."""
        if self._busy or not self._member.is_leader:
            return
        if self._interval_s:
            self._due_at = self._due_at or now + self._interval_s
            if now >= self._due_at:
                self._due_at = now + self._interval_s
                self._check_all()
                return
        if self._compact_interval_s:
            self._compact_due_at = self._compact_due_at or now + self._compact_interval_s
            if now >= self._compact_due_at:
                self._compact_due_at = now + self._compact_interval_s
                self._check_compactions()

    # Everything.

    def _check_all(self) -> None:
        self._busy = True

        def hashed(ours: HashKV | None, error: Exception | None) -> None:
            if ours is None:
                self._busy = False
                self._member.log.warn("failed to hash the keys", error=str(error))
            else:
                self._ask(ours)

        self._hashing.hash_kv(0, hashed)

    def _ask(self, before: HashKV) -> None:
        def answered(hashes: Mapping[int, PeerHash | None]) -> None:
            # Whatever the others can have applied is applied here before revisions are compared.
            self._member.confirm_read(lambda error: confirmed(error, hashes))

        def confirmed(error: Exception | None, hashes: Mapping[int, PeerHash | None]) -> None:
            self._busy = False
            if error is None and self._member.is_leader:
                self._compare(before, hashes)

        self._peers.ask_hashes(before.revision, answered)

    def _compare(self, ours: HashKV, hashes: Mapping[int, PeerHash | None]) -> None:
        store = self._member.state.store
        for member_id, theirs in sorted(hashes.items()):
            if theirs is None:
                continue
            ahead = theirs.revision > store.revision or theirs.compact_revision > store.compact_revision
            differs = theirs.compact_revision == ours.compact_revision and theirs.hash != ours.hash
            if ahead or differs:
                self._raise_alarm(member_id, ours.revision)
                return

    # Compactions.

    def _check_compactions(self) -> None:
        remembered = [
            found
            for found in self._member.state.store.compaction_hashes
            if found.revision not in self._checked
        ]
        if remembered:
            newest = max(remembered, key=lambda found: found.revision)
            self._busy = True
            self._peers.ask_hashes(newest.revision, lambda hashes: self._compare_compaction(newest, hashes))

    def _compare_compaction(self, ours: HashKV, hashes: Mapping[int, PeerHash | None]) -> None:
        self._busy = False
        comparable = {
            member_id: theirs.hash
            for member_id, theirs in hashes.items()
            if theirs is not None and theirs.compact_revision == ours.compact_revision
        }
        if len(comparable) == len(hashes):
            self._checked = [*self._checked, ours.revision][-CHECKED_MAX:]
        by_hash: dict[int, list[int]] = {ours.hash: [self._member.member_id]}
        for member_id, digest in sorted(comparable.items()):
            by_hash.setdefault(digest, []).append(member_id)
        if len(by_hash) == 1:
            return
        quorum = (len(hashes) + 1) // 2 + 1
        majority = next((digest for digest, ids in by_hash.items() if len(ids) >= quorum), None)
        if majority is None:
            # Somebody is wrong, and nobody can say who.
            self._raise_alarm(0, ours.revision)
            return
        for digest, ids in by_hash.items():
            for member_id in ids if digest != majority else ():
                self._raise_alarm(member_id, ours.revision)

    def _raise_alarm(self, member_id: int, revision: int) -> None:
        self._member.log.error("found hash mismatch", **{"peer-id": f"{member_id:x}", "revision": revision})
        if (CORRUPT, member_id) in {
            (alarm.alarm, alarm.memberID) for alarm in self._member.state.alarms.list()
        }:
            return
        alarm = pb.AlarmRequest(
            action=pb.AlarmRequest.ACTIVATE, memberID=member_id, alarm=pb.AlarmType.CORRUPT
        )
        self._member.propose_own("alarm", alarm)
