"""kill -9 at random moments under load: what was acknowledged is there, and nothing is half there.

Every round starts writers, kills the server in their midst, starts it again on the same directory and reads
the whole history since the last round. Each revision of it must be exactly one request's doing: the one that
was acknowledged at that revision, or else one that was in flight. Replaying those requests in
the model must give the same events, the same keys and the same HashKV.

By hand: `pytest tests/crash -m slow --seed=7 --rounds=100`.
"""

from __future__ import annotations

import random
import threading
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.load import Journal, Load
from tests.support.model import Change, KeyBucket, change_of
from tests.support.programs import durable_etcd_kind
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

ANSWERS_MIN, ANSWERS_MAX = 60, 700  # in one round, before the kill
LOAD_SECONDS_MAX = 60.0
# Raft snapshots and their clean-up happen within a round, so that some kills fall into them.
FLAGS = ("--snapshot-count=150",)


class CrashTest:
    """One server, its journal, and the model that follows behind."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._seed = seed
        self._random = random.Random(seed)
        self._journal = Journal()
        self._model = KeyBucket()

    def round(self, number: int) -> None:
        load = Load(
            self._server.endpoint,
            self._journal,
            self._seed * 10_000 + number,
            compactable_to=self._model.revision,
        )
        wanted = self._journal.answers + self._random.randint(ANSWERS_MIN, ANSWERS_MAX)
        load.start()
        busy = self._journal.wait_for_answers(wanted, LOAD_SECONDS_MAX)
        threading.Event().wait(self._random.uniform(0, 0.02))  # not always just after an answer
        self._server.kill()
        load.join(LOAD_SECONDS_MAX)
        assert busy, f"only {self._journal.answers} of {wanted} answers in {LOAD_SECONDS_MAX} s"
        self._server.start()
        self.verify()

    def verify(self) -> None:
        """Compare the server with the journal and the model, and bring the model up to date."""
        assert not self._journal.faults, self._journal.faults
        with Client(self._server.endpoint) as client:
            revision = client.revision()
            assert revision >= self._journal.revision_seen, "the revision went back"
            for main, events in self._history(client, revision):
                self._replay(main, events)
            assert self._model.revision == revision
            self._check_keys(client)
            self._check_leases(client)
            self._check_hashes(client)
        self._journal.in_flight.clear()  # what has not arrived by now never will

    def _history(self, client: Client, revision: int) -> list[tuple[int, list[Change]]]:
        """All events after the model's revision, by revision."""
        if revision == self._model.revision:
            return []
        with closing(client.watch_stream()) as stream:
            stream.create(key=b"\x00", range_end=b"\x00", start_revision=self._model.revision + 1)

            def complete() -> bool:
                last = stream.responses[-1] if stream.responses else None
                return last is not None and bool(last.events) and last.events[-1].kv.mod_revision >= revision

            arrived = stream.wait(complete)
            assert arrived, (
                f"no history from {self._model.revision + 1} to {revision}: {stream.responses[-1:]}"
            )
            events = [change_of(event) for response in stream.responses for event in response.events]
        return [(main, list(group)) for main, group in groupby(events, lambda event: event.mod_revision)]

    def _replay(self, main: int, events: list[Change]) -> None:
        assert main == self._model.revision + 1, f"revision {main} follows {self._model.revision}"
        request = self._journal.acknowledged.get(main)
        if request is None:
            request = self._culprit(main, events)
            self._journal.in_flight.remove(request)
        assert self._model.apply(request) == events, (
            f"revision {main} is not what was acknowledged: {request}"
        )

    def _culprit(self, main: int, events: list[Change]) -> Message:
        """The request in flight that did exactly this."""
        for request in self._journal.in_flight:
            if self._model.preview(request) == events:
                return request
        raise AssertionError(f"nobody asked for revision {main}, or it is half of a request: {events}")

    def _check_keys(self, client: Client) -> None:
        kvs = client.range(b"\x00", b"\x00").kvs
        found = [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in kvs]
        assert found == [tuple(self._model.live[key]) for key in sorted(self._model.live)]

    def _check_leases(self, client: Client) -> None:
        answer = client.ask(pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
        found = {lease.ID for lease in answer.leases}
        certain = self._journal.leases_granted - self._journal.leases_doubtful
        assert certain <= found, f"acknowledged leases are gone: {certain - found}"
        assert found <= certain | self._journal.leases_doubtful, (
            "a lease nobody granted, or one that was revoked"
        )
        attached = {kv.lease for kv in self._model.live.values()} - {0}
        assert attached <= found, "a key outlived its lease"
        self._journal.leases_granted = found
        self._journal.leases_doubtful = set()

    def _check_hashes(self, client: Client) -> None:
        compacted = client.hash_kv().compact_revision
        assert self._journal.compaction_acknowledged <= compacted <= self._journal.compaction_asked
        self._model.compact_revision = compacted
        some = {self._random.randint(max(compacted + 1, 1), self._model.revision) for _ in range(3)}
        for revision in (*sorted(some), self._model.revision):
            assert client.hash_kv(revision).hash == self._model.hash_at(revision), f"HashKV at {revision}"


def run_rounds(server: Server, seed: int, rounds: int) -> None:
    test = CrashTest(server, seed)
    for number in range(rounds):
        try:
            test.round(number)
        except AssertionError as error:
            error.add_note(f"seed {seed}, round {number}; log of the server:\n{server.log_tail(12)}")
            raise
    server.restart()  # and a polite end loses nothing either
    test.verify()


def test_nothing_acknowledged_is_lost(
    candidate: Kind, seed: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    with Server(candidate, tmp_path, FLAGS) as server:
        run_rounds(server, seed, int(pytestconfig.getoption("--rounds")) or 4)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_nothing_acknowledged_is_lost_twenty_times(
    candidate: Kind, seed: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    with Server(candidate, tmp_path, FLAGS) as server:
        run_rounds(server, seed, int(pytestconfig.getoption("--rounds")) or 20)


def test_the_test_itself_on_real_etcd(seed: int, tmp_path: Path) -> None:
    """Whatever fails here is wrong in the model or in the test. (It does find the write that 3.5.1 loses.)"""
    kind = durable_etcd_kind()
    if kind is None:
        pytest.skip("no etcd on this machine that survives kill -9")
    with Server(kind, tmp_path, FLAGS) as server:
        run_rounds(server, seed, 2)
