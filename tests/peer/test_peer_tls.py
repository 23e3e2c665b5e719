"""TLS on the peer port: who is let in, whom we trust, and how files may change under a running member."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from etcdpy.peer.tls import PeerTls
from etcdpy.server.config import Config
from etcdpy.tls.settings import BadTls
from tests.support.pki import Authority, Identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
DEADLINE_S = 20


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test on each loop."""

    def on_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, DEADLINE_S))

    return on_loop


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.member()


class Log:
    """Stands in for the log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, message: str, /, **fields: object) -> None:
        self.lines.append((message, fields))

    debug = warn = error = info

    def told(self, text: str) -> bool:
        return any(text in f"{message} {fields}" for message, fields in self.lines)


class Names:
    """A resolver that knows one host."""

    def __init__(self, **addresses: str) -> None:
        self._addresses = {name.replace("_", "."): address for name, address in addresses.items()}

    async def addresses(self, name: str) -> list[str]:
        return [self._addresses[name]] if name in self._addresses else []

    async def names(self, address: str) -> list[str]:
        return [name for name, at in self._addresses.items() if at == address]


def tls_of(authority: Authority, identity: Identity, log: Log | None = None, **settings: Any) -> PeerTls:
    resolver: Any = settings.pop("resolver", None) or Names()
    files: dict[str, Any] = {
        "peer_cert_file": str(identity.cert),
        "peer_key_file": str(identity.key),
        "peer_trusted_ca_file": str(authority.ca),
        "peer_client_cert_auth": True,
    }
    anything: Any = log or Log()
    return PeerTls(Config(**files | settings), anything, resolver)


@asynccontextmanager
async def serving(tls: PeerTls) -> AsyncIterator[int]:
    """A peer port that answers 200; its number."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        if not await tls.admits(request.transport):
            request.transport.abort()
        return web.Response(text="in")

    server = web.Server(handle)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls.listening)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(0.1)
        await listener.wait_closed()


async def gets_in(port: int, tls: PeerTls | ssl.SSLContext, host: str = "127.0.0.1") -> bool:
    """Whether a call on a connection of its own is answered."""
    context = tls.dialling if isinstance(tls, PeerTls) else tls
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.get(f"https://{host}:{port}/") as response:
                return await response.text() == "in"
        except (aiohttp.ClientError, OSError):
            return False


def test_members_let_each_other_in_and_nobody_else(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority, identity: Identity, tmp_path: Path
) -> None:
    async def main() -> None:
        log = Log()
        ours = tls_of(authority, identity, log)
        other = Authority(tmp_path / "other")
        async with serving(ours) as port:
            assert await gets_in(port, ours)
            assert await gets_in(port, ours, "localhost")
            assert not await gets_in(port, authority.trust())
            stranger = other.member()
            assert not await gets_in(port, authority.trust(stranger))
            assert log.told("rejected TLS connection between members")
            # Nor do we talk to somebody who is not one of us.
            assert not await gets_in(port, tls_of(other, stranger))

    run(main())


def test_a_certificate_for_calls_may_be_another_one(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority
) -> None:
    async def main() -> None:
        server, client = authority.server("only-server"), authority.client("only-client")
        alone = tls_of(authority, server)
        both = tls_of(
            authority, server, peer_client_cert_file=str(client.cert), peer_client_key_file=str(client.key)
        )
        async with serving(both) as port:
            assert await gets_in(port, both)
            # A certificate for servers is none for clients.
            assert not await gets_in(port, alone)

    run(main())


def test_only_allowed_names(run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority) -> None:
    async def main() -> None:
        good = authority.member("good", ["127.0.0.1", "good.example"])
        bad = authority.member("bad", ["127.0.0.1", "bad.example"])
        for setting in (
            {"peer_cert_allowed_cn": ("good",)},
            {"peer_cert_allowed_hostname": ("good.example",)},
        ):
            choosy, careless = tls_of(authority, good, **setting), tls_of(authority, bad)
            async with serving(choosy) as port:
                assert await gets_in(port, choosy)
                assert not await gets_in(port, careless)
            # The name of who answers counts as well.
            async with serving(careless) as port:
                assert await gets_in(port, careless)
                assert not await gets_in(port, choosy)

    run(main())


