"""All remotes of a member: who they are, which message goes to whom, and whether they are there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

from etcdpy.peer.compatibility import request_headers
from etcdpy.peer.observed import PeersObserved
from etcdpy.peer.remote import LINK_HEARTBEAT_S, READ_TIMEOUT_S, WRITE_TIMEOUT_S, Remote
from etcdpy.raft.messages import Message, MessageType

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from etcdpy.peer.host import PeerHost
    from etcdpy.server.log import Logger


class PeerTransport:
    """The driver's `Transport` in a cluster.

    Args:
        peer_urls: our advertised peer URLs, told to members that do not know us yet.
        tls: how to dial https peers.
    """

    def __init__(
        self,
        host: PeerHost,
        peer_urls: list[str],
        log: Logger,
        tls: ssl.SSLContext | None = None,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        local_address: str | None = None,
    ) -> None:
        self._host = host
        self._write_timeout_s = write_timeout_s
        self._log = log
        self.observed = PeersObserved(host.member_id)
        self._headers = request_headers(host.member_id, host.cluster_id, peer_urls)
        self._remotes: dict[int, Remote] = {}
        self._strangers: dict[int, Remote] = {}
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=tls if tls is not None else True,
            local_addr=None if local_address is None else (local_address, 0),
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=read_timeout_s)
        self.session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        self._heartbeats = asyncio.get_running_loop().create_task(self._heartbeat_forever())

    def send(self, messages: Sequence[Message]) -> None:
        """Send one batch, without what the rest of it says as well."""
        for message in worth_sending(messages) if len(messages) > 1 else messages:
            remote = self._remotes.get(message.to) or self._strangers.get(message.to)
            if remote is not None and not self._host.is_removed(message.to):
                remote.send(message)

    # Who is there.

    def add(self, member_id: int, urls: Iterable[str]) -> None:
        """A member of the configuration: dial it, let it dial us."""
        if member_id == self._host.member_id or member_id in self._remotes:
            return
        stranger = self._strangers.pop(member_id, None)
        if stranger is not None:
            self._stop_later(stranger)
        self._remotes[member_id] = self._remote(member_id, urls, dialled=True)

    def learn(self, member_id: int, urls: Iterable[str]) -> None:
        """Somebody who talks to us before our configuration knows it: answer through the pipeline."""
        known = (
            member_id in self._remotes or member_id in self._strangers or member_id == self._host.member_id
        )
        if not known and not self._host.is_removed(member_id):
            self._strangers[member_id] = self._remote(member_id, urls, dialled=False)

    def _remote(self, member_id: int, urls: Iterable[str], *, dialled: bool) -> Remote:
        return Remote(
            member_id,
            list(urls),
            self._host,
            self.session,
            self._headers,
            self._log,
            self.observed,
            dialled=dialled,
        )

    def update(self, member_id: int, urls: Iterable[str]) -> None:
        """A member has new peer URLs."""
        if member_id in self._remotes:
            self._remotes[member_id].update(list(urls))

    def remove(self, member_id: int) -> None:
        """A member has left the configuration."""
        remote = self._remotes.pop(member_id, None)
        if remote is not None:
            self._stop_later(remote)

    def find(self, member_id: int) -> Remote | None:
        """The member with its streams, None for strangers."""
        return self._remotes.get(member_id)

    def active_since(self, member_id: int) -> float | None:
        """Loop time since when the member is connected, None when it is not."""
        remote = self._remotes.get(member_id)
        return None if remote is None else remote.active_since

    def is_lost(self, member_id: int) -> bool:
        """Whether the member was connected and is so no more."""
        remote = self._remotes.get(member_id)
        return remote is not None and remote.was_active and remote.active_since is None

    def active_count(self) -> int:
        """How many other members are connected."""
        return sum(remote.active_since is not None for remote in self._remotes.values())

    def longest_connected(self, member_ids: Iterable[int]) -> int | None:
        """Of these members, the one that has been connected for the longest time."""
        since = {member_id: self.active_since(member_id) for member_id in member_ids}
        connected = [(at, member_id) for member_id, at in since.items() if at is not None]
        return min(connected)[1] if connected else None

    def ids(self) -> list[int]:
        """The other members of the configuration, ascending."""
        return sorted(self._remotes)

    def cut(self, member_id: int, *, cut: bool = True) -> None:
        """Fault injection where there is no firewall: nothing goes to, or is taken from, this member
        until it is undone.
        """
        remote = self._remotes.get(member_id)
        if remote is not None:
            remote.cut = cut

    async def _heartbeat_forever(self) -> None:
        while True:
            await asyncio.sleep(LINK_HEARTBEAT_S)
            for remote in self._remotes.values():
                remote.heartbeat(self._write_timeout_s)

    def _stop_later(self, remote: Remote) -> None:
        # A remote may be removed from inside one of its own reader tasks, which cannot wait for
        # itself to end.
        task = asyncio.get_running_loop().create_task(remote.stop())
        self._stopping = task

    async def stop(self) -> None:
        """Let go of everybody."""
        self._heartbeats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._heartbeats
        remotes = [*self._remotes.values(), *self._strangers.values()]
        self._remotes.clear()
        self._strangers.clear()
        await asyncio.gather(*(remote.stop() for remote in remotes))
        await self.session.close()


def worth_sending(messages: Sequence[Message]) -> list[Message]:
    """The messages without those that a later one of the same batch makes superfluous.

    Of several append answers to a member only the last counts. An append without entries tells how far the
    log is committed; if another one from the same place follows, that one tells it too.
    """
    answered: set[int] = set()
    next_appends: dict[int, Message] = {}
    kept = []
    for message in reversed(messages):
        if message.type is MessageType.APP_RESP:
            if message.to in answered:
                continue
            answered.add(message.to)
        elif message.type is MessageType.APP:
            following = next_appends.get(message.to)
            if not message.entries and following is not None and _continues(message, following):
                continue
            next_appends[message.to] = message
        kept.append(message)
    kept.reverse()
    return kept


def _continues(message: Message, following: Message) -> bool:
    return (
        following.index == message.index
        and following.term == message.term
        and following.log_term == message.log_term
        and following.commit >= message.commit
    )
