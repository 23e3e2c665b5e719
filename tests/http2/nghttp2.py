"""libnghttp2's HPACK through ctypes, as an independent reader and writer of header blocks (curl and nghttp
use the same)."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

Pairs = list[tuple[str, str]]

_NAME = ctypes.util.find_library("nghttp2")
_INFLATE_EMIT = 0x02
_INFLATE_FINAL = 0x01


class _Pair(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("name_length", ctypes.c_size_t),
        ("value_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint8),
    )


def is_available() -> bool:
    return _NAME is not None


def _library() -> Any:
    library = ctypes.CDLL(_NAME)
    for name in ("nghttp2_hd_deflate_hd", "nghttp2_hd_inflate_hd2", "nghttp2_hd_deflate_bound"):
        getattr(library, name).restype = ctypes.c_ssize_t
    return library


class Deflater:
    """Writes blocks."""

    def __init__(self, table_bytes: int = 4096) -> None:
        self._library = _library()
        self._context = ctypes.c_void_p()
        assert not self._library.nghttp2_hd_deflate_new(
            ctypes.byref(self._context), ctypes.c_size_t(table_bytes)
        )

    def __enter__(self) -> Deflater:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.nghttp2_hd_deflate_del(self._context)

    def change_table_size(self, size: int) -> None:
        assert not self._library.nghttp2_hd_deflate_change_table_size(self._context, ctypes.c_size_t(size))

    def encode(self, fields: Pairs) -> bytes:
        keep = [ctypes.create_string_buffer(text.encode("latin-1")) for pair in fields for text in pair]
        pairs = (_Pair * len(fields))()
        for number, (name, value) in enumerate(fields):
            addresses = [ctypes.addressof(buffer) for buffer in keep[2 * number : 2 * number + 2]]
            pairs[number] = _Pair(*addresses, len(name), len(value), 0)
        room = 200_000
        out = ctypes.create_string_buffer(room)
        size = self._library.nghttp2_hd_deflate_hd(
            self._context, out, ctypes.c_size_t(room), pairs, ctypes.c_size_t(len(fields))
        )
        assert size >= 0, size
        return out.raw[:size]


class Inflater:
    """Reads blocks."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = ctypes.c_void_p()
        assert not self._library.nghttp2_hd_inflate_new(ctypes.byref(self._context))

    def __enter__(self) -> Inflater:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.nghttp2_hd_inflate_del(self._context)

    def change_table_size(self, size: int) -> None:
        assert not self._library.nghttp2_hd_inflate_change_table_size(self._context, ctypes.c_size_t(size))

    def decode(self, block: bytes) -> Pairs:
        fields = []
        while True:
            pair = _Pair()
            flags = ctypes.c_int()
            used = self._library.nghttp2_hd_inflate_hd2(
                self._context, ctypes.byref(pair), ctypes.byref(flags), block, ctypes.c_size_t(len(block)), 1
            )
            if used < 0:
                raise ValueError(f"nghttp2 refuses the block: {used}")
            block = block[used:]
            if flags.value & _INFLATE_EMIT:
                name = ctypes.string_at(pair.name, pair.name_length)
                value = ctypes.string_at(pair.value, pair.value_length)
                fields.append((name.decode("latin-1"), value.decode("latin-1")))
            if flags.value & _INFLATE_FINAL:
                self._library.nghttp2_hd_inflate_end_headers(self._context)
                return fields
