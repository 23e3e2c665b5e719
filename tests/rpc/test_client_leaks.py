"""Whatever clients do to their connections, nothing of them stays: tasks, streams, calls, deadlines,
watchers, sessions and connections are counted after every kind of end.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.http2 import Engine
from etcdpy.mvcc.watch import Watcher
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.connection import Connection
from etcdpy.rpc.grpc import EngineCall, GrpcLayer
from etcdpy.rpc.http1_connection import Http1Connection
from etcdpy.rpc.plain_requests import PlainRequest
from etcdpy.rpc.services.watch import WatchStream
from etcdpy.rpc.tls_transport import TlsTransport
from tests.http2 import wire
from tests.rpc.grpc_wire import packed
from tests.rpc.listening import STATUS, WATCH, GrpcPeer, Peer, client_port, on_both_loops, port_member
from tests.support.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from etcdpy.rpc.serving import Listeners
    from tests.rpc.fakes import FakeMember

RANGE = "/etcdserverpb.KV/Range"
REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
BLOB_BYTES = 4 * 1024 * 1024
TIMEOUT = ("grpc-timeout", "1H")
COUNTED = (
    Connection,
    TlsTransport,
    Http1Connection,
    PlainRequest,
    GrpcLayer,
    Engine,
    EngineCall,
    WatchStream,
    Watcher,
)


class Place:
    """A port, its member, and what there was before anybody came."""

    def __init__(self, listeners: Listeners, member: FakeMember, trust: ssl.SSLContext | None) -> None:
        self.listeners = listeners
        self.member = member
        self.trust = trust
        self.tasks = len(asyncio.all_tasks())

    @property
    def url(self) -> str:
        return self.listeners.urls[0]

    async def client(self) -> GrpcPeer:
        """A client with everything under way: a watch, a lease stream, a call that waits, an answer that it
        does not read.
        """
        peer = await GrpcPeer.connect(self.url, self.trust)
        peer.greet(window=100_000)
        watch = peer.begin(WATCH, TIMEOUT)
        for _ in range(3):
            create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a"))
            peer.say(wire.body(watch, packed(create.SerializeToString())))
        await peer.messages(watch, 3)
        lease = peer.begin(KEEP_ALIVE, TIMEOUT)
        renewal = pb.LeaseKeepAliveRequest(ID=1).SerializeToString()
        peer.say(wire.body(lease, packed(renewal) + packed(renewal)[:4]))
        self.member.is_holding = True
        held = len(self.member.held)
        peer.ask(REVOKE, b"", TIMEOUT)
        while len(self.member.held) == held:
            await asyncio.sleep(0.001)
        self.member.is_holding = False
        blob = peer.ask(RANGE, pb.RangeRequest(key=b"blob").SerializeToString(), TIMEOUT)
        while not peer.answers.get(blob) or not peer.answers[blob].data:
            await peer.frame()
        half = peer.begin(RANGE, TIMEOUT)
        peer.say(wire.body(half, b"\0\0\0\1\0half"))
        return peer

    async def browser(self) -> list[Peer]:
        """HTTP/1.1 in every state: idle, asking, waiting for its answer."""
        peers = [await Peer.connect(self.url, self.trust) for _ in range(3)]
        await peers[0].http()
        peers[1].say(b"GET /version HTTP/1.1\r\nHo")
        self.member.is_holding = True
        held = len(self.member.held)
        peers[2].say(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        while len(self.member.held) == held:
            await asyncio.sleep(0.001)
        self.member.is_holding = False
        return peers

    def release(self) -> None:
        """The member answers those who have left."""
        self.member.release()

    async def check_empty(self, *, connections: int = 0) -> None:
        """Nothing is left but `connections` that are idle."""
        listeners, member = self.listeners, self.member
        while len(listeners.port.open) > connections:
            await asyncio.sleep(0.001)
        self.release()
        listeners.port.router.leader_watch.look()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(listeners.port.deadlines) == 0
        hub = member.state.hub
        assert (hub.synced_watchers, hub.slow_watchers, hub.has_unsynced) == (0, 0, False)
        open_here = [one for one in listeners.port.open if isinstance(one, Connection)]
        assert [(one.open_calls, one.open_streams, one.queued_bytes) for one in open_here] == [
            (0, 0, 0)
        ] * connections
        assert listeners.http_sessions == 0
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert len(others) + 1 <= self.tasks, others
        gc.collect()
        alive = Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, COUNTED))
        per_connection = {"Connection", "GrpcLayer", "Engine", "TlsTransport"}
        assert set(alive) <= per_connection if connections else not alive, alive
        assert max(alive.values(), default=0) <= connections, alive


def kill(peer: Peer) -> None:
    """A RST, as a process leaves that is killed with bytes unread."""
    raw = peer.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.abort()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["plain", "tls"])
def settings(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """How the port is opened, and how clients trust it."""
    if request.param == "plain":
        return {"url": "http://127.0.0.1:0", "trust": None, "files": {}}
    server = authority.server()
    files = {"cert_file": str(server.cert), "key_file": str(server.key)}
    return {"url": "https://127.0.0.1:0", "trust": authority.trust(alpn=["h2", "http/1.1"]), "files": files}


async def visit(tmp_path: Path, settings: dict[str, Any], test: Callable[[Place], Awaitable[None]]) -> None:
    member = port_member()
    member.write(b"blob", bytes(BLOB_BYTES))
    async with client_port(tmp_path, settings["url"], member=member, **settings["files"]) as listeners:
        await test(Place(listeners, member, settings["trust"]))


@on_both_loops
async def test_clients_that_are_killed(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        peers = [await place.client() for _ in range(5)]
        assert place.member.state.hub.synced_watchers == 15
        while len(place.listeners.port.deadlines) < 20:  # the fifth is answered, only not read
            await asyncio.sleep(0.001)
        for peer in peers:
            kill(peer)
        await place.check_empty()

    await visit(tmp_path, settings, test)


@on_both_loops
async def test_clients_that_close_their_half(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        peers = [await place.client() for _ in range(5)]
        for peer in peers:
            peer.writer.write_eof()
        await place.check_empty()

    await visit(tmp_path, {"url": "http://127.0.0.1:0", "trust": None, "files": {}}, test)


@on_both_loops
async def test_calls_that_are_cancelled_in_the_middle(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        peers = [await place.client() for _ in range(3)]
        for peer in peers:
            for stream_id in range(1, peer.next_id, 2):
                peer.say(wire.reset(stream_id))
            # The connections go on.
            assert (await peer.call(STATUS)).status == (0, "")
        await place.check_empty(connections=3)
        for peer in peers:
            kill(peer)
        await place.check_empty()

    await visit(tmp_path, settings, test)


@on_both_loops
async def test_calls_whose_time_is_over(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        peer = await GrpcPeer.connect(place.url, place.trust)
        peer.greet(window=2**31 - 1)
        place.member.is_holding = True
        soon = ("grpc-timeout", "50m")
        watch = peer.begin(WATCH, soon)
        create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a"))
        peer.say(wire.body(watch, packed(create.SerializeToString())))
        waiting = peer.ask(REVOKE, b"", soon)
        for stream_id in (watch, waiting):
            assert (await peer.answer(stream_id)).status == (4, "context deadline exceeded")
        place.member.is_holding = False
        await place.check_empty(connections=1)
        kill(peer)
        await place.check_empty()

    await visit(tmp_path, settings, test)


@on_both_loops
async def test_http1_clients_that_are_killed(tmp_path: Path, settings: dict[str, Any]) -> None:
    trust = settings["trust"]
    if trust is not None:
        trust.set_alpn_protocols(["http/1.1"])

    async def test(place: Place) -> None:
        peers = [peer for _ in range(3) for peer in await place.browser()]
        assert place.listeners.http_sessions == 9
        for peer in peers:
            kill(peer)
        await place.check_empty()

    await visit(tmp_path, settings, test)


@on_both_loops
async def test_plain_requests_over_http2_that_are_given_up(tmp_path: Path, authority: Authority) -> None:
    server = authority.server()
    files = {"cert_file": str(server.cert), "key_file": str(server.key)}
    settings = {"url": "https://127.0.0.1:0", "trust": authority.trust(alpn=["h2"]), "files": files}

    async def test(place: Place) -> None:
        peer = await GrpcPeer.connect(place.url, place.trust)
        peer.greet()
        place.member.is_holding = True
        pairs = [(":method", "GET"), (":scheme", "https"), (":path", "/health"), (":authority", "x")]
        for stream_id in (1, 3, 5):
            block = wire.encode_static(pairs)
            peer.say(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream_id, block))
        while len(place.member.held) < 3:
            await asyncio.sleep(0.001)
        assert place.listeners.http_sessions == 3
        peer.say(wire.reset(1))
        place.member.is_holding = False
        peer.next_id = 7
        await peer.call(STATUS)
        for _ in range(10):
            await asyncio.sleep(0)
        assert place.listeners.http_sessions == 2
        kill(peer)
        await place.check_empty()

    await visit(tmp_path, settings, test)


@on_both_loops
async def test_a_shutdown_under_load(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        for _ in range(3):
            await place.client()
        asking = [asyncio.ensure_future(ask_for_ever(place)) for _ in range(5)]
        await asyncio.sleep(0.1)
        await place.listeners.stop()
        answered = await asyncio.gather(*asking)
        assert all(count > 0 for count in answered)
        assert not place.listeners.port.open
        for peer in Peer.open:
            peer.abort()
        place.tasks += 5
        await place.check_empty()

    await visit(tmp_path, settings, test)


async def ask_for_ever(place: Place) -> int:
    """Calls answered until the server is gone."""
    peer = await GrpcPeer.connect(place.url, place.trust)
    peer.greet()
    answered = 0
    try:
        while True:
            assert (await peer.call(STATUS)).status == (0, "")
            answered += 1
            if answered % 50 == 0:
                peer.say(wire.window_update(0, 1))
    except (ConnectionError, asyncio.IncompleteReadError, RuntimeError, ssl.SSLError):
        return answered


@on_both_loops
async def test_a_thousand_visits_cost_no_memory(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def visit_once(place: Place) -> None:
        peer = await GrpcPeer.connect(place.url, place.trust)
        peer.greet()
        for number in range(3):
            await peer.call(STATUS, b"", ("x-number", str(number)), TIMEOUT)
        stream_id = peer.begin(WATCH)
        create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a"))
        peer.say(wire.body(stream_id, packed(create.SerializeToString())))
        await peer.messages(stream_id, 1)
        kill(peer)
        Peer.open.clear()

    async def test(place: Place) -> None:
        for _ in range(30):
            await visit_once(place)
        await place.check_empty()
        tracemalloc.start()
        try:
            for _ in range(10):
                await visit_once(place)
            await place.check_empty()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(60):
                await visit_once(place)
            await place.check_empty()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 60 * 200, (before, after)

    await visit(tmp_path, settings, test)
