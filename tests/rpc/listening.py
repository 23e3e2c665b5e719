"""A whole client port on a fake member, and clients that speak plain bytes to it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import uvloop

from etcdpy.cluster.urls import Url
from etcdpy.cluster.version import Version
from etcdpy.http2 import PREFACE
from etcdpy.http2.hpack import Decoder
from etcdpy.rpc.serving import Listeners
from etcdpy.server.config import Config
from tests.http2 import wire
from tests.rpc.fakes import FakeMember
from tests.rpc.grpc_wire import Answer, Wire, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from etcdpy.rpc.port import PortLimits

# Nothing here takes this long; a test that waits longer is stuck.
PATIENCE_S = 30.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
HASH = "/etcdserverpb.Maintenance/Hash"
STATUS = "/etcdserverpb.Maintenance/Status"
WATCH = "/etcdserverpb.Watch/Watch"


def run_on(loop_name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on the loop of that name."""
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(_with_patience(main()))


async def _with_patience(main: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await main
    finally:
        for peer in Peer.open:
            peer.abort()
            await asyncio.gather(peer.writer.wait_closed(), return_exceptions=True)
        Peer.open.clear()


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test is a coroutine function and runs once on each loop, by the fixture `loop_name`."""

    @wraps(test)
    def run(loop_name: str, *arguments: Any, **keywords: Any) -> None:
        run_on(loop_name, lambda: test(*arguments, **keywords))

    import inspect

    own = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = own.replace(parameters=[name, *own.parameters.values()])  # type: ignore[attr-defined]
    return run


@dataclass
class LogRecorder:
    """Stands in for the log."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, message: str, /, **fields: object) -> None:
        self.lines.append((message, fields))

    debug = warn = error = info

    def said(self, message: str) -> list[dict[str, object]]:
        """The fields of every line with this message."""
        return [fields for text, fields in self.lines if text == message]


def port_member() -> FakeMember:
    """A member that can also tell its health."""
    member = FakeMember()
    state: Any = member.state
    state.membership = SimpleNamespace(cluster_version=Version(3, 6))
    state.alarms = SimpleNamespace(is_active=lambda kind: False, list=list)
    return member


@asynccontextmanager
async def client_port(
    data_dir: Path,
    *urls: str,
    log: LogRecorder | None = None,
    limits: PortLimits | None = None,
    member: FakeMember | None = None,
    **settings: Any,
) -> AsyncIterator[Listeners]:
    """Listeners that serve."""
    listen = tuple(Url(url) for url in urls or ("http://127.0.0.1:0",))
    config = Config(data_dir=data_dir, listen_client_urls=listen, **settings)
    fake: Any = member or port_member()
    recorder: Any = log or LogRecorder()
    listeners = Listeners(config, fake, recorder, limits)
    await listeners.bind()
    await listeners.start()
    try:
        yield listeners
    finally:
        for peer in Peer.open:
            peer.abort()
        await listeners.stop()


class Peer:
    """Streams to a listener. `run_on` closes those that a test leaves open."""

    open: ClassVar[list[Peer]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.open.append(self)

    @classmethod
    async def connect(cls, url: str, tls: ssl.SSLContext | None = None) -> Self:
        scheme, _, address = url.partition("://")
        options: dict[str, Any] = {"limit": 1 << 24}
        if tls is not None:
            options |= {"ssl": tls, "server_hostname": "localhost"}
        if scheme.startswith("unix"):
            return cls(*await asyncio.open_unix_connection(address, **options))
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port), **options))

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the other side closes, or breaks off."""
        try:
            return await self.reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""

    async def http(self, request: bytes = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n") -> tuple[int, bytes]:
        """One HTTP/1.1 request; status and body."""
        self.say(request)
        return await self.http_answer()

    async def http_answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if b"content-length" in line
        )
        return int(head.split(b" ")[1]), await self.hear(length)

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


class GrpcPeer(Peer):
    """An HTTP/2 client on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.next_id = 1
        self.answers: dict[int, Answer] = {}
        self.goaway: bytes | None = None
        self._decoder = Decoder(table_bytes=4096, list_bytes_max=1 << 20, fields_max=1000)

    def greet(self, window: int = 2**31 - 1) -> None:
        self.say(PREFACE + wire.settings((4, window)) + wire.frame(wire.SETTINGS, wire.ACK))
        self.say(wire.window_update(0, 2**31 - 1 - 65_535))

    def begin(self, path: str, *fields: tuple[str, str], end: bool = False) -> int:
        stream_id = self.next_id
        self.next_id += 2
        self.say(Wire.headers_frame(stream_id, fields, path, end=end))
        return stream_id

    def ask(self, path: str, message: bytes = b"", *fields: tuple[str, str]) -> int:
        stream_id = self.begin(path, *fields)
        self.say(wire.body(stream_id, packed(message), end=True))
        return stream_id

    async def frame(self) -> wire.Frame:
        """The next frame; those of streams are also kept in `answers`."""
        head = await self.hear(9)
        payload = await self.hear(int.from_bytes(head[:3], "big"))
        one = wire.Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
        answer = self.answers.setdefault(one.stream_id, Answer())
        if one.kind == wire.HEADERS:
            fields = self._decoder.decode(payload)
            assert fields is not None
            pairs = {name: value for name, value, *_ in fields}
            if one.flags & wire.END_STREAM:
                answer.trailers, answer.is_ended = pairs, True
            else:
                answer.headers = pairs
        elif one.kind == wire.DATA:
            answer.data += payload
            answer.is_ended = bool(one.flags & wire.END_STREAM)
        elif one.kind == wire.RST_STREAM:
            answer.reset, answer.is_ended = one.number, True
        elif one.kind == wire.GOAWAY:
            self.goaway = payload
        elif one.kind == wire.PING and not one.flags & wire.ACK:
            self.say(wire.frame(wire.PING, wire.ACK, 0, payload))
        return one

    async def answer(self, stream_id: int) -> Answer:
        """The answer of a stream once it has ended."""
        while not self.answers.setdefault(stream_id, Answer()).is_ended:
            await self.frame()
        return self.answers[stream_id]

    async def messages(self, stream_id: int, count: int) -> list[bytes]:
        """The first messages of a stream that goes on."""
        while True:
            answer = self.answers.setdefault(stream_id, Answer())
            messages = unpacked(answer.data, is_whole=False)
            if len(messages) >= count:
                return messages
            assert not answer.is_ended, answer
            await self.frame()

    async def until_goaway(self) -> tuple[int, bytes]:
        """Code and text of the GOAWAY that ends the connection."""
        while self.goaway is None:
            await self.frame()
        return int.from_bytes(self.goaway[4:8], "big"), self.goaway[8:]

    async def until_closed(self) -> tuple[int, bytes]:
        """Read to the end of the connection; code and text of the last GOAWAY."""
        try:
            while True:
                await self.frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            return await self.until_goaway()

    async def call(self, path: str = STATUS, message: bytes = b"", *fields: tuple[str, str]) -> Answer:
        return await self.answer(self.ask(path, message, *fields))
