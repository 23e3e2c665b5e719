"""Data directories that must not be started on: each gets a message that says where and what to do."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from etcdpy import embed
from etcdpy.backend import BackendCorrupt
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.bootstrap import DataDirectoryError
from etcdpy.server.config import Config
from etcdpy.server.log import Logger

if TYPE_CHECKING:
    from pathlib import Path


def live(directory: Path, puts: int, token: str = "etcd-cluster") -> None:
    """Start a member, write, and end it."""

    async def run() -> None:
        config = Config.for_test(directory)
        config.initial_cluster_token = token
        server = await embed.start(config, Logger.silent())
        try:
            for number in range(puts):
                request = pb.PutRequest(key=b"%d" % number)
                done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
                server.member.propose("put", request, request.SerializeToString(), done.set_result)
                await asyncio.wait_for(done, 10)
        finally:
            await server.stop()

    asyncio.run(run())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    live(tmp_path / "data", 20)
    return tmp_path / "data"


def test_a_database_without_its_log(directory: Path) -> None:
    shutil.rmtree(directory / "member" / "wal")
    with pytest.raises(DataDirectoryError, match=r"is at index \d+, but there is no log in .*--wal-dir"):
        live(directory, 1)
    assert not (directory / "member" / "wal").exists(), "a second try would find a log"
    with pytest.raises(DataDirectoryError, match="there is no log"):
        live(directory, 1)


def test_the_log_of_another_member(directory: Path, tmp_path: Path) -> None:
    live(tmp_path / "other", 2)
    shutil.rmtree(directory / "member" / "wal")
    shutil.copytree(tmp_path / "other" / "member" / "wal", directory / "member" / "wal")
    with pytest.raises(DataDirectoryError, match=r"is at index \d+, but .* ends at \d+: .*another member's"):
        live(directory, 1)


def test_the_log_of_another_cluster_that_is_long_enough(directory: Path, tmp_path: Path) -> None:
    live(tmp_path / "other", 40, token="another")
    ours = directory / "member" / "wal"
    ours.rename(tmp_path / "ours")
    shutil.copytree(tmp_path / "other" / "member" / "wal", ours)
    with pytest.raises(
        DataDirectoryError,
        match=r"db is the database of member \w+ of cluster \w+, but the log in .*wal is that of member",
    ):
        live(directory, 1)
    shutil.rmtree(ours)
    (tmp_path / "ours").rename(ours)
    live(directory, 1)


def test_a_database_that_is_none(directory: Path) -> None:
    (directory / "member" / "snap" / "db").write_bytes(b"garbage!" * 5000)
    with pytest.raises(BackendCorrupt, match="not an LMDB file"):
        live(directory, 1)


def test_a_lost_database_is_made_again_from_the_log(directory: Path) -> None:
    (directory / "member" / "snap" / "db").unlink()
    live(directory, 1)


def test_a_first_start_that_died_before_its_log(tmp_path: Path) -> None:
    (tmp_path / "data" / "member" / "snap").mkdir(parents=True)
    (tmp_path / "data" / "member" / "snap" / "db").touch()
    live(tmp_path / "data", 1)
