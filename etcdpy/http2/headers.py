"""Header fields: what is valid (RFC 9113 section 8.2 and 8.3), and what a request and a prepared answer are.

A field is judged once, when it is made from a literal, and the verdict travels with it through the dynamic
table: `Field` is (name, value, kind, size). A request of known fields is then put together by looking at
small numbers only.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from etcdpy.http2.errors import ErrorCode, StreamFault
from etcdpy.http2.frames import (
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_BYTES_DEFAULT,
    FRAME_HEADER,
    HEADERS,
)

Field = tuple[str, str, int, int]
"""Name, value, kind (one of the numbers below), size as RFC 7541 section 4.1 counts it."""

REGULAR: Final = 0
METHOD: Final = 1
SCHEME: Final = 2
AUTHORITY: Final = 3
PATH: Final = 4
CONTENT_LENGTH: Final = 5
HOST: Final = 6
INVALID: Final = 7

FIELD_OVERHEAD_BYTES = 32

_BAD_NAME = re.compile(r"[\x00-\x20A-Z\x7f-\xff:]|^$")
_BAD_VALUE = re.compile(r"[\x00\n\r]|^[ \t]|[ \t]$")
_NUMBER = re.compile(r"[0-9]{1,18}")
_TE: Final = -1
"""Only while a field is judged: `te` is regular if it says "trailers"."""
_KIND_BY_NAME = {
    ":method": METHOD,
    ":scheme": SCHEME,
    ":authority": AUTHORITY,
    ":path": PATH,
    "content-length": CONTENT_LENGTH,
    "host": HOST,
    "te": _TE,
    # Section 8.2.2: they speak of a connection, not of a message.
    "connection": INVALID,
    "proxy-connection": INVALID,
    "keep-alive": INVALID,
    "transfer-encoding": INVALID,
    "upgrade": INVALID,
    # Not special, but frequent: their names need no look.
    "content-type": REGULAR,
    "user-agent": REGULAR,
    "authorization": REGULAR,
    "token": REGULAR,
    "grpc-timeout": REGULAR,
    "grpc-encoding": REGULAR,
    "grpc-accept-encoding": REGULAR,
    "accept-encoding": REGULAR,
}


def make_field(name: str, value: str) -> Field:
    """The field with its verdict."""
    kind = _KIND_BY_NAME.get(name)
    if kind is None:
        kind = INVALID if _BAD_NAME.search(name) else REGULAR
    elif kind == CONTENT_LENGTH:
        if not _NUMBER.fullmatch(value):
            kind = INVALID
    elif kind == _TE:
        kind = REGULAR if value == "trailers" else INVALID
    # What is printable and has no space at its ends is valid; only for the rest the expression is worth its
    # price.
    if (not value.isprintable() or value.strip() != value) and _BAD_VALUE.search(value):
        kind = INVALID
    return name, value, kind, len(name) + len(value) + FIELD_OVERHEAD_BYTES


class RequestHeaders:
    """The checked header list of a request.

    One object may be delivered for many requests, because clients send the same block again and again; so it
    must not be changed, except for `memo`: there the layer above may keep what it derives from these headers.

    Requests that differ in one field only have each an object of its own: `base` are their headers without
    that field, one object for all of them, and `varied` is the field. Other requests have neither.
    """

    __slots__ = (
        "_fields",
        "_position",
        "authority",
        "base",
        "content_length",
        "memo",
        "method",
        "path",
        "scheme",
        "varied",
    )

    def __init__(
        self, pseudo: Sequence[str], fields: tuple[tuple[str, str], ...], length: int | None
    ) -> None:
        self.method = pseudo[METHOD]
        self.scheme = pseudo[SCHEME]
        self.authority = pseudo[AUTHORITY]
        self.path = pseudo[PATH]
        self._fields = fields
        self.content_length = length
        self.memo: object = None
        self.base: RequestHeaders | None = None
        self.varied: tuple[str, str] | None = None
        self._position = 0

    def varied_by(self, position: int, field: Field) -> "RequestHeaders":
        """These headers with one more regular field, which stands at `position` of `fields`."""
        pseudo = ("", self.method, self.scheme, self.authority, self.path)
        varied = RequestHeaders(pseudo, self._fields, self.content_length)
        varied.base = self
        varied.varied = field[:2]
        varied._position = position
        return varied

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Everything but the pseudo-header fields, in the order sent; names are lower case, values
        latin-1."""
        if self.varied is None:
            return self._fields
        return (*self._fields[: self._position], self.varied, *self._fields[self._position :])

    def __repr__(self) -> str:
        return f"RequestHeaders({self.method} {self.scheme}://{self.authority}{self.path} {self.fields})"

    def get(self, name: str) -> str | None:
        """The first value of `name`."""
        for field_name, value in self.fields:
            if field_name == name:
                return value
        return None


