"""The frame layout of RFC 9113 section 4 and 6: numbers, the nine-byte header, and the control frames we
write.

DATA and HEADERS are not built here but where they are sent, because there every nanosecond is paid a hundred
thousand times a second.
"""

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9
UNKNOWN = 0xA
"""Stands for every type that RFC 9113 does not name."""

FLAG_END_STREAM = 0x1
FLAG_ACK = 0x1
FLAG_END_HEADERS = 0x4
FLAG_PADDED = 0x8
FLAG_PRIORITY = 0x20

SETTING_HEADER_TABLE_SIZE = 0x1
SETTING_ENABLE_PUSH = 0x2
SETTING_MAX_CONCURRENT_STREAMS = 0x3
SETTING_INITIAL_WINDOW_SIZE = 0x4
SETTING_MAX_FRAME_SIZE = 0x5
SETTING_MAX_HEADER_LIST_SIZE = 0x6

HEADER_BYTES = 9
STREAM_ID_MAX = 0x7FFFFFFF
WINDOW_MAX = 0x7FFFFFFF
WINDOW_DEFAULT = 65_535
FRAME_BYTES_DEFAULT = 16_384
FRAME_BYTES_LARGEST = 0xFFFFFF

# Length as one byte and two, then type, flags, stream: the same layout reads and writes.
FRAME_HEADER = Struct(">BHBBL")
SETTING = Struct(">HL")
_HEADER_AND_WORD = Struct(">BHBBLL")
_GOAWAY = Struct(">BHBBLLL")


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Any frame; for what is rare."""
    length = len(payload)
    assert length <= FRAME_BYTES_LARGEST, length
    return FRAME_HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id) + payload


def encode_rst_stream(stream_id: int, code: int) -> bytes:
    return _HEADER_AND_WORD.pack(0, 4, RST_STREAM, 0, stream_id, code)


def encode_window_update(stream_id: int, increment: int) -> bytes:
    assert 1 <= increment <= WINDOW_MAX, increment
    return _HEADER_AND_WORD.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def encode_settings(values: dict[int, int]) -> bytes:
    payload = b"".join(SETTING.pack(key, value) for key, value in values.items())
    return encode_frame(SETTINGS, 0, 0, payload)


SETTINGS_ACK = encode_frame(SETTINGS, FLAG_ACK, 0, b"")


def encode_ping(payload: bytes, *, ack: bool) -> bytes:
    assert len(payload) == 8, payload
    return encode_frame(PING, FLAG_ACK if ack else 0, 0, payload)


def encode_goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return _GOAWAY.pack(0, 8 + len(debug), GOAWAY, 0, 0, last_stream_id, code) + debug
