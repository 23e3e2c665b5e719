"""What a member asks of others outside raft: of the leader, what only the leader knows; of everybody, the
version.

A question to the leader is repeated until the leader answers or the request timeout has passed: elections
end, and a member that has just lost its leader cannot know where to go. Only answers that mean something are
final; which ones, each question says.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
from google.protobuf.message import DecodeError

from etcdpy.cluster.members import MalformedMember, decode_members
from etcdpy.cluster.membership import MemberNotFound, MemberNotLearner
from etcdpy.cluster.version import BadVersion, Version
from etcdpy.lease import LeaseNotFound
from etcdpy.peer.compatibility import CLUSTER_ID
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.lease_pb2 import LeaseInternalRequest, LeaseInternalResponse
from etcdpy.server.corruption import PeerHash
from etcdpy.server.errors import LearnerNotReady, NoLeader, Timeout
from etcdpy.server.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from etcdpy.cluster import Member as ClusterMember
    from etcdpy.server.member import Member
    from etcdpy.server.results import Done

    # An answer's meaning, None when it is not final.
    Judge = Callable[[int, bytes], Result | None]

RETRY_PAUSE_S = 0.05
VERSION_TIMEOUT_S = 2.0
# Hashing many keys takes its time.
HASH_TIMEOUT_S = 60.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class PeerCalls:
    """Implements `server.front.Forwarding` and `server.versions.PeerVersions` over HTTP."""

    def __init__(self, member: Member, session: aiohttp.ClientSession) -> None:
        self._member = member
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._headers = {CLUSTER_ID: f"{member.cluster_id:x}"}
        self._tasks: set[asyncio.Task[None]] = set()

    # Of the leader.

    def renew_lease(self, lease_id: int, done: Done) -> None:
        """LeaseKeepAlive at the leader."""

        def judge(status: int, body: bytes) -> Result | None:
            if status == 404:
                return Result(error=LeaseNotFound(f"lease {lease_id:x}"))
            return Result(pb.LeaseKeepAliveResponse.FromString(body)) if status == 200 else None

        data = pb.LeaseKeepAliveRequest(ID=lease_id).SerializeToString()
        self._spawn(self._ask_leader("/leases", data, judge, done))

    def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest, done: Done) -> None:
        """LeaseTimeToLive at the leader."""

        def judge(status: int, body: bytes) -> Result | None:
            revision = self._member.state.store.revision
            if status == 404:
                return Result(pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=-1), revision=revision)
            if status != 200:
                return None
            response = LeaseInternalResponse.FromString(body).LeaseTimeToLiveResponse
            response.ClearField("header")
            return Result(response, revision=revision)

        data = LeaseInternalRequest(LeaseTimeToLiveRequest=request).SerializeToString()
        self._spawn(self._ask_leader("/leases/internal", data, judge, done))

    def promote(self, member_id: int, token: str, done: Done) -> None:
        """MemberPromote at the leader. Whom the leader refuses gets no answer in time, as in etcd."""

        def judge(status: int, body: bytes) -> Result | None:
            if status == 200:
                members = [
                    pb.Member(
                        ID=member.id,
                        name=member.name,
                        peerURLs=member.peer_urls,
                        clientURLs=member.client_urls,
                        isLearner=member.is_learner,
                    )
                    for member in decode_members(body)
                ]
                return Result(pb.MemberPromoteResponse(members=members))
            if status == 404:
                return Result(error=MemberNotFound())
            if status == 412:
                not_ready = b"in sync with leader" in body
                return Result(error=LearnerNotReady() if not_ready else MemberNotLearner())
            return None

        self._spawn(self._ask_leader(f"/members/promote/{member_id}", b"", judge, done, token))

    async def _ask_leader(self, path: str, data: bytes, judge: Judge, done: Done, token: str = "") -> None:
        member = self._member
        deadline = self._loop.time() + member.request_timeout_s
        refusal: Exception = NoLeader()
        headers = {**self._headers, "Authorization": token} if token else self._headers
        while (left := deadline - self._loop.time()) > 0:
            leader = member.state.membership.get(member.leader_id)
            if leader is not None:
                refusal = Timeout()
                result = await self._ask(leader, path, data, headers, judge, left)
                if result is not None:
                    done(result)
                    return
            await asyncio.sleep(RETRY_PAUSE_S)
        done(Result(error=refusal))

    async def _ask(
        self,
        leader: ClusterMember,
        path: str,
        data: bytes,
        headers: Mapping[str, str],
        judge: Judge,
        seconds: float,
    ) -> Result | None:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=2)
        for url in leader.peer_urls:
            try:
                async with self._session.post(
                    url + path, data=data, headers=headers, timeout=timeout
                ) as response:
                    result = judge(response.status, await response.content.read(ANSWER_BYTES_MAX))
            except (aiohttp.ClientError, OSError, TimeoutError, DecodeError, MalformedMember):
                continue
            if result is not None:
                return result
        return None

    # Of everybody.

    def ask_versions(self, done: Callable[[Mapping[int, Version | None]], None]) -> None:
        """GET /version of each other member."""
        self._spawn(self._ask_versions(done))

    async def _ask_versions(self, done: Callable[[Mapping[int, Version | None]], None]) -> None:
        members = self._member.state.membership.members
        others = [member for member in members if member.id != self._member.member_id]
        answers = await asyncio.gather(
            *(server_version(self._session, member.peer_urls) for member in others)
        )
        done({member.id: version for member, version in zip(others, answers, strict=True)})

    def ask_hashes(self, revision: int, done: Callable[[Mapping[int, PeerHash | None]], None]) -> None:
        """GET /members/hashkv of each other member."""
        self._spawn(self._ask_hashes(revision, done))

    async def _ask_hashes(self, revision: int, done: Callable[[Mapping[int, PeerHash | None]], None]) -> None:
        members = self._member.state.membership.members
        others = [member for member in members if member.id != self._member.member_id]
        answers = await asyncio.gather(*(self._hash_of(member.peer_urls, revision) for member in others))
        done({member.id: answer for member, answer in zip(others, answers, strict=True)})

    async def _hash_of(self, urls: tuple[str, ...], revision: int) -> PeerHash | None:
        timeout = aiohttp.ClientTimeout(total=HASH_TIMEOUT_S, sock_connect=2)
        body = json.dumps({"revision": revision}).encode()
        for url in urls:
            try:
                async with self._session.get(
                    url + "/members/hashkv", data=body, headers=self._headers, timeout=timeout
                ) as response:
                    parsed = json.loads(await response.content.read(ANSWER_BYTES_MAX))
                    return PeerHash(
                        int(parsed["hash"]),
                        int(parsed["header"]["revision"]),
                        int(parsed.get("compact_revision", 0)),
                    )
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
                continue
        return None

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def server_version(session: aiohttp.ClientSession, urls: tuple[str, ...]) -> Version | None:
    """The release a member runs, None if it does not say."""
    versions = await versions_at(session, urls)
    return None if versions is None else parse_version(versions.get("etcdserver"))


async def versions_at(session: aiohttp.ClientSession, urls: tuple[str, ...]) -> Mapping[str, object] | None:
    """The answer of GET /version of a member, None if there is none."""
    timeout = aiohttp.ClientTimeout(total=VERSION_TIMEOUT_S)
    for url in urls:
        try:
            async with session.get(url + "/version", timeout=timeout) as response:
                parsed = json.loads(await response.content.read(ANSWER_BYTES_MAX))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            continue
        if isinstance(parsed, dict):
            return parsed
    return None


def parse_version(text: object) -> Version | None:
    """A version from somebody else's JSON, None for what is none."""
    try:
        return Version.parse(text) if isinstance(text, str) else None
    except BadVersion:
        return None
