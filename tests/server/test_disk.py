"""Saves in order, failures final, and a slow disk never waited for on the loop."""

import queue
import threading
from typing import TYPE_CHECKING

from etcdpy.server.disk import AVERAGE_OVER, WalThread

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


def test_a_quick_disk_is_waited_for_once_it_is_known_to_be_quick() -> None:
    loop, threads = Loop(), []  # type: ignore[var-annotated]
    disk = WalThread(loop.callbacks.put, quick_s=10)
    for _ in range(AVERAGE_OVER):
        if not disk.submit(lambda: threads.append(threading.current_thread()), lambda error: None):
            loop.run_one()
    assert threads[0] is not threading.current_thread()
    assert threads[-1] is threading.current_thread()
    disk.close()


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
