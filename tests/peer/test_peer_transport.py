"""Two members on real sockets: which channel a message takes, what is refused, and what happens when a
peer goes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from etcdpy.peer.codec import MessageEncoder
from etcdpy.peer.listener import PeerListener
from etcdpy.peer.observed import PeerObserved
from etcdpy.peer.remote import StreamWriter
from etcdpy.peer.transport import PeerTransport, worth_sending
from etcdpy.raft.messages import ConfState, Entry, Message, MessageType, Snapshot
from etcdpy.server.log import Logger

CLUSTER = 0xABCDEF
DEADLINE_S = 10


class Pages:
    """A database on its way out."""

    size_bytes = 40_000

    def __init__(self) -> None:
        self._left = b"page" * 10_000

    def read(self, size: int, /) -> bytes:
        data, self._left = self._left[:size], self._left[size:]
        return data

    def close(self) -> None:
        self._left = b""


class Host:
    """A member behind a peer port that only writes down what it hears."""

    def __init__(self, member_id: int) -> None:
        self.member_id = member_id
        self.cluster_id = CLUSTER
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.unreachable: asyncio.Queue[int] = asyncio.Queue()
        self.snapshots: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
        self.databases: list[bytes] = []
        self.removed: set[int] = set()
        self.told_removed = asyncio.Event()

    def step(self, message: Message) -> None:
        self.heard.put_nowait(message)

    def report_unreachable(self, member_id: int) -> None:
        self.unreachable.put_nowait(member_id)

    def report_snapshot(self, member_id: int, ok: bool) -> None:
        self.snapshots.put_nowait((member_id, ok))

    def is_removed(self, member_id: int) -> bool:
        return member_id in self.removed

    def permanently_removed(self) -> None:
        self.told_removed.set()

    def members_json(self) -> bytes:
        return b"[]\n"

    def version_json(self) -> bytes:
        return b"{}"

    def renew_lease(self, data: bytes, done: Callable[[int, bytes], None]) -> None:
        done(404, b"lease not found")

    def lease_time_to_live(self, data: bytes, done: Callable[[int, bytes], None]) -> None:
        done(200, data)

    def promote(self, member_id: int, token: str, done: Callable[[int, bytes], None]) -> None:
        done(200, str(member_id).encode())

    def hash_kv(self, revision: int, done: Callable[[int, bytes], None]) -> None:
        done(200, json.dumps({"hash": revision}).encode())

    def downgrade_enabled(self, done: Callable[[int, bytes], None]) -> None:
        done(200, b"false")

    async def receive_snapshot(self, message: Message, database: AsyncIterator[bytes]) -> None:
        self.databases.append(b"".join([chunk async for chunk in database]))
        self.step(message)

    async def open_snapshot(self, message: Message) -> tuple[Message, Pages]:
        return message, Pages()


class Peer:
    def __init__(self, member_id: int) -> None:
        self.host = Host(member_id)
        self.url = ""

    async def start(self, port: int = 0) -> None:
        self.transport = PeerTransport(self.host, ["http://127.0.0.1:1"], Logger.silent())
        self.listener = PeerListener(self.host, self.transport, Logger.silent())
        self.runner = web.ServerRunner(self.listener.server, shutdown_timeout=0.01)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self.transport.stop()
        await self.runner.cleanup()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Peer, Peer]]:
    one, two = Peer(1), Peer(2)
    await one.start()
    await two.start()
    try:
        yield one, two
    finally:
        await one.stop()
        await two.stop()


async def connect(one: Peer, two: Peer) -> None:
    """Both in each other's configuration, all four streams up."""
    one.transport.add(2, [two.url])
    two.transport.add(1, [one.url])
    for peer, other in ((one, 2), (two, 1)):
        remote = peer.transport.find(other)
        assert remote is not None
        while not remote.has_streams:
            await asyncio.sleep(0.01)


