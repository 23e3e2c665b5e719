"""Random faults on three and five members; a failing seed is named in the test's id and replays exactly."""

from __future__ import annotations

import random

import pytest

from tests.raft.chaos import Chaos

STEPS = 2000


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_cluster_keeps_its_promises_under_faults(size: int, seed: int) -> None:
    source = random.Random(1000 * size + seed)
    chaos = Chaos(
        source,
        size,
        reconfigure=False,
        pre_vote=seed % 3 != 0,
        check_quorum=seed % 4 != 0,
        inflight_messages_max=source.choice([1, 3, 512]),
        message_bytes_max=source.choice([1, 40, 1 << 20]),
        committed_bytes_max=source.choice([1, 40, 1 << 20]),
    )
    for _ in range(STEPS):
        chaos.step()
    chaos.calm_down()
    assert len(chaos.committed) > 5


@pytest.mark.parametrize("seed", range(30))
def test_a_cluster_keeps_its_promises_while_its_members_change(seed: int) -> None:
    chaos = Chaos(
        random.Random(seed), 3, reconfigure=True, pre_vote=seed % 3 != 0, check_quorum=seed % 4 != 0
    )
    for _ in range(STEPS):
        chaos.step()
    assert len(chaos.committed) > 5
