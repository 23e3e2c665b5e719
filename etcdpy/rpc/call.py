"""One gRPC call as a service sees it, whatever carries it.

The transport owns a `Call` and tells the service what arrives by calling the handlers that the service has
set; the service answers through the methods. Both sides run on the loop thread, and a call may be answered
inside the handler that was told of it.

The rules, which every transport keeps:

- A call ends once: by `reply`, `finish` or `fail` from the service, or because the client left, its
  deadline passed, or the connection broke. Whatever the service does to an ended call is ignored, so a
  callback that comes late does no harm.
- `on_cancel` is called at most once, when a call ends and it was not the service that ended it. Before that
  the call reads as `closed`. At the deadline the transport fails the call by itself.
- Messages of a stream are handed to `on_message` in order and one at a time. What arrives before the
  service has set its handlers is kept for it.
- Sending never blocks. What the transport could not pass on yet counts as `pending_bytes`; each time they
  have been above `WRITABLE_BYTES` and are not any more, `on_writable` is called, unless the call has ended. A
  service that produces more than it is asked for looks at `pending_bytes` first, and stops at a bound above
  `WRITABLE_BYTES` (at a lower one nobody would wake it).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from etcdpy.rpc.call_counts import UNCOUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from etcdpy.rpc.errors import RpcError


# Small beside what a fast client takes in one round trip, so that a woken service is back before the client
# has nothing left to read.
WRITABLE_BYTES = 32 * 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class Call(ABC):
    """One call; the transport derives from it.

    Attributes:
        path: `/package.Service/Method`. metadata: the client's headers by lower-case name, the first value
            of each; bytes that are not UTF-8 appear as
            lone surrogates. Binary (`-bin`) headers are left out.
        peer: address of the client, for logs.
        deadline: when the client gives up, on the loop's clock; None if never.
        counts: where the transport counts what happens to the call. started_at: when its method began, if
            calls are timed, else 0.
    """

    __slots__ = (
        "counts",
        "deadline",
        "metadata",
        "on_cancel",
        "on_half_close",
        "on_message",
        "on_writable",
        "path",
        "peer",
        "started_at",
    )

    def __init__(self, path: str, metadata: Mapping[str, str], peer: str, deadline: float | None) -> None:
        self.path = path
        self.metadata = metadata
        self.peer = peer
        self.deadline = deadline
        self.counts = UNCOUNTED
        self.started_at = 0.0
        self.on_message: Callable[[bytes], None] | None = None
        self.on_half_close: Callable[[], None] | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None

    @abstractmethod
    def reply(self, message: bytes) -> None:
        """Answer a unary call: one message and status OK."""

    def reply_parts(self, head: bytes, parts: Sequence[bytes], size: int) -> None:
        """Answer a unary call with a message that is given in very many parts, `size` bytes behind its head.
        The caller does not change them any more, and may give the same to other calls.
        """
        self.reply(head + b"".join(parts))

    def open_reply(self, size: int) -> None:
        """Begin to answer a unary call with one message of exactly `size` bytes, which follow by
        `send_piece` and are ended by `finish`. Only where `takes_pieces` says so.
        """
        raise NotImplementedError

    def send_piece(self, parts: Sequence[bytes]) -> None:
        """The next bytes of a message that `open_reply` has begun."""
        raise NotImplementedError

    @property
    def takes_pieces(self) -> bool:
        """Whether a message may be given piece by piece."""
        return False

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send one message of a stream."""

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Send one message of a stream that is given in pieces, so that a transport may pass them on
        unjoined.
        """
        self.send(b"".join(parts))

    @abstractmethod
    def finish(self) -> None:
        """End a stream with status OK, after everything sent."""

    @abstractmethod
    def fail(self, error: RpcError) -> None:
        """End the call with a status, after everything sent."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Hand over no more messages; what the client goes on sending fills its window and then holds it
        up.
        """

    @abstractmethod
    def resume_reading(self) -> None:
        """Hand over messages again."""

    @property
    @abstractmethod
    def pending_bytes(self) -> int:
        """Bytes sent by the service that the transport still holds."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the call has ended, in whatever way."""

    @property
    def certificate_name(self) -> str:
        """Common name of the certificate that the client has shown and we have verified; empty if none."""
        return ""

    def abort(self, error: RpcError) -> None:
        """End the call over the head of its service, which hears of it by `on_cancel`."""
        if self.closed:
            return
        on_cancel = self.on_cancel  # which the end of the call may let go
        self.fail(error)
        if on_cancel is not None:
            on_cancel()