def run(test: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


def heartbeat(to: int, from_: int, term: int = 1) -> Message:
    return Message(MessageType.HEARTBEAT, to=to, from_=from_, term=term)


def test_messages_arrive_in_order_over_both_streams() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            await connect(one, two)
            for index in range(200):
                entries = [Entry(1, index + 1, data=b"x" * index)]
                log_term = 1 if index else 0
                one.transport.send(
                    [
                        Message(
                            MessageType.APP,
                            to=2,
                            from_=1,
                            term=1,
                            log_term=log_term,
                            index=index,
                            entries=entries,
                        )
                    ]
                )
            one.transport.send([heartbeat(2, 1, term=9)])
            heard = [await two.host.heard.get() for _ in range(201)]
            appends = [message for message in heard if message.type is MessageType.APP]
            assert [message.index for message in appends] == list(range(200))
            assert appends[199].entries[0].data == b"x" * 199
            assert [message.term for message in heard if message.type is MessageType.HEARTBEAT] == [9]

    run(scenario)


def test_a_stranger_is_answered_through_the_pipeline() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            one.transport.learn(2, [two.url])
            one.transport.send([heartbeat(2, 1)])
            message = await two.host.heard.get()
            assert message.from_ == 1

    run(scenario)


def test_of_several_append_answers_only_the_last_is_sent() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            await connect(one, two)
            answers = [Message(MessageType.APP_RESP, to=2, from_=1, term=1, index=n) for n in (1, 2, 3)]
            one.transport.send([*answers, heartbeat(2, 1)])
            heard = [await two.host.heard.get() for _ in range(2)]
            assert [message.index for message in heard] == [3, 0]

    run(scenario)


def test_a_peer_that_is_gone_is_reported_and_found_again() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            await connect(one, two)
            await two.stop()
            while one.transport.active_since(2) is not None:
                await asyncio.sleep(0.01)
            while one.host.unreachable.empty():
                one.transport.send([heartbeat(2, 1)])
                await asyncio.sleep(0.01)
            await two.start(int(two.url.rsplit(":", 1)[1]))
            two.transport.add(1, [one.url])
            while one.transport.active_since(2) is None:
                await asyncio.sleep(0.01)

    run(scenario)


def test_a_cut_link_carries_nothing_until_it_is_mended() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            await connect(one, two)
            one.transport.cut(2)
            one.transport.send([heartbeat(2, 1)])
            assert await one.host.unreachable.get() == 2
            assert two.host.heard.empty()
            one.transport.cut(2, cut=False)
            one.transport.send([heartbeat(2, 1)])
            assert (await two.host.heard.get()).from_ == 1

    run(scenario)


def test_a_snapshot_travels_with_its_database() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            await connect(one, two)
            snapshot = Snapshot(5, 1, ConfState([1, 2]), b"{}")
            one.transport.send([Message(MessageType.SNAP, to=2, from_=1, term=1, snapshot=snapshot)])
            message = await two.host.heard.get()
            assert message.snapshot is not None
            assert message.snapshot.index == 5
            assert two.host.databases == [b"page" * 10_000]
            assert await one.host.snapshots.get() == (2, True)

    run(scenario)


def test_a_removed_member_is_told_so() -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            two.host.removed.add(1)
            one.transport.add(2, [two.url])
            await one.host.told_removed.wait()

    run(scenario)


HEADERS = {
    "X-Server-From": "1",
    "X-Server-Version": "3.5.1",
    "X-Min-Cluster-Version": "3.0.0",
    "X-Etcd-Cluster-ID": f"{CLUSTER:x}",
}


@pytest.mark.parametrize(
    ("method", "path", "change", "status", "text"),
    [
        ("GET", "/nowhere", {}, 404, "404 page not found"),
        ("GET", "/raft", {}, 405, "Method Not Allowed"),
        ("POST", "/raft", {"X-Server-Version": "2.0.0"}, 412, "incompatible version"),
        ("POST", "/raft", {"X-Min-Cluster-Version": "9.0.0"}, 412, "incompatible version"),
        ("POST", "/raft", {"X-Server-Version": "rubbish"}, 412, "incompatible version"),
        ("POST", "/raft", {"X-Etcd-Cluster-ID": "1"}, 412, "cluster ID mismatch"),
        ("POST", "/raft", {}, 400, "error unmarshalling raft message"),
        ("GET", "/raft/stream/other/1", {}, 404, "invalid path"),
        ("GET", "/raft/stream/message/xyz", {}, 404, "invalid from"),
        ("GET", "/raft/stream/message/77", {}, 404, "error sender not found"),
        ("GET", "/raft/stream/message/2", {}, 412, "to field mismatch"),
        ("POST", "/leases", {}, 404, "lease not found"),
        ("POST", "/members/promote/x", {}, 404, "member x not found in cluster"),
        ("GET", "/members/hashkv", {}, 400, "error unmarshalling request"),
        ("GET", "/members/hashkv", {"X-Etcd-Cluster-ID": "1"}, 412, "cluster ID mismatch"),
    ],
)
def test_refusals_are_etcds(method: str, path: str, change: dict[str, str], status: int, text: str) -> None:
    async def scenario() -> None:
        async with pair() as (one, two):
            one.transport.add(2, [two.url])
            async with aiohttp.ClientSession() as session:
                url = one.url + path
                async with session.request(
                    method, url, headers={**HEADERS, **change}, data=b"\xff"
                ) as response:
                    assert (response.status, await response.text()) == (status, text + "\n")

    run(scenario)


def test_probing_tells_the_time_and_a_plain_answer_needs_no_newline() -> None:
    async def scenario() -> None:
        async with pair() as (one, _), aiohttp.ClientSession() as session:
            async with session.get(one.url + "/raft/probing") as response:
                probe = await response.json()
            assert probe["OK"] is True
            assert probe["Now"].endswith("Z")
            async with session.get(one.url + "/downgrade/enabled") as response:
                assert await response.text() == "false"
                assert response.headers["X-Etcd-Cluster-ID"] == f"{CLUSTER:x}"

    run(scenario)


def append(to: int, index: int, commit: int, *entries: Entry, term: int = 1) -> Message:
    return Message(
        MessageType.APP, to=to, from_=1, term=term, log_term=1, index=index, entries=entries, commit=commit
    )


def test_what_a_later_message_says_as_well_is_not_sent() -> None:
    commit_only, with_entries = append(2, 5, 4), append(2, 5, 5, Entry(1, 6))
    for_another = append(3, 5, 4)
    old_answer, answer = (Message(MessageType.APP_RESP, to=4, index=index) for index in (1, 2))
    beat = heartbeat(2, 1)
    batch = [commit_only, old_answer, for_another, beat, with_entries, answer]
    assert worth_sending(batch) == [for_another, beat, with_entries, answer]


def test_an_append_is_kept_when_nothing_replaces_it() -> None:
    first, second = append(2, 5, 5, Entry(1, 6)), append(2, 6, 5, Entry(1, 7))
    for batch in (
        [first, second],
        [append(2, 5, 5), append(2, 6, 5, Entry(1, 7))],
        [append(2, 5, 5), append(2, 5, 4, Entry(1, 6))],
        [append(2, 5, 5), append(2, 5, 5, Entry(2, 6), term=2)],
        [append(2, 5, 5, Entry(1, 6)), append(2, 6, 5)],
    ):
        assert worth_sending(batch) == batch


class Pipe:
    """A transport that lets go of what it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def test_a_stream_that_takes_nothing_for_the_write_timeout_ends() -> None:
    async def scenario() -> None:
        pipe = Pipe()
        writer = StreamWriter(cast("asyncio.Transport", pipe), MessageEncoder(), PeerObserved())
        start = asyncio.get_running_loop().time()
        writer.write_heartbeat()
        assert not writer.is_stuck(start + 4, 5.0)
        pipe.waiting -= 1  # slow is not stuck
        assert not writer.is_stuck(start + 8, 5.0)
        writer.write_heartbeat()
        assert not writer.is_stuck(start + 12, 5.0)
        assert writer.is_stuck(start + 14, 5.0)
        pipe.waiting = 0
        assert not writer.is_stuck(start + 20, 5.0)
        assert not writer.is_stuck(start + 30, 5.0)
        writer.abort()
        assert pipe.aborted
        assert not writer.is_open

    asyncio.run(scenario())


class Silent:
    """A peer that takes up streams and never says a word on them."""

    def __init__(self) -> None:
        self.callers: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        """The path that was asked for, and where from."""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        cluster = next(line for line in head.split("\r\n") if line.lower().startswith("x-etcd-cluster-id"))
        answer = (
            f"HTTP/1.1 200 OK\r\n{cluster}\r\nX-Server-Version: 3.6.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(answer.encode())
        self.callers.put_nowait((head.split(" ")[1], writer.get_extra_info("peername")[0]))
        await reader.read()
        writer.close()

    def stop(self) -> None:
        self._server.close()


@asynccontextmanager
async def silent_peer(**settings: Any) -> AsyncIterator[Silent]:
    silent = Silent()
    url = await silent.start()
    transport = PeerTransport(Host(1), ["http://127.0.0.1:1"], Logger.silent(), **settings)
    transport.add(2, [url])
    try:
        yield silent
    finally:
        await transport.stop()
        silent.stop()


def test_a_silent_stream_is_dialled_again_after_the_read_timeout() -> None:
    """`--raft-read-timeout`; etcd gives up what has not even a heartbeat for so long."""

    async def scenario(read_timeout_s: float) -> float:
        async with silent_peer(read_timeout_s=read_timeout_s) as silent:
            loop = asyncio.get_running_loop()
            begun: dict[str, float] = {}
            while True:
                path, _ = await silent.callers.get()
                if path in begun:
                    return loop.time() - begun[path]
                begun[path] = loop.time()

    for seconds in (0.2, 0.8):
        again = asyncio.run(asyncio.wait_for(scenario(seconds), DEADLINE_S))
        assert seconds <= again


def test_peers_are_called_from_the_address_that_was_set() -> None:
    """As the gate SetMemberLocalAddr does."""

    async def scenario() -> None:
        for settings, expected in (({}, "127.0.0.1"), ({"local_address": "127.0.0.9"}, "127.0.0.9")):
            async with silent_peer(**settings) as silent:
                callers = [await silent.callers.get() for _ in range(2)]
                assert {address for _, address in callers} == {expected}

    run(scenario)
