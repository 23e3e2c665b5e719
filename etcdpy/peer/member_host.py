"""The member behind the peer port: `server.peering` with the two things that take their time, a snapshot out
and a snapshot in.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from etcdpy.server.peering import Peering
from etcdpy.server.snapshots import BadSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from etcdpy.raft.messages import Message
    from etcdpy.server.hashing import Hashing
    from etcdpy.server.member import Member
    from etcdpy.server.snapshots import Received, SnapshotFile, SnapshotMaker


class MemberHost(Peering):
    """Implements `PeerHost`."""

    def __init__(self, member: Member, hashing: Hashing, maker: SnapshotMaker, received: Received) -> None:
        super().__init__(member, hashing)
        self._maker = maker
        self._received = received
        self._receiving = asyncio.Lock()

    async def open_snapshot(self, message: Message) -> tuple[Message, SnapshotFile]:
        """Everything that has been applied by now, for a follower that lacks more than the log has."""
        self.member.snapshots_under_way += 1
        made: asyncio.Future[SnapshotFile] = asyncio.get_running_loop().create_future()

        def done(file: SnapshotFile | None, error: Exception | None) -> None:
            if made.done():
                if file is not None:
                    file.close()
            elif file is not None:
                made.set_result(file)
            else:
                made.set_exception(OSError(str(error)))

        self._maker.make(done)
        file = await made
        return replace(message, snapshot=file.head), file

    async def receive_snapshot(self, message: Message, database: AsyncIterator[bytes]) -> None:
        """Store what comes, as a database of ours, before raft hears of it."""
        snapshot, member = message.snapshot, self.member
        if snapshot is None or message.to != self.member_id or self.is_removed(message.from_):
            raise BadSnapshot("not for this member")
        facts = {"from": f"{message.from_:x}", "snapshot-index": snapshot.index}
        member.log.info("receiving database snapshot", **facts)
        async with self._receiving:
            started = member.clock()
            # Short writes to the page cache; what takes its time, the thread does.
            with self._received.open_staging() as staging:
                async for chunk in database:
                    staging.write(chunk)
                staging.flush()
                size = staging.tell()
                await asyncio.to_thread(self._received.convert, staging, snapshot)
            member.observed.received_databases_s.observe(member.clock() - started)
        member.log.info("received and saved database snapshot", **facts, bytes=size)
        self.step(message)
