"""Requests of the v2 keys API, from URL and form to what is asked of the store.

Fields may stand in the query or in a form, where those of the form win. The order of the checks is etcd's,
for of several mistakes only the first is told.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from etcdpy.proto.etcdserver_pb2 import Request
from etcdpy.v2store import KEYS_ROOT, V2Error
from etcdpy.v2store.errors import Code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Form = Mapping[str, Sequence[str]]

PREFIX = "/v2/keys"
# Go reads no longer forms.
FORM_BYTES_MAX = 10 * 1024 * 1024
# Deeper directories could not be listed, and no JSON reader of Python would take them back from a snapshot.
DEPTH_MAX = 100
UINT64_MAX = 2**64 - 1
SECOND_NS = 1_000_000_000

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeysRequest:
    """A request as the log takes it, and what of it concerns this member alone."""

    request: Request
    stream: bool
    wait: bool
    quorum: bool
    since_index: int
    no_value: bool


def parse(method: str, raw_path: str, query: str, body: str, now_ns: int) -> KeysRequest:
    """What is asked.

    Raises:
        V2Error: a field cannot be read, or does not go with the others.
    """
    form = _Fields(_form(body), _form(query))
    # Cleaned by itself first, so that no dots lead out of the clients' part of the tree.
    key = posixpath.normpath("/" + unquote(raw_path.removeprefix(PREFIX)).lstrip("/"))
    path = KEYS_ROOT + key.rstrip("/")
    if path.count("/") > DEPTH_MAX:
        raise V2Error(Code.INVALID_FORM, f"a key may have {DEPTH_MAX} components at most")
    request = Request(Method=method, Path=path)
    request.PrevIndex = form.number("prevIndex", Code.INDEX_NOT_A_NUMBER)
    since_index = form.number("waitIndex", Code.INDEX_NOT_A_NUMBER)
    request.Recursive = form.switch("recursive")
    request.Sorted = form.switch("sorted")
    wait = form.switch("wait")
    request.Dir = form.switch("dir")
    quorum = form.switch("quorum")
    stream = form.switch("stream")
    if wait and method != "GET":
        raise V2Error(Code.INVALID_FIELD, '"wait" can only be used with GET requests')
    request.PrevValue = form.text("prevValue")
    if form.has("prevValue") and not request.PrevValue:
        raise V2Error(Code.PREV_VALUE_REQUIRED, '"prevValue" cannot be empty')
    no_value = form.switch("noValueOnSuccess")
    ttl = form.number("ttl", Code.TTL_NOT_A_NUMBER) if form.text("ttl") else None
    if form.has("prevExist"):
        request.PrevExist = form.switch("prevExist", quoted=False)
    if form.has("refresh"):
        request.Refresh = form.switch("refresh", quoted=False)
        if request.Refresh and form.text("value"):
            raise V2Error(Code.REFRESH_VALUE, "A value was provided on a refresh")
        if request.Refresh and ttl is None:
            raise V2Error(Code.REFRESH_TTL_REQUIRED, "No TTL value set")
    request.Val = form.text("value")
    if ttl is not None:
        request.Expiration = _int64(now_ns + _int64(_int64(ttl) * SECOND_NS))
    return KeysRequest(request, stream, wait, quorum, since_index, no_value)


class _Fields:
    """The fields of form and query, the first value of each."""

    def __init__(self, form: Form, query: Form) -> None:
        self._values = {name: values[0] for name, values in (*query.items(), *form.items())}

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def number(self, name: str, code: Code) -> int:
        text = self._values.get(name)
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit()) or int(text[:30]) > UINT64_MAX:
            raise V2Error(code, f'invalid value for "{name}"')
        return int(text)

    def switch(self, name: str, *, quoted: bool = True) -> bool:
        text = self._values.get(name)
        if text is None or text in _FALSE:
            return False
        if text in _TRUE:
            return True
        raise V2Error(Code.INVALID_FIELD, f"invalid value for {_quote(name) if quoted else name}")


def _quote(name: str) -> str:
    return f'"{name}"'


def _form(text: str) -> Form:
    fields: dict[str, list[str]] = {}
    for name, value in _pairs(text):
        fields.setdefault(name, []).append(value)
    return fields


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for piece in text.split("&"):
        if not piece:
            continue
        if ";" in piece:
            raise V2Error(Code.INVALID_FORM, "invalid semicolon separator in query")
        bad = BAD_ESCAPE.search(piece)
        if bad is not None:
            raise V2Error(Code.INVALID_FORM, f'invalid URL escape "{bad.group()}"')
        name, _, value = piece.partition("=")
        yield unquote_plus(name), unquote_plus(value)


def _int64(number: int) -> int:
    """As Go's integers wrap around; a time to live of centuries ends in the past there, which is none."""
    return (number + 2**63) % 2**64 - 2**63
