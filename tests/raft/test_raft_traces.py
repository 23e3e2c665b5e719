"""Runs the stories in `traces/`; see `trace_language`. ETCDPY_REWRITE_TRACES=1 rewrites them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.raft.trace_language import rewritten

TRACES = sorted((Path(__file__).parent / "traces").glob("*.txt"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path) -> None:
    told = path.read_text()
    now = rewritten(told)
    if os.environ.get("ETCDPY_REWRITE_TRACES"):
        path.write_text(now)
    else:
        assert now == told


def test_there_are_traces() -> None:
    assert len(TRACES) >= 15
