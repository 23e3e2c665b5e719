"""One other member: the streams it reads from us, the streams we read from it, and the pipeline for
when there are none.

The receiver dials. We dial the other member's two streams and read its messages from the answers;
it dials ours, and the listener attaches those answers here as writers. What finds no writer goes
through the pipeline, a POST for each message. Sending never waits: a full queue drops the message,
and raft is told, which knows how to repeat.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import aiohttp

from etcdpy.peer import compatibility
from etcdpy.peer.codec import AppDecoder, AppEncoder, MessageDecoder, MessageEncoder
from etcdpy.peer.errors import MalformedStream
from etcdpy.peer.observed import NOBODY
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.messages import Message, MessageType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from etcdpy.peer.host import Database, PeerHost
    from etcdpy.peer.observed import PeerObserved, PeersObserved
    from etcdpy.server.log import Logger

MESSAGE_STREAM, APP_STREAM = "message", "msgapp"
STREAM_KINDS = (MESSAGE_STREAM, APP_STREAM)

# The defaults of --raft-read-timeout and --raft-write-timeout, which can only be raised.
READ_TIMEOUT_S = WRITE_TIMEOUT_S = 5.0
LINK_HEARTBEAT_S = READ_TIMEOUT_S / 3
DIAL_PAUSE_S = 0.1
PROBE_INTERVAL_S = 4.0
PIPELINE_WORKERS = 4
PIPELINE_MESSAGES_MAX = 64
# What a stream may hold for a peer that does not read; etcd bounds it by 4096 messages, we by what
# they weigh.
STREAM_BUFFER_BYTES_MAX = 64 * 1024 * 1024
SNAPSHOT_CHUNK_BYTES = 256 * 1024
# The receiver answers once it has stored the whole, which it may also have to convert.
SNAPSHOT_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=3600)


class StreamWriter:
    """The writing end of a stream that the peer has dialled: a chunked HTTP answer that does not end."""

    def __init__(
        self, transport: asyncio.Transport, encoder: MessageEncoder | AppEncoder, observed: PeerObserved
    ) -> None:
        self._observed = observed
        self._transport = transport
        self._encoder = encoder
        self._written = 0
        # How much had left when that was last more than before, and when that was.
        self._left, self._left_at = 0, asyncio.get_running_loop().time()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether there is still somebody to write to."""
        return not self.closed.done() and not self._transport.is_closing()

    def write(self, message: Message) -> bool:
        """Queue a message; False when the peer reads too slowly."""
        if self._transport.get_write_buffer_size() > STREAM_BUFFER_BYTES_MAX:
            return False
        self._write_chunk(self._encoder.encode(message))
        return True

    def write_heartbeat(self) -> None:
        """Keep the reader's deadline from firing."""
        self._write_chunk(self._encoder.heartbeat)

    def _write_chunk(self, frame: bytes) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(frame), frame)
        self._written += len(chunk)
        self._observed.sent_bytes += len(frame)
        self._transport.write(chunk)

    def is_stuck(self, now: float, timeout_s: float) -> bool:
        """Whether nothing of what waits has left for so long."""
        waiting = self._transport.get_write_buffer_size()
        left = self._written - waiting
        if left > self._left or not waiting:
            self._left, self._left_at = left, now
        return now - self._left_at > timeout_s

    def abort(self) -> None:
        """End the stream, and forget what waits."""
        self._transport.abort()
        self.close()

    def close(self) -> None:
        """End the stream."""
        if not self.closed.done():
            self.closed.set_result(None)


