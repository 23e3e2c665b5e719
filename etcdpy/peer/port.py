"""The peer port of one member as a whole: listeners, transport, and who is connected to whom.

Joins the parts of this room for `embed`. The transport follows the membership: members are dialled as soon
as the log names them, and let go when it removes them. A member that joins knows its peers from the answer
of one of them before its log does; those stay until a snapshot says otherwise.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from etcdpy.peer.calls import PeerCalls
from etcdpy.peer.listener import PeerListener
from etcdpy.peer.transport import PeerTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from etcdpy.cluster import Member as ClusterMember
    from etcdpy.cluster import Url
    from etcdpy.peer.host import PeerHost
    from etcdpy.peer.tls import PeerTls
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger
    from etcdpy.server.member import Member

# Waiting for peers at the start: how long, and how often to look.
FIRST_PEERS_S = 5.0
FIRST_PEERS_LOOK_S = 0.05
STREAMS_CLOSE_S = 0.1


class PeerPort:
    """Everything that connects a member to others."""

    def __init__(self, host: PeerHost, member: Member, log: Logger, tls: PeerTls | None = None) -> None:
        self._member = member
        self._log = log
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        urls = [str(url) for url in member.config.initial_advertise_peer_urls]
        config = member.config
        self.transport = PeerTransport(
            host,
            urls,
            log,
            None if tls is None else tls.dialling,
            read_timeout_s=config.raft_read_timeout_s,
            write_timeout_s=config.raft_write_timeout_s,
            local_address=local_address_of(config) if config.features["SetMemberLocalAddr"] else None,
        )
        self.calls = PeerCalls(member, self.transport.session)
        self._listener = PeerListener(host, self.transport, log, tls)
        self._servers: list[asyncio.Server] = []
        member.on_membership_change = self.follow_membership
        member.connections = self.transport

    async def bind(self, urls: Iterable[Url]) -> None:
        """Take the ports; connections wait until `start`.

        Raises:
            OSError: an address cannot be bound.
        """
        for url in urls:
            context = None
            if url.is_secure:
                assert self._tls is not None, f"{url} without TLS files was let through"
                context = self._tls.listening
            elif self._member.config.peer_cert_file or self._member.config.peer_client_cert_auth:
                # The files may be for our calls alone; that callers need none is worth a word.
                self._log.warn("scheme is HTTP; peer certificates and their check are ignored", url=str(url))
            if url.is_unix:
                server = await self._loop.create_unix_server(
                    self._listener.server, url.address, ssl=context, start_serving=False
                )
            else:
                server = await self._loop.create_server(
                    self._listener.server,
                    url.host,
                    url.port,
                    ssl=context,
                    reuse_port=self._member.config.socket_reuse_port or None,
                    start_serving=False,
                )
            self._servers.append(server)

    async def start(self, others: Sequence[ClusterMember]) -> None:
        """Answer peers, and dial those that are known: from the membership, and `others`."""
        for member in others:
            self.transport.add(member.id, member.peer_urls)
        self.follow_membership()
        for server in self._servers:
            await server.start_serving()

    def follow_membership(self) -> None:
        """The membership has changed."""
        membership, transport = self._member.state.membership, self.transport
        for member_id in transport.ids():
            if membership.is_removed(member_id):
                transport.remove(member_id)
        for member in membership.members:
            remote = transport.find(member.id)
            if remote is None:
                transport.add(member.id, member.peer_urls)
            elif remote.urls != list(member.peer_urls):
                transport.update(member.id, member.peer_urls)

    def replace_membership(self) -> None:
        """The membership came with a snapshot: it is all there is."""
        for member_id in self.transport.ids():
            if member_id not in self._member.state.membership:
                self.transport.remove(member_id)
        self.follow_membership()

    async def first_peers(self) -> bool:
        """Wait a little for more than one peer to be connected; whether that came true."""
        deadline = self._loop.time() + FIRST_PEERS_S
        while self._loop.time() < deadline:
            await asyncio.sleep(FIRST_PEERS_LOOK_S)
            if self.transport.active_count() > 1:
                return True
        return False

    async def stop(self) -> None:
        """Let go of everybody."""
        for server in self._servers:
            server.close()
        await self.calls.stop()
        await self.transport.stop()
        await self._listener.server.shutdown(STREAMS_CLOSE_S)
        for server in self._servers:
            await server.wait_closed()


def local_address_of(config: Config) -> str | None:
    """The address from which to call others: the first of our own that they know and that is not this
    machine's loopback; None without one.
    """
    for url in config.initial_advertise_peer_urls:
        try:
            address = ipaddress.ip_address("" if url.is_unix else url.host)
        except ValueError:
            continue  # a name
        if not address.is_loopback and not address.is_unspecified:
            return str(address)
    return None
