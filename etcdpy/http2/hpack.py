"""HPACK, RFC 7541: header lists to bytes and back.

The decoder keeps static and dynamic table in one list, so that an index is one look-up: entry 62 is the
newest. It tells its owner whenever the dynamic table changed, because until then equal bytes mean equal
headers and may be remembered whole. A list that is too large is still decoded to its end (nothing of it
kept): the table must stay in step with the peer's.

The encoder indexes what is not secret and not too big. What is the same for every stream is better encoded
once by `encode_static`, which touches no dynamic table at all.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from etcdpy.http2 import huffman
from etcdpy.http2.errors import ConnectionFault, ErrorCode
from etcdpy.http2.headers import FIELD_OVERHEAD_BYTES, REGULAR, Field, HeaderList, PreparedHeaders, make_field

_STATIC: list[tuple[str, str]] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *((":status", status) for status in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
]
_STATIC_COUNT = 61
assert len(_STATIC) == _STATIC_COUNT, len(_STATIC)
_FIRST_DYNAMIC = _STATIC_COUNT + 1
_STATIC_FIELDS: list[Field] = [make_field("", ""), *(make_field(name, value) for name, value in _STATIC)]
_STATIC_INDEX: dict[tuple[str, str], int] = {}
_STATIC_NAME_INDEX: dict[str, int] = {}
for _index, _pair in enumerate(_STATIC, 1):
    _STATIC_INDEX.setdefault(_pair, _index)
    _STATIC_NAME_INDEX.setdefault(_pair[0], _index)

_BYTES_DEFAULT = 4096
"""Both ends' table size before any SETTINGS."""
_INTEGER_BYTES_MAX = 5
"""Continuation bytes of one integer: 35 bits, more than any length or size that can be right."""


