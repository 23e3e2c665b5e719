"""The entry point of the container image, as a plain process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from etcdpy import container, embed
from etcdpy.auth import AuthInfo
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.log import Logger
from tests.support.client import Client, Refusal
from tests.support.inprocess import configurations, run, until
from tests.support.programs import Kind, clean_environment
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

    from etcdpy.server.results import Result

MODULE = (sys.executable, "-m", "etcdpy.container")


@pytest.mark.parametrize(
    ("environment", "password", "left"),
    [
        ({}, "", {}),
        ({"ETCD_ROOT_PASSWORD": "secret", "ETCD_NAME": "a"}, "secret", {"ETCD_NAME": "a"}),
        ({"ALLOW_NONE_AUTHENTICATION": "yes"}, "", {}),
        ({"ALLOW_NONE_AUTHENTICATION": "YES", "ETCD_ROOT_PASSWORD": "x"}, "x", {}),
        ({"ALLOW_NONE_AUTHENTICATION": "no", "ETCD_ROOT_PASSWORD": "x"}, "x", {}),
        ({"BITNAMI_DEBUG": "true"}, "", {"ETCD_LOG_LEVEL": "debug"}),
        ({"BITNAMI_DEBUG": "true", "ETCD_LOG_LEVEL": "warn"}, "", {"ETCD_LOG_LEVEL": "warn"}),
        ({"BITNAMI_DEBUG": "false"}, "", {}),
    ],
)
def test_settings(environment: dict[str, str], password: str, left: dict[str, str]) -> None:
    assert container.take_settings(environment) == password
    assert environment == left


def test_the_password_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    assert container.take_settings({"ETCD_ROOT_PASSWORD_FILE": str(file)}) == "from a file"
    file.write_text("\n")
    with pytest.raises(container.BadSetting, match="is empty"):
        container.take_settings({"ETCD_ROOT_PASSWORD_FILE": str(file)})


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"ALLOW_NONE_AUTHENTICATION": "no"}, "set ETCD_ROOT_PASSWORD"),
        ({"ALLOW_NONE_AUTHENTICATION": "perhaps"}, "it may be yes or no"),
        ({"ETCD_ROOT_PASSWORD": "a", "ETCD_ROOT_PASSWORD_FILE": "/b"}, "both set"),
        ({"ETCD_ROOT_PASSWORD_FILE": "/nowhere"}, "No such file"),
    ],
)
def test_what_may_not_be_passed_over(environment: dict[str, str], text: str) -> None:
    with pytest.raises(container.BadSetting, match=text):
        container.take_settings(environment)


@pytest.mark.cluster
def test_a_process_with_a_root_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.support.server.clean_environment", lambda: clean_environment(ETCD_ROOT_PASSWORD="secret")
    )
    server = Server(Kind("container", (*MODULE, "etcd")), tmp_path, ["--bcrypt-cost=4"])
    with server:
        for _ in range(2):
            with Client(server.endpoint) as client:
                refused = client.outcome(pb.PutRequest(key=b"a"))
                assert isinstance(refused, Refusal)
                assert "user name is empty" in refused.text
                token = client.ask(
                    pb.AuthenticateRequest(name="root", password="secret"), pb.AuthenticateResponse
                )
                assert token.token
            server.restart()
    assert "secret" not in server.log_path.read_text()


def test_other_programs_run_instead() -> None:
    done = subprocess.run([*MODULE, "echo", "a", "b"], capture_output=True, text=True, check=True)
    assert done.stdout == "a b\n"
    missing = subprocess.run([*MODULE, "no-such-program"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stderr) == (127, "no-such-program: not found\n")
    forbidden = subprocess.run(
        MODULE, capture_output=True, text=True, check=False, env={"ALLOW_NONE_AUTHENTICATION": "no"}
    )
    assert forbidden.returncode == 1


def test_founders_make_one_root_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        configs = configurations(tmp_path, 3, bcrypt_cost=4)
        starts = (embed.start(config, Logger.silent(), root_password="secret") for config in configs)
        servers = list(await asyncio.gather(*starts))
        try:
            await until(lambda: all(server.member.state.auth.is_enabled for server in servers))
        finally:
            for server in servers:
                await server.stop()

    run(scenario())


def test_what_was_begun_is_ended_and_what_was_switched_off_stays_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        (config,) = configurations(tmp_path, 1, bcrypt_cost=4)
        server = await embed.start(config, Logger.silent())
        # As if it had died when the user was there and auth was not on yet.
        await propose(server, "auth_user_add", pb.AuthUserAddRequest(name="root", hashedPassword="eA=="))
        await propose(server, "auth_user_grant_role", pb.AuthUserGrantRoleRequest(user="root", role="root"))
        await server.stop()
        server = await embed.start(config, Logger.silent(), root_password="secret")
        assert server.member.state.auth.is_enabled
        await propose(server, "auth_disable", pb.AuthDisableRequest())
        await server.stop()
        server = await embed.start(config, Logger.silent(), root_password="secret")
        assert not server.member.state.auth.is_enabled
        await server.stop()

    run(scenario())


async def propose(server: embed.Server, kind: str, request: Message) -> None:
    answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    info = AuthInfo("root", server.member.state.auth.revision)
    server.member.propose(kind, request, request.SerializeToString(), answered.set_result, info)
    assert (await answered).error is None
