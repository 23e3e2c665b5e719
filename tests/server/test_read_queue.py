"""Linearizable reads: one round for all who wait, nobody served early, nobody forgotten."""

import itertools

from etcdpy.server.errors import LeaderChanged, Timeout
from etcdpy.server.read import RETRY_S, ReadQueue


class Readers:
    def __init__(self) -> None:
        self.counter = itertools.count(1)
        self.queue = ReadQueue(lambda: next(self.counter), timeout_s=7)
        self.answers: dict[str, Exception | None] = {}

    def add(self, name: str) -> None:
        def done(error: Exception | None) -> None:
            assert name not in self.answers, f"{name} was answered twice"
            self.answers[name] = error

        self.queue.add(done)


def test_readers_share_a_round_and_wait_for_their_index() -> None:
    readers = Readers()
    readers.add("a")
    readers.add("b")
    context = readers.queue.next_round(now=0)
    assert context is not None
    readers.queue.confirm(context, index=5)
    readers.queue.release(applied=4)
    assert readers.answers == {}
    readers.queue.release(applied=5)
    assert readers.answers == {"a": None, "b": None}


def test_a_reader_that_comes_during_a_round_waits_for_the_next() -> None:
    readers = Readers()
    readers.add("early")
    first = readers.queue.next_round(now=0)
    readers.add("late")
    assert readers.queue.next_round(now=0) is None
    assert first is not None
    readers.queue.confirm(first, index=1)
    readers.queue.release(applied=1)
    assert readers.answers == {"early": None}
    second = readers.queue.next_round(now=0)
    assert second is not None
    assert second != first


def test_a_lost_round_is_asked_again_and_either_answer_counts() -> None:
    readers = Readers()
    readers.add("a")
    first = readers.queue.next_round(now=0)
    assert readers.queue.retry(now=RETRY_S / 2) is None
    second = readers.queue.retry(now=RETRY_S)
    assert second is not None
    assert second != first
    assert first is not None
    readers.queue.confirm(first, index=0)
    readers.queue.release(applied=0)
    assert readers.answers == {"a": None}


def test_an_answer_to_an_unknown_round_serves_nobody() -> None:
    readers = Readers()
    readers.add("a")
    readers.queue.next_round(now=0)
    readers.queue.confirm(b"stranger", index=0)
    readers.queue.release(applied=9)
    assert readers.answers == {}


def test_a_round_without_an_answer_times_out() -> None:
    readers = Readers()
    readers.add("a")
    readers.queue.next_round(now=0)
    readers.queue.expire(now=6.9)
    assert readers.answers == {}
    readers.queue.expire(now=7)
    assert isinstance(readers.answers["a"], Timeout)


def test_a_leader_change_refuses_all_without_a_confirmed_index() -> None:
    readers = Readers()
    readers.add("confirmed")
    context = readers.queue.next_round(now=0)
    assert context is not None
    readers.queue.confirm(context, index=3)
    readers.add("in a round")
    readers.queue.next_round(now=0)
    readers.add("arrived")
    readers.queue.fail(LeaderChanged())
    readers.queue.release(applied=3)
    assert readers.answers["confirmed"] is None
    assert isinstance(readers.answers["in a round"], LeaderChanged)
    assert isinstance(readers.answers["arrived"], LeaderChanged)
