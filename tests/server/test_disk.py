"""Saves in order, failures final, and a slow disk never waited for on the loop."""

import queue
from typing import TYPE_CHECKING

from etcdpy.server.disk import AVERAGE_OVER, PROBE_PAUSE_S_MAX, WalThread

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Stands for the event loop: callbacks wait here until the test runs them."""

    def __init__(self) -> None:
        self.callbacks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run_one(self) -> None:
        self.callbacks.get(timeout=10)()


def test_jobs_run_in_order_and_are_reported_in_order() -> None:
    loop, ran, told = Loop(), [], []  # type: ignore[var-annotated]
    disk = WalThread(loop.callbacks.put, quick_s=0)
    for number in range(50):
        assert not disk.submit(
            lambda n=number: ran.append(n), lambda error, n=number: told.append((n, error))
        )
    for _ in range(50):
        loop.run_one()
    disk.close()
    assert ran == list(range(50))
    assert told == [(number, None) for number in range(50)]


class Clock:
    """Time as the test says; a save takes what it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Saves:
    """Saves through a disk, one after the other, each of a given length; tells which thread did it."""

    def __init__(self) -> None:
        self.clock, self.loop = Clock(), Loop()
        self.disk = WalThread(self.loop.callbacks.put, quick_s=0.001, clock=self.clock)

    def save(self, seconds: float) -> bool:
        """Whether the loop waited for it."""

        def job() -> None:
            self.clock.now += seconds

        waited = self.disk.submit(job, lambda error: None)
        if not waited:
            self.loop.run_one()
        return waited


def test_a_quick_disk_is_waited_for() -> None:
    saves = Saves()
    assert all(saves.save(0.0001) for _ in range(100))
    saves.disk.close()


def test_a_single_hiccup_does_not_move_saves_to_the_thread() -> None:
    saves = Saves()
    saves.save(0.0001)
    assert saves.save(3)
    assert saves.save(0.0001)
    saves.disk.close()


def test_a_slow_disk_is_left_to_the_thread_and_looked_at_less_and_less_often() -> None:
    saves = Saves()
    on_loop = [saves.save(0.01) for _ in range(10_000)]
    assert sum(on_loop[:100]) < AVERAGE_OVER
    assert sum(on_loop[-400:]) <= 1, "four seconds: a slow disk is probed every five at most"
    saves.disk.close()


def test_a_disk_that_was_slow_for_a_while_is_trusted_again() -> None:
    saves = Saves()
    while saves.save(0.01):
        pass
    assert not saves.save(0.0001)
    saves.clock.now += PROBE_PAUSE_S_MAX
    assert all(saves.save(0.0001) for _ in range(100))
    saves.disk.close()


def test_a_failure_is_told_to_every_job_after_it() -> None:
    loop, told = Loop(), []  # type: ignore[var-annotated]
    disk = WalThread(loop.callbacks.put, quick_s=0)

    def fail() -> None:
        raise OSError("no space left on device")

    ran: list[int] = []
    disk.submit(fail, told.append)
    disk.submit(lambda: ran.append(1), told.append)
    loop.run_one()
    loop.run_one()
    disk.close()
    assert [str(error) for error in told] == ["no space left on device"] * 2
    assert not ran


def test_a_failure_on_the_loop_is_told_like_one_in_the_thread() -> None:
    loop, told = Loop(), []  # type: ignore[var-annotated]
    disk = WalThread(loop.callbacks.put, quick_s=10)
    while not disk.submit(lambda: None, lambda error: None):
        loop.run_one()

    def fail() -> None:
        raise OSError("gone")

    assert not disk.submit(fail, told.append)
    loop.run_one()
    assert not disk.submit(lambda: None, told.append)
    loop.run_one()
    disk.close()
    assert [str(error) for error in told] == ["gone", "gone"]
