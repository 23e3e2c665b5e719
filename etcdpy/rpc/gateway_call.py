"""The call of a client that speaks JSON: what services have sent waits here for the coroutine that
writes it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from etcdpy.rpc.call import WRITABLE_BYTES, Call
from etcdpy.rpc.errors import CALLER_CANCELED, CALLER_DEADLINE, Code, RpcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Messages of a stream that are joined to one write.
WRITE_BYTES_MAX = 256 * 1024


class GatewayCall(Call):
    """A call whose client speaks JSON."""

    __slots__ = (
        "_is_choked",
        "_news",
        "_outgoing",
        "_outgoing_bytes",
        "_readable",
        "_status",
        "_timer",
        "clock",
    )

    def __init__(self, path: str, metadata: Mapping[str, str], peer: str, deadline: float | None) -> None:
        super().__init__(path, metadata, peer, deadline)
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._is_choked = False
        self._news = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._status: RpcError | None = None
        self._timer: asyncio.TimerHandle | None = None
        # The one that has told when the call began, if it is timed.
        self.clock: Callable[[], float] = time.perf_counter

    # The service's side.

    def reply(self, message: bytes) -> None:
        """Queue the only message and end."""
        self.send(message)
        self.finish()

    def send(self, message: bytes) -> None:
        """Queue one message."""
        if self._status is None:
            self.counts.sent(len(message))
            self._outgoing.append(message)
            self._outgoing_bytes += len(message)
            self._is_choked = self._is_choked or self._outgoing_bytes > WRITABLE_BYTES
            self._news.set()

    def finish(self) -> None:
        """End with OK after everything sent."""
        self._end(RpcError(Code.OK, ""))

    def fail(self, error: RpcError) -> None:
        """End with a status after everything sent."""
        self._end(error)

    def _end(self, status: RpcError) -> None:
        if self._status is None:
            self._status = status
            self._count(status.code)
            self._readable.set()
            self._news.set()
            if self._timer is not None:
                self._timer.cancel()

    def _count(self, code: Code) -> None:
        if code is Code.OK:
            self.counts.replied += 1
        else:
            self.counts.failed[code] += 1
        if self.started_at:
            self.counts.ended(self.clock() - self.started_at)

    def pause_reading(self) -> None:
        """Leave the client's next message where it is."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Take messages again."""
        self._readable.set()

    @property
    def pending_bytes(self) -> int:
        """Bytes of messages that aiohttp has not taken or not passed on."""
        return self._outgoing_bytes

    @property
    def closed(self) -> bool:
        """Whether the call has ended."""
        return self._status is not None

    # The gateway's side.

    @property
    def status(self) -> RpcError:
        """How a call that is closed has ended."""
        assert self._status is not None, f"{self.path} has not ended"
        return self._status

    def arm(self) -> None:
        """Let the deadline count from now on; one that has passed ends the call."""
        if self.deadline is not None:
            loop = asyncio.get_running_loop()
            if self.deadline <= loop.time():
                self.fail(CALLER_DEADLINE)
            else:
                self._timer = loop.call_at(self.deadline, self.abort, CALLER_DEADLINE)

    def leave(self) -> None:
        """The client has gone, unless the call has ended before."""
        self.abort(CALLER_CANCELED)

    def hear(self, data: bytes) -> None:
        """The client's next message."""
        if not self.closed and self.on_message is not None:
            self.counts.received += 1
            self.counts.received_bytes += len(data)
            self.on_message(data)

    def half_close(self) -> None:
        """The client has said everything."""
        if not self.closed and self.on_half_close is not None:
            self.on_half_close()

    async def news(self) -> None:
        """Wait for a message or the end."""
        await self._news.wait()
        self._news.clear()

    async def until_readable(self) -> None:
        """Wait while reading is paused."""
        await self._readable.wait()

    def take(self) -> list[bytes]:
        """Queued messages, as many as make a good write; they stay `pending` until `written`."""
        taken: list[bytes] = []
        size = 0
        while self._outgoing and size < WRITE_BYTES_MAX:
            taken.append(self._outgoing.popleft())
            size += len(taken[-1])
        return taken

    def written(self, messages: list[bytes]) -> None:
        """Those messages are with the client, or nearly."""
        self._outgoing_bytes -= sum(map(len, messages))
        if self._is_choked and self._outgoing_bytes <= WRITABLE_BYTES:
            self._is_choked = False
            if self.on_writable is not None and not self.closed:
                self.on_writable()
