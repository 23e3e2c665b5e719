"""Membership is tested on buckets in memory."""

from __future__ import annotations

import pytest

from tests.support.buckets import MemoryBuckets


@pytest.fixture
def buckets() -> MemoryBuckets:
    return MemoryBuckets()
