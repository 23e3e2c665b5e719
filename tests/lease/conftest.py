"""A backend of one dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.backend import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeBackend:
    """Holds the lease bucket in memory."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}

    def put(self, bucket: Bucket, key: bytes, value: bytes, /) -> None:
        assert bucket is Bucket.LEASE
        self.stored[key] = value

    def delete(self, bucket: Bucket, key: bytes, /) -> None:
        assert bucket is Bucket.LEASE
        del self.stored[key]

    def items(self, bucket: Bucket, /) -> Iterator[tuple[bytes, bytes]]:
        assert bucket is Bucket.LEASE
        return iter(sorted(self.stored.items()))


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(scope="session")
def backend_type() -> type[FakeBackend]:
    return FakeBackend
