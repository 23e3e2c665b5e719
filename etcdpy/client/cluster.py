"""Members of the cluster, and what operators ask of one of them.

Calls about one member (`status`, `hash_kv`, `defragment`, `snapshot`) go where the client is connected;
`client.at(endpoint)` chooses.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from etcdpy.client import rpcs
from etcdpy.client.base import Calls
from etcdpy.client.errors import DataLoss, EtcdError
from etcdpy.client.sides import both, both_iterate
from etcdpy.client.values import Header, header_of
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

AlarmKind = Literal["nospace", "corrupt"]
_ALARMS: Final[dict[AlarmKind, pb.AlarmType]] = {"nospace": pb.NOSPACE, "corrupt": pb.CORRUPT}
_ALARM_BY_TYPE: Final = {int(number): kind for kind, number in _ALARMS.items()}
DowngradeAction = Literal["validate", "enable", "cancel"]
_DOWNGRADES: Final[dict[DowngradeAction, pb.DowngradeRequest.DowngradeAction]] = {
    "validate": pb.DowngradeRequest.VALIDATE,
    "enable": pb.DowngradeRequest.ENABLE,
    "cancel": pb.DowngradeRequest.CANCEL,
}
# A snapshot is the database in whole blocks, and behind it their SHA-256.
_BLOCK_BYTES: Final = 512
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


@dataclass(slots=True)
class Member:
    """A member as the cluster knows it. One that has not started yet has no name and no client URLs."""

    id: int
    name: str
    peer_urls: list[str]
    client_urls: list[str]
    is_learner: bool


@dataclass(slots=True)
class Status:
    """What one member says of itself. Sizes are in bytes; `leader` is a member id, 0 for none."""

    header: Header
    version: str
    db_size: int
    db_size_in_use: int
    db_size_quota: int
    leader: int
    raft_index: int
    raft_term: int
    raft_applied_index: int
    is_learner: bool
    errors: list[str]
    storage_version: str

    @property
    def is_leader(self) -> bool:
        """Whether the member that answered leads the cluster."""
        return self.leader != 0 and self.leader == self.header.member_id


@dataclass(slots=True)
class HashKv:
    """A digest of all revisions from `compact_revision` up to `hash_revision`, equal on healthy members."""

    header: Header
    hash: int
    compact_revision: int
    hash_revision: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that is on."""

    member_id: int
    kind: AlarmKind


