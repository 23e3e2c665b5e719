"""The client while members are killed: no event is lost or comes twice, no put is made twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import Client, EtcdError, prefix
from etcdpy.testing.cluster import Cluster
from tests.support.programs import durable_etcd_kind
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

KILLS = 3
SECONDS = 30.0


class Writer:
    """Puts values that are all different, one after the other, and notes what was said of each."""

    def __init__(self, client: Client) -> None:
        self.acknowledged: list[bytes] = []
        self.unknown: list[bytes] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            value = b"%d" % number
            try:
                self._client.put("w/key", value)
                self.acknowledged.append(value)
            except EtcdError as error:
                if error.maybe_applied:
                    self.unknown.append(value)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


def check(seen: list[bytes], writer: Writer) -> None:
    assert len(set(seen)) == len(seen), "a value was put twice"
    assert [value for value in seen if value not in set(writer.unknown)] == writer.acknowledged
    assert set(seen) <= {*writer.acknowledged, *writer.unknown}


def wait_for_more(writer: Writer, count: int = 20) -> None:
    goal, ticker = len(writer.acknowledged) + count, threading.Event()
    for _ in range(int(SECONDS / 0.01)):
        if len(writer.acknowledged) >= goal:
            return
        ticker.wait(0.01)
    raise AssertionError(f"{len(writer.acknowledged)} puts, and no more")


def collect(client: Client, watch_from: int, last: bytes) -> list[bytes]:
    seen = []
    with client.watch("w/key", start_revision=watch_from) as watch:
        while not seen or seen[-1] != last:
            seen += [event.value for event in watch.next_batch(SECONDS).events]
    return seen


@pytest.mark.parametrize("which", ["candidate", "durable"])
def test_kill_under_a_watch_and_puts(which: str, candidate: Kind, tmp_path: Path) -> None:
    kind = candidate if which == "candidate" else durable_etcd_kind()
    if kind is None:
        pytest.skip("real etcd 3.5.1 loses what it acknowledged when it is killed, and there is no other")
    with Server(kind, tmp_path) as server, Client(server.endpoint) as client:
        first = client.get("w/key").header.revision + 1
        with client.watch(prefix("w/")) as watch, client.lease(60) as lease:
            writer = Writer(client)
            for _ in range(KILLS):
                wait_for_more(writer)
                server.kill()
                server.start()
            wait_for_more(writer)
            writer.stop()
            assert not lease.is_lost
            last = client.put("w/key", "end").header.revision
            seen = []
            while watch.revision < last:
                seen += [event.value for event in watch.next_batch(SECONDS).events]
        assert seen.pop() == b"end"
        check(seen, writer)
        assert collect(client, first, b"end")[:-1] == seen


def test_members_fail_one_after_the_other(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster, Client(cluster.endpoints) as client:
        with client.watch(prefix("w/")) as watch:
            writer = Writer(client)
            for member in cluster.members[:2]:
                wait_for_more(writer)
                cluster.kill(member)
                wait_for_more(writer)
                cluster.start_member(member)
            writer.stop()
            last = client.put("w/key", "end").header.revision
            seen = []
            while watch.revision < last:
                seen += [event.value for event in watch.next_batch(SECONDS).events]
        assert seen.pop() == b"end"
        check(seen, writer)
