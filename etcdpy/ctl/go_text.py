"""Text as Go reads and writes it: numbers, quoted strings, spans of time, JSON.

What etcdctl prints is what Go's `fmt`, `strconv`, `time` and `encoding/json` make of its values, and its
complaints about bad numbers are theirs. Values that come off the wire are bytes, which need not be UTF-8.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "duration_text",
    "json_text",
    "parse_duration",
    "parse_int",
    "parse_uint",
    "quote",
    "split_words",
    "unquote",
]

INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1
NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
ESCAPES: Final = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}
UNESCAPES: Final = {escape[1]: letter for letter, escape in ESCAPES.items()}
# Bytes that are no UTF-8, as Python's `surrogateescape` carries them.
FOREIGN: Final = range(0xDC80, 0xDD00)
DURATION: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
# Within quotes, or up to the next space.
WORD: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|[^'"\s]\S*[^'"\s]?""")


def parse_int(text: str, base: int = 10) -> int:
    """A signed number of 64 bits. Raises ValueError with the words of `strconv.ParseInt`."""
    return _parse(text, base, "ParseInt", -INT_MAX - 1, INT_MAX)


def parse_uint(text: str, base: int = 10) -> int:
    """An unsigned number of 64 bits. Raises ValueError with the words of `strconv.ParseUint`."""
    return _parse(text, base, "ParseUint", 0, UINT_MAX)


def _parse(text: str, base: int, function: str, lowest: int, highest: int) -> int:
    shown = f"strconv.{function}: parsing {quote(text)}"
    plain = text.removeprefix("-") if lowest else text
    plain = plain.removeprefix("+") if lowest and plain is text else plain
    digits = plain if base == 0 else plain.replace("_", "!")
    if not digits.isascii() or not digits[:1].isalnum() or digits[-1:].isspace():
        raise ValueError(f"{shown}: invalid syntax")
    if base == 0 and re.fullmatch(r"0[0-7]+", digits):
        digits = f"0o{digits}"
    try:
        number = int(digits, base)
    except ValueError:
        raise ValueError(f"{shown}: invalid syntax") from None
    number = -number if text.startswith("-") else number
    if not lowest <= number <= highest:
        raise ValueError(f"{shown}: value out of range")
    return number


def parse_duration(text: str) -> float:
    """Seconds from text like `1m30s`. Raises ValueError with the words of `time.ParseDuration`."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    total, position = 0, 0
    while position < len(rest):
        found = DURATION.match(rest, position)
        if found is None or not (found[1] or found[2]):
            number = re.match(r"[0-9]*\.?[0-9]*", rest[position:])
            assert number is not None
            unit = re.match(r"[^0-9.]*", rest[position + number.end() :])
            assert unit is not None
            if not number[0].strip("."):
                raise ValueError(f"time: invalid duration {quote(text)}")
            if not unit[0]:
                raise ValueError(f"time: missing unit in duration {quote(text)}")
            raise ValueError(f"time: unknown unit {quote(unit[0])} in duration {quote(text)}")
        scale = NANOSECONDS[found[3]]
        fraction = found[2] or ""
        total += int(found[1] or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
        position = found.end()
    if not rest or total > INT_MAX:
        raise ValueError(f"time: invalid duration {quote(text)}")
    return sign * total / 1e9


def duration_text(seconds: float) -> str:
    """As `time.Duration` prints itself: `1.5ms`, `2m3s`."""
    nanoseconds = abs(round(seconds * 1e9))
    sign = "-" if seconds < 0 else ""
    if nanoseconds == 0:
        return "0s"
    for unit, scale in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < scale * 1000:
            return f"{sign}{_scaled(nanoseconds, scale)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_scaled(rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _scaled(number: int, scale: int) -> str:
    """A fraction with as many digits as it has."""
    whole, rest = divmod(number, scale)
    digits = f"{rest:0{len(str(scale)) - 1}}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def quote(text: bytes | str) -> str:
    """As `%q` shows a string."""
    letters = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    return f'"{"".join(map(_quoted, letters))}"'


def _quoted(letter: str) -> str:
    escape = ESCAPES.get(letter)
    if escape is not None:
        return escape
    if letter.isprintable():
        return letter
    number = ord(letter)
    if number in FOREIGN:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x20:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def unquote(text: str) -> tuple[str, int]:
    """The string that a quoted one at the beginning of `text` stands for, and where that one ends.

    Bytes that are no UTF-8 come as surrogates. Raises ValueError.
    """
    if text[:1] == "`":
        end = text.index("`", 1)
        return text[1:end], end + 1
    if text[:1] != '"':
        raise ValueError("expected quoted string")
    letters = bytearray()
    position = 1
    while True:
        letter = text[position : position + 1]
        if letter in ("", "\n"):
            raise ValueError("unexpected EOF")
        position += 1
        if letter == '"':
            return letters.decode("utf-8", "surrogateescape"), position
        if letter == "\\":
            encoded, position = _unescape(text, position)
            letters += encoded
        else:
            letters += letter.encode("utf-8", "surrogateescape")


def _unescape(text: str, position: int) -> tuple[bytes, int]:
    letter = text[position : position + 1]
    if letter in UNESCAPES:
        return UNESCAPES[letter].encode(), position + 1
    digits = {"x": 2, "u": 4, "U": 8}.get(letter, 3)
    base, first = (16, position + 1) if letter in "xuU" else (8, position)
    written = text[first : first + digits]
    try:
        number = int(written, base)
        encoded = bytes((number,)) if letter not in "uU" else chr(number).encode()
    except (ValueError, OverflowError):
        raise ValueError(f"bad escape in {quote(text)}") from None
    return encoded, first + digits


def split_words(line: str) -> list[str]:
    """The words of a line that was typed into a prompt. Raises ValueError for a bad escape."""
    words = []
    for word in WORD.findall(line):
        if word.startswith("'"):
            words.append(word[1:-1])
        elif word.startswith('"'):
            words.append(unquote(word)[0])
        else:
            words.append(word)
    return words


def json_text(value: object) -> str:
    """A value as `encoding/json` writes it: bytes in base64, `<`, `>` and `&` escaped."""
    return "".join(_json_parts(value))


def _json_parts(value: object) -> Iterator[str]:
    match value:
        case None:
            yield "null"
        case bool():
            yield "true" if value else "false"
        case int():
            yield str(value)
        case bytes():
            yield f'"{base64.b64encode(value).decode()}"'
        case str():
            yield f'"{"".join(map(_json_letter, value))}"'
        case dict():
            opening = "{"
            for name, member in value.items():
                yield f'{opening}"{name}":'
                yield from _json_parts(member)
                opening = ","
            yield "{}" if opening == "{" else "}"
        case list():
            opening = "["
            for member in value:
                yield opening
                yield from _json_parts(member)
                opening = ","
            yield "[]" if opening == "[" else "]"
        case _:
            raise TypeError(f"no JSON for {value!r}")


def _json_letter(letter: str) -> str:
    if letter in '"\\\n\r\t':
        return ESCAPES[letter]
    number = ord(letter)
    if number in FOREIGN:
        return r"\ufffd"
    return f"\\u{number:04x}" if number < 0x20 or letter in "<>&\u2028\u2029" else letter