class Remote:
    """One peer. `urls` are tried in turn; streams, pipeline and snapshots share the turn.

    Args:
        dialled: False for a member that we only answer (it is not in our configuration yet).
    """

    def __init__(
        self,
        member_id: int,
        urls: list[str],
        host: PeerHost,
        session: aiohttp.ClientSession,
        headers: dict[str, str],
        log: Logger,
        observed: PeersObserved,
        *,
        dialled: bool = True,
    ) -> None:
        self.member_id = member_id
        self._urls = urls
        self._url_turn = 0
        self._host = host
        self._session = session
        self._headers = headers
        self._log = log
        self._observed = observed.peer(member_id)
        self._observed_nobody = observed.peer(NOBODY)
        self._writers: dict[str, StreamWriter] = {}
        self._pipeline: deque[Message] = deque()
        self._pipeline_workers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.active_since: float | None = None
        self.was_active = False
        self.cut = False  # fault injection: as if no packet came through
        if dialled:
            for kind in STREAM_KINDS:
                self._spawn(self._read_forever(kind))
            self._spawn(self._probe_forever())

    # Sending.

    def send(self, message: Message) -> None:
        """Send by the best channel there is; drop and report when it is full."""
        if self.cut:
            self._not_sent()
            return
        if message.type is MessageType.SNAP:
            self._spawn(self._send_snapshot(message))
            return
        writer = self._writer(APP_STREAM if message.type is MessageType.APP else MESSAGE_STREAM)
        writer = writer or self._writer(MESSAGE_STREAM)
        if writer is not None:
            if not writer.write(message):
                self._not_sent()
        elif len(self._pipeline) >= PIPELINE_MESSAGES_MAX:
            self._not_sent()
        else:
            self._pipeline.append(message)
            if self._pipeline_workers < PIPELINE_WORKERS:
                self._spawn(self._drain_pipeline())

    def _not_sent(self) -> None:
        self._observed.sent_failures += 1
        self._host.report_unreachable(self.member_id)

    def _writer(self, kind: str) -> StreamWriter | None:
        writer = self._writers.get(kind)
        return writer if writer is not None and writer.is_open else None

    def attach(self, kind: str, transport: asyncio.Transport) -> StreamWriter:
        """The peer has dialled a stream; an older one of the same kind ends."""
        self.detach(kind)
        encoder = AppEncoder() if kind == APP_STREAM else MessageEncoder()
        writer = StreamWriter(transport, encoder, self._observed)
        self._writers[kind] = writer
        self._activate()
        return writer

    def detach(self, kind: str, writer: StreamWriter | None = None) -> None:
        """End the stream of this kind (only if it is still `writer`, when given)."""
        attached = self._writers.get(kind)
        if attached is not None and (writer is None or writer is attached):
            attached.close()
            del self._writers[kind]

    def heartbeat(self, write_timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Every third of the read timeout, on each stream; one that is stuck ends."""
        if self.cut:
            return
        now = self._loop.time()
        for kind, writer in list(self._writers.items()):
            if writer.is_stuck(now, write_timeout_s):
                self._log.warn("a stream takes nothing any more", stream=kind, peer=f"{self.member_id:x}")
                writer.abort()
            elif writer.is_open:
                writer.write_heartbeat()

    async def _drain_pipeline(self) -> None:
        self._pipeline_workers += 1
        try:
            while self._pipeline:
                await self._post_message(self._pipeline.popleft())
        finally:
            self._pipeline_workers -= 1

    async def _post_message(self, message: Message) -> None:
        headers = {**self._headers, "Content-Type": "application/protobuf"}
        body = raft_codec.encode_message(message)
        status = await self._post("/raft", body, headers)
        if status == 204:
            self._observed.sent_bytes += len(body)
            self._activate()
        else:
            self._not_sent()

    async def _send_snapshot(self, message: Message) -> None:
        ok = False
        transfers, started = self._observed.sent_databases, self._loop.time()
        transfers.under_way += 1
        try:
            full, database = await self._host.open_snapshot(message)
            try:
                ok = await self._post_snapshot(full, database)
            finally:
                database.close()
        except OSError as error:
            self._log.warn("failed to make a snapshot", to=f"{self.member_id:x}", error=str(error))
        finally:
            transfers.ended(ok, self._loop.time() - started)
            # Without a report raft would wait for this follower forever.
            if not ok:
                self._not_sent()
            self._host.report_snapshot(self.member_id, ok)

    async def _post_snapshot(self, message: Message, database: Database) -> bool:
        assert message.snapshot is not None, message
        envelope = raft_codec.encode_message(message)
        head = len(envelope).to_bytes(8, "big") + envelope
        facts = {"to": f"{self.member_id:x}", "snapshot-index": message.snapshot.index}
        self._log.info("sending database snapshot", **facts, bytes=database.size_bytes)

        async def body() -> AsyncIterator[bytes]:
            yield head
            while chunk := database.read(SNAPSHOT_CHUNK_BYTES):
                yield chunk

        headers = {
            **self._headers,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(head) + database.size_bytes),
        }
        status = await self._post("/raft/snapshot", body(), headers, SNAPSHOT_TIMEOUT)
        if status == 204:
            self._activate()
            self._log.info("sent database snapshot", **facts)
        return status == 204

    async def _post(
        self,
        path: str,
        body: object,
        headers: dict[str, str],
        limits: aiohttp.ClientTimeout | None = None,
    ) -> int:
        """The answer's status, 0 when there was none."""
        url = self._pick()
        try:
            async with self._session.post(
                url + path, data=body, headers=headers, timeout=limits or self._session.timeout
            ) as response:
                text = (await response.text()).strip()
                if response.status == 403:
                    self._log.warn("peer refused a message from a removed member", peer=f"{self.member_id:x}")
                elif response.status != 204:
                    self._log.warn(
                        "peer refused", peer=f"{self.member_id:x}", status=response.status, text=text
                    )
                    self._next_url(url)
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._deactivate(f"failed to post to {url}: {error}")
            self._next_url(url)
            return 0

    # Receiving.

    async def _read_forever(self, kind: str) -> None:
        while True:
            started = self._loop.time()
            if not self.cut:
                await self._read_stream(kind)
            await asyncio.sleep(max(0.0, started + DIAL_PAUSE_S - self._loop.time()))

    async def _read_stream(self, kind: str) -> None:
        url = self._pick()
        headers = {**self._headers, compatibility.RAFT_TO: f"{self.member_id:x}"}
        path = f"{url}/raft/stream/{kind}/{self._host.member_id:x}"
        try:
            async with self._session.get(path, headers=headers) as response:
                if response.status == 200:
                    await self._read_messages(kind, response)
                    self._deactivate(f"stream {kind} ended")
                    return
                await self._refused(response)
        except (aiohttp.ClientError, OSError, TimeoutError, MalformedStream) as error:
            self._observed.received_failures += 1
            self._deactivate(f"lost stream {kind}: {error}")
        self._next_url(url)

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        text = (await response.text()).strip()
        if response.status == 410:
            self._host.permanently_removed()
        elif response.status != 404:
            self._log.warn(
                "peer refused a stream", peer=f"{self.member_id:x}", status=response.status, text=text
            )

    async def _read_messages(self, kind: str, response: aiohttp.ClientResponse) -> None:
        if not _has_streams(response.headers.get(compatibility.SERVER_VERSION, "2.0.0")):
            return
        self._activate()
        decoder: AppDecoder | MessageDecoder = (
            AppDecoder(self._host.member_id, self.member_id) if kind == APP_STREAM else MessageDecoder()
        )
        while data := await response.content.readany():
            observed = self._observed_nobody
            for message in decoder.feed(data):
                if self.cut:
                    return
                observed = self._observed
                self._host.step(message)
            observed.received_bytes += len(data)

    async def _probe_forever(self) -> None:
        """Measure the way there and back, over a connection that waits for nothing else."""
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            started = self._loop.time()
            if self.cut:
                continue
            try:
                async with self._session.get(self._pick() + "/raft/probing") as response:
                    await response.read()
                    if response.status == 200:
                        self._observed.round_trips_s.observe(self._loop.time() - started)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass  # the streams tell of it

    # Where it is, and whether it is there.

    def _pick(self) -> str:
        return self._urls[self._url_turn % len(self._urls)]

    def _next_url(self, failed: str) -> None:
        if self._pick() == failed:
            self._url_turn += 1

    @property
    def urls(self) -> list[str]:
        """The peer's URLs as last announced."""
        return self._urls

    @property
    def has_streams(self) -> bool:
        """Whether the peer reads both kinds of stream from us."""
        return all(self._writer(kind) is not None for kind in STREAM_KINDS)

    def update(self, urls: list[str]) -> None:
        """The peer has moved."""
        self._urls = urls
        self._url_turn = 0

    def _activate(self) -> None:
        if self.active_since is None:
            self.active_since = self._loop.time()
            self.was_active = True
            self._observed.active = True
            self._log.info("peer became active", **{"peer-id": f"{self.member_id:x}"})

    def _deactivate(self, reason: str) -> None:
        if self.active_since is not None:
            self.active_since = None
            self._observed.active = False
            self._observed.losses += 1
            self._log.warn("peer became inactive", **{"peer-id": f"{self.member_id:x}", "reason": reason})

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End the streams and whatever is under way."""
        for kind in list(self._writers):
            self.detach(kind)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _has_streams(version: str) -> bool:
    parsed = compatibility.major_minor(version)
    return parsed is not None and parsed >= compatibility.OLDEST_STREAM_VERSION
