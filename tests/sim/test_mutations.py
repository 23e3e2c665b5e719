"""The simulator finds bugs: each of ours, put in by hand, within 200 seeds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.sim.mutations import MUTATIONS, SEEDS_MAX, TURNS, seeds_until_caught

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.patches

# It shows only when a cut-off leader is asked in the moment between its successor's first write and its own
# resignation, and takes some ten seconds.
RARE = frozenset({"read_without_quorum"})


@pytest.mark.parametrize("name", sorted(set(MUTATIONS) - RARE))
def test_a_mutation_is_caught(name: str, record_property: Callable[[str, object], None]) -> None:
    assert_caught(name, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RARE))
def test_a_rare_mutation_is_caught(name: str, record_property: Callable[[str, object], None]) -> None:
    assert_caught(name, record_property)


def assert_caught(name: str, record_property: Callable[[str, object], None]) -> None:
    seeds, noticed = seeds_until_caught(name)
    sys.stdout.write(f"{name}: caught after {seeds} seeds of {TURNS} turns: {noticed}\n")
    record_property("seeds", seeds)
    assert 0 < seeds <= SEEDS_MAX, f"{name} escaped"
