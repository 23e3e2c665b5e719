"""What the client sends again and what it never does: scripted servers count what reaches them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from etcdpy.client import (
    AsyncClient,
    AuthFailed,
    Client,
    DeadlineExceeded,
    EtcdError,
    NoLeader,
    Unauthenticated,
    compare,
    op,
    rpcs,
)
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.client.conftest import Connect

    Script = Callable[["Scripted", str, grpc.ServicerContext], None]

Code = grpc.StatusCode
SECONDS = 30.0
ANSWERS = {rpc.path: rpc.response for rpc in vars(rpcs).values() if isinstance(rpc, rpcs.UnaryRpc)}


class Scripted(grpc.GenericRpcHandler):
    """A server that answers every unary call with an empty message, unless its script aborts the call."""

    def __init__(self, script: Script | None = None) -> None:
        self.calls: list[str] = []
        self.script = script
        self.closing = threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.endpoint = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        name = details.method.rpartition("/")[2]

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append(name)
            if self.script is not None:
                self.script(self, name, context)
            response: bytes = (
                ANSWERS[details.method](token="t").SerializeToString() if name == "Authenticate" else b""
            )
            return response

        return grpc.unary_unary_rpc_method_handler(answer)

    def stop(self) -> None:
        self.closing.set()
        self.server.stop(None).wait(SECONDS)


def aborts(code: grpc.StatusCode, text: str) -> Script:
    def script(server: Scripted, name: str, context: grpc.ServicerContext) -> None:
        if name != "Authenticate":
            context.abort(code, text)

    return script


def cuts(server: Scripted, name: str, context: grpc.ServicerContext) -> None:
    """The server dies with the call in its hands."""
    threading.Thread(target=server.stop).start()
    server.closing.wait(SECONDS)
    context.abort(Code.UNAVAILABLE, "never seen")


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def make(script: Script | None = None) -> Scripted:
        servers.append(Scripted(script))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


WRITES: dict[str, Callable[[Client], Any]] = {
    "Put": lambda client: client.put("k", "v"),
    "DeleteRange": lambda client: client.delete("k"),
    "Txn": lambda client: client.txn(when=[compare.missing("k")], then=[op.put("k", "v")]),
    "Compact": lambda client: client.compact(1),
    "LeaseGrant": lambda client: client.grant(10),
    "LeaseRevoke": lambda client: client.revoke(1),
    "MemberAdd": lambda client: client.member_add(["http://127.0.0.1:1"]),
    "MemberRemove": lambda client: client.member_remove(1),
    "UserAdd": lambda client: client.user_add("x", "y"),
    "Defragment": lambda client: client.defragment(),
    "MoveLeader": lambda client: client.at(client.endpoints[0]).move_leader(1),
    "Downgrade": lambda client: client.downgrade("cancel"),
}
READS: dict[str, Callable[[Client], Any]] = {
    "Range": lambda client: client.get("k"),
    "Txn": lambda client: client.txn(then=[op.get("k")]),
    "Status": lambda client: client.status(),
    "HashKV": lambda client: client.hash_kv(),
    "MemberList": lambda client: client.member_list(),
    "Alarm": lambda client: client.alarms(),
    "UserList": lambda client: client.user_list(),
}
UNKNOWN_FATES = [
    (Code.UNAVAILABLE, "etcdserver: request timed out"),
    (Code.UNAVAILABLE, "etcdserver: leader changed"),
    (Code.UNAVAILABLE, "Socket closed"),
    (Code.INTERNAL, "stream terminated by RST_STREAM"),
    (Code.CANCELLED, "context canceled"),
    (Code.UNKNOWN, "panic: somewhere"),
]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_fate_is_unknown_is_not_sent_again(
    name: str, connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    for code, text in UNKNOWN_FATES:
        first, second = scripted(aborts(code, text)), scripted()
        with pytest.raises(EtcdError) as caught:
            WRITES[name](connect([first.endpoint, second.endpoint]))
        assert (caught.value.text, caught.value.maybe_applied) == (text, True)
        assert (first.calls, second.calls) == ([name], [])


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader"),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
        (Code.UNKNOWN, "etcdserver: some refusal"),
        (Code.FAILED_PRECONDITION, "etcdserver: not leader"),
    ],
)
def test_a_refused_write_is_known_not_to_have_happened(
    code: grpc.StatusCode, text: str, connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    first, second = scripted(aborts(code, text)), scripted()
    with pytest.raises(NoLeader if text.endswith("no leader") else EtcdError) as caught:
        connect([first.endpoint, second.endpoint]).put("k", "v")
    assert (caught.value.text, caught.value.maybe_applied) == (text, False)
    assert (first.calls, second.calls) == (["Put"], [])


@pytest.mark.parametrize("name", READS)
def test_a_read_goes_to_the_next_endpoint(
    name: str, connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    first, second = scripted(aborts(Code.UNAVAILABLE, "etcdserver: leader changed")), scripted()
    client = connect([first.endpoint, second.endpoint])
    READS[name](client)
    READS[name](client)
    assert (first.calls, second.calls) == ([name], [name, name])


def test_a_server_that_dies_with_a_call_in_its_hands(
    connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    for call, repeated in ((WRITES["Put"], False), (READS["Range"], True)):
        first, second = scripted(cuts), scripted()
        client = connect([first.endpoint, second.endpoint])
        if repeated:
            call(client)
        else:
            with pytest.raises(EtcdError) as caught:
                call(client)
            assert caught.value.maybe_applied
        assert (len(first.calls), len(second.calls)) == (1, int(repeated))
        first.stop()
        # Whoever is next goes where somebody is.
        client.put("k", "v")
        assert second.calls[-1] == "Put"


def test_a_write_goes_on_where_it_was_certainly_not_sent(
    connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    gone, there = scripted(), scripted()
    gone.stop()
    connect([gone.endpoint, there.endpoint]).put("k", "v")
    assert there.calls == ["Put"]


@pytest.mark.parametrize(
    "script",
    [
        aborts(Code.UNAVAILABLE, "etcdserver: no leader"),
        lambda server, *_: server.closing.wait(SECONDS) and None,
    ],
    ids=["no leader", "silent"],
)
def test_after_a_write_has_failed_the_next_one_is_made_elsewhere(
    script: Script, connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    """A member that is cut off from the others must not keep a client that only writes."""
    first, second = scripted(script), scripted()
    client = connect([first.endpoint, second.endpoint], timeout=0.3)
    with pytest.raises(EtcdError):
        client.put("k", "1")
    client.put("k", "2")
    assert (first.calls, second.calls) == (["Put"], ["Put"])


def test_a_read_is_given_up_at_its_deadline(connect: Connect, scripted: Callable[..., Scripted]) -> None:
    servers = [scripted(aborts(Code.UNAVAILABLE, "etcdserver: leader changed")) for _ in range(2)]
    with pytest.raises(EtcdError, match="leader changed"):
        connect([one.endpoint for one in servers], timeout=0.5).get("k")
    # Again and again, at both, but with pauses that grow.
    assert min(len(one.calls) for one in servers) >= 2
    assert max(len(one.calls) for one in servers) < 12


@pytest.mark.parametrize("call", [WRITES["Put"], READS["Range"]], ids=["Put", "Range"])
def test_a_token_that_is_never_taken(
    call: Callable[[Client], Any], connect: Connect, scripted: Callable[..., Scripted]
) -> None:
    server = scripted(aborts(Code.UNAUTHENTICATED, "etcdserver: invalid auth token"))
    with pytest.raises(Unauthenticated) as caught:
        call(connect(server.endpoint, user="alice", password="wonder"))
    assert not caught.value.maybe_applied
    assert server.calls.count("Authenticate") == 4
    assert len(server.calls) == 8


def test_a_token_is_fetched_once_for_many(connect: Connect, scripted: Callable[..., Scripted]) -> None:
    server = scripted()
    client = connect(server.endpoint, user="alice", password="wonder")
    for _ in range(3):
        client.put("k", "v")
    assert server.calls == ["Authenticate", "Put", "Put", "Put"]


MANY = 20


def slow_and(refusing: bool) -> Script:
    """Takes as long for a token as a password takes, and gives none if it is `refusing`."""

    def script(server: Scripted, name: str, context: grpc.ServicerContext) -> None:
        if name == "Authenticate":
            server.closing.wait(0.1)
            if refusing:
                text = "etcdserver: authentication failed, invalid user ID or password"
                context.abort(Code.INVALID_ARGUMENT, text)

    return script


@pytest.mark.parametrize("refusing", [False, True])
def test_who_comes_together_gets_one_token_together(
    refusing: bool, scripted: Callable[..., Scripted]
) -> None:
    server = scripted(slow_and(refusing))

    async def awaited() -> list[Any]:
        async with AsyncClient(server.endpoint, user="alice", password="wonder") as client:
            calls = (client.put("k", "v") for _ in range(MANY))
            return await asyncio.gather(*calls, return_exceptions=True)

    def called(client: Client) -> object:
        try:
            return client.put("k", "v")
        except AuthFailed as error:
            return error

    with (
        Client(server.endpoint, user="alice", password="wonder") as client,
        ThreadPoolExecutor(MANY) as threads,
    ):
        results = list(threads.map(called, [client] * MANY))
    results += asyncio.run(awaited())
    assert [isinstance(one, AuthFailed) for one in results] == [refusing] * 2 * MANY
    assert server.calls.count("Put") == (0 if refusing else 2 * MANY)
    # Of the threads, one may come when the first are done.
    assert server.calls.count("Authenticate") <= (6 if refusing else 2)


def test_who_waits_for_a_token_of_others_has_its_own_time(scripted: Callable[..., Scripted]) -> None:
    server = scripted(lambda server, name, context: server.closing.wait(SECONDS) and None)

    async def scenario() -> None:
        async with AsyncClient(server.endpoint, user="alice", password="wonder") as client:
            patient = asyncio.create_task(client.put("k", "v"))
            while not server.calls:
                await asyncio.sleep(0.01)
            with pytest.raises(DeadlineExceeded):
                await client.within(0.1).put("k", "v")
            patient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await patient
            with pytest.raises(DeadlineExceeded):
                await client.within(0.1).put("k", "v")

    asyncio.run(scenario())
    assert server.calls == ["Authenticate", "Authenticate"]


def test_who_insists_may_repeat(connect: Connect, scripted: Callable[..., Scripted]) -> None:
    first, second = scripted(aborts(Code.UNAVAILABLE, "etcdserver: leader changed")), scripted()
    client = connect([first.endpoint, second.endpoint])
    client.call(rpcs.PUT, pb.PutRequest(key=b"k", value=b"v"), repeatable=True)
    assert (first.calls, second.calls) == (["Put"], ["Put"])
