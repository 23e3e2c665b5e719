"""One random sequence of calls, given to real etcd 3.5.1 and to etcdpy, gets the same answers.

By hand with any seed and length: `pytest tests/differential --seed=7 --steps=20000`.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.duel import Duel
from tests.support.server import pair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

# Kinds of call without which the sequence would not be what it claims to be.
CALLS_EXPECTED = {
    "RangeRequest",
    "PutRequest",
    "DeleteRangeRequest",
    "TxnRequest",
    "CompactionRequest",
    "LeaseGrantRequest",
    "LeaseRevokeRequest",
    "LeaseTimeToLiveRequest",
    "LeaseLeasesRequest",
    "KeepAlive",
    "WatchCreate",
    "WatchCancel",
    "WatchProgress",
    "HashKVRequest",
}


@pytest.mark.cluster
@pytest.mark.timeout(1_800)
def test_random_sequence_gets_the_same_answers(
    reference: Kind, candidate: Kind, seed: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    steps = int(pytestconfig.getoption("--steps"))
    with pair(reference, candidate, tmp_path) as servers, closing(Duel(*servers, seed)) as duel:
        duel.play(steps)
        if steps >= 2_000:
            assert duel.counts.keys() >= CALLS_EXPECTED, "a kind of call is missing from the sequence"
            assert duel.refusals > steps // 50, "hardly any call was refused; errors were not compared"
