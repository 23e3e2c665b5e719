"""What the peer port needs of the member behind it. `embed` hands in the object; this room never
builds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from etcdpy.raft.messages import Message


class Database(Protocol):
    """The bytes of a snapshot on their way out."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer only at the end."""

    def close(self) -> None:
        """Let it go."""


class PeerHost(Protocol):
    """The member as its peers see it."""

    member_id: int
    cluster_id: int

    def step(self, message: Message) -> None:
        """Hand a peer's message to raft."""

    def report_unreachable(self, member_id: int) -> None:
        """A message to this member could not be sent."""

    def report_snapshot(self, member_id: int, ok: bool) -> None:
        """A snapshot to this member has arrived, or has not."""

    def is_removed(self, member_id: int) -> bool:
        """Whether this member has been removed from the cluster for good."""

    def permanently_removed(self) -> None:
        """A peer says that we have been removed."""

    def members_json(self) -> bytes:
        """The body of GET /members."""

    def version_json(self) -> bytes:
        """The body of GET /version."""

    def renew_lease(self, data: bytes, done: Callable[[int, bytes], None]) -> None:
        """POST /leases; `done(status, body)`."""

    def lease_time_to_live(self, data: bytes, done: Callable[[int, bytes], None]) -> None:
        """POST /leases/internal; `done(status, body)`."""

    def promote(self, member_id: int, token: str, done: Callable[[int, bytes], None]) -> None:
        """POST /members/promote/<id>, with the token of the client who asks; `done(status, body)`."""

    def hash_kv(self, revision: int, done: Callable[[int, bytes], None]) -> None:
        """GET /members/hashkv; `done(status, body)`."""

    def downgrade_enabled(self, done: Callable[[int, bytes], None]) -> None:
        """GET /downgrade/enabled; `done(status, body)`."""

    async def receive_snapshot(self, message: Message, database: AsyncIterator[bytes]) -> None:
        """Store the database that came with a snapshot message, durably, then hand the message to raft.

        Raises:
            OSError: it could not be stored.
        """

    async def open_snapshot(self, message: Message) -> tuple[Message, Database]:
        """What to send for a snapshot message: the message with its real content, and the database.
        `report_snapshot` ends what this begins, also when it fails.

        Raises:
            OSError: it could not be made.
        """
