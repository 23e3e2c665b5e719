"""The Huffman code of RFC 7541 appendix B, both ways.

The code is canonical: within one length the codes count up in the order of the symbols, so the lengths alone
give the whole table. Decoding walks a flat table four bits at a time: no code is shorter than five bits, so
one step gives at most one symbol. Texts are `str` with one character for each octet (latin-1), which loses
nothing and is what the layers above want.

Clients repeat themselves (timeouts, tokens, paths), so short results are remembered; the memory is bounded by
count and length.
"""

from functools import lru_cache

from etcdpy.http2.errors import ConnectionFault, ErrorCode

_EOS = 256
_REMEMBER_BYTES_MAX = 128
_REMEMBER_COUNT = 4096

# The symbols of each code length, in the order of the appendix's codes.
_SYMBOLS_BY_LENGTH: dict[int, list[int]] = {
    5: [48, 49, 50, 97, 99, 101, 105, 111, 115, 116],
    6: [32, 37, 45, 46, 47, *range(51, 58), 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117],
    7: [58, *range(66, 88), 89, 106, 107, 113, 118, 119, 120, 121, 122],
    8: [38, 42, 44, 59, 88, 90],
    10: [33, 34, 40, 41, 63],
    11: [39, 43, 124],
    12: [35, 62],
    13: [0, 36, 64, 91, 93, 126],
    14: [94, 125],
    15: [60, 96, 123],
    19: [92, 195, 208],
    20: [128, 130, 131, 162, 184, 194, 224, 226],
    21: [153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230],
    22: [
        *[
            129,
            132,
            133,
            134,
            136,
            146,
            154,
            156,
            160,
            163,
            164,
            169,
            170,
            173,
            178,
            181,
            185,
            186,
            187,
            189,
            190,
        ],
        *[196, 198, 228, 232, 233],
    ],
    23: [
        *[
            1,
            135,
            137,
            138,
            139,
            140,
            141,
            143,
            147,
            149,
            150,
            151,
            152,
            155,
            157,
            158,
            165,
            166,
            168,
            174,
            175,
        ],
        *[180, 182, 183, 188, 191, 197, 231, 239],
    ],
    24: [9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237],
    25: [199, 207, 234, 235],
    26: [192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255],
    27: [203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254],
    28: [2, 3, 4, 5, 6, 7, 8, 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249],
    30: [10, 13, 22, _EOS],
}


def _build_codes() -> list[str]:
    """The code of each symbol as a text of ones and zeros."""
    codes = [""] * (_EOS + 1)
    code = 0
    length_before = 0
    for length, symbols in _SYMBOLS_BY_LENGTH.items():
        code <<= length - length_before
        length_before = length
        for symbol in symbols:
            codes[symbol] = format(code, f"0{length}b")
            code += 1
    assert code == 1 << length_before, (code, length_before)
    return codes


_CODES = _build_codes()


def _build_steps() -> tuple[list[tuple[int, str]], frozenset[int]]:
    """The decoder: steps[node * 16 + four bits] = (next node * 16, symbol or ""), and the nodes a text may
    end in.

    A node is a prefix of codes that is not yet a code. The last node is where EOS leads; nothing leads out of
    it. A text may end in a prefix of EOS of at most seven bits (section 5.2).
    """
    symbols = {code: symbol for symbol, code in enumerate(_CODES)}
    prefixes = sorted(
        {code[:cut] for code in _CODES for cut in range(len(code))}, key=lambda bits: (len(bits), bits)
    )
    number = {prefix: 16 * position for position, prefix in enumerate(prefixes)}
    dead = 16 * len(prefixes)
    steps: list[tuple[int, str]] = []
    for prefix in prefixes:
        for nibble in range(16):
            bits, emitted, target = prefix, "", -1
            for bit in format(nibble, "04b"):
                bits += bit
                symbol = symbols.get(bits)
                if symbol == _EOS:
                    target = dead
                    break
                if symbol is not None:
                    bits, emitted = "", chr(symbol)
            steps.append((number[bits] if target < 0 else target, emitted))
    steps.extend([(dead, "")] * 16)
    return steps, frozenset(number["1" * count] for count in range(8))


_STEPS, _ENDS = _build_steps()


def _decode(data: bytes) -> str:
    steps = _STEPS
    texts: list[str] = []
    append = texts.append
    node = 0
    for octet in data:
        node, text = steps[node | octet >> 4]
        append(text)
        node, text = steps[node | octet & 15]
        append(text)
    if node not in _ENDS:
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "Huffman text with EOS or wrong padding")
    return "".join(texts)


def _encode(text: str) -> bytes:
    codes = _CODES
    bits = "".join([codes[octet] for octet in text.encode("latin-1")])
    if not bits:
        return b""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) >> 3, "big")


_decode_remembered = lru_cache(_REMEMBER_COUNT)(_decode)
_encode_remembered = lru_cache(_REMEMBER_COUNT)(_encode)


def decode(data: bytes) -> str:
    """The text of a Huffman string; raises `ConnectionFault` (COMPRESSION_ERROR) if it is none."""
    if len(data) <= _REMEMBER_BYTES_MAX:
        return _decode_remembered(data)
    return _decode(data)


def encode(text: str) -> bytes:
    """The shortest form of `text` in this code, padded with ones."""
    if len(text) <= _REMEMBER_BYTES_MAX:
        return _encode_remembered(text)
    return _encode(text)
