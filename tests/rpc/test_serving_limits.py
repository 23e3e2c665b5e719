"""Bounds that follow from the process and from flags."""

from __future__ import annotations

import resource

import pytest

from etcdpy.rpc import serving
from etcdpy.rpc.port import PortLimits
from etcdpy.server.config import Config


class Descriptors:
    """A process with these limits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.limits = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda which: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "connections"),
    [(1024, 874), (100, 1), (1_000_000, 999_850), (resource.RLIM_INFINITY, 1 << 20)],
)
def test_connections_are_bounded_by_descriptors(
    monkeypatch: pytest.MonkeyPatch, soft: int, connections: int
) -> None:
    Descriptors(monkeypatch, soft, soft)
    assert serving.connections_max() == connections


def test_the_process_takes_what_it_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = Descriptors(monkeypatch, 1024, 4096)
    serving.raise_descriptor_limit()
    assert descriptors.limits == (4096, 4096)
    assert serving.connections_max() == 4096 - serving.RESERVED_DESCRIPTORS


def test_a_message_may_be_larger_than_a_request_by_the_overhead_of_grpc() -> None:
    limits = serving.port_limits_of(Config(max_request_bytes=1000))
    assert limits.receive_bytes_max == 1000 + 512 * 1024
    assert limits.buffered_bytes_max == PortLimits(connections_max=1, receive_bytes_max=1).buffered_bytes_max
