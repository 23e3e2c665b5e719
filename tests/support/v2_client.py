"""A client of the v2 API that knows nothing: it sends what it is told and hands back what comes."""

from __future__ import annotations

import json
import select
import socket
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, the store's index, and the body; times in it are only said to be there."""

    status: int
    index: str | None
    content_type: str | None
    body: object
    raw: bytes = field(compare=False, default=b"")


class V2Client:
    """One connection to one server."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.partition(":")
        self._host, self._port = host, int(port)
        self._connection = HTTPConnection(host, self._port, timeout=TIMEOUT_S)

    def call(
        self,
        method: str,
        path: str,
        form: dict[str, str] | None = None,
        body: str | None = None,
        **headers: str,
    ) -> Answer:
        """One request. The form goes into the body of PUT and POST, into the query otherwise."""
        if form is not None and method in ("PUT", "POST"):
            body = urlencode(form)
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        elif form:
            path = f"{path}?{urlencode(form)}"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        raw = response.read()
        return answer_of(response, raw)

    def keys(self, method: str, key: str, **form: str) -> Answer:
        """The same about a key."""
        return self.call(method, "/v2/keys" + key, form)

    def wait(self, key: str, **form: str) -> Wait:
        """Begin to wait; returns when the server has begun, too."""
        return Wait(self._host, self._port, f"/v2/keys{key}?{urlencode({'wait': 'true', **form})}")

    def close(self) -> None:
        """Leave."""
        self._connection.close()


class Wait:
    """A wait under way."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        self.is_over = False
        self.events: list[object] = []

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError(f"the server has left after {self._buffer!r}")
        self._buffer += data

    def next(self) -> object:
        """The next event, None at the end of the answer."""
        while True:
            size, line_end, rest = self._buffer.partition(b"\r\n")
            if line_end and len(rest) >= int(size, 16) + 2:
                break
            self._receive()
        length = int(size, 16)
        self._buffer = rest[length + 2 :]
        if not length:
            self.is_over = True
            return None
        return comparable(json.loads(rest[:length]))

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def heard(self) -> bool:
        """Take the next event into `events` if one has come in part; False at the end of the answer."""
        event = self.next()
        if event is not None:
            self.events.append(event)
        return event is not None

    @property
    def has_more(self) -> bool:
        """Whether something has been received that was not looked at."""
        return bool(self._buffer)

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def drain(waits: Sequence[Wait], quiet_s: float) -> None:
    """Take all events of all waits until none has come for so long."""
    rest = list(waits)
    while rest:
        ready = [wait for wait in rest if wait.has_more] or select.select(rest, [], [], quiet_s)[0]
        if not ready:
            return
        for wait in ready:
            if not wait.heard():
                rest.remove(wait)


def answer_of(response: HTTPResponse, raw: bytes) -> Answer:
    """What can be compared of a response."""
    content_type = response.getheader("Content-Type")
    body: object = raw
    if content_type == "application/json" and raw:
        body = comparable(json.loads(raw))
    return Answer(response.status, response.getheader("X-Etcd-Index"), content_type, body, raw)


def comparable(body: object) -> object:
    """JSON with the order of its keys, and with nodes in order, but without what the clock says."""
    if isinstance(body, list):
        return [comparable(one) for one in body]
    if not isinstance(body, dict):
        return body
    fields = {name: comparable(value) for name, value in body.items()}
    if "expiration" in fields:
        fields["expiration"] = "some time"
        fields["ttl"] = "some seconds"
    if "nodes" in body:
        fields["nodes"] = sorted(map(comparable, body["nodes"]), key=str)
    return [list(fields), fields]
