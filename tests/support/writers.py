"""Clients that write all the time and keep account: what was acknowledged must be there, always.

Each writer owns one key and counts up in it, over any member that answers, trying again elsewhere when one
does not. After each acknowledged write it reads the key back from some other member: a linearizable read must
not show less. An unacknowledged write may have happened or not; both are right.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

import grpc

from etcdpy.proto import rpc_pb2 as pb

from .client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")

# Short, so that what was on its way to a leader that died is soon tried again.
CALL_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0
# Answers after which a client tries again; anything else is a failed call. Real etcd also says that a
# proposal was dropped, while leadership moves.
RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.CANCELLED,
)


class Writer(threading.Thread):
    """One client."""

    def __init__(self, number: int, endpoints: Callable[[], Sequence[str]], stop: threading.Event) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.key = b"writer-%d" % number
        self.acknowledged = 0
        self.attempted = 0
        self.retries = 0
        self.longest_pause_s = 0.0
        self.failures: list[str] = []
        self._turn = number
        self._endpoints = endpoints
        self._stopping = stop
        self._clients: dict[str, Client] = {}

    def run(self) -> None:
        try:
            while not self._stopping.is_set() and not self.failures:
                started = time.monotonic()
                self._write()
                self._read()
                self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - started)
        finally:
            for client in self._clients.values():
                client.close()

    def _write(self) -> None:
        self.attempted += 1
        value = self.attempted
        if (
            self._until_answered(
                lambda client: client.ask(
                    pb.PutRequest(key=self.key, value=b"%d" % value), pb.PutResponse, CALL_SECONDS
                )
            )
            is not None
        ):
            self.acknowledged = value

    def _read(self) -> None:
        answer = self._until_answered(
            lambda client: client.ask(pb.RangeRequest(key=self.key), pb.RangeResponse, CALL_SECONDS)
        )
        if answer is None:
            return
        seen = int(answer.kvs[0].value) if answer.kvs else 0
        if seen < self.acknowledged:
            self.failures.append(f"{self.key!r}: read {seen} after {self.acknowledged} was acknowledged")

    def _until_answered(self, call: Callable[[Client], T]) -> T | None:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            self._turn += 1
            endpoints = self._endpoints()
            endpoint = endpoints[self._turn % len(endpoints)]
            client = self._clients.get(endpoint) or self._clients.setdefault(endpoint, Client(endpoint))
            try:
                return call(client)
            except grpc.RpcError as error:
                status = error.code()  # type: ignore[attr-defined] # grpc's errors are calls as well
                if status not in RETRIED and "raft proposal dropped" not in str(error):
                    self.failures.append(f"{self.key!r}: {error}")
                    return None
                self.retries += 1
                if self._stopping.is_set():
                    return None
                time.sleep(0.01)
        self.failures.append(f"{self.key!r}: no answer for {GIVE_UP_SECONDS} s")
        return None


class Writers:
    """Some writers at once. A context manager; leaving it stops them and checks their accounts."""

    def __init__(self, count: int, endpoints: Callable[[], Sequence[str]]) -> None:
        self._stop = threading.Event()
        self._endpoints = endpoints
        self.writers = [Writer(number, endpoints, self._stop) for number in range(count)]

    def __enter__(self) -> Writers:
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for writer in self.writers:
            writer.join(GIVE_UP_SECONDS)
        if error is None:
            self.check()

    @property
    def acknowledged(self) -> int:
        return sum(writer.acknowledged for writer in self.writers)

    @property
    def retries(self) -> int:
        return sum(writer.retries for writer in self.writers)

    @property
    def failures(self) -> list[str]:
        return [failure for writer in self.writers for failure in writer.failures]

    def wait_for_progress(self, more: int = 1, seconds: float = GIVE_UP_SECONDS) -> float:
        """Until every writer has had `more` writes acknowledged; how long that took."""
        started = time.monotonic()
        goals = [writer.acknowledged + more for writer in self.writers]
        while any(writer.acknowledged < goal for writer, goal in zip(self.writers, goals, strict=True)):
            assert not self.failures, self.failures
            assert time.monotonic() - started < seconds, f"no progress within {seconds} s"
            time.sleep(0.005)
        return time.monotonic() - started

    def check(self) -> None:
        """Nothing acknowledged is lost, on any member."""
        assert not self.failures, self.failures
        for endpoint in self._endpoints():
            with Client(endpoint) as client:
                for writer in self.writers:
                    answer = client.range(writer.key)
                    seen = int(answer.kvs[0].value) if answer.kvs else 0
                    assert writer.acknowledged <= seen <= writer.attempted, (
                        f"{endpoint} has {seen} under {writer.key!r}: {writer.acknowledged} acknowledged, "
                        f"{writer.attempted} attempted"
                    )
