"""Header blocks that need no decoding, because something so much like them has been decoded before.

Clients repeat themselves. Where nothing in a block touches the dynamic table, equal bytes mean equal headers
until the table changes, and the whole block is looked up. But gRPC clients write the time that is left into
every request, as one literal that enters the table and so moves all the indexes of the next block. What then
stays the same are the fields that the indexes name: the *stem*. A block of indexes around one literal is
therefore read as a stem, which is looked up, and the literal, which is decoded, judged and put into the table
like any other. Everything else, and the first of each kind, goes the long way through `Decoder.decode`.

What is found here has been through `build_request` once. That stays true with another value in the place of
the literal, because only a regular field may stand there, and of its name no other.
"""

from typing import Final

from etcdpy.http2.headers import FIELD_OVERHEAD_BYTES, REGULAR, Field, RequestHeaders, build_request
from etcdpy.http2.hpack import LITERAL_OCTETS_MAX, Decoder

BLOCKS_MAX: Final = 128
BLOCK_BYTES_MAX: Final = 1024
STEMS_MAX: Final = 64
STEM_FIELDS_MAX: Final = 24
LITERAL_SIZE_MAX: Final = LITERAL_OCTETS_MAX * 8 // 5 + FIELD_OVERHEAD_BYTES
"""Of a value in Huffman's code, whose shortest symbols have five bits, as a list of headers counts it."""


class Stem:
    """The fields around the literal, and where in the request the literal stands."""

    __slots__ = ("headers", "name", "position")

    def __init__(self, headers: RequestHeaders, name: str, position: int) -> None:
        self.headers = headers
        self.name = name
        self.position = position


class RequestMemory:
    """The requests of one connection. Its blocks are told here in the order in which they came."""

    def __init__(self, decoder: Decoder, list_bytes_max: int, fields_max: int) -> None:
        self._decoder = decoder
        self._list_bytes_max = list_bytes_max
        self._fields_max = min(fields_max - 1, STEM_FIELDS_MAX)
        self._blocks: dict[bytes, RequestHeaders] = {}
        self._stems: dict[tuple[Field, ...], Stem] = {}
        # Which of the fields the literal was, in the last list that had one.
        self._literal_at = 0
        # Whenever the table changes, equal bytes mean something else from then on.
        decoder.changed = self._blocks.clear

    def find(self, block: bytes) -> RequestHeaders | None:
        """The request that this block says; None if it has to be decoded, and then nothing was done."""
        headers = self._blocks.get(block)
        if headers is not None:
            return headers
        split = self._decoder.split(block)
        if split is None:
            return self._find_indexed(block)
        fields, name, text = split
        stem = self._stems.get(fields)
        if stem is None or stem.name != name:
            return None
        field = self._decoder.take_literal(name, text)
        return None if field is None else stem.headers.varied_by(stem.position, field)

    def _find_indexed(self, block: bytes) -> RequestHeaders | None:
        """The same where the value of the literal has come before, and so is an index as well."""
        fields, at = self._decoder.indexed(block), self._literal_at
        if fields is None or at >= len(fields):
            return None
        field = fields[at]
        stem = self._stems.get(fields[:at] + fields[at + 1 :])
        if stem is None or stem.name != field[0] or field[2] != REGULAR:
            return None
        if field[3] > len(stem.name) + LITERAL_SIZE_MAX:
            return None
        return stem.headers.varied_by(stem.position, field)

    def keep(self, block: bytes, fields: list[Field], headers: RequestHeaders) -> None:
        """Remember a block that was decoded the long way."""
        if not self._decoder.was_changed:
            if len(block) <= BLOCK_BYTES_MAX:
                if len(self._blocks) >= BLOCKS_MAX:
                    self._blocks.clear()
                self._blocks[block] = headers
            return
        literal = self._decoder.literal
        if literal is not None:
            self._keep_stem(fields, literal)

    def _keep_stem(self, fields: list[Field], at: int) -> None:
        name, _, kind, _ = fields[at]
        stem = (*fields[:at], *fields[at + 1 :])
        if kind != REGULAR or len(stem) > self._fields_max or any(field[0] == name for field in stem):
            return
        if sum(field[3] for field in stem) + len(name) + LITERAL_SIZE_MAX > self._list_bytes_max:
            return
        self._literal_at = at
        if len(self._stems) >= STEMS_MAX:
            self._stems.clear()
        before = sum(not field[0].startswith(":") for field in fields[:at])
        self._stems[stem] = Stem(build_request(stem), name, before)