LITERAL_OCTETS_MAX = 32
"""Of a literal that is read by `Decoder.split`."""
_ONE_OCTET_INDEXES = bytes(octet & 0x7F if 0x80 < octet < 0xFF else 0 for octet in range(256))
"""The index that an octet is by itself (section 6.1), 0 for all other octets."""
_PUSHED_OUT_MAX = 1 + (2 * LITERAL_OCTETS_MAX * 8 // 5) // FIELD_OVERHEAD_BYTES
"""Fields that one with name and value of up to `LITERAL_OCTETS_MAX` octets can push out of the table, at
most."""
_LITERAL = re.compile(rb"[\x41-\x7E].", re.DOTALL)
"""How a literal begins that enters the table and has an index of one octet for its name."""

_SIZE_UPDATES_MAX = 8
"""At the start of one block; an encoder needs two (section 4.2)."""
_BOMB_FACTOR = 4
"""How many times `fields_max` a block may have before it ends the connection, not only its stream."""


def _fault(reason: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason)


def _decode_integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was full (section 5.1), and where the next thing begins."""
    value = prefix
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
        shift += 7
        if shift >= 7 * _INTEGER_BYTES_MAX:
            raise _fault("integer too long")


def _decode_string(block: bytes, position: int) -> tuple[str, int]:
    """A string literal (section 5.2)."""
    octet = block[position]
    position += 1
    length = octet & 0x7F
    if length == 0x7F:
        length, position = _decode_integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise _fault("string longer than its block")
    data = block[position:end]
    return huffman.decode(data) if octet & 0x80 else data.decode("latin-1"), end


def _long_indexes(octets: bytes) -> list[int]:
    """The indexes, of one or two octets each; the last is 0 where there is something else."""
    indexes = []
    rest = iter(octets)
    for octet in rest:
        index = _ONE_OCTET_INDEXES[octet]
        if octet == 0xFF:
            more = next(rest, 0x80)
            index = 0x7F + more if more < 0x80 else 0
        indexes.append(index)
        if not index:
            break
    return indexes


@lru_cache(4096)
def _short_field(name: str, text: bytes) -> Field:
    """The field of a literal of up to `LITERAL_OCTETS_MAX` octets; the times that are left repeat."""
    return make_field(name, _decode_string(text, 0)[0])


class Decoder:
    """One direction's decoding context; `changed` is called whenever the meaning of equal bytes may have
    changed."""

    def __init__(
        self,
        *,
        table_bytes: int,
        list_bytes_max: int,
        fields_max: int,
    ) -> None:
        self._table: list[Field] = list(_STATIC_FIELDS)
        self._bytes = 0
        self._bytes_max = _BYTES_DEFAULT
        self._bytes_allowed = _BYTES_DEFAULT
        self._must_shrink = False
        self.changed: Callable[[], object] = lambda: None
        self._list_bytes_max = list_bytes_max
        self._fields_max = fields_max
        self._bytes_announced = table_bytes
        self.was_changed = False
        """Whether the last block changed the table."""
        self.literal: int | None = None
        """Which of the last block's fields was a literal that entered the table, if exactly one was and all
        others were indexes."""

    @property
    def table_bytes(self) -> int:
        """What the dynamic table holds now, as section 4.1 counts it."""
        return self._bytes

    def settings_acknowledged(self) -> None:
        """The peer now knows our SETTINGS_HEADER_TABLE_SIZE (section 4.2)."""
        self._bytes_allowed = self._bytes_announced
        self._must_shrink = self._bytes_max > self._bytes_allowed

    def decode(self, block: bytes) -> list[Field] | None:
        """The fields of a whole block; None if they are more than we accept. Raises `ConnectionFault`."""
        self.was_changed = False
        self.literal = None
        try:
            return self._decode(block)
        except IndexError:
            raise _fault("block ends early or names an entry that is not there") from None

    def _decode(self, block: bytes) -> list[Field] | None:
        # Not list[Field]: compiled code would take every tuple apart and append a new one, and a bomb would
        # cost 72 bytes for each of its octets.
        table: list[Any] = self._table
        fields: list[Any] = []
        append = fields.append
        # A literal costs ten times an index, so a list that is refused anyway is not read to its end at any
        # price.
        literals_max = _BOMB_FACTOR * self._fields_max
        size = len(block)
        position = literals = 0
        if self._must_shrink or (size and block[0] & 0xE0 == 0x20):
            position = self._decode_size_updates(block)
            literals = 1  # such a block is none of those that come again
        while position < size:
            octet = block[position]
            position += 1
            if octet > 0x80:
                index = octet & 0x7F
                if index == 0x7F:
                    index, position = _decode_integer(block, position, 0x7F)
                append(table[index])
            elif octet == 0x80:
                raise _fault("index 0")
            else:
                literals += 1
                self.literal = len(fields) if literals == 1 and octet & 0x40 else None
                field, position = self._decode_literal(block, position, octet)
                append(field)
                if len(fields) > literals_max:
                    raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block is a bomb")
        return fields if self._is_acceptable(fields, size) else None

    def split(self, block: bytes) -> tuple[tuple[Field, ...], str, bytes] | None:
        """Read a block as indexes around one short literal that enters the table and whose name is an index:
        the fields that the other indexes name, and the name and encoded text of the literal. None if it is
        not of that shape. Changes nothing.
        """
        found = _LITERAL.search(block)
        if found is None or self._must_shrink:
            return None
        start = found.start()
        length = block[start + 1] & 0x7F
        end = start + 2 + length
        if length > LITERAL_OCTETS_MAX or end > len(block) or block[start - 1] == 0xFF:
            return None
        name = self._table[block[start] & 0x3F][0] if block[start] & 0x3F < len(self._table) else ""
        fields = self._indexed(block[:start])
        if fields is None or not 0 < len(name) <= LITERAL_OCTETS_MAX:
            return None
        if end < len(block):
            # These indexes were made after the literal had entered the table.
            behind = self._indexed(block[end:], 1)
            if behind is None:
                return None
            fields += behind
        return fields, name, block[start + 1 : end]

    def indexed(self, block: bytes) -> tuple[Field, ...] | None:
        """The fields of a block that is all indexes; None if it is not. Changes nothing."""
        return None if self._must_shrink else self._indexed(block)

    def _indexed(self, octets: bytes, fresh: int = 0) -> tuple[Field, ...] | None:
        """What indexes name; `fresh` is 1 if by then one more field, a short one, is in the table."""
        # What is no index of one octet becomes index 0, whose field no request has.
        indexes: Sequence[int] = octets.translate(_ONE_OCTET_INDEXES)
        if 0 in indexes:
            indexes = _long_indexes(octets)
        table = self._table
        if fresh:
            # The fresh field itself is none that could be known, and the oldest ones it may have pushed out.
            if _FIRST_DYNAMIC in indexes or max(indexes) > len(table) - _PUSHED_OUT_MAX:
                return None
            indexes = [index - (index > _FIRST_DYNAMIC) for index in indexes]
        try:
            return tuple(map(table.__getitem__, indexes))
        except IndexError:
            return None

    def take_literal(self, name: str, text: bytes) -> Field | None:
        """Put a literal that `split` has found into the table; None, and nothing done, unless it is a valid
        regular field.
        """
        field = _short_field(name, text)
        if field[2] != REGULAR:
            return None
        self._insert(field)
        return field

    def _is_acceptable(self, fields: list[Field], block_bytes: int) -> bool:
        """Whether the list is within its bounds. Until here it is only references and text as long as its
        block."""
        count = len(fields)
        if count > self._fields_max:
            return False
        # No field is larger than the table or, as a literal, than the block with five bits for each octet.
        largest = max(self._bytes_announced, _BYTES_DEFAULT, 2 * block_bytes + FIELD_OVERHEAD_BYTES)
        if count * largest <= self._list_bytes_max:
            return True
        return sum(field[3] for field in fields) <= self._list_bytes_max

    def _decode_literal(self, block: bytes, position: int, octet: int) -> tuple[Field, int]:
        """Section 6.2: with incremental indexing (01), without (0000), never indexed (0001)."""
        if octet & 0x40:
            prefix = 0x3F
        elif octet & 0x20:
            raise _fault("table size update after a field")
        else:
            prefix = 0x0F
        index = octet & prefix
        if index == prefix:
            index, position = _decode_integer(block, position, prefix)
        if index:
            name = self._table[index][0]
        else:
            name, position = _decode_string(block, position)
        value, position = _decode_string(block, position)
        field = make_field(name, value)
        if octet & 0x40:
            self._insert(field)
        return field, position

    def _decode_size_updates(self, block: bytes) -> int:
        """The updates a block may begin with (section 6.3); where its fields begin."""
        position = 0
        count = 0
        size = len(block)
        while position < size and block[position] & 0xE0 == 0x20:
            count += 1
            if count > _SIZE_UPDATES_MAX:
                raise _fault("too many table size updates")
            value = block[position] & 0x1F
            position += 1
            if value == 0x1F:
                value, position = _decode_integer(block, position, 0x1F)
            if value > self._bytes_allowed:
                raise _fault(f"table size {value} is more than the {self._bytes_allowed} allowed")
            self._bytes_max = value
            self._must_shrink = False
            self._evict_to(value)
        if self._must_shrink:
            raise _fault("table size update is missing")
        return position

    def _insert(self, field: Field) -> None:
        self.was_changed = True
        self.changed()
        table = self._table
        self._bytes += field[3]
        table.insert(_FIRST_DYNAMIC, field)
        # An entry larger than the table leaves it empty (section 4.4), which this does as well.
        while self._bytes > self._bytes_max:
            self._bytes -= table.pop()[3]

    def _evict_to(self, size: int) -> None:
        self.was_changed = True
        self.changed()
        table = self._table
        while self._bytes > size:
            assert len(table) > _FIRST_DYNAMIC, (self._bytes, size)
            self._bytes -= table.pop()[3]


def _encode_integer(value: int, prefix: int, pattern: int) -> bytes:
    """Section 5.1: `prefix` is the largest number of the prefix bits, `pattern` what stands before them."""
    if value < prefix:
        return bytes((pattern | value,))
    octets = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _encode_string(text: str) -> bytes:
    """Huffman if that is shorter."""
    packed = huffman.encode(text)
    if len(packed) < len(text):
        return _encode_integer(len(packed), 0x7F, 0x80) + packed
    return _encode_integer(len(text), 0x7F, 0x00) + text.encode("latin-1")


_NEVER_INDEXED = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
"""Secrets: guessing them by watching sizes must not work (section 7.1)."""


class Encoder:
    """One direction's encoding context."""

    def __init__(self, *, table_bytes_max: int = _BYTES_DEFAULT) -> None:
        self._bytes = 0
        self._bytes_max = _BYTES_DEFAULT
        self._limit = table_bytes_max
        self._smallest_pending: int | None = None
        self._entries: deque[tuple[tuple[str, str], int]] = deque()
        self._inserted = 0
        self._serial_by_pair: dict[tuple[str, str], int] = {}
        self._serial_by_name: dict[str, int] = {}
        self.limit_table(self._bytes_max)

    @property
    def table_bytes(self) -> int:
        """What the dynamic table holds now."""
        return self._bytes

    @property
    def has_pending_update(self) -> bool:
        """Whether the next block must begin with a table size update."""
        return self._smallest_pending is not None

    def limit_table(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; takes effect at the start of the next block (section
        4.2)."""
        size = min(size, self._limit)
        if size == self._bytes_max:
            return
        smallest = self._smallest_pending
        self._smallest_pending = size if smallest is None else min(smallest, size)
        self._bytes_max = size
        self._evict_to(size)

    def take_pending_update(self) -> bytes:
        """What must stand before the next block; empty most of the time."""
        smallest = self._smallest_pending
        if smallest is None:
            return b""
        self._smallest_pending = None
        update = _encode_integer(smallest, 0x1F, 0x20)
        if smallest != self._bytes_max:
            update += _encode_integer(self._bytes_max, 0x1F, 0x20)
        return update

    def encode(self, fields: HeaderList) -> bytes:
        """A whole block; blocks must be sent in the order in which they were encoded."""
        pieces = [self.take_pending_update()]
        pieces.extend(self._encode_field(name, value) for name, value in fields)
        return b"".join(pieces)

    def _encode_field(self, name: str, value: str) -> bytes:
        pair = (name, value)
        index = _STATIC_INDEX.get(pair) or self._dynamic_index(self._serial_by_pair.get(pair))
        if index:
            return _encode_integer(index, 0x7F, 0x80)
        name_index = _STATIC_NAME_INDEX.get(name) or self._dynamic_index(self._serial_by_name.get(name))
        if name in _NEVER_INDEXED:
            return _encode_literal(0x10, name_index, name, value)
        size = len(name) + len(value) + FIELD_OVERHEAD_BYTES
        if size > self._bytes_max // 2:
            return _encode_literal(0x00, name_index, name, value)
        self._insert(pair, size)
        return _encode_literal(0x40, name_index, name, value)

    def _dynamic_index(self, serial: int | None) -> int:
        return 0 if serial is None else _FIRST_DYNAMIC + self._inserted - 1 - serial

    def _insert(self, pair: tuple[str, str], size: int) -> None:
        self._evict_to(self._bytes_max - size)
        self._serial_by_pair[pair] = self._serial_by_name[pair[0]] = self._inserted
        self._entries.append((pair, size))
        self._inserted += 1
        self._bytes += size

    def _evict_to(self, size: int) -> None:
        while self._bytes > size:
            oldest = self._inserted - len(self._entries)
            pair, entry_bytes = self._entries.popleft()
            self._bytes -= entry_bytes
            # A pair that is in the table is named by its index and never inserted again; a name may be.
            del self._serial_by_pair[pair]
            if self._serial_by_name.get(pair[0]) == oldest:
                del self._serial_by_name[pair[0]]


def _encode_literal(pattern: int, name_index: int, name: str, value: str) -> bytes:
    prefix = 0x3F if pattern == 0x40 else 0x0F
    head = _encode_integer(name_index, prefix, pattern)
    return head + (b"" if name_index else _encode_string(name)) + _encode_string(value)


def encode_static(fields: Iterable[tuple[str, str]]) -> bytes:
    """A block that reads and changes no dynamic table: static entries, and literals without indexing."""
    pieces: list[bytes] = []
    for name, value in fields:
        index = _STATIC_INDEX.get((name, value))
        if index:
            pieces.append(_encode_integer(index, 0x7F, 0x80))
        else:
            pattern = 0x10 if name in _NEVER_INDEXED else 0x00
            pieces.append(_encode_literal(pattern, _STATIC_NAME_INDEX.get(name, 0), name, value))
    return b"".join(pieces)


def prepare_headers(fields: Iterable[tuple[str, str]]) -> PreparedHeaders:
    """Encode once what is sent often."""
    return PreparedHeaders(encode_static(fields))
