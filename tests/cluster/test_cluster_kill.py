"""kill -9 of any member, again and again, while clients write: nothing acknowledged is lost, no read is
stale, and service comes back.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.quorum import MixedCluster
from tests.support.writers import Writers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

WRITERS = 5
ELECTION_TIMEOUT_S = 1.0
# Two election timeouts, and what the machine may be busy with besides.
BACK_WITHIN_S = 2 * ELECTION_TIMEOUT_S
MACHINE_S = 1.5


def kill_in_turn(cluster: MixedCluster, rounds: int, seed: int) -> list[float]:
    """Kill a random member (every second time the leader) in each round; how long until all five clients had
    a write through again.
    """
    chance = random.Random(seed)
    pauses = []
    with Writers(WRITERS, lambda: cluster.endpoints) as writers:
        for number in range(rounds):
            writers.wait_for_progress()
            leader = cluster.leader()
            victim = leader if number % 2 else chance.choice(cluster.members)
            time.sleep(chance.random() * 0.3)  # anywhere in what the members are doing
            cluster.kill(victim)
            pauses.append(writers.wait_for_progress())
            cluster.start_member(victim)
    return pauses


def check_pauses(pauses: list[float]) -> None:
    pauses = sorted(pauses)
    typical = pauses[len(pauses) // 2]
    assert typical <= BACK_WITHIN_S, pauses
    assert pauses[-1] <= BACK_WITHIN_S + MACHINE_S, pauses


def test_nothing_acknowledged_is_lost_when_members_are_killed(
    candidate: Kind, tmp_path: Path, seed: int
) -> None:
    with MixedCluster(tmp_path, [candidate] * 3) as cluster:
        # How long it takes is measured by the slow run below; here other tests may share the machine.
        assert len(kill_in_turn(cluster, 4, seed)) == 4


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_in_fifty_kills(
    candidate: Kind, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    rounds = int(request.config.getoption("--rounds")) or 50
    with MixedCluster(tmp_path, [candidate] * 3) as cluster:
        pauses = kill_in_turn(cluster, rounds, seed)
        with_leader, any_member = pauses[1::2], pauses[0::2]
        print(f"back after (s): leader {sorted(with_leader)}, any {sorted(any_member)}")  # noqa: T201
        check_pauses(pauses)


def test_a_cluster_that_was_killed_as_a_whole_remembers_everything(candidate: Kind, tmp_path: Path) -> None:
    with (
        MixedCluster(tmp_path, [candidate] * 3) as cluster,
        Writers(WRITERS, lambda: cluster.endpoints) as writers,
    ):
        writers.wait_for_progress(20)
        for member in cluster.members:
            cluster.kill(member)
        for member in cluster.members:
            cluster.launch(member)
        for member in cluster.members:
            cluster.wait_ready(member)
        writers.wait_for_progress(5)
