"""The v2 door of a member in this process: what it answers when the log does not take a request, and to
whatever a stranger may send.
"""

from __future__ import annotations

import asyncio
import io
import random
from typing import TYPE_CHECKING

import aiohttp

from etcdpy import embed
from etcdpy.rpc import v2_forms
from etcdpy.server import member
from etcdpy.server.log import Logger
from etcdpy.v2store import V2Error
from tests.support.inprocess import configurations, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    Test = Callable[[embed.Server, aiohttp.ClientSession], Awaitable[None]]


def with_member(directory: Path, test: Test) -> None:
    async def scenario() -> None:
        (config,) = configurations(directory, 1, enable_v2=True)
        server = await embed.start(config, Logger.silent())
        try:
            async with aiohttp.ClientSession(server.client_urls[0]) as session:
                await test(server, session)
        finally:
            await server.stop()

    run(scenario())


def test_what_the_log_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(server: embed.Server, session: aiohttp.ClientSession) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(member, "UNAPPLIED_ENTRIES_MAX", -1)
            async with session.put("/v2/keys/a", data={"value": "x"}) as response:
                assert response.status == 500
                expected = {
                    "errorCode": 300,
                    "message": "Raft Internal Error",
                    "cause": "etcdserver: too many requests",
                    "index": 0,
                }
                assert await response.json() == expected
        async with session.put("/v2/keys" + "/a" * 101, data={"value": "x"}) as response:
            assert (response.status, (await response.json())["errorCode"]) == (400, 210)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        large = io.BytesIO(b"value=" + b"x" * 3_000_000)
        async with session.put("/v2/keys/a", data=large, headers=form) as response:
            assert (response.status, len((await response.json())["node"]["value"])) == (201, 3_000_000)
        too_large = io.BytesIO(b"value=" + b"x" * 10_500_000)
        async with session.put("/v2/keys/a", data=too_large, headers=form) as response:
            assert (await response.json())["cause"] == "http: POST too large"

    with_member(tmp_path, test)


def test_a_waiting_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    async def test(server: embed.Server, session: aiohttp.ClientSession) -> None:
        watchers = server.member.state.v2.watchers
        for end in ("close", "eof"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.client_urls[0][17:]))
            writer.write(b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert watchers.count == 1
            if end == "eof":
                writer.write_eof()
            else:
                writer.close()
            await until(lambda: watchers.count == 0)
            writer.close()

    with_member(tmp_path, test)


def test_any_form_is_read_or_refused() -> None:
    chance = random.Random(7)
    names = ("value", "ttl", "dir", "prevExist", "prevIndex", "prevValue", "refresh", "wait", "recursive")
    values = ("", "1", "true", "-1", "9" * 40, "%zz", "a;b", "\u0663", "1e3", "+1", " 1", "%C3%28", "&", "=")
    read = 0
    for _ in range(3000):
        fields = (f"{chance.choice(names)}={chance.choice(values)}" for _ in range(chance.randrange(4)))
        query, body = "&".join(fields), chance.choice(("", "value=x", "ttl=5&ttl=6", "%"))
        path = "/v2/keys" + chance.choice(("", "/", "/a", "//a/../..", "/%2e%2e/%00", "/\u00e9%ff"))
        method = chance.choice(("GET", "PUT", "POST", "DELETE", "HEAD"))
        try:
            asked = v2_forms.parse(method, path, query, body, 1_800_000_000 * 10**9)
        except V2Error:
            continue
        read += 1
        assert asked.request.Path == "/1" or asked.request.Path.startswith("/1/")
        assert asked.request.SerializeToString()
    assert read > 300