def _malformed(reason: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, reason)


def _later(length: int | None, field: Field) -> int:
    """`content-length` again, or first: all of them must agree."""
    value = int(field[1])
    if length is not None and length != value:
        raise _malformed("two different content-length")
    return value


def build_request(fields: Iterable[Field]) -> RequestHeaders:
    """Check a whole list as section 8.3.1 orders it; raises `StreamFault` (PROTOCOL_ERROR) for a malformed
    request."""
    pseudo = ["", "", "", "", ""]
    seen = 0
    regular: list[tuple[str, str]] = []
    append = regular.append
    length: int | None = None
    host: str | None = None
    for field in fields:
        name, value, kind, _size = field
        if kind == REGULAR:
            append((name, value))
        elif kind <= PATH:
            if regular:
                raise _malformed("pseudo-header field after a regular one")
            if seen & 1 << kind:
                raise _malformed("pseudo-header field given twice")
            seen |= 1 << kind
            pseudo[kind] = value
        elif kind == INVALID:
            raise _malformed(f"header field not allowed: {name[:64]!r}")
        else:
            if kind == CONTENT_LENGTH:
                length = _later(length, field)
            elif host is None:
                host = value
            append((name, value))
    _check_pseudo(pseudo, seen, host)
    return RequestHeaders(pseudo, tuple(regular), length)


_NEEDED = 1 << METHOD | 1 << SCHEME | 1 << PATH


def _check_pseudo(pseudo: Sequence[str], seen: int, host: str | None) -> None:
    """The parts of a request that must be there and agree (section 8.3.1, for CONNECT section 8.5)."""
    if pseudo[METHOD] == "CONNECT":
        if seen != 1 << METHOD | 1 << AUTHORITY:
            raise _malformed("CONNECT needs :authority, and neither :scheme nor :path")
        return
    if seen & _NEEDED != _NEEDED:
        raise _malformed(":method, :scheme or :path is missing")
    path = pseudo[PATH]
    if not (path.startswith("/") or (path == "*" and pseudo[METHOD] == "OPTIONS")) and pseudo[SCHEME] in (
        "http",
        "https",
    ):
        raise _malformed(":path must start with a slash")
    if host is not None and seen & 1 << AUTHORITY and host != pseudo[AUTHORITY]:
        raise _malformed("host and :authority differ")


def build_trailers(fields: Iterable[Field]) -> tuple[tuple[str, str], ...]:
    """Check a trailer section (section 8.1): regular fields only."""
    trailers: list[tuple[str, str]] = []
    for name, value, kind, _size in fields:
        if kind == INVALID or METHOD <= kind <= PATH:
            raise _malformed(f"not allowed in trailers: {name[:64]!r}")
        trailers.append((name, value))
    return tuple(trailers)


class PreparedHeaders:
    """A header list encoded once without the dynamic table, so that the same bytes serve every stream and
    connection."""

    __slots__ = ("block", "end_prefix", "prefix", "size")

    def __init__(self, block: bytes) -> None:
        length = len(block)
        assert length <= FRAME_BYTES_DEFAULT, length
        self.block = block
        self.size = length + 9
        flags = FLAG_END_HEADERS
        self.prefix = FRAME_HEADER.pack(0, length, HEADERS, flags, 0)[:5]
        """The frame header up to the stream id."""
        self.end_prefix = FRAME_HEADER.pack(0, length, HEADERS, flags | FLAG_END_STREAM, 0)[:5]
        """The same with END_STREAM."""

    def __repr__(self) -> str:
        return f"PreparedHeaders({self.block!r})"


HeaderList = Sequence[tuple[str, str]]
"""What an answer's headers may be given as, if not prepared: lower-case names, latin-1 values, pseudo-header
fields first."""
