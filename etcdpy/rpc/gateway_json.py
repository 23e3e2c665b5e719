"""Messages as JSON and back, in protobuf's JSON mapping as etcd's gateway speaks it.

Protobuf's own `json_format` is not used: it takes anything for base64, refuses enum names that it does not
know, and needs three times as long for a list of keys, on the loop that serves everybody. Here every
message type gets a plan once, a row for each field, and both directions only follow it.

Out: proto names, declaration order (which in etcd's messages is the order of the numbers), defaults left
out, 64-bit numbers as strings, bytes as base64, no spaces. In: proto names or lowerCamelCase, unknown names
passed over, `null` for unset, base64 of both alphabets with or without padding, numbers as numbers or
strings, enums by name or number. What does not fit raises `MalformedJson`.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message


class MalformedJson(Exception):
    """What a client sent is not JSON, or not the JSON of its message."""


# A number of more digits cannot fit any field, and to work it out would take for ever.
_DIGITS_MAX = 20
_INT32 = (-(1 << 31), (1 << 31) - 1)
_RANGES = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_ENUM: _INT32,
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
}
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# An object is the tuple of its pairs, so that a name given twice is seen; an array is a list.
_Object = tuple[tuple[str, Any], ...]


# Writing.


def encode(message: Message) -> str:
    """A message as JSON."""
    return _write(_plan(message.DESCRIPTOR), message)


def _write(plan: _Plan, message: Message) -> str:
    parts = []
    for name, prefix, write, is_repeated, has_presence in plan.written:
        if has_presence:
            if message.HasField(name):
                parts.append(prefix + write(getattr(message, name)))
        elif value := getattr(message, name):
            if is_repeated:
                parts.append(f"{prefix}[{','.join(map(write, value))}]")
            else:
                parts.append(prefix + write(value))
    return f"{{{','.join(parts)}}}"


def _write_wide(value: int) -> str:
    return f'"{value}"'


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _write_bytes(value: bytes) -> str:
    return f'"{b2a_base64(value, newline=False).decode("ascii")}"'


_WRITERS: dict[int, Callable[[Any], str]] = {
    FieldDescriptor.TYPE_INT32: str,
    FieldDescriptor.TYPE_UINT32: str,
    FieldDescriptor.TYPE_INT64: _write_wide,
    FieldDescriptor.TYPE_UINT64: _write_wide,
    FieldDescriptor.TYPE_BOOL: _write_bool,
    FieldDescriptor.TYPE_STRING: encode_basestring,
    FieldDescriptor.TYPE_BYTES: _write_bytes,
}


def _writer(field: FieldDescriptor) -> Callable[[Any], str]:
    if field.message_type is not None:
        # Looked up when first needed, for a Txn may hold a Txn.
        return encode
    if field.enum_type is not None:
        names = {number: f'"{value.name}"' for number, value in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number) or str(number)
    return _WRITERS[field.type]


# Plans.


@dataclass(frozen=True, slots=True)
class _Row:
    """One field as it is read."""

    name: str
    field: FieldDescriptor
    is_repeated: bool
    oneof: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """One message type: how its fields are written, in order, and how they are read, by both names.

    To write a field takes its name, its name in JSON, a writer, whether it is repeated and has presence.
    """

    written: tuple[tuple[str, str, Callable[[Any], str], bool, bool], ...]
    by_name: dict[str, _Row]


_plans: dict[str, _Plan] = {}


def _plan(descriptor: Any) -> _Plan:  # protobuf's stubs give it two types
    plan = _plans.get(descriptor.full_name)
    if plan is None:
        fields: list[FieldDescriptor] = list(descriptor.fields)
        written = tuple(
            (field.name, f'"{field.name}":', _writer(field), field.is_repeated, field.has_presence)
            for field in fields
        )
        by_name = {name: _row(field) for field in fields for name in (field.name, field.json_name)}
        plan = _plans[descriptor.full_name] = _Plan(written, by_name)
    return plan


def _row(field: FieldDescriptor) -> _Row:
    oneof = field.containing_oneof
    return _Row(field.name, field, field.is_repeated, "" if oneof is None else oneof.name)


# Reading.


def decode(text: bytes, message: Message) -> None:
    """Fill an empty message from the first JSON value of a text; no value at all leaves it empty.

    What follows the value is not looked at, as in etcd.

    Raises:
        MalformedJson: the text says why.
    """
    try:
        value = _parse(text)
        if value is not None:
            _fill(message, value)
    except RecursionError:
        raise MalformedJson("exceeded max depth") from None


def _parse(text: bytes) -> Any:
    try:
        stripped = text.decode().lstrip(" \t\r\n")
    except UnicodeDecodeError:
        raise MalformedJson("invalid UTF-8") from None
    if not stripped:
        return None
    try:
        value, _ = _DECODER.raw_decode(stripped)
    except json.JSONDecodeError as error:
        if error.pos >= len(stripped.rstrip()) or error.msg.startswith("Unterminated"):
            raise MalformedJson("unexpected EOF") from None
        raise MalformedJson(
            f"syntax error (line {error.lineno}:{error.colno}): {error.msg.lower()}"
        ) from None
    return value


def _refuse_constant(name: str) -> None:
    raise MalformedJson(f"syntax error: invalid value {name}")


def _as_is(text: str) -> _Number:
    return _Number(text)


class _Number(str):
    """A number as it was written; most are short, and the long ones must not be worked out."""

    __slots__ = ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_as_is, parse_float=_as_is, parse_constant=_refuse_constant
)


def _fill(message: Message, value: Any) -> None:
    if not isinstance(value, tuple):
        raise MalformedJson(f"syntax error: unexpected {_kind(value)} for {message.DESCRIPTOR.full_name}")
    by_name = _plan(message.DESCRIPTOR).by_name
    seen: set[str] = set()
    for name, one in value:
        row = by_name.get(name)
        if row is None:
            continue
        if row.name in seen:
            raise MalformedJson(f'duplicate field "{name}"')
        seen.add(row.name)
        if one is None:
            continue
        if row.oneof:
            taken = f"oneof {row.oneof}"
            if taken in seen:
                raise MalformedJson(f'error parsing "{name}", {taken} is already set')
            seen.add(taken)
        _fill_field(message, row, one)


def _fill_field(message: Message, row: _Row, value: Any) -> None:
    field = row.field
    if row.is_repeated:
        if not isinstance(value, list):
            raise MalformedJson(f"invalid value for {field.name}: unexpected {_kind(value)}, not an array")
        target = getattr(message, row.name)
        for one in value:
            if field.message_type is not None:
                _fill(target.add(), one)
            else:
                target.extend(_scalar(field, one))
    elif field.message_type is not None:
        child = getattr(message, row.name)
        child.SetInParent()
        _fill(child, value)
    else:
        for scalar in _scalar(field, value):
            setattr(message, row.name, scalar)


def _scalar(field: FieldDescriptor, value: Any) -> Iterator[Any]:
    """The value of a field, or nothing for the name of an enum's number that we do not know."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        yield _bytes(field, value)
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield _string(field, value)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise _invalid(field, value)
        yield value
    elif field.enum_type is not None and isinstance(value, str) and not isinstance(value, _Number):
        known = field.enum_type.values_by_name.get(value)
        if known is not None:
            yield known.number
    else:
        yield _integer(field, value)


