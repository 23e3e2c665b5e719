"""What can go wrong on an HTTP/2 connection, in the words of RFC 9113 sections 5.4 and 7.

A `StreamFault` costs the peer one stream (RST_STREAM), a `ConnectionFault` costs it the connection (GOAWAY).
Both are always the peer's doing; a mistake of ours is an `assert`. Neither leaves the engine as an exception:
`receive_data` turns them into frames and callbacks.
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """The codes of RFC 9113 section 7, as they stand in RST_STREAM and GOAWAY."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2Fault(Exception):
    """Base of both faults; `code` goes onto the wire, `reason` into GOAWAY's debug data and our log."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code.name}: {self.reason}"


class ConnectionFault(Http2Fault):
    """The connection cannot go on (section 5.4.1)."""


class StreamFault(Http2Fault):
    """One stream cannot go on (section 5.4.2); the others are not touched."""
