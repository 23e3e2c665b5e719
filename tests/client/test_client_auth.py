"""Users and tokens by both sides of the client, on real etcd and on us."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from etcdpy.client import (
    AsyncClient,
    AuthFailed,
    AuthStatus,
    Client,
    EtcdError,
    InvalidArgument,
    Permission,
    PermissionDenied,
    prefix,
)
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.client.conftest import Connect
    from tests.support.programs import Kind

TTL_S = 1
# The server looks for tokens that have had their time once a second.
EXPIRED_S = TTL_S + 1.2
SECONDS = 30.0


def eventually(is_true: Callable[[], bool]) -> bool:
    ticker = threading.Event()
    return any(is_true() or ticker.wait(0.01) for _ in range(int(SECONDS / 0.01)))


@pytest.fixture(scope="module", params=["reference", "candidate"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind: Kind = request.getfixturevalue(request.param)
    flags = (f"--auth-token-ttl={TTL_S}",)
    with Server(kind, tmp_path_factory.mktemp(kind.name), flags) as server:
        yield server


@pytest.fixture
def guarded(server: Server) -> Iterator[Server]:
    """Auth is on: root may do everything, alice writes below `a/` and reads below `b/`."""
    with Client(server.endpoint) as client:
        client.delete(prefix(""))
        client.user_add("root", "secret")
        client.role_add("root")
        client.user_grant_role("root", "root")
        client.user_add("alice", "wonder")
        client.role_add("tenant")
        client.role_grant_permission("tenant", "readwrite", prefix("a/"))
        client.role_grant_permission("tenant", "read", prefix("b/"))
        client.user_grant_role("alice", "tenant")
        client.auth_enable()
    yield server
    with Client(server.endpoint, user="root", password="secret") as client:
        client.auth_disable()
        for name in client.user_list():
            client.user_delete(name)
        for role in client.role_list():
            client.role_delete(role)


def test_all_calls(server: Server, connect: Connect) -> None:
    client = connect(server.endpoint)
    before = client.auth_status()
    assert before.enabled is False
    client.user_add("bob", "1")
    client.user_add("carol", None)
    client.role_add("r")
    client.role_grant_permission("r", "write", "k")
    client.role_grant_permission("r", "read", prefix("p/"))
    assert client.role_get("r") == [Permission("write", b"k"), Permission("read", prefix("p/"))]
    client.role_revoke_permission("r", "k")
    assert client.role_get("r") == [Permission("read", prefix("p/"))]
    client.user_grant_role("bob", "r")
    assert (client.user_list(), client.role_list(), client.user_get("bob")) == (
        ["bob", "carol"],
        ["r"],
        ["r"],
    )
    client.user_revoke_role("bob", "r")
    client.user_change_password("bob", "2")
    assert client.user_get("bob") == []
    client.role_delete("r")
    client.user_delete("bob")
    client.user_delete("carol")
    assert (client.user_list(), client.role_list()) == ([], [])
    assert client.auth_status() == AuthStatus(False, before.auth_revision + 12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda client: client.auth_enable(), "etcdserver: root user does not exist"),
        (lambda client: client.user_get("nobody"), "etcdserver: user name not found"),
        (lambda client: client.role_get("nothing"), "etcdserver: role name not found"),
        (lambda client: client.user_add("", "x"), "etcdserver: user name is empty"),
        (lambda client: client.role_revoke_permission("nothing", "k"), "etcdserver: role name not found"),
    ],
    ids=range(5),
)
def test_refusals(server: Server, connect: Connect, call: object, text: str) -> None:
    with pytest.raises(EtcdError) as caught:
        call(connect(server.endpoint))  # type: ignore[operator]
    assert (caught.value.text, caught.value.maybe_applied) == (text, False)


def test_permissions(guarded: Server, connect: Connect) -> None:
    alice = connect(guarded.endpoint, user="alice", password="wonder")
    alice.put("a/1", "x")
    assert [kv.key for kv in alice.get(prefix("a/"))] == [b"a/1"]
    assert alice.get("b/1").value is None
    for refused in (lambda: alice.put("b/1", "x"), lambda: alice.get("c"), alice.user_list):
        with pytest.raises(PermissionDenied, match=r"^etcdserver: permission denied$") as caught:
            refused()
        assert not caught.value.maybe_applied
    root = connect(guarded.endpoint, user="root", password="secret")
    root.put("c", "x")
    assert root.user_list() == ["alice", "root"]


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "x")])
def test_wrong_password_or_user(guarded: Server, connect: Connect, user: str, password: str) -> None:
    client = connect(guarded.endpoint, user=user, password=password)
    for call in (lambda: client.get("a/1"), lambda: client.put("a/1", "x")):
        with pytest.raises(AuthFailed) as caught:
            call()
        assert caught.value.text == "etcdserver: authentication failed, invalid user ID or password"
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert not caught.value.maybe_applied


def test_nobody_may_do_nothing(guarded: Server, connect: Connect) -> None:
    with pytest.raises(InvalidArgument, match=r"^etcdserver: user name is empty$"):
        connect(guarded.endpoint).put("a/1", "x")


def test_user_where_auth_is_off_and_then_on(
    server: Server, connect: Connect, request: pytest.FixtureRequest
) -> None:
    client = connect(server.endpoint, user="alice", password="wonder")
    client.put("c", "x")
    request.getfixturevalue("guarded")
    client.put("a/1", "x")
    with pytest.raises(PermissionDenied):
        client.put("c", "x")


def test_expired_token_is_fetched_anew_and_the_call_made_once(guarded: Server) -> None:
    alice = {"user": "alice", "password": "wonder"}

    async def scenario() -> None:
        async with (
            AsyncClient(guarded.endpoint, **alice) as awaited,
            AsyncClient(guarded.endpoint, **alice) as reader,
        ):
            before = (await awaited.put("a/1", "1")).header.revision
            plain = Client(guarded.endpoint, **alice)
            await asyncio.to_thread(plain.put, "a/1", "2")
            assert (await reader.get("a/1")).value == b"2"
            await asyncio.sleep(EXPIRED_S)
            assert (await awaited.put("a/1", "3")).header.revision == before + 2
            written = await asyncio.to_thread(plain.put, "a/1", "4")
            assert written.header.revision == before + 3
            assert (await reader.get("a/1")).kv.version == 4
            plain.close()

    asyncio.run(scenario())


def test_forgotten_token_and_another_password(guarded: Server, connect: Connect) -> None:
    client = connect(guarded.endpoint, user="alice", password="wonder")
    before = client.put("a/1", "x").header.revision
    guarded.restart()
    assert client.put("a/1", "y").header.revision == before + 1
    with Client(guarded.endpoint, user="root", password="secret") as root:
        root.user_change_password("alice", "land")
    with pytest.raises(AuthFailed):
        client.put("a/1", "z")
    again = connect(guarded.endpoint, user="alice", password="land")
    assert again.put("a/1", "z").header.revision == before + 2


def test_permission_that_was_given_later_counts_at_once(guarded: Server, connect: Connect) -> None:
    """The token is older than the rights: the server says that its revision is old, or takes the new ones."""
    client = connect(guarded.endpoint, user="alice", password="wonder")
    with pytest.raises(PermissionDenied):
        client.put("d", "x")
    with Client(guarded.endpoint, user="root", password="secret") as root:
        root.role_grant_permission("tenant", "write", "d")
    before = client.put("d", "x").header.revision
    with Client(guarded.endpoint, user="root", password="secret") as root:
        root.role_revoke_permission("tenant", "d")
        assert root.get("d").kv.version == 1
    with pytest.raises(PermissionDenied):
        client.put("d", "y")
    assert client.put("a/1", "x").header.revision == before + 1


def renewed_after(lease: Any, deadline: float) -> bool:
    return bool(lease._state.deadline > deadline)


def test_streams_outlive_their_token(guarded: Server) -> None:
    alice = {"user": "alice", "password": "wonder"}
    with (
        Client(guarded.endpoint, **alice) as client,
        Client(guarded.endpoint, **alice) as other,
        client.watch(prefix("a/")) as watch,
        client.lease(60) as lease,
    ):
        other.put("a/held", "1", lease=lease)
        assert next(watch).value == b"1"
        deadline = lease._state.deadline
        guarded.restart()
        client.put("a/2", "2")
        assert watch.next_batch(SECONDS).events[0].value == b"2"
        with other.watch(prefix("a/")) as new_with_forgotten_token:
            client.put("a/2", "3")
            assert new_with_forgotten_token.next_batch(SECONDS).events[0].value == b"3"
        assert eventually(lambda: renewed_after(lease, deadline))
        assert client.get("a/held").value == b"1"


def test_everything_outlives_its_token_on_the_asyncio_side(guarded: Server) -> None:
    """Calls that are refused together all get through, each once."""

    async def scenario() -> None:
        async with (
            AsyncClient(guarded.endpoint, user="alice", password="wonder") as client,
            client.watch(prefix("a/held")) as watch,
            client.lease(60) as lease,
        ):
            await client.put("a/held", "1", lease=lease)
            assert (await anext(watch)).value == b"1"
            deadline = lease._state.deadline
            await asyncio.to_thread(guarded.restart)
            await asyncio.gather(*(client.put(f"a/{number}", "x") for number in range(50)))
            kvs = (await client.get(prefix("a/"))).kvs
            assert [kv.version for kv in kvs] == [1] * 51
            await client.put("a/held", "2", lease=lease)
            assert (await watch.next_batch(SECONDS)).events[0].value == b"2"
            assert await asyncio.to_thread(eventually, lambda: renewed_after(lease, deadline))

    asyncio.run(scenario())


def test_watch_without_permission(guarded: Server) -> None:
    with Client(guarded.endpoint, user="alice", password="wonder") as client:
        with pytest.raises(EtcdError, match="permission denied"):
            client.watch("c")
        with client.watch("b/1") as watch:
            with Client(guarded.endpoint, user="root", password="secret") as root:
                root.put("b/1", "x")
            assert watch.next_batch(SECONDS).events[0].key == b"b/1"
