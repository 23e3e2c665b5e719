"""Kinds of flag values: how each is read from a command line and from a config file, and how it is shown.

The command line speaks Go: numbers with a base prefix, durations like `1m30s`, the many spellings of true
and false. A config file is typed: numbers are numbers, durations are integer nanoseconds, lists of URLs are
one string. A kind knows both, so that a flag is told once. Durations become float seconds here and times
given in milliseconds stay integers; the name of a setting ends in its unit (`_s`, `_ms`), which is not part
of the flag's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from etcdpy.cluster.urls import BadUrl, Url, parse_urls
from etcdpy.server.log import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NANOSECONDS = 1_000_000_000
DURATION_MAX_NS = 2**63 - 1
UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}
TRUE_TEXTS = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE_TEXTS = frozenset(("0", "f", "F", "false", "FALSE", "False"))
PARSE_ERROR = "parse error"


class ConfigError(ValueError):
    """Settings that no member starts with; the message is etcd's where etcd has one."""


class BadValue(ValueError):
    """A value that its kind cannot take; the text is what Go's flag package would say."""


class WrongType(ValueError):
    """A value of a config file that has not the type its key wants; `go_type` if that is not the kind's."""

    def __init__(self, found: str, go_type: str = "") -> None:
        super().__init__(found)
        self.go_type = go_type


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value.

    Attributes:
        go_type: the type etcd has for it; config file errors name it.
        parse: from the text of a command line or variable; raises BadValue.
        load: from the value of a config file; raises WrongType or BadValue.
        show: as `--help` prints a default.
        unit: what the name of such a setting ends in.
        is_switch: whether the flag may stand without a value.
    """

    go_type: str
    parse: Callable[[str], T]
    load: Callable[[object], T]
    show: Callable[[T], str]
    unit: str = ""
    is_switch: bool = False


def parse_switch(text: str) -> bool:
    if text in TRUE_TEXTS:
        return True
    if text in FALSE_TEXTS:
        return False
    raise BadValue(PARSE_ERROR)


_DIGITS = re.compile(r"[+-]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|0[0-7_]*|[1-9][0-9_]*)")


def parse_integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of Go's integer literals between two bounds."""

    def parse(text: str) -> int:
        signed = text[:1] in ("+", "-")
        if not _DIGITS.fullmatch(text) or "__" in text or text.endswith("_") or (signed and low == 0):
            raise BadValue(PARSE_ERROR)
        digits = text.lstrip("+-").replace("_", "").lower()
        octal = digits.startswith("0") and digits[1:].isdigit()
        value = int(digits, 8 if octal else 0)
        value = -value if text.startswith("-") else value
        if not low <= value <= high:
            raise BadValue("value out of range")
        return value

    return parse


def load_integer(low: int, high: int) -> Callable[[object], int]:
    def load(value: object) -> int:
        if isinstance(value, float):
            if not value.is_integer():
                raise WrongType(f"number {value}")
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongType(json_type(value))
        if not low <= value <= high:
            raise WrongType(f"number {value}")
        return value

    return load


_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: `0`, `1h30m`, `1.5s`, `-10ms`. A bare number has no unit and is refused."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits == "0":
        return 0.0
    nanoseconds, end = 0, 0
    for part in _DURATION_PART.finditer(digits):
        if part.start() != end:
            break
        end = part.end()
        whole, _, fraction = part.group(1).partition(".")
        unit = UNITS_NS[part.group(2)]
        nanoseconds += int(whole or 0) * unit + (
            int(fraction) * unit // 10 ** len(fraction) if fraction else 0
        )
    if not digits or end != len(digits) or nanoseconds > DURATION_MAX_NS:
        raise BadValue(PARSE_ERROR)
    return (-nanoseconds if text.startswith("-") else nanoseconds) / NANOSECONDS


def load_duration(value: object) -> float:
    return load_integer(-(2**63), DURATION_MAX_NS)(value) / NANOSECONDS


def load_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongType(json_type(value))
    return value


def load_text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongType(json_type(value))
    return value


def parse_list(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def load_list(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise WrongType(json_type(value))
    for item in value:
        if not isinstance(item, str):
            raise WrongType(json_type(item), "string")
    return tuple(value)


def parse_set(text: str) -> tuple[str, ...]:
    """A list whose order does not matter and where nothing counts twice."""
    return tuple(sorted(set(text.split(",")))) if text else ()


def parse_url_list(text: str) -> tuple[Url, ...]:
    """Sorted URLs. Empty text is none: whoever sets such a flag to nothing gets its default."""
    if not text:
        return ()
    try:
        return parse_urls(text.split(","))
    except BadUrl as error:
        raise BadValue(str(error)) from error


def parse_origins(text: str) -> tuple[str, ...]:
    """`*` or URLs: from where browsers may come."""
    return (text,) if text in ("*", "") else parse_url_list(text)


def choice(*allowed: str) -> Kind[str]:
    """Text out of a short list, which a config file is free to break (and validation is to check)."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise BadValue("invalid value")
        return text

    return Kind("string", parse, load_text, str)


def _integer(go_type: str, low: int, high: int, unit: str = "") -> Kind[int]:
    return Kind(go_type, parse_integer(low, high), load_integer(low, high), str, unit)


def _show_switch(value: bool) -> str:
    return "true" if value else "false"


TEXT: Kind[str] = Kind("string", str, load_text, str)
SWITCH: Kind[bool] = Kind("bool", parse_switch, load_switch, _show_switch, is_switch=True)
INTEGER = _integer("int", -(2**63), 2**63 - 1)
COUNT = _integer("uint", 0, 2**64 - 1)
COUNT64 = _integer("uint64", 0, 2**64 - 1)
COUNT32 = _integer("uint32", 0, 2**32 - 1)
MILLISECONDS = _integer("uint", 0, 2**64 - 1, unit="_ms")
DURATION: Kind[float] = Kind("time.Duration", parse_duration, load_duration, duration_text, unit="_s")
LIST: Kind[tuple[str, ...]] = Kind("[]string", parse_list, load_list, ",".join)
OUTPUTS: Kind[tuple[str, ...]] = Kind("[]string", parse_set, load_list, ",".join)
NAMES: Kind[tuple[str, ...]] = Kind("string", parse_set, lambda value: parse_set(load_text(value)), ",".join)
ORIGINS: Kind[tuple[str, ...]] = Kind(
    "string", parse_origins, lambda value: parse_origins(load_text(value)), ",".join
)
URLS: Kind[tuple[Url, ...]] = Kind(
    "string", parse_url_list, lambda value: parse_url_list(load_text(value)), ",".join
)


def path(default: T) -> Kind[Path | T]:
    """A path; nothing at all means `default`."""

    def parse(text: str) -> Path | T:
        return Path(text) if text else default

    return Kind("string", parse, lambda value: parse(load_text(value)), lambda value: str(value or ""))


def json_type(value: object) -> str:
    """What JSON calls a value."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null" if value is None else "string")
