"""Connections are written to once, together, and a fault of one is no matter to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.rpc.flushing import Flushing

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """A loop whose turns are the test's."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.scheduled.append(callback)

    def turn(self) -> None:
        scheduled, self.scheduled = self.scheduled, []
        for callback in scheduled:
            callback()


class Connection:
    """Counts how often it is written to; may do something of its own when it is."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.flushes = 0
        self._then = then

    def flush(self) -> None:
        self.flushes += 1
        self._then()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def flushing(loop: Loop) -> Any:
    return Flushing(loop)  # type: ignore[arg-type]


def test_all_are_written_to_in_one_callback(loop: Loop, flushing: Any) -> None:
    connections = [Connection() for _ in range(5)]
    for connection in connections:
        flushing.add(connection)
    assert len(loop.scheduled) == 1
    loop.turn()
    assert [connection.flushes for connection in connections] == [1] * 5
    assert loop.scheduled == []


def test_what_was_written_at_the_end_of_a_turn_is_not_written_again(loop: Loop, flushing: Any) -> None:
    connection = Connection()
    flushing.add(connection)
    flushing.run()
    assert connection.flushes == 1
    loop.turn()
    assert connection.flushes == 1
    flushing.add(connection)
    loop.turn()
    assert connection.flushes == 2


def test_a_connection_with_more_to_say_comes_again_in_a_later_turn(loop: Loop, flushing: Any) -> None:
    connection = Connection(lambda: flushing.add(connection) if connection.flushes < 3 else None)
    flushing.add(connection)
    loop.turn()
    assert connection.flushes == 1
    loop.turn()
    loop.turn()
    loop.turn()
    assert connection.flushes == 3


def test_a_fault_of_one_connection_leaves_the_others_their_turn(loop: Loop, flushing: Any) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of our own")

    before, bad, after = Connection(), Connection(fail), Connection()
    for connection in (before, bad, after):
        flushing.add(connection)
    with pytest.raises(RuntimeError):
        loop.turn()
    loop.turn()
    assert (before.flushes, bad.flushes, after.flushes) == (1, 1, 1)
