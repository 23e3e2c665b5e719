"""Runs the simulator by hand: `python -m tests.sim.run --seed 7 --members 3 --turns 10000`.

With `--seeds N` it runs N seeds from `--seed` on, `-j` processes at a time, and stops at the first that
fails, with the line that replays it.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context

from etcdpy.testing.simulator import Failed, Simulator

SIZES = (3, 5)


@dataclass(frozen=True)
class Outcome:
    """What became of one seed; `failure` is empty if all was well."""

    seed: int
    members: int
    turns: int
    failure: str = ""
    commits: int = 0
    terms: int = 0
    calls: int = 0
    crashes: int = 0
    undecided: int = 0
    cpu_s: float = 0.0


def size_of(seed: int) -> int:
    """Seeds take turns between clusters of three and of five."""
    return SIZES[seed % len(SIZES)]


def run_seed(seed: int, members: int, turns: int) -> Outcome:
    """One run."""
    started = time.process_time()
    simulator = Simulator(seed, members)
    try:
        simulator.run(turns)
    except Failed as failed:
        return Outcome(seed, members, failed.turn, describe(failed, turns))
    return Outcome(
        seed,
        members,
        simulator.turn,
        commits=len(simulator.raft_checker.committed) - 1,
        terms=len(simulator.raft_checker.leader_by_term),
        calls=len(simulator.history.calls),
        crashes=simulator.crashes,
        undecided=simulator.undecided_keys,
        cpu_s=time.process_time() - started,
    )


def describe(failed: Failed, turns: int) -> str:
    """The last events, what is wrong, and how to see it again."""
    lines = [
        *failed.trace,
        f"turn {failed.turn}: {failed}",
        f"replay: python -m tests.sim.run --seed {failed.seed} --members {failed.members} --turns {turns}",
    ]
    return "\n".join(lines)


def _job(job: tuple[int, int, int]) -> Outcome:
    return run_seed(*job)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the seed, or the first of many")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--members", type=int, default=0, help="size of the cluster (default: 3 and 5)")
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("-j", dest="processes", type=int, default=1, help="processes")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.seeds)
    jobs = [(seed, options.members or size_of(seed), options.turns) for seed in seeds]
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    failures = 0
    with get_context("fork").Pool(options.processes) if options.processes > 1 else _Nothing() as pool:
        for outcome in map(_job, jobs) if pool is None else pool.imap_unordered(_job, jobs):
            outcomes.append(outcome)
            if outcome.failure:
                failures += 1
                say(outcome.failure)
                if not options.keep_going:
                    break
            if len(outcomes) % 100 == 0:
                say(summary(outcomes, time.perf_counter() - started))
    say(summary(outcomes, time.perf_counter() - started))
    return 1 if failures else 0


def say(text: str) -> None:
    """Tell it now, not when a buffer is full."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Nothing:
    """No pool of processes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_failure: object) -> None:
        """Nothing to close."""


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """One line of figures."""
    turns = sum(outcome.turns for outcome in outcomes)
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    cpu_s = sum(outcome.cpu_s for outcome in outcomes) or seconds
    return (
        f"{len(outcomes)} seeds, {failed} failed, {turns:,} turns in {seconds:.1f} s "
        f"({turns / cpu_s:,.0f} in a second of CPU): "
        f"{sum(one.commits for one in outcomes):,} entries committed in "
        f"{sum(one.terms for one in outcomes):,} terms, {sum(one.crashes for one in outcomes):,} crashes, "
        f"{sum(one.calls for one in outcomes):,} calls, "
        f"{sum(one.undecided for one in outcomes)} keys undecided"
    )


if __name__ == "__main__":
    sys.exit(main())
