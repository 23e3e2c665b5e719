"""What the client port tells of the rest of the server, handed in by whoever joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from etcdpy.metrics import Family


def _no_families() -> Iterable[Family]:
    return ()


def _no_status() -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Called when somebody asks, on the loop thread."""

    families: Callable[[], Iterable[Family]] = _no_families
    """The metrics of all other rooms."""
    raft_status: Callable[[], Mapping[str, object]] = _no_status
    """`raft.status` of `/debug/vars`."""
