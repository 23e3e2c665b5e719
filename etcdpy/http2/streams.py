"""The life of a stream (RFC 9113 section 5.1) as a table: which frame may arrive in which state.

Only streams that can still do something have a `Stream`; the engine's fast path knows that they are OPEN or
HALF_CLOSED_REMOTE. Everything else is looked up here. Half-closed (local) does not occur: when our answer is
complete and the request is not, we reset the stream with NO_ERROR (section 8.1), as gRPC servers do. Reserved
states do not occur either: a server cannot be pushed to, and we push nothing.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

from etcdpy.http2.frames import DATA, HEADERS, RST_STREAM, WINDOW_UPDATE

if TYPE_CHECKING:
    from collections import deque

    from etcdpy.http2.headers import HeaderList, PreparedHeaders
    from etcdpy.http2.runs import Run


class State(IntEnum):
    """Where a stream is; the last three are what is left of `closed`, told apart because the RFC orders
    different answers."""

    OPEN = 0
    HALF_CLOSED_REMOTE = 1
    IDLE = 2
    CLOSED = 3
    RESET_BY_PEER = 4
    RESET_BY_US = 5


class Verdict(IntEnum):
    """What a frame in a state leads to."""

    ACCEPT = 0
    IGNORE = 1
    STREAM_ERROR_CLOSED = 2
    CONNECTION_ERROR_CLOSED = 3
    CONNECTION_ERROR_PROTOCOL = 4


_ACCEPT = Verdict.ACCEPT
_IGNORE = Verdict.IGNORE
_STREAM_CLOSED = Verdict.STREAM_ERROR_CLOSED
_CONNECTION_CLOSED = Verdict.CONNECTION_ERROR_CLOSED
_PROTOCOL = Verdict.CONNECTION_ERROR_PROTOCOL

# Columns in the order of State: OPEN, HALF_CLOSED_REMOTE, IDLE, CLOSED, RESET_BY_PEER, RESET_BY_US.
_VERDICTS: dict[int, tuple[Verdict, ...]] = {
    DATA: (_ACCEPT, _STREAM_CLOSED, _PROTOCOL, _CONNECTION_CLOSED, _STREAM_CLOSED, _IGNORE),
    HEADERS: (_ACCEPT, _STREAM_CLOSED, _ACCEPT, _CONNECTION_CLOSED, _STREAM_CLOSED, _IGNORE),
    RST_STREAM: (_ACCEPT, _ACCEPT, _PROTOCOL, _IGNORE, _IGNORE, _IGNORE),
    WINDOW_UPDATE: (_ACCEPT, _ACCEPT, _PROTOCOL, _IGNORE, _IGNORE, _IGNORE),
}


def judge(kind: int, state: State) -> Verdict:
    """The verdict on a frame of type `kind` for a stream in `state`."""
    return _VERDICTS[kind][state]


class Stream:
    """What we know of a stream that is OPEN or HALF_CLOSED_REMOTE."""

    __slots__ = (
        "answered",
        "choked",
        "content_left",
        "finished",
        "held",
        "queue",
        "queued",
        "received",
        "send_window",
        "state",
        "tail",
        "waiting",
    )

    def __init__(self, state: State, send_window: int, content_left: int | None) -> None:
        self.state = state
        self.send_window = send_window
        self.content_left = content_left
        """Bytes that `content-length` still promises; None if it was not given."""
        self.received = 0
        """Bytes of DATA, padding included, that no WINDOW_UPDATE has given back yet."""
        self.answered = False
        """The headers of the answer have been given out."""
        self.held = False
        """No WINDOW_UPDATE until `Engine.release`."""
        self.queue: deque[bytes | memoryview | Run] | None = None
        self.queued = 0
        """Bytes in `queue`."""
        self.finished = False
        """Nothing may follow what is queued but `tail`."""
        self.tail: PreparedHeaders | HeaderList | None = None
        """Trailers to send after the queue; encoded only then, because HPACK must be sent in the order of
        encoding."""
        self.waiting = False
        """In the round of streams that have bytes and a window."""
        self.choked = False
        """The layer above was told to wait for `on_writable`."""


class ResetMemory:
    """Which streams were reset lately, and by whom: frames that were on their way are no fault.

    Two generations of at most `COUNT` each; the older one is dropped when the younger is full. What is
    forgotten counts as CLOSED.
    """

    COUNT = 2048

    __slots__ = ("_older", "_younger")

    def __init__(self) -> None:
        self._younger: dict[int, State] = {}
        self._older: dict[int, State] = {}

    def add(self, stream_id: int, state: State) -> None:
        if len(self._younger) >= self.COUNT:
            self._older = self._younger
            self._younger = {}
        self._younger[stream_id] = state

    def state_of(self, stream_id: int) -> State:
        return self._younger.get(stream_id) or self._older.get(stream_id) or State.CLOSED