def test_revoked_certificates(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority, identity: Identity
) -> None:
    async def main() -> None:
        lost = authority.member("lost")
        log = Log()
        careful = tls_of(authority, identity, log, peer_crl_file=str(authority.revoke(lost)))
        async with serving(careful) as port:
            assert await gets_in(port, careful)
            assert not await gets_in(port, tls_of(authority, lost))
            assert log.told(f"certificate serial {lost.serial:x} has been revoked")

    run(main())


def test_a_caller_must_be_where_its_certificate_says(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority, identity: Identity
) -> None:
    async def main() -> None:
        callers = {
            "by-address": (["127.0.0.1"], True),
            "elsewhere": (["192.0.2.1"], False),
            "by-name": (["m1.example"], True),
            "by-wildcard": (["*.example"], True),
            "unknown-name": (["m2.example"], False),
            "other-wildcard": (["*.example.org"], False),
            "one-of-two": (["192.0.2.1", "m1.example"], True),
            "no-names": ([], True),
        }
        names = {"m1_example": "127.0.0.1", "m2_example": "192.0.2.2"}
        strict = tls_of(authority, identity, resolver=Names(**names))
        lenient = tls_of(authority, identity, peer_skip_client_san_verification=True)
        for name, (hosts, expected) in callers.items():
            caller = tls_of(authority, authority.member(name, hosts))
            async with serving(strict) as port:
                assert await gets_in(port, caller) is expected, name
            async with serving(lenient) as port:
                assert await gets_in(port, caller), name

    run(main())


def test_files_are_read_again_when_they_change(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        first, second = Authority(tmp_path / "now"), Authority(tmp_path / "next")
        before, after = first.member(), second.member()
        log = Log()
        tls = tls_of(first, before, log)
        async with serving(tls) as port:
            assert await gets_in(port, tls)
            # Half of a new pair does not fit; the former one goes on.
            before.cert.write_bytes(after.cert.read_bytes())
            assert await gets_in(port, first.trust(first.client()))
            assert log.told("failed to reload peer TLS files")
            before.key.write_bytes(after.key.read_bytes())
            first.ca.write_bytes(second.ca.read_bytes())
            assert await gets_in(port, tls)
            assert log.told("reloaded peer TLS files")
            assert await gets_in(port, tls_of(second, after))
            # What was trusted before is trusted no more.
            old = ssl.create_default_context(cafile=str(second.ca))
            client = first.client("late")
            old.load_cert_chain(client.cert, client.key)
            assert not await gets_in(port, old)

    run(main())


def test_one_name_for_all_members(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority
) -> None:
    async def main() -> None:
        tls = tls_of(authority, authority.member("of-domain", ["example.org", "127.0.0.1"]))
        by_domain = tls_of(authority, authority.member("of-domain-only", ["127.0.0.1"]))
        by_domain.expect_name("example.org")
        async with serving(tls) as port:
            assert await gets_in(port, by_domain)
        async with serving(by_domain) as port:
            assert not await gets_in(port, by_domain)

    run(main())


def test_versions_and_suites(
    run: Callable[[Coroutine[Any, Any, None]], None], authority: Authority, identity: Identity
) -> None:
    async def main() -> None:
        new = tls_of(authority, identity, tls_min_version="TLS1.3")
        old = tls_of(
            authority,
            identity,
            tls_max_version="TLS1.2",
            cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",),
        )
        other = tls_of(
            authority,
            identity,
            tls_max_version="TLS1.2",
            cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",),
        )
        async with serving(new) as port:
            assert await gets_in(port, new)
            assert not await gets_in(port, old)
        async with serving(old) as port:
            assert await gets_in(port, old)
            assert not await gets_in(port, other)

    run(main())


def test_files_that_cannot_be_used(authority: Authority, identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(BadTls, match="cannot use the TLS files of the peer port"):
        tls_of(authority, identity, peer_key_file=str(tmp_path / "missing"))
    with pytest.raises(BadTls):
        tls_of(authority, identity, peer_crl_file=str(identity.cert))