class ClusterCalls(Calls):
    """The calls of etcd's Cluster and Maintenance services."""

    # Members.

    @both
    async def member_list(self, *, linearizable: bool = True) -> list[Member]:
        """All members; with `linearizable=False`, as the asked one knows them."""
        response = await self._send(rpcs.MEMBER_LIST, pb.MemberListRequest(linearizable=linearizable))
        return [_member(one) for one in response.members]

    @both
    async def member_add(self, peer_urls: Iterable[str], *, learner: bool = False) -> Member:
        """Announce a member before it starts."""
        request = pb.MemberAddRequest(peerURLs=list(peer_urls), isLearner=learner)
        return _member((await self._send(rpcs.MEMBER_ADD, request)).member)

    @both
    async def member_remove(self, member_id: int) -> list[Member]:
        """Remove a member; returns those who stay."""
        response = await self._send(rpcs.MEMBER_REMOVE, pb.MemberRemoveRequest(ID=member_id))
        return [_member(one) for one in response.members]

    @both
    async def member_update(self, member_id: int, peer_urls: Iterable[str]) -> list[Member]:
        """Tell where a member's peers reach it."""
        request = pb.MemberUpdateRequest(ID=member_id, peerURLs=list(peer_urls))
        return [_member(one) for one in (await self._send(rpcs.MEMBER_UPDATE, request)).members]

    @both
    async def member_promote(self, member_id: int) -> list[Member]:
        """Make a learner a voter."""
        response = await self._send(rpcs.MEMBER_PROMOTE, pb.MemberPromoteRequest(ID=member_id))
        return [_member(one) for one in response.members]

    @both
    async def sync_endpoints(self) -> tuple[str, ...]:
        """Connect from now on to the client URLs that the members advertise; returns them."""
        response = await self._send(rpcs.MEMBER_LIST, pb.MemberListRequest(linearizable=True))
        urls = tuple(url for member in response.members if not member.isLearner for url in member.clientURLs)
        if urls:
            self._caller.use(urls)
        return self._caller.endpoints

    # Maintenance.

    @both
    async def status(self) -> Status:
        """Version, sizes and raft position of one member."""
        response = await self._send(rpcs.STATUS, pb.StatusRequest())
        return Status(
            header=header_of(response.header),
            version=response.version,
            db_size=response.dbSize,
            db_size_in_use=response.dbSizeInUse,
            db_size_quota=response.dbSizeQuota,
            leader=response.leader,
            raft_index=response.raftIndex,
            raft_term=response.raftTerm,
            raft_applied_index=response.raftAppliedIndex,
            is_learner=response.isLearner,
            errors=list(response.errors),
            storage_version=response.storageVersion,
        )

    @both
    async def hash_kv(self, revision: int = 0) -> HashKv:
        """The digest of one member's keys up to a revision, 0 for the newest."""
        response = await self._send(rpcs.HASH_KV, pb.HashKVRequest(revision=revision))
        return HashKv(
            header_of(response.header), response.hash, response.compact_revision, response.hash_revision
        )

    @both
    async def defragment(self) -> None:
        """Give the space that one member's database has free back to its disk."""
        await self._send(rpcs.DEFRAGMENT, pb.DefragmentRequest())

    @both
    async def move_leader(self, member_id: int) -> None:
        """Make another member the leader. The call goes to the present one, whichever endpoint that is."""
        await self._send(
            rpcs.MOVE_LEADER, pb.MoveLeaderRequest(targetID=member_id), endpoint=await self._leader()
        )

    async def _leader(self) -> str | None:
        """The endpoint of the leader, as far as one of ours is it."""
        if self._endpoint is not None or len(self.endpoints) == 1:
            return None
        for endpoint in self.endpoints:
            try:
                status = await self._send(rpcs.STATUS, pb.StatusRequest(), endpoint=endpoint, timeout=2.0)
            except EtcdError:
                continue
            if status.leader == status.header.member_id:
                return endpoint
        return None

    @both
    async def alarms(self) -> list[Alarm]:
        """The alarms that are on."""
        request = pb.AlarmRequest(action=pb.AlarmRequest.GET)
        response = await self._send(rpcs.ALARM, request, repeatable=True)
        return [Alarm(one.memberID, _ALARM_BY_TYPE[int(one.alarm)]) for one in response.alarms]

    @both
    async def disarm(self, *alarms: Alarm) -> list[Alarm]:
        """Switch off these alarms, or all that are on if none are named; returns those that were."""
        chosen = list(alarms)
        if not chosen:
            request = pb.AlarmRequest(action=pb.AlarmRequest.GET)
            found = await self._send(rpcs.ALARM, request, repeatable=True)
            chosen = [Alarm(one.memberID, _ALARM_BY_TYPE[int(one.alarm)]) for one in found.alarms]
        disarmed = []
        for alarm in chosen:
            request = pb.AlarmRequest(
                action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.member_id, alarm=_ALARMS[alarm.kind]
            )
            if (await self._send(rpcs.ALARM, request)).alarms:
                disarmed.append(alarm)
        return disarmed

    @both
    async def downgrade(self, action: DowngradeAction, version: str = "") -> str:
        """Ask about, begin or call off a downgrade to a version `X.Y`; returns the cluster's version."""
        request = pb.DowngradeRequest(action=_DOWNGRADES[action], version=version)
        return (await self._send(rpcs.DOWNGRADE, request, repeatable=action == "validate")).version

    # Snapshots.

    @both_iterate
    async def snapshot(self) -> AsyncIterator[bytes]:
        """Iterate over a member's database, in pieces; the last 32 bytes are the SHA-256 of the others."""
        async for response in self._receive(rpcs.SNAPSHOT, pb.SnapshotRequest()):
            yield response.blob

    @both
    async def save_snapshot(self, path: str | Path) -> int:
        """Save a member's database to a file, which is there only once it is whole; returns its bytes.

        `etcdutl snapshot restore` and `etcdpyutl snapshot restore` take it.

        Raises:
            DataLoss: what arrived does not bear its own digest.
            OSError: the file cannot be written.
        """
        path = Path(path)
        part = path.with_name(path.name + ".part")
        blocking = self._caller.transport.run_blocking
        file = await blocking(lambda: part.open("wb"))
        try:
            digest, tail, total = hashlib.sha256(), b"", 0
            async for response in self._receive(rpcs.SNAPSHOT, pb.SnapshotRequest()):
                file.write(response.blob)
                total += len(response.blob)
                tail += response.blob
                digest.update(tail[:-_DIGEST_BYTES])
                tail = tail[-_DIGEST_BYTES:]
            if total % _BLOCK_BYTES != _DIGEST_BYTES or digest.digest() != tail:
                raise DataLoss(f"the snapshot of {total} bytes does not bear its own digest")
            await blocking(lambda: _finish(file.fileno(), file.flush, part, path))
        finally:
            file.close()
            part.unlink(missing_ok=True)
        return total


def _finish(descriptor: int, flush: Callable[[], None], part: Path, path: Path) -> None:
    flush()
    os.fsync(descriptor)
    part.replace(path)


def _member(message: pb.Member) -> Member:
    return Member(
        message.ID, message.name, list(message.peerURLs), list(message.clientURLs), message.isLearner
    )
