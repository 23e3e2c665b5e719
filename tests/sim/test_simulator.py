"""Whole clusters through seeded faults. More seeds by hand: `python -m tests.sim.run --help`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from etcdpy.raft.messages import Entry, Ready
from etcdpy.testing.simulator import Simulator
from tests.sim import mutations, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.patches  # the simulator puts its own disk under the member

SEEDS, TURNS = 30, 2000
FULL_SEEDS, FULL_TURNS = 2000, 10_000
# Seconds for seeds that nobody has run before; 0 for none.
FRESH_SECONDS = float(os.environ.get("ETCDPY_SIM_SECONDS", "0"))


def check(seed: int, members: int, turns: int) -> run.Outcome:
    outcome = run.run_seed(seed, members, turns)
    if outcome.failure:
        pytest.fail(outcome.failure, pytrace=False)
    return outcome


def test_seeds_hold_all_promises() -> None:
    outcomes = [check(seed, run.size_of(seed), TURNS) for seed in range(1, SEEDS + 1)]
    # A run in which nothing happens would hold them too.
    assert sum(outcome.commits for outcome in outcomes) > SEEDS * 20
    assert sum(outcome.terms for outcome in outcomes) > SEEDS
    assert sum(outcome.crashes for outcome in outcomes) > SEEDS
    assert sum(outcome.calls for outcome in outcomes) > SEEDS * 20
    assert not any(outcome.undecided for outcome in outcomes)


@pytest.mark.skipif(not FRESH_SECONDS, reason="ETCDPY_SIM_SECONDS is not set")
def test_fresh_seeds_hold_all_promises() -> None:
    first = time.time_ns() // 1000
    until = time.monotonic() + FRESH_SECONDS
    seed = first
    while time.monotonic() < until:
        check(seed, run.size_of(seed), FULL_TURNS)
        seed += 1


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_two_thousand_seeds_hold_all_promises() -> None:
    for seed in range(1, FULL_SEEDS + 1):
        check(seed, run.size_of(seed), FULL_TURNS)


def test_a_seed_gives_the_same_run_whatever_the_hash_seed(pytestconfig: pytest.Config) -> None:
    code = (
        "from etcdpy.testing.simulator import Simulator\n"
        "for seed in (1, 2, 3):\n"
        "    simulator = Simulator(seed, 3)\n"
        "    simulator.run(1500)\n"
        "    print(simulator.fingerprint())\n"
    )
    prints = set()
    for hash_seed in ("0", "1", "99"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(_root(pytestconfig))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        prints.add(done.stdout)
    assert len(prints) == 1
    assert len(set(prints.pop().split())) == 3


def _root(config: pytest.Config) -> Path:
    return config.rootpath


def test_a_failing_seed_tells_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    with mutations.MUTATIONS["send_before_save"]():
        status = run.main(["--seed", "1", "--seeds", "20", "--turns", "2000"])
        lines = capsys.readouterr().out.splitlines()
        replay = next(line for line in lines if line.startswith("replay: "))
        told = [line for line in lines if line.startswith("turn ")]
        again = run.main(replay.split("tests.sim.run ")[1].split())
    assert (status, again) == (1, 1)
    assert len(told) == 1
    assert told[0] in capsys.readouterr().out


def test_the_consistent_index_does_not_go_back_while_covered_entries_are_counted_again() -> None:
    """A flush would write the lower index beside newer data, and the next start would apply that twice."""
    simulator = Simulator(1, 3)
    machine = next(iter(simulator.machines.values()))
    machine.database.index, machine.database.term = 6, 1
    process = machine.start()
    assert process.member.applied_index == 3, "the commit index on disk is behind the backend"
    process.member.apply(Ready(committed_entries=[Entry(1, 4)]))
    assert process.backend.consistent_index == 6
