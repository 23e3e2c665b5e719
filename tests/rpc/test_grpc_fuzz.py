"""What the fuzzer of the gRPC layer found worth keeping, and as much again of its own kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rpc.fuzz_grpc import judge, messages_of
from tests.rpc.grpc_wire import packed

CORPUS = sorted(Path(__file__).parent.joinpath("corpus").iterdir())
ACTIONS = st.one_of(st.integers(0, 12), st.sampled_from(list(b"pefr")), st.integers(0, 255))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_corpus_of_the_fuzzer(path: Path) -> None:
    judge(path.read_bytes())


@given(st.lists(ACTIONS, max_size=200))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_program_keeps_the_promises(program: list[int]) -> None:
    judge(bytes(program))


def test_the_corpus_reaches_what_matters() -> None:
    """A corpus of programs that do nothing would pass as well."""
    found = [judge(path.read_bytes()) for path in CORPUS]
    heard = [one for judged in found for one in judged.heard]
    assert sum(len(one.messages) for one in heard) > 20
    assert sum(one.half_closes for one in heard) > 3
    assert sum(one.cancels for one in heard) > 3
    assert sum(one.has_ended for one in heard) > 3
    statuses = {
        answer.status[0]
        for judged in found
        for answer in judged.wire.answers.values()
        if answer.is_ended and answer.trailers
    }
    assert {0, 2, 3, 4, 8, 12, 13, 14} <= statuses, statuses


def test_the_reference_reads_messages() -> None:
    assert messages_of(packed(b"a") + packed(b"") + packed(b"half")[:7], "") == [b"a", b""]