def _string(field: FieldDescriptor, value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise _invalid(field, value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedJson(f"invalid value for {field.name}: invalid UTF-8") from None
    return value


def _bytes(field: FieldDescriptor, value: Any) -> bytes:
    text = _string(field, value)
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise _invalid(field, value)  # one alphabet or the other
        text = text.replace("-", "+").replace("_", "/")
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise _invalid(field, value) from None


def _integer(field: FieldDescriptor, value: Any) -> int:
    if not isinstance(value, str) or len(value) > 4 * _DIGITS_MAX:
        raise _invalid(field, value)
    low, high = _RANGES[field.type]
    number = int(value) if _INTEGER.fullmatch(value) else _whole(field, value)
    if not low <= number <= high:
        raise _invalid(field, value)
    return number


def _whole(field: FieldDescriptor, value: str) -> int:
    """A number written with a fraction or an exponent, as long as it is whole."""
    if _NUMBER.fullmatch(value) is None:
        raise _invalid(field, value)
    number = Decimal(value)
    if number.adjusted() > _DIGITS_MAX or number != int(number):
        raise _invalid(field, value)
    return int(number)


def _invalid(field: FieldDescriptor, value: Any) -> MalformedJson:
    shown = value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
    kind = field.enum_type.full_name if field.enum_type is not None else _TYPE_NAMES[field.type]
    return MalformedJson(f"invalid value for {kind} field {field.name}: {shown[:_SHOWN_MAX]}")


def _kind(value: Any) -> str:
    if isinstance(value, _Number):
        return "number"
    names = {tuple: "object", list: "array", str: "string", bool: "boolean"}
    return names.get(type(value), "null")


_SHOWN_MAX = 100
_TYPE_NAMES = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


# A body of many values.


class Splitter:
    """Cuts objects out of a body as it comes, each byte looked at once."""

    _MARKS = re.compile(rb'["\\{}\[\]]')
    _INSIDE = re.compile(rb'["\\]')
    _BLANK = b" \t\r\n"

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._buffer = bytearray()
        self._position = 0
        self._depth = 0
        self._in_string = False

    @property
    def is_between(self) -> bool:
        """Whether nothing of a next value is there."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The values that are complete with these bytes. What is good before something bad comes first.

        Raises:
            MalformedJson: what comes is no object, or larger than anything that is taken.
        """
        self._buffer += data
        while self._advance():
            value = bytes(self._buffer[: self._position])
            del self._buffer[: self._position]
            self._position = 0
            yield value
        if len(self._buffer) > self._size_max:
            raise MalformedJson(f"value larger than max {self._size_max}")

    def _advance(self) -> bool:
        """Go on to the end of the next value; False when it has not come."""
        buffer = self._buffer
        if not self._depth:
            del buffer[: len(buffer) - len(buffer.lstrip(self._BLANK))]
            if buffer and buffer[0] != ord("{"):
                shown = chr(buffer[0])
                raise MalformedJson(f"invalid character {shown!r} looking for beginning of value")
        while True:
            marks = self._INSIDE if self._in_string else self._MARKS
            found = marks.search(buffer, self._position)
            if found is None:
                self._position = len(buffer)
                return False
            mark = found[0]
            if mark == b"\\":
                if found.end() == len(buffer):
                    self._position = found.start()  # what it escapes is still to come
                    return False
                self._position = found.end() + 1
                continue
            self._position = found.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return True
